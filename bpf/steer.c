/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Steering: from a tap to the private namespace and back. README.rst beside this file draws the path of a packet.
 *
 * Four programs for tc, each attached with direct action:
 *   tap_in   ingress of every tap: frames that a guest sends
 *   ns_in    ingress of meta0, in the private namespace: the tag in the MAC becomes skb->mark, and chooses the worker
 *   ns_out   egress of meta0: skb->mark becomes the tag in the MAC
 *   host_in  ingress of the host's end of the veth pair: the tag becomes a tap and its guest's MAC
 *
 * The law of tap_in: a frame that has nothing to do with the service is not ours (TC_ACT_UNSPEC, so that other filters
 * on the tap still run). Every other frame is answered, passed on, or dropped and counted; none of them reaches the
 * bridge. tap_in writes only into frames that are ours, and only by helpers; parse.h explains what writing through
 * pointers would cost all other frames.
 */
#include "addresses.h"
#include "dhcp.h"
#include "guest.h"
#include "nd.h"
#include "parse.h"
#include "shared.h"

BPF_F_TABLE("hash", __u32, __u32, tags, 65536, BPF_F_NO_PREALLOC); /* tap's ifindex -> tag */
BPF_ARRAY(taps, struct tap, MAX_TAG + 1);
BPF_F_TABLE("percpu_hash", __u32, struct counters, counters, MAX_TAG + 1, BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", __u32, struct guest, guests, MAX_TAG + 1, BPF_F_NO_PREALLOC);
BPF_ARRAY(settings, struct settings, 1);
BPF_ARRAY(workers, struct workers, 1);
BPF_F_TABLE("hash", __u32, struct dhcp, dhcp, MAX_TAG + 1, BPF_F_NO_PREALLOC);
BPF_ARRAY(deniers, __u64, DENIERS_WORDS);
BPF_PERCPU_ARRAY(dhcp_work, struct dhcp_work, 1); /* tap_in's own, and not pinned */

static const __u8 service_mac[ETH_ALEN] = { MAC_OUI0, MAC_OUI1, MAC_OUI2, 0xa9, 0xfe, 0x01 };
static const __u8 meta0_mac[ETH_ALEN] = { MAC_OUI0, MAC_OUI1, MAC_OUI2, 0xa9, 0xfe, 0x02 };

static __always_inline void count(__u32 tag, enum reason reason)
{
	struct counters *of_tag = counters.lookup(&tag);
	__u32 nobody = 0;

	/* A tap that is gone no longer has counters. */
	if (!of_tag)
		of_tag = counters.lookup(&nobody);
	/* Per CPU, and tc runs with bottom halves disabled: there is no other writer, so no need of an atomic add. */
	if (of_tag && reason < REASONS)
		of_tag->frames[reason]++;
}

static __always_inline int drop(__u32 tag, enum reason reason)
{
	count(tag, reason);
	return TC_ACT_SHOT;
}

static __always_inline void write_tag(__u8 *mac, __u32 tag)
{
	mac[0] = MAC_OUI0;
	mac[1] = MAC_OUI1;
	mac[2] = MAC_OUI2;
	mac[3] = 0;
	mac[4] = tag >> 8;
	mac[5] = tag;
}

/* The tag that a frame between the namespaces carries; 0 when it carries none. */
static __always_inline __u32 read_tag(const __u8 *mac)
{
	if (mac[0] != MAC_OUI0 || mac[1] != MAC_OUI1 || mac[2] != MAC_OUI2 || mac[3] != 0)
		return 0;
	return (__u32)mac[4] << 8 | mac[5];
}

/* Not __builtin_memcmp(): clang 14 compiles it into the call of a function that BPF programs do not have. */
static __always_inline int same_mac(const __u8 *a, const __u8 *b)
{
	int differ = 0;

#pragma unroll
	for (int i = 0; i < ETH_ALEN; i++)
		differ |= a[i] ^ b[i];
	return !differ;
}

/* The tag of the tap that the frame comes from; 0 when it has none. Looked up only for frames that are ours: all others
 * must cost as little as possible. */
static __always_inline __u32 tag_of(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex;
	__u32 *tag = tags.lookup(&ifindex);

	return tag ? *tag & MAX_TAG : 0;
}

/* The guest of a tag; NULL when no tap has the tag. */
static __always_inline struct guest *guest_of(__u32 tag)
{
	return guests.lookup(&tag);
}

/* The guest of `tag`, whose ARP request or solicitation may be answered; NULL when the frame is to be dropped instead,
 * which has been counted. */
static __always_inline struct guest *neighbour(__u32 tag, __u64 now)
{
	struct guest *guest = guest_of(tag);

	if (!guest) {
		count(tag, DROP_NO_TAG);
		return NULL;
	}
	if (!take_packet(guest, now)) {
		count(tag, DROP_PACKET_RATE);
		return NULL;
	}
	return guest;
}

/* Turns the frame, an ARP request for the service, into the reply; -1 on failure. Pointers into the frame are void
 * afterwards. */
static __always_inline int reply(struct __sk_buff *skb, const struct arp_ipv4 *request)
{
	struct arp_frame answer;

	if (bpf_skb_load_bytes(skb, 0, &answer.eth, sizeof(answer.eth)))
		return -1;
	answer.arp = *request;
	answer.arp.op = bpf_htons(ARPOP_REPLY);
	__builtin_memcpy(answer.arp.sha, service_mac, ETH_ALEN);
	answer.arp.spa = bpf_htonl(SERVICE_IPV4);
	__builtin_memcpy(answer.arp.tha, request->sha, ETH_ALEN);
	answer.arp.tpa = request->spa;
	__builtin_memcpy(answer.eth.h_dest, answer.eth.h_source, ETH_ALEN);
	__builtin_memcpy(answer.eth.h_source, service_mac, ETH_ALEN);
	return bpf_skb_store_bytes(skb, 0, &answer, sizeof(answer), 0);
}

static __always_inline int from_tap_arp(struct __sk_buff *skb, const struct arp_ipv4 *arp, int tagged)
{
	const __be32 service = bpf_htonl(SERVICE_IPV4);
	struct guest *guest;
	__u64 now;
	__u32 tag;

	if (arp->spa != service && arp->tpa != service)
		return TC_ACT_UNSPEC;
	tag = tag_of(skb);
	if (!tag)
		return drop(0, DROP_NO_TAG);
	if (arp->spa == service)
		return drop(tag, DROP_SPOOFED_ARP);
	if (tagged)
		return drop(tag, DROP_VLAN);
	if (arp->op != bpf_htons(ARPOP_REQUEST))
		return drop(tag, DROP_ARP);
	now = bpf_ktime_get_boot_ns();
	guest = neighbour(tag, now);
	if (!guest)
		return TC_ACT_SHOT;

	/* A probe from 0.0.0.0 (RFC 5227), too, is answered: a guest that picks a link-local address must learn that
	 * this one is taken. */
	if (reply(skb, arp) < 0)
		return drop(tag, DROP_ARP);
	see(&guest->arp, now);
	count(tag, ANSWERED_ARP);
	return bpf_redirect(skb->ifindex, 0);
}

/* Whether the guest leaves a checksum of the frame to the kernel; -1 on failure. No helper tells; but
 * bpf_l4_csum_replace() leaves a checksum field unchanged if it does (inet_proto_csum_replace4()), so it is tried on
 * two bytes of the source MAC. */
static __always_inline int leaves_checksum(struct __sk_buff *skb)
{
	const __u32 at = ETH_ALEN;
	__u16 before, after;

	if (bpf_skb_load_bytes(skb, at, &before, sizeof(before)) || bpf_l4_csum_replace(skb, at, 0, 0x0102, 4) ||
	    bpf_skb_load_bytes(skb, at, &after, sizeof(after)))
		return -1;
	if (before == after)
		return 1;
	return bpf_skb_store_bytes(skb, at, &before, sizeof(before), 0) ? -1 : 0;
}

/* Whether checksum offload will write into the first `end` bytes, or that cannot be known. No helper tells where it
 * will write; but bpf_skb_change_tail() never shortens a frame so far that it cuts off that place
 * (__bpf_skb_min_len()). */
static __always_inline int will_change(struct __sk_buff *skb, __u32 end)
{
	int left = leaves_checksum(skb);

	if (left != 1)
		return left;
	return skb->len <= end || bpf_skb_change_tail(skb, end + 1, 0) == 0;
}

/* Passes a segment on to the private namespace, with its tag. Its TCP header begins at `tcp`; `opens` is whether the
 * segment is the first of a connection. Pointers into the frame are void afterwards. */
static __always_inline int pass_request(struct __sk_buff *skb, __u32 tag, __u32 tcp, int opens)
{
	__u32 zero = 0;
	struct settings *set = settings.lookup(&zero);
	struct tap *tap = taps.lookup(&tag);
	struct guest *guest = guest_of(tag);
	__u64 now = bpf_ktime_get_boot_ns();
	struct ethhdr eth;

	if (!tap || !guest || !set || !set->host_ifindex)
		return drop(tag, DROP_NO_TAG);
	/* Connections first: so a flood of SYNs leaves the allowance of packets to the connections that are open. */
	if (opens) {
		see(&guest->connection, now);
		if (!take_connection(guest, now))
			return drop(tag, DROP_CONNECTION_RATE);
	}
	if (!take_packet(guest, now))
		return drop(tag, DROP_PACKET_RATE);
	/* The headers that we have read, and the tag, must arrive unchanged. Where the checksum offload of the host's
	 * end is switched off, the kernel writes the checksum before they arrive there. */
	if (will_change(skb, tcp + offsetof(struct tcphdr, seq)))
		return drop(tag, DROP_REWRITTEN);
	if (bpf_skb_load_bytes(skb, 0, &eth, sizeof(eth)))
		return drop(tag, DROP_MALFORMED);
	/* Compared first: a store on every segment would bounce the cache line between the CPUs. */
	if (!same_mac(tap->mac, eth.h_source))
		__builtin_memcpy(tap->mac, eth.h_source, ETH_ALEN);
	write_tag(eth.h_source, tag);
	/* meta0's own address; with another one eth_type_trans() makes it PACKET_OTHERHOST, which the IP layer drops.
	 */
	__builtin_memcpy(eth.h_dest, meta0_mac, ETH_ALEN);
	if (bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), 0))
		return drop(tag, DROP_MALFORMED);
	count(tag, PASSED_REQUEST);
	return bpf_redirect(set->host_ifindex, 0);
}

