/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* The numbers and structs that the programs share with the daemon.
 *
 * eve_meta/steering/bpf/maps.py and eve_meta/values/tag.py hold the same numbers; tests/kernel/test_programs.py
 * compares them.
 */
#ifndef EVE_META_SHARED_H
#define EVE_META_SHARED_H

/* 169.254.169.254, in host byte order. */
#define SERVICE_IPV4 0xa9fea9feU
/* fe80::a9fe:a9fe (OpenStack), fd00:ec2::254 (AWS), and the address at which the worker listens in the private
 * namespace, fd00:a9fe::1: the first and last word of each in host byte order; the two between are zero. */
#define SERVICE_IPV6_LOCAL_FIRST 0xfe800000U
#define SERVICE_IPV6_LOCAL_LAST	 0xa9fea9feU
#define SERVICE_IPV6_EC2_FIRST	 0xfd000ec2U
#define SERVICE_IPV6_EC2_LAST	 0x00000254U
#define WORKER_IPV6_FIRST	 0xfd00a9feU
#define WORKER_IPV6_LAST	 0x00000001U
#define SERVICE_PORT		 80
/* The ports of servers, to which a guest sends to get an address of its own, and those of clients (RFC 2131, RFC 8415).
 */
#define DHCP_PORT	  67
#define DHCP_CLIENT_PORT  68
#define DHCP6_PORT	  547
#define DHCP6_CLIENT_PORT 546

/* Where a packet carries its tag, which is 16 bits wide because a conntrack zone is. No tap has tag 0.
 *
 *   carrier         bits    content                           written by               read by
 *   tags, taps      15..0   tag                               the daemon               tap_in, host_in
 *   TAG_MAC         47..24  02:a9:fe, locally administered    tap_in (source),         ns_in, host_in
 *                   23..16  0, unlike the other two MACs      ns_out (destination)
 *                   15..0   tag
 *   skb->mark       31..25  0                                 ns_in; the accepted
 *                   24..17  place: where the tag's worker     socket inherits it       iptables (DNAT)
 *                           listens; 0: nowhere yet           (tcp_fwmark_accept)
 *                   16      STEERED: came through a tap                                ip rule
 *                   15..0   tag                                                        SO_MARK, ns_out
 *   conntrack zone  15..0   tag: the low bits of the mark     CT --zone-orig mark      conntrack, connlimit
 *
 * TAG_MAC carries it between the two namespaces, because veth clears skb->mark on the step into another namespace
 * (skb_scrub_packet()). */
#define MAX_TAG 0xffffU
/* See eve_meta/values/tag.py. */
#define STEERED	    0x10000U
#define PLACE_SHIFT 17
#define MAX_PLACE   0xffU

/* The MAC addresses in use, all locally administered.
 *   SERVICE_MAC  02:a9:fe:a9:fe:01  the service's, as guests see it
 *   META0_MAC    02:a9:fe:a9:fe:02  of meta0, the private namespace's end of the veth pair
 *   TAG_MAC      02:a9:fe:00:TT:TT  of a frame between the two namespaces; TT:TT is its tag
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
	DROP_ARP,	    /* tap_in: ARP to the service that is not a request */
	DROP_VLAN,	    /* tap_in: to the service, but with a VLAN tag; or with more tags than tap_in parses */
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
	DROP_EXTENSION,	 /* tap_in: more IPv6 extension headers than tap_in parses, or one that ends early */
	DROP_REWRITTEN,	 /* tap_in: checksum offload would write into its headers after tap_in has read them */
	DROP_CONNECTION_RATE,	/* tap_in: more new connections to the service than CONNECTION_RATE */
	DROP_PACKET_RATE,	/* tap_in: more packets to the service than PACKET_RATE */
	ANSWERED_DHCP_OFFER,	/* tap_in: DHCP was answered with an offer */
	ANSWERED_DHCP_ACK,	/* tap_in: DHCP was answered with an acknowledgement */
	ANSWERED_DHCP_NAK,	/* tap_in: DHCP that asks for another address than the tap's was refused */
	DROP_DHCP_DECLINE,	/* tap_in: DHCP by which the guest declines its address, which somebody else has */
	DROP_DHCP_RELEASE,	/* tap_in: DHCP by which the guest gives its address back */
	DROP_DHCP_OTHER_SERVER, /* tap_in: DHCP for another server, from a guest whose DHCP its tap answers */
	DROP_DHCP_RELAY,	/* tap_in: DHCP that a relay has passed on */
	DROP_DHCP_OVERLOAD,	/* tap_in: DHCP with options in the fields sname and file */
	DROP_DHCP_MALFORMED,	/* tap_in: DHCP that RFC 2131 calls invalid, or that is no client's */
	DROP_DHCP_VLAN,		/* tap_in: DHCP with a VLAN tag */
	DROP_DHCP_FRAGMENT,	/* tap_in: DHCP in fragments */
	DROP_DHCP_IP_OPTIONS,	/* tap_in: DHCP with IP options */
	DROP_DHCP_SERVER,	/* tap_in: a guest poses as a DHCP server */
	REASONS,
};

