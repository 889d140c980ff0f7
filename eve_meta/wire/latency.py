"""Durations of answers: histograms with fixed buckets, by tap.

The worker measures from the acceptance of a connection, or from the first byte of a later request on it, until the
answer's last byte is handed to the kernel or to the transport's buffer. The kernel's time before that is not included:
the steering, and the wait to be accepted.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0)
"""The upper ends of the buckets, in seconds; one more bucket has all that took longer. An answer takes 0.1 ms where the
request has arrived when the connection is accepted, and 0.2 ms more where the domain's documents are made for it; a
guest has 10 s to send a request."""

BUCKETS = len(BOUNDS) + 1

_TIMES = struct.Struct(f"=HId{BUCKETS}I")

MAX_TIMES = 1500
"""The most tags in one payload of :func:`pack_times`: 97 KiB."""

MAX_SUM = 1e9
"""The largest sum of seconds that the supervisor accepts in one row of a worker."""


class Times(NamedTuple):
    """The answers to the guest of *tag*: the number in each bucket, and the seconds that all of them took together."""

    tag: int
    generation: int
    total: float
    buckets: tuple[int, ...]


class Histogram:
    """A histogram of durations.

    :ivar buckets: the number of durations in each of the :data:`BUCKETS` buckets.
    :ivar total: the sum of all durations, in seconds.
    """

    __slots__ = ("buckets", "total")

    def __init__(self) -> None:
        self.buckets = [0] * BUCKETS
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Add a duration of *seconds*."""
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def add_all(self, times: Times) -> None:
        """Add the durations that a worker counted."""
        for index, number in enumerate(times.buckets):
            self.buckets[index] += number
        self.total += times.total

    def times(self, tag: int, generation: int) -> Times:
        """Return the histogram as a row for the supervisor."""
        return Times(tag, generation, self.total, tuple(self.buckets))


def pack_times(times: Iterable[Times]) -> Iterator[bytes]:
    """Pack *times* into payloads of :data:`MAX_TIMES` rows at most."""
    remaining = iter(times)
    while chunk := list(islice(remaining, MAX_TIMES)):
        yield b"".join(_TIMES.pack(each.tag, each.generation, each.total, *each.buckets) for each in chunk)


def unpack_times(packed: bytes) -> list[Times]:
    """Unpack a payload, which a compromised worker may have made.

    :raises ValueError: when *packed* is nothing that :func:`pack_times` yields.
    """
    if len(packed) % _TIMES.size or len(packed) > MAX_TIMES * _TIMES.size:
        raise ValueError(f"expected up to {MAX_TIMES} rows of {_TIMES.size} bytes, got {len(packed)} bytes")
    rows = []
    for tag, generation, total, *buckets in _TIMES.iter_unpack(packed):
        if not 0 <= total <= MAX_SUM:  # NaN, too
            raise ValueError(f"expected seconds of 0..{MAX_SUM:.0f}, got {total}")
        rows.append(Times(tag, generation, total, tuple(buckets)))
    return rows