/* The verdict on DHCP from the guest of `tag`, whose tap answers it: none of it passes. The message's UDP header begins
 * at `at`, behind a copy of its IP header. */
static __always_inline int from_tap_dhcp(struct __sk_buff *skb, __u32 tag, const struct dhcp *lease,
					 const struct iphdr *ip, __u32 at, __be16 source, int tagged)
{
	__u32 zero = 0;
	struct dhcp_work *work = dhcp_work.lookup(&zero);
	struct guest *guest = guest_of(tag);
	__u64 now = bpf_ktime_get_boot_ns();
	int reason, left;
	__u8 type;

	if (!work || !guest)
		return drop(tag, DROP_NO_TAG);
	if (tagged)
		return drop(tag, DROP_DHCP_VLAN);
	if (ip->frag_off & bpf_htons(0x3fff))
		return drop(tag, DROP_DHCP_FRAGMENT);
	if (ip->ihl != 5)
		return drop(tag, DROP_DHCP_IP_OPTIONS);
	if (source == bpf_htons(DHCP_PORT))
		return drop(tag, DROP_DHCP_RELAY);
	if (!is_broadcast(ip->daddr) && ip->daddr != bpf_htonl(SERVICE_IPV4))
		return drop(tag, DROP_DHCP_OTHER_SERVER);
	reason = parse_dhcp(skb, at, at - sizeof(*ip) + bpf_ntohs(ip->tot_len), work);
	if (reason)
		return drop(tag, reason);
	type = answer_type(work, lease->address, &reason);
	if (!type)
		return drop(tag, reason);
	if (!take_packet(guest, now))
		return drop(tag, DROP_PACKET_RATE);
	left = leaves_checksum(skb);
	if (left < 0 || answer_dhcp(skb, work, lease, type, service_mac, left) < 0)
		return drop(tag, DROP_DHCP_MALFORMED);
	/* The kernel may give the memory of an entry that was replaced to the next that is written, while this program
	 * still reads (BPF_F_NO_PREALLOC without a grace period, since Linux 6.1). The tag is written first and read
	 * last. */
	if (*(volatile const __u32 *)&lease->tag != tag)
		return drop(tag, DROP_DHCP_MALFORMED);
	/* An INFORM is acknowledged, too, but gives no lease. */
	if (work->type != DHCP_INFORM)
		see(type == DHCP_OFFER ? &guest->dhcp_offer
		    : type == DHCP_ACK ? &guest->dhcp_ack
				       : &guest->dhcp_nak,
		    now);
	count(tag, reason);
	return bpf_redirect(skb->ifindex, 0);
}

