/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* DHCP for IPv4 (RFC 2131, with the options of RFC 2132): the messages that tap_in reads, and the answers that it
 * writes.
 *
 * A message is copied piece by piece, each piece once, into the memory of `struct dhcp_work`; what was judged there is
 * what is answered, even where the frame is memory that the guest can change meanwhile (see pull()).
 */
#ifndef EVE_META_DHCP_H
#define EVE_META_DHCP_H

#include "checksum.h"
#include "parse.h"
#include "shared.h"

#define BOOTP_REQUEST	1
#define BOOTP_REPLY	2
#define BOOTP_ETHERNET	1
#define BOOTP_BROADCAST 0x8000 /* a flag: the client cannot receive unicast yet (section 4.1) */
#define DHCP_MAGIC	0x63825363

/* The types of messages: values of the option DHCP_TYPE (RFC 2132 section 9.6). */
#define DHCP_DISCOVER 1
#define DHCP_OFFER    2
#define DHCP_REQUEST  3
#define DHCP_DECLINE  4
#define DHCP_ACK      5
#define DHCP_NAK      6
#define DHCP_RELEASE  7
#define DHCP_INFORM   8

/* Options that tap_in reads or writes itself. */
#define DHCP_PAD       0
#define DHCP_REQUESTED 50
#define DHCP_OVERLOAD  52
#define DHCP_TYPE      53
#define DHCP_SERVER    54
#define DHCP_CLIENT    61
#define DHCP_RELAY     82
#define DHCP_END       255

/* The number of options that are parsed, each pad counted. Clients send some fifteen. */
#define MAX_DHCP_OPTIONS 64

/* The length of a client identifier that still fits into an answer; a longer one is not repeated in it. Those that
 * systemd-networkd, NetworkManager and dhcpcd make from a DUID have 19 bytes. */
#define MAX_DHCP_CLIENT 38

/* Every answer has 576 bytes of IP, which is what each client accepts (RFC 2131 section 2), and more than the 300 of
 * BOOTP below which some do not: so all lengths are constants, but those within the options. */
#define DHCP_IP_SIZE	  576
#define DHCP_OPTIONS_SIZE (DHCP_IP_SIZE - sizeof(struct iphdr) - sizeof(struct udphdr) - sizeof(struct dhcp_message))

/* The fixed part of a message (section 2), with the magic number that begins its options (section 3). */
struct dhcp_message {
	__u8 op;
	__u8 htype;
	__u8 hlen;
	__u8 hops;
	__be32 xid;
	__be16 secs;
	__be16 flags;
	__be32 ciaddr;
	__be32 yiaddr;
	__be32 siaddr;
	__be32 giaddr;
	__u8 chaddr[16];
	__u8 sname[64];
	__u8 file[128];
	__be32 magic;
};

#define DHCP_HEAD_SIZE offsetof(struct dhcp_message, sname)

struct dhcp_type_and_server {
	__u8 type[3];
	__u8 server[2];
	__u8 address[4];
};

/* The part of an answer's options that has a constant place. */
struct dhcp_fixed_options {
	struct dhcp_type_and_server begin;
	__u8 times[18]; /* where the answer is a lease, otherwise the next options */
};

/* The memory for one message and its answer, one for each CPU: it is too large for the stack. What the parser finds is
 * here, too, because variables on the stack would make the verifier tell apart ten times as many states (Linux 6.1). */
struct dhcp_work {
	__u8 type;	   /* 0: not found */
	__u8 names_server; /* whether `server` was found, and so on */
	__u8 names_address;
	__u8 names_client;
	__be32 server;
	__be32 address;
	__u64 client_size; /* of the first bytes of `client`, which are the option that the answer repeats; 0: none */
	__u8 client[64];
	__u8 align[2]; /* so that the headers behind the Ethernet header are aligned */
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
	struct dhcp_message message; /* sname and file are never written, and so remain zero */
	union {
		struct dhcp_fixed_options fixed;
		__u8 options[308]; /* the others are written into the frame; here they remain zero */
	};
	__be32 sum[(DHCP_IP_SIZE - sizeof(struct iphdr)) / 4]; /* the answer, read again for its checksum */
};

