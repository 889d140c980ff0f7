/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Neighbour discovery (RFC 4861): the messages that tap_in reads, and the advertisement that it writes. */
#ifndef EVE_META_ND_H
#define EVE_META_ND_H

#include "checksum.h"
#include "parse.h"

#define ND_SOLICITATION	     135
#define ND_ADVERTISEMENT     136
#define ND_TARGET_LINK_LAYER 2
#define ND_SOLICITED	     0x40000000
#define ND_OVERRIDE	     0x20000000
/* A router would have decremented it, so a packet with 255 comes from a neighbour (RFC 4861 section 3.1). */
#define ND_HOP_LIMIT 255

/* A solicitation or advertisement, with the option that our advertisement has (sections 4.3, 4.4, 4.6.1). */
struct nd_message {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 flags;
	struct in6_addr target;
	/* A solicitation may end here. */
	__u8 option;
	__u8 option_length; /* in units of 8 bytes */
	__u8 mac[ETH_ALEN];
} __attribute__((packed));

#define ND_FIXED_SIZE 24

struct nd_frame {
	struct ethhdr eth;
	struct ipv6hdr ip;
	struct nd_message message;
} __attribute__((packed));

/* The pseudo-header that ICMPv6 includes in its checksum (RFC 8200 section 8.1). */
struct pseudo_header {
	struct in6_addr source;
	struct in6_addr destination;
	__be32 length;
	__be32 next;
};

/* Turns the frame, which solicits `target`, into the advertisement that answers it; -1 on failure. Pointers into the
 * frame are void afterwards. */
static __always_inline int advertise(struct __sk_buff *skb, const struct in6_addr *target, const __u8 *mac)
{
	const __u8 all_nodes_mac[ETH_ALEN] = { 0x33, 0x33, 0, 0, 0, 1 };
	struct pseudo_header pseudo = {};
	struct nd_message message = {};
	struct nd_frame frame;
	__s64 sum;

	if (bpf_skb_load_bytes(skb, 0, &frame, offsetof(struct nd_frame, message)))
		return -1;
	message.type = ND_ADVERTISEMENT;
	message.target = *target;
	message.option = ND_TARGET_LINK_LAYER;
	message.option_length = 1;
	__builtin_memcpy(message.mac, mac, ETH_ALEN);
	pseudo.source = *target;
	pseudo.destination = frame.ip.saddr;
	pseudo.length = bpf_htonl(sizeof(message));
	pseudo.next = bpf_htonl(IPPROTO_ICMPV6);
	if (pseudo.destination.s6_addr32[0] | pseudo.destination.s6_addr32[1] | pseudo.destination.s6_addr32[2] |
	    pseudo.destination.s6_addr32[3]) {
		message.flags = bpf_htonl(ND_SOLICITED | ND_OVERRIDE);
		__builtin_memcpy(frame.eth.h_dest, frame.eth.h_source, ETH_ALEN);
	} else {
		/* From the unspecified address: a guest that tests whether it may have this one itself. The answer,
		 * that it is taken, goes to ff02::1, because the guest has no address yet (RFC 4862 section 5.4.4). */
		message.flags = bpf_htonl(ND_OVERRIDE);
		pseudo.destination.s6_addr32[0] = bpf_htonl(0xff020000);
		pseudo.destination.s6_addr32[3] = bpf_htonl(1);
		__builtin_memcpy(frame.eth.h_dest, all_nodes_mac, ETH_ALEN);
	}
	__builtin_memcpy(frame.eth.h_source, mac, ETH_ALEN);
	sum = bpf_csum_diff(0, 0, (__be32 *)&pseudo, sizeof(pseudo), 0);
	sum = bpf_csum_diff(0, 0, (__be32 *)&message, sizeof(message), sum);
	message.checksum = fold(sum);

	frame.ip.payload_len = bpf_htons(sizeof(message));
	frame.ip.nexthdr = IPPROTO_ICMPV6;
	frame.ip.hop_limit = ND_HOP_LIMIT;
	frame.ip.saddr = pseudo.source;
	frame.ip.daddr = pseudo.destination;
	frame.message = message;
	/* The sizes may differ: a solicitation need not have its sender's address as an option (section 4.3), and a
	 * frame may be padded. */
	if (bpf_skb_change_tail(skb, sizeof(frame), 0))
		return -1;
	return bpf_skb_store_bytes(skb, 0, &frame, sizeof(frame), 0);
}

#endif