/* The verdict on UDP over IPv4, as far as it is DHCP; TC_ACT_UNSPEC otherwise. Its header begins at `at`, behind a copy
 * of the packet's IP header. */
static __always_inline int from_tap_udp(struct __sk_buff *skb, const struct iphdr *ip, __u32 at, int tagged)
{
	const __be16 server = bpf_htons(DHCP_PORT), client = bpf_htons(DHCP_CLIENT_PORT);
	struct guest *guest;
	struct ports ports;
	struct dhcp *lease;
	__u32 tag;

	/* Not the first fragment: it has no header. */
	if (ip->frag_off & bpf_htons(0x1fff))
		return TC_ACT_UNSPEC;
	if (parse_ports(skb, at, &ports) < 0)
		return drop(0, DROP_MALFORMED);
	/* Most packets end here. */
	if (ports.source != server && ports.dest != server && ports.dest != client)
		return TC_ACT_UNSPEC;
	tag = tag_of(skb);
	guest = guest_of(tag);
	lease = dhcp.lookup(&tag);
	/* Whether a guest ever asked for an address helps to explain why it never asked for its metadata. */
	if (guest && ports.dest == server && !tagged &&
	    (is_broadcast(ip->daddr) || (lease && lease->answers && ip->daddr == bpf_htonl(SERVICE_IPV4))))
		see(&guest->dhcp, bpf_ktime_get_boot_ns());
	if (!lease)
		return TC_ACT_UNSPEC;
	if (lease->deny_servers && (ports.source == server || ports.dest == client))
		return drop(tag, DROP_DHCP_SERVER);
	if (!lease->answers || ports.dest != server)
		return TC_ACT_UNSPEC;
	return from_tap_dhcp(skb, tag, lease, ip, at, ports.source, tagged);
}

