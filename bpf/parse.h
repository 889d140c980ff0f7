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
#include <uapi/linux/icmpv6.h>
#include <uapi/linux/ip.h>
#include <uapi/linux/ipv6.h>
#include <uapi/linux/tcp.h>
#include <uapi/linux/udp.h>

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

/* How many IPv6 extension headers are looked behind. Real packets have one or two; a chain of more is there to hide
 * what comes at its end. */
#define MAX_EXTENSIONS 4

/* The longest headers that are read in place: Ethernet, VLAN tags, IPv4 with all options, TCP without. */
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
	__u32 want = skb->len < MAX_HEADERS ? skb->len : MAX_HEADERS;

	/* No "data_end - data": where the compiler makes that a 32-bit subtraction, the verifier refuses it. */
	if ((void *)(long)skb->data + want <= (void *)(long)skb->data_end)
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

static __always_inline int is_vlan(__be16 proto)
{
	return proto == bpf_htons(ETH_P_8021Q) || proto == bpf_htons(ETH_P_8021AD);
}

/* Goes behind the VLAN tags that *proto announces; adds how many there were to *tags. */
static __always_inline int parse_vlan(struct cursor *cur, __be16 *proto, __u32 *tags)
{
#pragma unroll
	for (int i = 0; i < MAX_VLAN_TAGS; i++) {
		struct vlan_header *header = cur->pos;

		if (!is_vlan(*proto))
			return 0;
		if ((void *)(header + 1) > cur->end)
			return -1;
		*tags += 1;
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

static __always_inline int parse_ipv6(struct cursor *cur, struct ipv6hdr **ip)
{
	struct ipv6hdr *header = cur->pos;

	if ((void *)(header + 1) > cur->end)
		return -1;
	if (header->version != 6)
		return -1;
	*ip = header;
	cur->pos = header + 1;
	return 0;
}

/* What IPv6 extension headers said. */
struct extensions {
	__u32 offset;  /* of what comes behind them, in the frame */
	__u8 next;     /* its protocol */
	__u8 any;      /* whether there were any */
	__u8 fragment; /* whether one was a fragment header */
	__u8 later;    /* whether the fragment is not the first: then what comes behind it is not a header */
};

/* Goes behind extension headers (RFC 8200 section 4) from ext->offset and ext->next on. By bpf_skb_load_bytes(),
 * because each may have 2 KiB and need not lie in the linear part. Returns -1 when one ends early or there are too
 * many. */
static __always_inline int parse_extensions(struct __sk_buff *skb, struct extensions *ext)
{
	__u8 header[4];

#pragma unroll
	for (int i = 0; i <= MAX_EXTENSIONS; i++) {
		__u8 kind = ext->next;

		if (kind != IPPROTO_HOPOPTS && kind != IPPROTO_ROUTING && kind != IPPROTO_DSTOPTS &&
		    kind != IPPROTO_AH && kind != IPPROTO_FRAGMENT && kind != IPPROTO_MH)
			return 0;
		if (i == MAX_EXTENSIONS || bpf_skb_load_bytes(skb, ext->offset, header, sizeof(header)))
			return -1;
		ext->any = 1;
		ext->next = header[0];
		if (kind == IPPROTO_FRAGMENT) {
			ext->fragment = 1;
			ext->offset += 8;
			if (header[2] || header[3] & 0xf8) {
				ext->later = 1;
				return 0;
			}
		} else if (kind == IPPROTO_AH) {
			ext->offset += (header[1] + 2) * 4;
		} else {
			ext->offset += (header[1] + 1) * 8;
		}
	}
	return -1;
}

/* For IPv4 behind its options, whose length is the guest's word; for IPv6, where the cursor stands already, 0. */
static __always_inline int parse_tcp(struct cursor *cur, __u32 options_end, struct tcphdr **tcp)
{
	/* The mask tells the verifier what ihl's four bits already do: at most 60 bytes. */
	struct tcphdr *header = cur->pos + (options_end & 0x3c);

	if ((void *)(header + 1) > cur->end)
		return -1;
	*tcp = header;
	cur->pos = header + 1;
	return 0;
}

static __always_inline int opens_connection(const struct tcphdr *tcp)
{
	return tcp->syn && !tcp->ack;
}

/* As parse_tcp(). */
static __always_inline int parse_udp(struct cursor *cur, __u32 options_end, struct udphdr **udp)
{
	struct udphdr *header = cur->pos + (options_end & 0x3c);

	if ((void *)(header + 1) > cur->end)
		return -1;
	*udp = header;
	cur->pos = header + 1;
	return 0;
}

#endif
