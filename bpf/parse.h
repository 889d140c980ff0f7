/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Parsing helpers: each finds a header, or returns NULL or -1 when there is none.
 *
 * They only read. When any branch of a tc program writes through a pointer into a frame, the kernel copies the headers
 * of every clone before the program's first instruction (bpf_unclone_prologue()), and a TCP sender's packets are
 * clones.
 */
#ifndef EVE_META_PARSE_H
#define EVE_META_PARSE_H

#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/in.h>
#include <uapi/linux/icmpv6.h>
#include <uapi/linux/ip.h>
#include <uapi/linux/ipv6.h>
#include <uapi/linux/pkt_cls.h>
#include <uapi/linux/tcp.h>
#include <uapi/linux/udp.h>

struct vlan_header {
	__be16 tci;
	__be16 proto;
};

/* Operations of ARP (RFC 826). linux/if_arp.h defines them, too, but it includes linux/netdevice.h, and parsing that
 * would take two thirds of the time in which these programs are compiled: seconds of the daemon's start. */
#define ARPOP_REQUEST 1
#define ARPOP_REPLY   2

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

struct arp_frame {
	struct ethhdr eth;
	struct arp_ipv4 arp;
} __attribute__((packed));

/* The number of VLAN tags in the frame itself that are parsed. One more may be in the skb's metadata: the kernel moves
 * the outermost one there (skb_vlan_untag()) before tc sees the frame. */
#define MAX_VLAN_TAGS 2

/* The number of IPv6 extension headers that are parsed. Real packets have one or two; a longer chain is there to hide
 * what follows it. */
#define MAX_EXTENSIONS 4

/* Makes the first `size` bytes linear, or the whole frame where it is shorter; -1 when there is no memory for that.
 * Pointers into the frame are void afterwards.
 *
 * The tap's owner chooses how much of a frame lies in the linear part (virtio_net_hdr.hdr_len, down to 14 bytes:
 * tun_get_user()), so it can blind a program that reads only data..data_end. And the rest may be the guest's own memory
 * (vhost-net with experimental_zcopytx), which it can change after we have read it. So the bytes by which we decide
 * have to be copied into the linear part; bpf_skb_load_bytes() alone is not enough. */
static __always_inline int pull(struct __sk_buff *skb, __u32 size)
{
	__u32 want;

	/* Not "data_end - data": where the compiler makes that a 32-bit subtraction, the verifier refuses it. */
	if ((void *)(long)skb->data + size <= (void *)(long)skb->data_end)
		return 0;
	want = skb->len < size ? skb->len : size;
	if ((void *)(long)skb->data + want <= (void *)(long)skb->data_end)
		return 0;
	return bpf_skb_pull_data(skb, want) ? -1 : 0;
}

/* The `size` bytes at `offset`, which the caller has pulled; NULL when the frame ends earlier. */
static __always_inline void *header_at(struct __sk_buff *skb, __u32 offset, const __u32 size)
{
	void *header = (void *)(long)skb->data + offset;

	return header + size <= (void *)(long)skb->data_end ? header : NULL;
}

/* The Ethernet header of the frame. It is always linear: eth_type_trans() takes it from there. */
static __always_inline struct ethhdr *ethernet_of(struct __sk_buff *skb)
{
	return header_at(skb, 0, sizeof(struct ethhdr));
}

static __always_inline int is_vlan(__be16 proto)
{
	return proto == bpf_htons(ETH_P_8021Q) || proto == bpf_htons(ETH_P_8021AD);
}

/* Moves *offset behind the VLAN tags, and sets *proto to the type behind them; -1 when the frame ends within a tag. The
 * caller has pulled MAX_VLAN_TAGS tags; *proto is still a VLAN's where there are more. */
static __always_inline int parse_vlan(struct __sk_buff *skb, __be16 *proto, __u32 *offset)
{
#pragma unroll
	for (int i = 0; i < MAX_VLAN_TAGS; i++) {
		struct vlan_header *header = header_at(skb, ETH_HLEN + i * sizeof(*header), sizeof(*header));

		if (!is_vlan(*proto))
			return 0;
		if (!header)
			return -1;
		*offset += sizeof(*header);
		*proto = header->proto;
	}
	return 0;
}

