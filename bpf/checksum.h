/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Internet checksums (RFC 1071), which are made of bpf_csum_diff()'s sums. */
#ifndef EVE_META_CHECKSUM_H
#define EVE_META_CHECKSUM_H

#include <uapi/linux/types.h>

/* The checksum of the words whose sum is `sum`. */
static __always_inline __sum16 fold(__s64 sum)
{
	__u32 folded = (__u32)sum;

	folded = (folded & 0xffff) + (folded >> 16);
	folded = (folded & 0xffff) + (folded >> 16);
	return ~folded;
}

#endif