/* The verdict on UDP over IPv6, whose header begins at `at`: TC_ACT_UNSPEC, unless a guest poses as a DHCP server.
 * `solicits` is whether it goes to all DHCP servers. */
static __always_inline int from_tap_udp6(struct __sk_buff *skb, __u32 at, int solicits)
{
	const __be16 server = bpf_htons(DHCP6_PORT), client = bpf_htons(DHCP6_CLIENT_PORT);
	struct guest *guest;
	struct ports ports;
	struct dhcp *lease;
	__u32 tag;

	if (parse_ports(skb, at, &ports) < 0)
		return drop(0, DROP_MALFORMED);
	/* Most packets end here. */
	if (ports.source != server && ports.dest != client && !(solicits && ports.dest == server))
		return TC_ACT_UNSPEC;
	tag = tag_of(skb);
	guest = guest_of(tag);
	if (guest && solicits && ports.dest == server)
		see(&guest->dhcp6, bpf_ktime_get_boot_ns());
	lease = dhcp.lookup(&tag);
	if (lease && lease->deny_servers && (ports.source == server || ports.dest == client))
		return drop(tag, DROP_DHCP_SERVER);
	return TC_ACT_UNSPEC;
}

/* The length of the part of an IPv4 packet that must not change, because its tap denies DHCP servers; 0 where a change
 * can do no harm. The packet's payload begins at `at`.
 *
 * A change of two neighbouring bytes can give any UDP packet a server's ports. It can also make UDP of a packet of
 * another protocol, which then has those ports in that place already. */
static __always_inline __u32 must_not_become_server(struct __sk_buff *skb, __u32 at, __u8 protocol)
{
	__u32 bit = skb->ifindex % (64 * DENIERS_WORDS), index = bit / 64, tag;
	const __u32 end = at + sizeof(struct ports);
	__u64 *word = deniers.lookup(&index);
	struct ports ports;
	struct dhcp *policy;

	if (!word || !(*word >> (bit % 64) & 1))
		return 0;
	if (protocol != IPPROTO_UDP) {
		if (parse_ports(skb, at, &ports) < 0)
			return end;
		if (ports.source != bpf_htons(DHCP_PORT) && ports.dest != bpf_htons(DHCP_CLIENT_PORT))
			return 0;
	}
	tag = tag_of(skb);
	policy = dhcp.lookup(&tag);
	return policy && policy->deny_servers ? end : 0;
}

