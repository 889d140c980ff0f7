"""How long answers took: histograms of fixed buckets, by tap.

Measured in the worker, from the accepted connection, or the first byte of a later request on it, until the answer's
last byte is handed to the kernel or to the transport's buffer. What the kernel took before is not in it: a connection
that waits to be accepted, and the way.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0)
"""Upper ends of the buckets, in seconds; one more has what took longer. An answer takes 0.1 ms where its request is
there when the connection is accepted; a domain that is made ready for it, 0.2 ms more; a guest has 10 s to send."""

BUCKETS = len(BOUNDS) + 1

_TIMES = struct.Struct(f"=HId{BUCKETS}I")

MAX_TIMES = 1500
"""Tags in one piece of what :func:`pack_times` gives: 97 KiB."""

MAX_SUM = 1e9
"""The largest sum of seconds that is taken from a worker in one go."""


class Times(NamedTuple):
    """Answers to the guest of *tag*: how many in each bucket, and the seconds that all of them took."""

    tag: int
    generation: int
    total: float
    buckets: tuple[int, ...]


class Histogram:
    """Counts durations.

    :ivar buckets: how many ended in each of the :data:`BUCKETS`.
    :ivar total: the seconds of all.
    """

    __slots__ = ("buckets", "total")

    def __init__(self) -> None:
        self.buckets = [0] * BUCKETS
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """One more, of *seconds*."""
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def add_all(self, times: Times) -> None:
        """What a worker told."""
        for index, number in enumerate(times.buckets):
            self.buckets[index] += number
        self.total += times.total

    def told(self, tag: int, generation: int) -> Times:
        """It as a worker tells it."""
        return Times(tag, generation, self.total, tuple(self.buckets))


def pack_times(times: Iterable[Times]) -> Iterator[bytes]:
    """*times* as bytes, :data:`MAX_TIMES` at a time."""
    remaining = iter(times)
    while piece := list(islice(remaining, MAX_TIMES)):
        yield b"".join(_TIMES.pack(each.tag, each.generation, each.total, *each.buckets) for each in piece)


def unpack_times(packed: bytes) -> list[Times]:
    """What is in *packed*, which a guest may have made.

    :raises ValueError: when it is not what :func:`pack_times` gives.
    """
    if len(packed) % _TIMES.size or len(packed) > MAX_TIMES * _TIMES.size:
        raise ValueError(f"expected up to {MAX_TIMES} rows of {_TIMES.size} bytes, got {len(packed)} bytes")
    found = []
    for tag, generation, total, *buckets in _TIMES.iter_unpack(packed):
        if not 0 <= total <= MAX_SUM:  # also where it is no number
            raise ValueError(f"expected seconds of 0..{MAX_SUM:.0f}, got {total}")
        found.append(Times(tag, generation, total, tuple(buckets)))
    return found
