/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* What the programs and the daemon agree on.
 *
 * eve_meta/steering/bpf/maps.py and eve_meta/values/tag.py hold the same numbers; tests/kernel/test_programs.py compares them.
 */
#ifndef EVE_META_SHARED_H
#define EVE_META_SHARED_H

/* 169.254.169.254, in host byte order. */
#define SERVICE_IPV4 0xa9fea9feU
/* fe80::a9fe:a9fe (OpenStack) and fd00:ec2::254 (AWS), and where the worker listens in the private namespace,
 * fd00:a9fe::1: their first and last words in host byte order; the two between are zero. */
#define SERVICE_IPV6_LOCAL_FIRST 0xfe800000U
#define SERVICE_IPV6_LOCAL_LAST	 0xa9fea9feU
#define SERVICE_IPV6_EC2_FIRST	 0xfd000ec2U
#define SERVICE_IPV6_EC2_LAST	 0x00000254U
#define WORKER_IPV6_FIRST	 0xfd00a9feU
#define WORKER_IPV6_LAST	 0x00000001U
#define SERVICE_PORT		 80
/* Where a guest asks for its own address (RFC 2131, RFC 8415). */
#define DHCP_PORT  67
#define DHCP6_PORT 547

/* A tag is 16 bits wide because a conntrack zone is. 0 is nobody's. */
#define MAX_TAG 0xffffU
/* skb->mark = STEERED | tag; see eve_meta/values/tag.py. */
#define STEERED 0x10000U

/* The MAC addresses in use, all locally administered. A frame between the two namespaces carries its tag in the last
 * two bytes of TAG_MAC, because veth scrubs skb->mark on its way into another namespace (skb_scrub_packet()).
 *   SERVICE_MAC  02:a9:fe:a9:fe:01  what guests see behind 169.254.169.254
 *   META0_MAC    02:a9:fe:a9:fe:02  meta0, the private namespace's end
 *   TAG_MAC      02:a9:fe:00:TT:TT
 */
#define MAC_OUI0 0x02
#define MAC_OUI1 0xa9
#define MAC_OUI2 0xfe

/* Every verdict has a reason, and every reason is a counter of the tap's tag. Directions are as seen from the host.
 * A new reason goes to the end: pinned counters outlive the daemon. */
enum reason {
	PASSED_REQUEST = 0, /* tap_in: a TCP segment to the service went to the private namespace */
	ANSWERED_ARP,	    /* tap_in: who-has 169.254.169.254 was answered */
	PASSED_ANSWER,	    /* host_in: a frame of the service went out of the tap */
	DROP_SPOOFED_ARP,   /* tap_in: ARP that claims to be 169.254.169.254 */
	DROP_SPOOFED_IP,    /* tap_in: a packet from one of the service's addresses */
	DROP_ARP,	    /* tap_in: ARP to the service that is no request */
	DROP_VLAN,	    /* tap_in: to the service, but with a VLAN tag; or more tags than are looked behind */
	DROP_SOURCE,	 /* tap_in: a source that no guest can have: loopback, multicast, unspecified, the worker's */
	DROP_FRAGMENT,	 /* tap_in: a fragment to the service */
	DROP_NOT_HTTP,	 /* tap_in: to the service, but not TCP to port 80; or TCP behind an extension header */
	DROP_MALFORMED,	 /* tap_in: to the service, but its headers end early */
	DROP_NO_TAG,	 /* tap_in: the tap has no tag (counted under tag 0) */
	DROP_NO_TAP,	 /* host_in: the tag has no tap (tag 0), or its guest's MAC is unknown */
	DROP_UNTAGGED,	 /* ns_in, host_in: a frame between the namespaces without a tag (tag 0) */
	DROP_UNMARKED,	 /* ns_out: a packet that answers no tap (tag 0) */
	ANSWERED_ND,	 /* tap_in: a neighbour solicitation for the service was answered */
	DROP_SPOOFED_ND, /* tap_in: a neighbour advertisement that claims to be the service */
	DROP_ND,	 /* tap_in: a neighbour solicitation for the service that RFC 4861 calls invalid */
	DROP_EXTENSION,	 /* tap_in: more IPv6 extension headers than are looked behind, or one that ends early */
	DROP_REWRITTEN,	 /* tap_in: checksum offload would write into its headers after we looked */
	DROP_CONNECTION_RATE, /* tap_in: more new connections to the service than CONNECTION_RATE */
	DROP_PACKET_RATE,     /* tap_in: more packets to the service than PACKET_RATE */
	REASONS,
};

/* taps: tag -> where its answers go. */
struct tap {
	__u32 ifindex; /* 0: no tap has this tag */
	__u8 mac[6];   /* the guest's, from its last segment to the service; zero until then */
	__u16 losses;  /* how often the tap had lost its carrier; the programs don't use it */
};

/* What a guest may send to the service, IPv4 and IPv6 together: so many a second in the long run, and so many in one
 * go. Beyond that it is dropped on its tap, before it costs the private namespace anything.
 *
 * Connections: as many as there may be requests (eve_meta/web/limits.py), since an image may open one for each; a boot
 * opens 35 within a second or two. Each that is not refused costs a worker about as much as a request.
 * Packets: a request on a connection of its own takes seven or eight, and an answer of 1 MiB up to 724
 * acknowledgements. AWS lets 1,024 a second through to its link-local services. */
#define CONNECTION_RATE	 200
#define CONNECTION_BURST 400
#define PACKET_RATE	 2048
#define PACKET_BURST	 8192

/* When a guest did something: how often, first and last, in nanoseconds of CLOCK_BOOTTIME. All zero: never. */
struct sighting {
	__u64 frames;
	__u64 first;
	__u64 last;
};

/* guests: tag -> what is remembered of its guest. */
struct guest {
	__u64 connections;	    /* bucket of new connections; guest.h explains the number */
	__u64 packets;		    /* bucket of packets */
	struct sighting arp;	    /* ARP requests that were answered */
	struct sighting nd;	    /* neighbour solicitations that were answered */
	struct sighting connection; /* SYNs to the service, those over the limit too */
	struct sighting dhcp;	    /* DHCP of its own, broadcast to whoever serves it */
	struct sighting dhcp6;	    /* DHCPv6 */
};

/* counters: tag -> one per reason, per CPU. */
struct counters {
	__u64 frames[REASONS];
};

/* settings: the one entry, 0. */
struct settings {
	__u32 host_ifindex; /* the host's end of the veth pair, where tap_in redirects to */
	__u32 next_tag;	    /* where the daemon goes on counting after a restart; the programs don't use it */
	__u64 build;	    /* which sources these pins were compiled from */
};

#endif