/* `fixed` is the result of must_not_change4(); it grows where a server's ports could come about. */
static __always_inline int from_tap_ipv4(struct __sk_buff *skb, const struct iphdr *header, int tagged, __u32 offset,
					 __u32 *fixed)
{
	const __be32 service = bpf_htonl(SERVICE_IPV4);
	__u32 behind = offset + header->ihl * 4, end, tag;
	struct tcphdr tcp;
	struct iphdr ip;
	int verdict;

	/* Most packets end here. */
	if (header->saddr != service && header->daddr != service && header->protocol != IPPROTO_UDP) {
		end = must_not_become_server(skb, behind, header->protocol);
		if (end)
			*fixed = end;
		return TC_ACT_UNSPEC;
	}
	/* A copy, because reading ports may move the frame's bytes. */
	ip = *header;
	if (ip.saddr != service && ip.protocol == IPPROTO_UDP) {
		verdict = from_tap_udp(skb, &ip, behind, tagged);
		if (verdict != TC_ACT_UNSPEC)
			return verdict;
		if (ip.daddr != service) {
			end = must_not_become_server(skb, behind, IPPROTO_UDP);
			if (end)
				*fixed = end;
			return TC_ACT_UNSPEC;
		}
	}
	tag = tag_of(skb);
	if (!tag)
		return drop(0, DROP_NO_TAG);
	if (ip.saddr == service)
		return drop(tag, DROP_SPOOFED_IP);
	if (tagged)
		return drop(tag, DROP_VLAN);
	if (impossible_source(ip.saddr))
		return drop(tag, DROP_SOURCE);
	/* MF or an offset: a segment of one MSS is never fragmented, and a fragment hides its TCP header. */
	if (ip.frag_off & bpf_htons(0x3fff))
		return drop(tag, DROP_FRAGMENT);
	if (ip.protocol != IPPROTO_TCP)
		return drop(tag, DROP_NOT_HTTP);
	if (parse_tcp(skb, behind, &tcp) < 0)
		return drop(tag, DROP_MALFORMED);
	if (tcp.dest != bpf_htons(SERVICE_PORT))
		return drop(tag, DROP_NOT_HTTP);
	return pass_request(skb, tag, behind, opens_connection(&tcp));
}

/* The verdict on a neighbour message about the service; TC_ACT_UNSPEC when it is about another address. */
static __always_inline int from_tap_nd(struct __sk_buff *skb, const struct extensions *ext, __u8 hop_limit, int tagged)
{
	struct nd_message message;
	struct guest *guest;
	__u64 now;
	__u32 tag;

	if (pull(skb, ext->offset + ND_FIXED_SIZE) < 0)
		return drop(0, DROP_MALFORMED);
	/* The fixed part. Neighbours ignore a message that ends earlier (ndisc_rcv()). */
	if (bpf_skb_load_bytes(skb, ext->offset, &message, ND_FIXED_SIZE))
		return TC_ACT_UNSPEC;
	if ((message.type != ND_SOLICITATION && message.type != ND_ADVERTISEMENT) || !is_service(&message.target))
		return TC_ACT_UNSPEC;
	tag = tag_of(skb);
	if (!tag)
		return drop(0, DROP_NO_TAG);
	if (message.type == ND_ADVERTISEMENT)
		return drop(tag, DROP_SPOOFED_ND);
	if (tagged)
		return drop(tag, DROP_VLAN);
	if (ext->any || hop_limit != ND_HOP_LIMIT || message.code)
		return drop(tag, DROP_ND);
	now = bpf_ktime_get_boot_ns();
	guest = neighbour(tag, now);
	if (!guest)
		return TC_ACT_SHOT;
	if (advertise(skb, &message.target, service_mac) < 0)
		return drop(tag, DROP_ND);
	see(&guest->nd, now);
	count(tag, ANSWERED_ND);
	return bpf_redirect(skb->ifindex, 0);
}