#define DHCP_FRAME_SIZE	 (ETH_HLEN + DHCP_IP_SIZE)
#define DHCP_UDP_SIZE	 (DHCP_IP_SIZE - sizeof(struct iphdr))
#define DHCP_OPTIONS_AT	 (ETH_HLEN + sizeof(struct iphdr) + sizeof(struct udphdr) + sizeof(struct dhcp_message))
#define DHCP_CHECKSUM_AT (ETH_HLEN + sizeof(struct iphdr) + offsetof(struct udphdr, check))

_Static_assert(offsetof(struct dhcp_work, options) - offsetof(struct dhcp_work, eth) == DHCP_OPTIONS_AT, "padding");
_Static_assert(sizeof(((struct dhcp_work *)0)->options) == DHCP_OPTIONS_SIZE, "the length of an answer");
_Static_assert(sizeof(struct dhcp_fixed_options) + DHCP_OPTIONS + 2 + MAX_DHCP_CLIENT + 1 <= DHCP_OPTIONS_SIZE, "fits");

/* Notes the option at `at`, whose value has `length` bytes, if it is one that is read; 0, or the reason to drop. */
static __always_inline int read_option(struct __sk_buff *skb, __u32 at, __u8 code, __u8 length, struct dhcp_work *work)
{
	__u64 size = length;

	switch (code) {
	case DHCP_TYPE:
		if (work->type || length != 1 || bpf_skb_load_bytes(skb, at + 2, &work->type, 1) || !work->type)
			return DROP_DHCP_MALFORMED;
		return 0;
	case DHCP_SERVER:
		if (work->names_server || length != 4 || bpf_skb_load_bytes(skb, at + 2, &work->server, 4))
			return DROP_DHCP_MALFORMED;
		work->names_server = 1;
		return 0;
	case DHCP_REQUESTED:
		if (work->names_address || length != 4 || bpf_skb_load_bytes(skb, at + 2, &work->address, 4))
			return DROP_DHCP_MALFORMED;
		work->names_address = 1;
		return 0;
	case DHCP_CLIENT:
		if (work->names_client)
			return DROP_DHCP_MALFORMED;
		work->names_client = 1;
		/* Without it the compiler compares `length`, and the verifier does not know the bound of `size`. */
		asm volatile("" : "+r"(size));
		if (size > MAX_DHCP_CLIENT)
			return 0;
		if (bpf_skb_load_bytes(skb, at, work->client, 2 + size))
			return DROP_DHCP_MALFORMED;
		work->client[0] = DHCP_CLIENT;
		work->client[1] = size;
		work->client_size = 2 + size;
		return 0;
	case DHCP_OVERLOAD:
		return DROP_DHCP_OVERLOAD;
	case DHCP_RELAY:
		return DROP_DHCP_RELAY;
	default:
		return 0;
	}
}

/* Parses the options from `at` to `end`, which is not behind the frame's; 0, or the reason to drop the message. */
static __always_inline int parse_options(struct __sk_buff *skb, __u32 at, __u32 end, struct dhcp_work *work)
{
	__u8 head[2];
	int reason;

	for (int i = 0; i < MAX_DHCP_OPTIONS; i++) {
		head[1] = 0;
		/* The last byte may be the end, which has no length. */
		if (at >= end || bpf_skb_load_bytes(skb, at, head, 1))
			return DROP_DHCP_MALFORMED;
		if (head[0] == DHCP_END)
			return 0;
		if (head[0] == DHCP_PAD) {
			at++;
			continue;
		}
		if (bpf_skb_load_bytes(skb, at + 1, head + 1, 1) || at + 2 + head[1] > end)
			return DROP_DHCP_MALFORMED;
		reason = read_option(skb, at, head[0], head[1], work);
		if (reason)
			return reason;
		at += 2 + head[1];
	}
	return DROP_DHCP_MALFORMED;
}

