/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Parsing helpers: each takes a cursor, moves it behind what it read, and returns -1 on any doubt.
 *
 * Written out for the verifier: every pointer is compared with data_end in the function that reads through it.
 */
#ifndef EVE_META_PARSE_H
#define EVE_META_PARSE_H

#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/if_arp.h>
#include <uapi/linux/in.h>
#include <uapi/linux/ip.h>
#include <uapi/linux/tcp.h>

struct cursor {
	void *pos;
	void *end;
};

struct vlan_header {
	__be16 tci;
	__be16 proto;
};

/* ARP for IPv4 over Ethernet (RFC 826); linux/if_arp.h comments these fields out. */
struct arp_ipv4 {
	__be16 htype;
	__be16 ptype;
	__u8 hlen;
	__u8 plen;
	__be16 op;
	__u8 sha[ETH_ALEN];
	__be32 spa;
	__u8 tha[ETH_ALEN];
	__be32 tpa;
} __attribute__((packed));

/* How many VLAN tags in the frame itself are looked behind. One more may be in skb metadata: the kernel takes the
 * outermost there (skb_vlan_untag()) before tc sees the frame. */
#define MAX_VLAN_TAGS 2

/* The longest headers that the programs look at: Ethernet, VLAN tags, IPv4 with all options, TCP without. */
#define MAX_HEADERS (ETH_HLEN + MAX_VLAN_TAGS * 4 + 60 + 20)

static __always_inline struct cursor frame_of(struct __sk_buff *skb)
{
	struct cursor cur = { .pos = (void *)(long)skb->data, .end = (void *)(long)skb->data_end };
	return cur;
}

/* Makes the headers readable. A tap's owner chooses how much of a frame lies in the linear part
 * (virtio_net_hdr.hdr_len, down to 14 bytes: tun_get_user()), so a program that only looks at data..data_end can be
 * made blind. */
static __always_inline int pull_headers(struct __sk_buff *skb)
{
	__u32 linear = skb->data_end - skb->data;
	__u32 want = skb->len < MAX_HEADERS ? skb->len : MAX_HEADERS;

	if (linear >= want)
		return 0;
	return bpf_skb_pull_data(skb, want) ? -1 : 0;
}

static __always_inline int parse_ethernet(struct cursor *cur, struct ethhdr **eth)
{
	struct ethhdr *header = cur->pos;

	if ((void *)(header + 1) > cur->end)
		return -1;
	*eth = header;
	cur->pos = header + 1;
	return 0;
}

/* Goes behind the VLAN tags that *proto announces; sets *tagged when there was one. */
static __always_inline int parse_vlan(struct cursor *cur, __be16 *proto, int *tagged)
{
#pragma unroll
	for (int i = 0; i < MAX_VLAN_TAGS; i++) {
		struct vlan_header *header = cur->pos;

		if (*proto != bpf_htons(ETH_P_8021Q) && *proto != bpf_htons(ETH_P_8021AD))
			return 0;
		if ((void *)(header + 1) > cur->end)
			return -1;
		*tagged = 1;
		*proto = header->proto;
		cur->pos = header + 1;
	}
	return 0;
}

/* Only ARP for IPv4 with 6-byte hardware addresses. The hardware type is not looked at: the kernel takes 1 and 6 alike
 * on Ethernet (arp_process()), so neither may pass unseen. */
static __always_inline int parse_arp(struct cursor *cur, struct arp_ipv4 **arp)
{
	struct arp_ipv4 *header = cur->pos;

	if ((void *)(header + 1) > cur->end)
		return -1;
	if (header->ptype != bpf_htons(ETH_P_IP) || header->hlen != ETH_ALEN || header->plen != 4)
		return -1;
	*arp = header;
	cur->pos = header + 1;
	return 0;
}

/* The fixed part only; the cursor stays at the header's begin, because its length is the guest's word. */
static __always_inline int parse_ipv4(struct cursor *cur, struct iphdr **ip)
{
	struct iphdr *header = cur->pos;

	if ((void *)(header + 1) > cur->end)
		return -1;
	if (header->version != 4 || header->ihl < 5)
		return -1;
	*ip = header;
	return 0;
}

static __always_inline int parse_tcp(struct cursor *cur, struct iphdr *ip, struct tcphdr **tcp)
{
	/* The mask tells the verifier what ihl's four bits already do: at most 60 bytes. */
	struct tcphdr *header = cur->pos + ((ip->ihl * 4) & 0x3c);

	if ((void *)(header + 1) > cur->end)
		return -1;
	*tcp = header;
	cur->pos = header + 1;
	return 0;
}

#endif