/* taps: tag -> the return path of its answers. */
struct tap {
	__u32 ifindex; /* 0: no tap has this tag */
	__u8 mac[6];   /* the guest's, from its last segment to the service; zero before the first */
	__u16 losses;  /* how often the tap has lost its carrier; only the daemon uses it */
};

/* How much a guest may send to the service, over IPv4 and IPv6 together: RATE a second in the long run, BURST at once.
 * tap_in drops what exceeds that, before it costs the private namespace anything.
 *
 * Connections: as many as requests are allowed (eve_meta/web/limits.py), since an image may open one for each; a boot
 * opens 35 within a second or two. Each connection that is not refused costs a worker about as much as a request.
 * Packets: a request on a connection of its own takes seven or eight, and an answer of 1 MiB up to 724
 * acknowledgements. AWS lets 1,024 a second through to its link-local services. */
#define CONNECTION_RATE	 200
#define CONNECTION_BURST 400
#define PACKET_RATE	 2048
#define PACKET_BURST	 8192

/* How often a guest did something, and when first and last, in nanoseconds of CLOCK_BOOTTIME. All zero: never. */
struct sighting {
	__u64 frames;
	__u64 first;
	__u64 last;
};

/* guests: tag -> its guest's allowances and sightings. */
struct guest {
	__u64 connections;	    /* bucket of new connections; guest.h explains the number */
	__u64 packets;		    /* bucket of packets */
	struct sighting arp;	    /* ARP requests that were answered */
	struct sighting nd;	    /* neighbour solicitations that were answered */
	struct sighting connection; /* SYNs to the service, those over the limit too */
	struct sighting dhcp;	    /* DHCP for its own address, broadcast to any server, or to its tap */
	struct sighting dhcp6;	    /* DHCPv6 */
	struct sighting dhcp_offer; /* DHCP that its tap answered with an offer */
	struct sighting dhcp_ack;   /* DHCP that its tap answered with an acknowledgement */
	struct sighting dhcp_nak;   /* DHCP that its tap refused */
};

/* The most bytes of a template's options. eve_meta/values/dhcp.py explains the number. */
#define DHCP_OPTIONS 240

/* dhcp: tag -> what its tap does with DHCP. A tag without an entry lets all of it pass. Only the daemon writes it. */
struct dhcp {
	__u32 tag;			/* the key once more: see from_tap_dhcp() */
	__u8 answers;			/* whether the guest's DHCP is answered, by what follows */
	__u8 deny_servers;		/* whether a guest that poses as a DHCP server is dropped */
	__u16 length;			/* of the options, in bytes */
	__be32 address;			/* the guest's */
	__u8 times[18];			/* the options 51, 58 and 59: lease time, T1 and T2 */
	__u8 options[DHCP_OPTIONS + 2]; /* the other options, and padding */
};

/* deniers: for the tap of each ifindex a bit, that of ifindex % 65536 among all, which is set once the tap denies
 * servers, and stays: two taps may share it, so it says only that the tap's entry in `dhcp` is worth a look. An array,
 * because packets of all taps pay for the lookup, and the kernel inlines that of an array. */
#define DENIERS_WORDS 1024

/* counters: tag -> a number of frames per reason, per CPU. */
struct counters {
	__u64 frames[REASONS];
};

/* settings: the one entry, 0. */
struct settings {
	__u32 host_ifindex; /* of the veth pair's end on the host, to which tap_in redirects */
	__u32 next_tag;	    /* the tag at which the daemon goes on counting after a restart; only the daemon uses it */
	__u64 build;	    /* a hash of the sources from which these pins were compiled */
};

/* workers: the one entry, 0. Only the daemon writes it; ns_in finds in it which worker answers a tag, the one of number
 * tag % number, and where that worker listens. A power of two, so that the verifier sees the index's bound. */
#define MAX_WORKERS 64
struct workers {
	__u32 number; /* 0: no worker listens yet */
	__u8 places[MAX_WORKERS];
};

#endif