/* Parses the message whose UDP header begins at `at`, in a packet that ends at `end`; 0, or the reason to drop it. */
static __always_inline int parse_dhcp(struct __sk_buff *skb, __u32 at, __u32 end, struct dhcp_work *work)
{
	struct dhcp_message *message = &work->message;
	struct udphdr udp;
	__u32 length;

	work->type = 0;
	work->names_server = 0;
	work->names_address = 0;
	work->names_client = 0;
	work->client_size = 0;
	if (end > skb->len || bpf_skb_load_bytes(skb, at, &udp, sizeof(udp)))
		return DROP_DHCP_MALFORMED;
	length = bpf_ntohs(udp.len);
	if (length < sizeof(udp) + sizeof(*message) || at + length > end)
		return DROP_DHCP_MALFORMED;
	end = at + length;
	at += sizeof(udp);
	if (bpf_skb_load_bytes(skb, at, message, DHCP_HEAD_SIZE) ||
	    bpf_skb_load_bytes(skb, at + offsetof(struct dhcp_message, magic), &message->magic, sizeof(message->magic)))
		return DROP_DHCP_MALFORMED;
	if (message->op != BOOTP_REQUEST || message->htype != BOOTP_ETHERNET || message->hlen != ETH_ALEN ||
	    message->magic != bpf_htonl(DHCP_MAGIC))
		return DROP_DHCP_MALFORMED;
	if (message->giaddr)
		return DROP_DHCP_RELAY;
	return parse_options(skb, at + sizeof(*message), end, work);
}

/* The type of the answer to the message, for the tap of `address`; 0 for none, and *reason is why (section 4.3).
 *
 * A request names the address that it wants in an option (SELECTING, INIT-REBOOT) or in ciaddr (RENEWING, REBINDING);
 * it is refused when any that it names is not the tap's. */
static __always_inline __u8 answer_type(const struct dhcp_work *work, __be32 address, int *reason)
{
	__be32 claimed = work->message.ciaddr;

	*reason = DROP_DHCP_MALFORMED;
	if (work->names_server && work->server != bpf_htonl(SERVICE_IPV4)) {
		*reason = DROP_DHCP_OTHER_SERVER;
		return 0;
	}
	switch (work->type) {
	case DHCP_DISCOVER:
		*reason = ANSWERED_DHCP_OFFER;
		return DHCP_OFFER;
	case DHCP_REQUEST:
		if (!work->names_address && !claimed)
			return 0;
		if ((work->names_address && work->address != address) || (claimed && claimed != address)) {
			*reason = ANSWERED_DHCP_NAK;
			return DHCP_NAK;
		}
		*reason = ANSWERED_DHCP_ACK;
		return DHCP_ACK;
	case DHCP_INFORM:
		*reason = ANSWERED_DHCP_ACK;
		return DHCP_ACK;
	case DHCP_DECLINE:
		*reason = DROP_DHCP_DECLINE;
		return 0;
	case DHCP_RELEASE:
		*reason = DROP_DHCP_RELEASE;
		return 0;
	default:
		return 0;
	}
}

/* Writes destination, addresses and fixed options of the answer (sections 4.1 and 4.3.1). */
static __always_inline void fill_answer(struct dhcp_work *work, const struct dhcp *lease, __u8 type, int has_lease)
{
	struct dhcp_message *message = &work->message;
	struct dhcp_type_and_server *begin = &work->fixed.begin;
	const __be32 service = bpf_htonl(SERVICE_IPV4);

	message->yiaddr = has_lease ? lease->address : 0;
	__builtin_memcpy(work->eth.h_dest, message->chaddr, ETH_ALEN);
	if (type != DHCP_NAK && message->ciaddr) {
		work->ip.daddr = message->ciaddr;
	} else if (has_lease && !(message->flags & bpf_htons(BOOTP_BROADCAST))) {
		work->ip.daddr = message->yiaddr;
	} else {
		work->ip.daddr = 0xffffffff;
		__builtin_memset(work->eth.h_dest, 0xff, ETH_ALEN);
	}
	message->op = BOOTP_REPLY;
	message->hops = 0;
	message->secs = 0;
	if (type != DHCP_ACK)
		message->ciaddr = 0;
	message->siaddr = 0;
	begin->type[0] = DHCP_TYPE;
	begin->type[1] = 1;
	begin->type[2] = type;
	begin->server[0] = DHCP_SERVER;
	begin->server[1] = sizeof(service);
	__builtin_memcpy(begin->address, &service, sizeof(service));
	if (has_lease)
		__builtin_memcpy(work->fixed.times, lease->times, sizeof(work->fixed.times));
	else
		__builtin_memset(work->fixed.times, 0, sizeof(work->fixed.times));
}