/* `fixed` is the result of must_not_change6(), which does not parse extension headers; it grows when there are some. */
static __always_inline int from_tap_ipv6(struct __sk_buff *skb, const struct ipv6hdr *header, int tagged, __u32 offset,
					 __u32 *fixed)
{
	__u32 behind = offset + sizeof(*header), tag;
	int from_service, to_service, verdict;
	struct extensions ext = {};
	struct ipv6hdr ip;
	struct tcphdr tcp;

	/* Most packets end here. */
	if (are_far(header) && header->nexthdr == IPPROTO_TCP)
		return TC_ACT_UNSPEC;
	if (are_far(header) && header->nexthdr == IPPROTO_UDP && !is_dhcp6_servers(&header->daddr))
		return from_tap_udp6(skb, behind, 0);
	/* A copy, because parsing extension headers may move the frame's bytes. */
	ip = *header;
	from_service = is_service(&ip.saddr);
	to_service = is_service(&ip.daddr);
	ext.next = ip.nexthdr;
	if (!from_service && ext.next != IPPROTO_TCP && ext.next != IPPROTO_UDP) {
		ext.offset = behind;
		/* Whatever its destination: it may hide an advertisement to a neighbour. */
		if (parse_extensions(skb, &ext) < 0)
			return drop(tag_of(skb), DROP_EXTENSION);
		/* A change of an extension header, too, could turn what follows into an advertisement. */
		if (ext.any)
			*fixed = ext.offset + ND_FIXED_SIZE;
		if (ext.next == IPPROTO_ICMPV6 && !ext.later) {
			verdict = from_tap_nd(skb, &ext, ip.hop_limit, tagged);
			if (verdict != TC_ACT_UNSPEC)
				return verdict;
		}
	}
	if (!from_service && !to_service) {
		if (ext.next != IPPROTO_UDP || ext.later)
			return TC_ACT_UNSPEC;
		return from_tap_udp6(skb, ext.any ? ext.offset : behind,
				     !ext.any && is_dhcp6_servers(&ip.daddr) && !tagged);
	}
	tag = tag_of(skb);
	if (!tag)
		return drop(0, DROP_NO_TAG);
	if (from_service)
		return drop(tag, DROP_SPOOFED_IP);
	if (tagged)
		return drop(tag, DROP_VLAN);
	if (ext.fragment)
		return drop(tag, DROP_FRAGMENT);
	if (ext.next != IPPROTO_TCP || ext.any)
		return drop(tag, DROP_NOT_HTTP);
	if (impossible_source6(&ip.saddr))
		return drop(tag, DROP_SOURCE);
	if (parse_tcp(skb, behind, &tcp) < 0)
		return drop(tag, DROP_MALFORMED);
	if (tcp.dest != bpf_htons(SERVICE_PORT))
		return drop(tag, DROP_NOT_HTTP);
	return pass_request(skb, tag, behind, opens_connection(&tcp));
}

/* The length of the part of the frame that must not change after tap_in lets it pass; 0 where a change can do no harm.
 *
 * A guest may leave a checksum to the kernel (virtio_net_hdr: VIRTIO_NET_HDR_F_NEEDS_CSUM), and chooses where the
 * kernel writes it: any two bytes of the frame, when it leaves for a neighbour, long after tap_in. So will_change()
 * tests ARP, all that we cannot parse, and packets whose addresses are two bytes away from the service's; and, from
 * taps that deny DHCP servers, must_not_become_server()'s. */
static __always_inline __u32 must_not_change4(const struct iphdr *ip, __u32 offset)
{
	return near_service(ip->saddr) || near_service(ip->daddr) ? offset + sizeof(*ip) : 0;
}

/* must_not_change4() for IPv6. */
static __always_inline __u32 must_not_change6(const struct ipv6hdr *ip, __u32 offset)
{
	if (ip->nexthdr == IPPROTO_ICMPV6)
		return offset + sizeof(*ip) + ND_FIXED_SIZE;
	if (are_far(ip))
		return 0;
	return near_service6(&ip->saddr) || near_service6(&ip->daddr) ? offset + sizeof(*ip) : 0;
}