/* The ARP at `offset`, if it is for IPv4 and has 6-byte hardware addresses. Its hardware type may be any: the kernel
 * accepts 1 and 6 alike on Ethernet (arp_process()), so neither may pass unseen. */
static __always_inline struct arp_ipv4 *arp_at(struct __sk_buff *skb, __u32 offset)
{
	struct arp_ipv4 *header = header_at(skb, offset, sizeof(*header));

	if (!header || header->ptype != bpf_htons(ETH_P_IP) || header->hlen != ETH_ALEN || header->plen != 4)
		return NULL;
	return header;
}

/* The fixed part of the IPv4 header at `offset`. */
static __always_inline struct iphdr *ipv4_at(struct __sk_buff *skb, __u32 offset)
{
	struct iphdr *header = header_at(skb, offset, sizeof(*header));

	return header && header->version == 4 && header->ihl >= 5 ? header : NULL;
}

static __always_inline struct ipv6hdr *ipv6_at(struct __sk_buff *skb, __u32 offset)
{
	struct ipv6hdr *header = header_at(skb, offset, sizeof(*header));

	return header && header->version == 6 ? header : NULL;
}

/* The result of parsing IPv6 extension headers. */
struct extensions {
	__u32 offset;  /* of the payload behind them, in the frame */
	__u8 next;     /* the payload's protocol */
	__u8 any;      /* whether there were any */
	__u8 fragment; /* whether one was a fragment header */
	__u8 later;    /* whether the fragment is not the first: then the payload does not begin with a header */
};

/* Parses extension headers (RFC 8200 section 4), beginning at ext->offset with one of type ext->next. Returns -1 when
 * one ends early, there are too many, or there is no memory to pull them. Pointers into the frame are void afterwards.
 */
static __always_inline int parse_extensions(struct __sk_buff *skb, struct extensions *ext)
{
	__u8 header[4];

#pragma unroll
	for (int i = 0; i <= MAX_EXTENSIONS; i++) {
		__u8 kind = ext->next;

		if (kind != IPPROTO_HOPOPTS && kind != IPPROTO_ROUTING && kind != IPPROTO_DSTOPTS &&
		    kind != IPPROTO_AH && kind != IPPROTO_FRAGMENT && kind != IPPROTO_MH)
			return 0;
		if (i == MAX_EXTENSIONS || pull(skb, ext->offset + sizeof(header)) < 0 ||
		    bpf_skb_load_bytes(skb, ext->offset, header, sizeof(header)))
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
		/* No chain is that long. With one bound for all, the verifier need not tell apart the chains that lead
		 * to an offset. The compiler must not know, or it would leave the mask out. */
		asm volatile("%0 &= 0x3fff" : "+r"(ext->offset));
	}
	return -1;
}

/* The ports of a UDP packet. */
struct ports {
	__be16 source;
	__be16 dest;
};

/* Copies the ports of the UDP header at `offset`, zero where the frame ends within it; -1 when there is no memory to
 * pull it. */
static __always_inline int parse_ports(struct __sk_buff *skb, __u32 offset, struct ports *ports)
{
	struct udphdr *udp;

	if (pull(skb, offset + sizeof(*udp)) < 0)
		return -1;
	udp = header_at(skb, offset, sizeof(*udp));
	ports->source = udp ? udp->source : 0;
	ports->dest = udp ? udp->dest : 0;
	return 0;
}

/* Copies the TCP header at `offset`; -1 when the frame ends earlier, or there is no memory to pull it. */
static __always_inline int parse_tcp(struct __sk_buff *skb, __u32 offset, struct tcphdr *tcp)
{
	return pull(skb, offset + sizeof(*tcp)) < 0 || bpf_skb_load_bytes(skb, offset, tcp, sizeof(*tcp)) ? -1 : 0;
}

static __always_inline int opens_connection(const struct tcphdr *tcp)
{
	return tcp->syn && !tcp->ack;
}

#endif
