/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* The allowances of a guest, which bound how much it may send to the service, and the sightings of what it did. */
#ifndef EVE_META_GUEST_H
#define EVE_META_GUEST_H

#include "shared.h"

#define SECOND 1000000000ULL

/* Takes one token from a bucket that gains `rate` tokens a second and holds `burst`; returns 0 when it is empty.
 *
 * The bucket is one number, the time at which it will be full again: each token taken puts that off by 1 / rate (the
 * generic cell rate algorithm, ITU-T I.371). A refusal takes nothing.
 *
 * A tap's frames may come on several CPUs at once. Not every bcc can compile a lock (which needs BTF of the map) or an
 * atomic operation that returns a value (clang compiles it only for BPF CPU version 3). Without them the bucket errs in
 * the guest's favour, within bounds:
 * - Between our read and our atomic add each other CPU may take one token: one too many per CPU.
 * - A full bucket is set, not added to. A CPU that is interrupted just there overwrites what others took in the
 *   meantime: at most one burst, and only once for each time that the bucket was full, which takes burst / rate of
 *   silence.
 * So a guest never gets more than two bursts instead of one, and in the long run never more than twice the rate. */
static __always_inline int take(__u64 *full_at, __u64 now, __u64 rate, __u64 burst)
{
	const __u64 token = SECOND / rate;
	__u64 at = *(volatile __u64 *)full_at;

	if (at <= now) {
		*(volatile __u64 *)full_at = now + token;
		return 1;
	}
	if (at - now > (burst - 1) * token)
		return 0;
	__sync_fetch_and_add(full_at, token);
	return 1;
}

static __always_inline int take_connection(struct guest *guest, __u64 now)
{
	return take(&guest->connections, now, CONNECTION_RATE, CONNECTION_BURST);
}

static __always_inline int take_packet(struct guest *guest, __u64 now)
{
	return take(&guest->packets, now, PACKET_RATE, PACKET_BURST);
}

static __always_inline void see(struct sighting *sighting, __u64 now)
{
	__sync_fetch_and_add(&sighting->frames, 1);
	if (!sighting->first)
		sighting->first = now;
	sighting->last = now;
}

#endif