static __always_inline void fill_headers(struct dhcp_work *work, const __u8 *mac)
{
	__builtin_memcpy(work->eth.h_source, mac, ETH_ALEN);
	work->eth.h_proto = bpf_htons(ETH_P_IP);
	work->ip.version = 4;
	work->ip.ihl = sizeof(work->ip) / 4;
	work->ip.tos = 0;
	work->ip.tot_len = bpf_htons(DHCP_IP_SIZE);
	work->ip.id = 0;
	work->ip.frag_off = bpf_htons(0x4000); /* do not fragment: then the id may be any (RFC 6864) */
	work->ip.ttl = 64;
	work->ip.protocol = IPPROTO_UDP;
	work->ip.saddr = bpf_htonl(SERVICE_IPV4);
	work->ip.check = 0;
	work->ip.check = fold((__u32)bpf_csum_diff(0, 0, (__be32 *)&work->ip, sizeof(work->ip), 0));
	work->udp.source = bpf_htons(DHCP_PORT);
	work->udp.dest = bpf_htons(DHCP_CLIENT_PORT);
	work->udp.len = bpf_htons(DHCP_UDP_SIZE);
	work->udp.check = 0;
}

/* Writes the UDP checksum of the answer, which is in the frame already. `left` is whether the kernel completes it: then
 * it is the sum of the pseudo-header alone, and the kernel adds the rest when somebody needs it. */
static __always_inline int write_checksum(struct __sk_buff *skb, struct dhcp_work *work, int left)
{
	/* The pseudo-header (RFC 768), as numbers whose sum is that of its words. */
	__be32 pseudo[] = { work->ip.saddr, work->ip.daddr, bpf_htonl(IPPROTO_UDP << 16 | DHCP_UDP_SIZE) };
	/* bcc declares the helper as int: without the cast a sum would be extended by its sign. */
	__u32 sum = (__u32)bpf_csum_diff(0, 0, pseudo, sizeof(pseudo), 0);
	__sum16 check;

	if (left) {
		check = ~fold(sum);
	} else {
		if (bpf_skb_load_bytes(skb, ETH_HLEN + sizeof(work->ip), work->sum, DHCP_UDP_SIZE))
			return -1;
		/* In two pieces, because older kernels take 512 bytes at most. */
		sum = (__u32)bpf_csum_diff(0, 0, work->sum, 512, sum);
		sum = (__u32)bpf_csum_diff(0, 0, work->sum + 128, DHCP_UDP_SIZE - 512, sum);
		check = fold(sum);
		/* A checksum of 0 would mean that there is none. */
		if (!check)
			check = 0xffff;
	}
	return bpf_skb_store_bytes(skb, DHCP_CHECKSUM_AT, &check, sizeof(check), 0);
}

/* Turns the frame into the answer of that type to its message; -1 on failure. `left` is whether the guest has left the
 * frame's checksum to the kernel. Pointers into the frame are void afterwards. */
static __always_inline int answer_dhcp(struct __sk_buff *skb, struct dhcp_work *work, const struct dhcp *lease,
				       __u8 type, const __u8 *mac, int left)
{
	int has_lease = type == DHCP_OFFER || (type == DHCP_ACK && work->type == DHCP_REQUEST);
	__u32 at = DHCP_OPTIONS_AT + sizeof(struct dhcp_type_and_server);
	__u64 length = lease->length, size = work->client_size;

	fill_answer(work, lease, type, has_lease);
	fill_headers(work, mac);
	if (bpf_skb_change_tail(skb, DHCP_FRAME_SIZE, 0) || bpf_skb_store_bytes(skb, 0, &work->eth, DHCP_FRAME_SIZE, 0))
		return -1;
	if (has_lease)
		at += sizeof(work->fixed.times);
	if (type != DHCP_NAK) {
		asm volatile("" : "+r"(length));
		if (length > DHCP_OPTIONS)
			return -1;
		/* With a byte of the padding behind them, so that the verifier sees that there is a byte at all. */
		if (bpf_skb_store_bytes(skb, at, (void *)lease->options, length + 1, 0))
			return -1;
		at += length;
	}
	/* The client's identifier (RFC 6842), and the end. */
	asm volatile("" : "+r"(size));
	if (size > 2 + MAX_DHCP_CLIENT)
		return -1;
	work->client[size] = DHCP_END;
	if (bpf_skb_store_bytes(skb, at, work->client, size + 1, 0))
		return -1;
	return write_checksum(skb, work, left);
}

#endif
