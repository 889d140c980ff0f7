/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Tests of addresses: the service's, those that are nearly the service's, and those that no guest can have. */
#ifndef EVE_META_ADDRESSES_H
#define EVE_META_ADDRESSES_H

#include "parse.h"
#include "shared.h"

/* Whether no guest can have this source: the private namespace would take it for its own address or for many hosts',
 * and an answer to it would not be routed to the guest. */
static __always_inline int impossible_source(__be32 address)
{
	__u8 first = bpf_ntohl(address) >> 24;

	return first == 0 || first == 127 || first >= 224;
}

/* Whether a change of two neighbouring bytes could make the address the service's: then its other two bytes are the
 * service's already. */
static __always_inline int near_service(__be32 address)
{
	__u32 differ = bpf_ntohl(address) ^ SERVICE_IPV4;

	return !(differ & 0xffff0000) || !(differ & 0x0000ffff) || !(differ & 0xff0000ff);
}

static __always_inline int is_ipv6(const struct in6_addr *address, __u32 first, __u32 last)
{
	return address->s6_addr32[0] == bpf_htonl(first) && !address->s6_addr32[1] && !address->s6_addr32[2] &&
	       address->s6_addr32[3] == bpf_htonl(last);
}

static __always_inline int is_service(const struct in6_addr *address)
{
	return is_ipv6(address, SERVICE_IPV6_LOCAL_FIRST, SERVICE_IPV6_LOCAL_LAST) ||
	       is_ipv6(address, SERVICE_IPV6_EC2_FIRST, SERVICE_IPV6_EC2_LAST);
}

/* Whether a pair of words differs from another in two neighbouring bytes at most, one in each word: the arguments are
 * the XOR of the first words and that of the next. */
static __always_inline int straddles(__u32 differ, __u32 next)
{
	return !(differ & 0xffffff00) && !(next & 0x00ffffff);
}

/* Whether the address is not the service's, and no change of two neighbouring bytes could make it so. Where two such
 * bytes lie in the first half, the last word is the service's already; in the second half, the first word; in the
 * middle, both. */
static __always_inline int is_far(const struct in6_addr *address)
{
	__be32 first = address->s6_addr32[0], last = address->s6_addr32[3];

	return first != bpf_htonl(SERVICE_IPV6_LOCAL_FIRST) && first != bpf_htonl(SERVICE_IPV6_EC2_FIRST) &&
	       last != bpf_htonl(SERVICE_IPV6_LOCAL_LAST) && last != bpf_htonl(SERVICE_IPV6_EC2_LAST);
}

/* Whether both addresses of a packet are far. This is true of most packets, so it is tested first, and is cheap. */
static __always_inline int are_far(const struct ipv6hdr *ip)
{
	return is_far(&ip->saddr) && is_far(&ip->daddr);
}

/* Whether a change of two neighbouring bytes could make the address the service's. */
static __always_inline int near_service6(const struct in6_addr *address)
{
	__u32 b = address->s6_addr32[1], c = bpf_ntohl(address->s6_addr32[2]);
	__u32 a[] = { bpf_ntohl(address->s6_addr32[0]) ^ SERVICE_IPV6_LOCAL_FIRST,
		      bpf_ntohl(address->s6_addr32[0]) ^ SERVICE_IPV6_EC2_FIRST };
	__u32 d[] = { bpf_ntohl(address->s6_addr32[3]) ^ SERVICE_IPV6_LOCAL_LAST,
		      bpf_ntohl(address->s6_addr32[3]) ^ SERVICE_IPV6_EC2_LAST };

#pragma unroll
	for (int i = 0; i < 2; i++) {
		/* All words but one are the service's, or all but two neighbours that differ only where they meet. */
		if (!a[i] + !b + !c + !d[i] >= 3)
			return 1;
		if ((straddles(a[i], bpf_ntohl(b)) && !c && !d[i]) || (!a[i] && straddles(bpf_ntohl(b), c) && !d[i]) ||
		    (!a[i] && !b && straddles(c, d[i])))
			return 1;
	}
	return 0;
}

/* impossible_source() for IPv6: unspecified, loopback and IPv4 within IPv6 (::/96, ::ffff:0:0/96), multicast, the
 * worker's.
 */
static __always_inline int impossible_source6(const struct in6_addr *address)
{
	__u32 third = address->s6_addr32[2];

	if (!address->s6_addr32[0] && !address->s6_addr32[1] && (!third || third == bpf_htonl(0xffff)))
		return 1;
	return address->s6_addr[0] == 0xff || is_ipv6(address, WORKER_IPV6_FIRST, WORKER_IPV6_LAST);
}

/* The destination of a guest's DHCP while it has no address: 255.255.255.255 (RFC 2131 section 4.1). */
static __always_inline int is_broadcast(__be32 address)
{
	return address == 0xffffffff;
}

/* ff02::1:2, the destination of all of a guest's DHCPv6 (RFC 8415 section 7.1). */
static __always_inline int is_dhcp6_servers(const struct in6_addr *address)
{
	return is_ipv6(address, 0xff020000, 0x00010002);
}

#endif
