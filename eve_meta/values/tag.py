"""The tag: the number that identifies a tap from the guest's packet to the answer.

A tag is 1..65535. In the private namespace it travels as ``skb->mark = place << 17 | STEERED | tag``, which the
accepted socket inherits (``net.ipv4.tcp_fwmark_accept``) and the worker reads with ``getsockopt(SO_MARK)``. The bit
:data:`STEERED` lets one ``ip rule`` match every tag. The bits of the place at which a worker listens
(``steering/path/listening.py``) let one iptables rule lead all guests of that worker to it. Both lie above the 16 bits
that iptables' ``CT --zone-orig mark`` keeps of a mark, so that the conntrack zone *is* the tag. ``bpf/shared.h`` holds
the same numbers for the programs; a test compares both.
"""

from __future__ import annotations

STEERED = 0x10000
"""The bit of a packet's mark that is set where the packet came through a steered tap."""

MIN_TAG = 1
MAX_TAG = 0xFFFF
"""Tags are 16 bits wide because a conntrack zone is (``struct nf_conntrack_zone.id`` is a u16)."""


PLACE_SHIFT = 17
MAX_PLACE = 0xFF
PLACE_MASK = MAX_PLACE << PLACE_SHIFT
"""The bits of a packet's mark that hold the place at which the worker of its tag listens; 0 while no worker listens."""


def tag_of_mark(mark: int) -> int | None:
    """Return the tag in the socket mark *mark*, or None where the connection came through no steered tap."""
    tag = mark & MAX_TAG
    return tag if mark & STEERED and tag else None


def mark_of_tag(tag: int) -> int:
    """Return the packet mark of *tag*.

    :raises ValueError: when *tag* is not within :data:`MIN_TAG` … :data:`MAX_TAG`.
    """
    if not MIN_TAG <= tag <= MAX_TAG:
        raise ValueError(f"expected a tag of {MIN_TAG}..{MAX_TAG}, got {tag!r}")
    return STEERED | tag


def worker_of_tag(tag: int, workers: int) -> int:
    """Return the number, from 0, of the worker that answers the guest of *tag* where there are so many *workers*.

    ``ns_in`` (``bpf/steer.c``) chooses by the same rule. Tags are given in ascending order, so that every worker has
    about as many taps.
    """
    return tag % workers