int tap_in(struct __sk_buff *skb)
{
	struct ethhdr *eth = ethernet_of(skb);
	int tagged = skb->vlan_present, verdict = TC_ACT_UNSPEC;
	__u32 offset = ETH_HLEN, fixed;
	struct arp_ipv4 *arp;
	struct ipv6hdr *ip6;
	struct iphdr *ip;
	__be16 proto;

	if (!eth)
		return TC_ACT_UNSPEC;
	proto = eth->h_proto;
	if (is_vlan(proto)) {
		tagged = 1;
		if (pull(skb, ETH_HLEN + MAX_VLAN_TAGS * sizeof(struct vlan_header)) < 0)
			return drop(0, DROP_MALFORMED);
		if (parse_vlan(skb, &proto, &offset) < 0)
			return TC_ACT_UNSPEC;
		/* The kernel strips any number of tags of VLAN 0 (__netif_receive_skb_core()), which leaves an ordinary
		 * packet. */
		if (is_vlan(proto))
			return drop(tag_of(skb), DROP_VLAN);
	}

	fixed = offset + sizeof(*arp);
	/* Without memory to pull a frame we cannot know that it is not ours, so it is dropped. A frame that we cannot
	 * parse as IP or as ARP for IPv4 deceives no neighbour, because neighbours cannot either (ip_rcv(), ipv6_rcv(),
	 * arp_rcv()). */
	if (proto == bpf_htons(ETH_P_IP)) {
		if (pull(skb, offset + sizeof(*ip)) < 0)
			return drop(0, DROP_MALFORMED);
		ip = ipv4_at(skb, offset);
		if (ip) {
			fixed = must_not_change4(ip, offset);
			verdict = from_tap_ipv4(skb, ip, tagged, offset, &fixed);
		}
	} else if (proto == bpf_htons(ETH_P_IPV6)) {
		if (pull(skb, offset + sizeof(*ip6)) < 0)
			return drop(0, DROP_MALFORMED);
		ip6 = ipv6_at(skb, offset);
		if (ip6) {
			fixed = must_not_change6(ip6, offset);
			verdict = from_tap_ipv6(skb, ip6, tagged, offset, &fixed);
		}
	} else if (proto == bpf_htons(ETH_P_ARP)) {
		if (pull(skb, offset + sizeof(*arp)) < 0)
			return drop(0, DROP_MALFORMED);
		arp = arp_at(skb, offset);
		if (arp)
			verdict = from_tap_arp(skb, arp, tagged);
	}
	if (verdict == TC_ACT_UNSPEC && fixed && will_change(skb, fixed))
		return drop(tag_of(skb), DROP_REWRITTEN);
	return verdict;
}

/* The place at which the worker of `tag` listens; 0 when no worker listens yet. A connection keeps the place of its
 * first packet: iptables translates by it once for all. */
static __always_inline __u32 place_of(__u32 tag)
{
	__u32 zero = 0;
	struct workers *set = workers.lookup(&zero);

	if (!set || !set->number)
		return 0;
	return set->places[tag % set->number % MAX_WORKERS];
}

int ns_in(struct __sk_buff *skb)
{
	struct ethhdr *eth = ethernet_of(skb);
	__u32 tag;

	if (!eth)
		return drop(0, DROP_UNTAGGED);
	tag = read_tag(eth->h_source);
	/* Frames of the host's own, sent on its end of the pair: router solicitations, mDNS. */
	if (!tag)
		return drop(0, DROP_UNTAGGED);
	skb->mark = place_of(tag) << PLACE_SHIFT | STEERED | tag;
	return TC_ACT_OK;
}

int ns_out(struct __sk_buff *skb)
{
	struct ethhdr *eth = ethernet_of(skb);
	__u32 mark = skb->mark;

	if (!eth || !(mark & STEERED) || !(mark & MAX_TAG))
		return drop(0, DROP_UNMARKED);
	write_tag(eth->h_dest, mark & MAX_TAG);
	return TC_ACT_OK;
}

int host_in(struct __sk_buff *skb)
{
	const __u8 nobody[ETH_ALEN] = {};
	struct ethhdr *eth = ethernet_of(skb);
	struct tap *tap;
	__u32 tag;

	if (!eth)
		return drop(0, DROP_UNTAGGED);
	tag = read_tag(eth->h_dest);
	if (!tag)
		return drop(0, DROP_UNTAGGED);
	tap = taps.lookup(&tag);
	if (!tap || !tap->ifindex || same_mac(tap->mac, nobody))
		return drop(tag, DROP_NO_TAP);
	__builtin_memcpy(eth->h_dest, tap->mac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, service_mac, ETH_ALEN);
	count(tag, PASSED_ANSWER);
	return bpf_redirect(tap->ifindex, 0);
}
