"""What guests asked for: how often, first and last, by a label of what it was and the status of the answer.

A label says to which kind of document a path leads; none holds a byte that a guest sent. Workers gather
(:class:`Ledger`) and tell rows of a fixed size; the supervisor keeps them by tap (:class:`Record`). All times are
seconds of ``CLOCK_MONOTONIC``, which is one clock for all processes of a host.

A tag may mean one domain and then another. Its *generation* counts that, so that what the guest of the one did is never
taken for the other's: the supervisor gives the number, a worker tells it with whatever it tells.
"""

from __future__ import annotations

import enum
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from itertools import islice
from typing import NamedTuple

from attrs import define

from eve_meta.latency import Histogram, Times


class Label(str, enum.Enum):
    """What was asked for."""

    # Enum's own is a Python function, which would run for each answer.
    __hash__ = str.__hash__

    OPENSTACK = "openstack"
    """A listing, or what is not there, below ``/openstack``."""

    META_DATA = "openstack/meta_data.json"
    USER_DATA = "openstack/user_data"
    VENDOR_DATA = "openstack/vendor_data.json"
    VENDOR_DATA2 = "openstack/vendor_data2.json"
    NETWORK_DATA = "openstack/network_data.json"
    CONTENT = "openstack/content"
    PASSWORD = "password"  # noqa: S105  # a name
    """``/openstack/<version>/password``, read or posted."""

    EC2 = "ec2"
    """A listing of the EC2 tree."""

    EC2_META_DATA = "ec2/meta-data"
    EC2_USER_DATA = "ec2/user-data"
    EC2_DYNAMIC = "ec2/dynamic"
    TOKEN = "token"  # noqa: S105  # a name
    """``/latest/api/token``."""

    NOCLOUD = "nocloud"
    """A listing, or what is not there, below ``/nocloud``."""

    NOCLOUD_META_DATA = "nocloud/meta-data"
    NOCLOUD_USER_DATA = "nocloud/user-data"
    NOCLOUD_VENDOR_DATA = "nocloud/vendor-data"
    NOCLOUD_NETWORK_CONFIG = "nocloud/network-config"
    EVE = "eve"
    """EVE-OS's own endpoints."""

    REPORT = "report"
    """``/eve-meta/v1/report``, which cloud-init posts to."""

    PHONE_HOME = "phone-home"
    """``/eve-meta/v1/phone-home``, likewise."""

    OTHER = "other"
    """Any other path."""

    UNREAD = "unread"
    """No request that we take: whatever it was, it was refused before its path was looked at."""


_OPENSTACK = {
    "meta_data.json": Label.META_DATA,
    "user_data": Label.USER_DATA,
    "vendor_data.json": Label.VENDOR_DATA,
    "vendor_data2.json": Label.VENDOR_DATA2,
    "network_data.json": Label.NETWORK_DATA,
    "password": Label.PASSWORD,
}

_EC2 = {
    "meta-data": Label.EC2_META_DATA,
    "user-data": Label.EC2_USER_DATA,
    "dynamic": Label.EC2_DYNAMIC,
}

_NOCLOUD = {
    "meta-data": Label.NOCLOUD_META_DATA,
    "user-data": Label.NOCLOUD_USER_DATA,
    "vendor-data": Label.NOCLOUD_VENDOR_DATA,
    "network-config": Label.NOCLOUD_NETWORK_CONFIG,
}

_REPORTS: dict[tuple[str, ...], Label] = {
    ("eve-meta", "v1", "report"): Label.REPORT,
    ("eve-meta", "v1", "phone-home"): Label.PHONE_HOME,
}

_TOKEN_PATH = ("latest", "api", "token")


def label_of(path: tuple[str, ...]) -> Label:
    """What the normalised *path* asks for, whether or not it is there."""
    # No "match": this runs for each answer.
    length = len(path)
    tree = path[0] if length else ""
    if tree == "openstack":
        if length == 3:
            return Label.CONTENT if path[1] == "content" else _OPENSTACK.get(path[2], Label.OPENSTACK)
        return Label.OPENSTACK
    if tree == "nocloud":
        return _NOCLOUD.get(path[1], Label.NOCLOUD) if length == 2 else Label.NOCLOUD
    if tree == "eve":
        return Label.EVE
    if tree == "ec2":
        return _EC2.get(path[2], Label.OTHER) if length > 2 else Label.EC2
    if tree == "eve-meta":
        return _REPORTS.get(path, Label.OTHER)
    if path == _TOKEN_PATH:
        return Label.TOKEN
    return _EC2.get(path[1], Label.OTHER) if length > 1 else Label.EC2


class Row(NamedTuple):
    """The guest of *tag* got an answer of *status* to what *label* says *number* times: at *first*, and at *last*.

    *generation* is the tag's then.
    """

    tag: int
    label: Label
    status: int
    number: int
    first: float
    last: float
    generation: int = 0


_LABELS = tuple(Label)
_INDEX = {label: index for index, label in enumerate(_LABELS)}
_ROW = struct.Struct("=HBHIddI")

_STATUSES = frozenset(status.value for status in HTTPStatus)

MAX_ROWS = 4096
"""Rows told at once: 116 KiB."""

MAX_COUNT = 2**32 - 1
"""The largest count that a row holds."""


class Ledger:
    """What a worker's guests asked for since it was last told.

    It has at most a row for each answer that was given meanwhile; a worker gives some 20,000 a second at most.

    :param began: called when there is something to :meth:`take` where there was nothing.
    """

    def __init__(self, began: Callable[[], None]) -> None:
        self._began = began
        # A list [count, first, last] under each, because the most that happens is that it changes.
        self._rows: dict[int, dict[tuple[Label, int], list[float]]] = {}
        self._times: dict[int, Histogram] = {}
        self._generations: dict[int, int] = {}
        self._closed: list[Row] = []

    def add(self, tag: int, label: Label, status: int, now: float) -> None:
        """The guest of *tag* is answered *status* to what *label* says, at *now*."""
        rows = self._rows.get(tag)
        if rows is None:
            if not self._rows:
                self._began()
            rows = self._rows[tag] = {}
        row = rows.get((label, status))
        if row is None:
            rows[label, status] = [1, now, now]
        else:
            row[0] += 1
            row[2] = now

    def time(self, tag: int, seconds: float) -> None:
        """To answer the guest of *tag* took *seconds*."""
        times = self._times.get(tag)
        if times is None:
            # What a slow reader took may be all that there is to tell.
            if not self._rows and not self._times:
                self._began()
            times = self._times[tag] = Histogram()
        times.add(seconds)

    def begin(self, tag: int, generation: int) -> None:
        """What is added for *tag* from now on is of *generation*; 0 is that of tags of which nothing was said."""
        if self._generations.get(tag, 0) != generation:
            self._closed += self._rows_of(tag, self._rows.pop(tag, {}))
            # A few durations, of a guest that was answered within the last second, are not worth another table.
            self._times.pop(tag, None)
            self._generations[tag] = generation
        if not generation:
            self._generations.pop(tag, None)

    def generation(self, tag: int) -> int:
        """The generation of *tag*."""
        return self._generations.get(tag, 0)

    def take(self) -> list[Row]:
        """What was added since the last call."""
        (taken, self._rows) = (self._rows, {})
        (rows, self._closed) = (self._closed, [])
        for tag, of_tag in taken.items():
            rows += self._rows_of(tag, of_tag)
        return rows

    def take_times(self) -> list[Times]:
        """How long answers took since the last call."""
        (taken, self._times) = (self._times, {})
        return [times.told(tag, self._generations.get(tag, 0)) for tag, times in taken.items()]

    def _rows_of(self, tag: int, rows: dict[tuple[Label, int], list[float]]) -> list[Row]:
        generation = self._generations.get(tag, 0)
        return [
            Row(tag, label, status, min(int(count), MAX_COUNT), first, last, generation)
            for (label, status), (count, first, last) in rows.items()
        ]


def pack(rows: Iterable[Row]) -> Iterator[bytes]:
    """*rows* as bytes, :data:`MAX_ROWS` at a time."""
    remaining = iter(rows)
    while piece := list(islice(remaining, MAX_ROWS)):
        yield b"".join(
            _ROW.pack(row.tag, _INDEX[row.label], row.status, row.number, row.first, row.last, row.generation)
            for row in piece
        )


def unpack(packed: bytes) -> list[Row]:
    """The rows in *packed*, which a guest may have made: whatever may be wrong with their times.

    :raises ValueError: when it is not what :func:`pack` gives.
    """
    if len(packed) % _ROW.size or len(packed) > MAX_ROWS * _ROW.size:
        raise ValueError(f"expected up to {MAX_ROWS} rows of {_ROW.size} bytes, got {len(packed)} bytes")
    rows = []
    for tag, index, status, count, first, last, generation in _ROW.iter_unpack(packed):
        if index >= len(_LABELS) or status not in _STATUSES or not count:
            raise ValueError(f"expected a label, a status and a count, got {index}, {status} and {count}")
        rows.append(Row(tag, _LABELS[index], status, count, first, last, generation))
    return rows


@define
class Seen:
    """How often something was asked for with one result, and when at first and at last."""

    count: int
    first: float
    last: float


MAX_KINDS = 64
"""Kinds of requests, which are a label and a status, that are kept of each tap. A boot has some 15; with every label
and status that a guest can bring about, 1,000 hostile ones would take 30 MB. What is more counts as "other"."""

# One object for each that there was, however many taps have it.
_KINDS: dict[tuple[Label, int], tuple[Label, int]] = {}


def _kind(label: Label, status: int) -> tuple[Label, int]:
    kind = (label, status)
    return _KINDS.setdefault(kind, kind)


class Record:
    """What the guest of one tap asked for, since *since*, when the tap appeared."""

    __slots__ = ("_seen", "_since")

    def __init__(self, since: float) -> None:
        self._since = since
        self._seen: dict[tuple[Label, int], Seen] = {}

    def add(self, row: Row, now: float) -> None:
        """Adds what a worker told at *now*; a row whose times cannot be true is no sound worker's, and is left out."""
        if not self._since <= row.first <= row.last <= now:  # also where one is no number
            return
        kind = _kind(row.label, row.status)
        if kind not in self._seen and len(self._seen) >= MAX_KINDS:
            kind = _kind(Label.OTHER, row.status)
        seen = self._seen.get(kind)
        if seen is None:
            self._seen[kind] = Seen(row.number, row.first, row.last)
            return
        seen.count += row.number
        # Workers tell in no order.
        seen.first = min(seen.first, row.first)
        seen.last = max(seen.last, row.last)

    @property
    def kinds(self) -> list[tuple[Label, int, Seen]]:
        """What was asked for, its status and how often, in the order of the first times."""
        return sorted(
            ((label, status, seen) for (label, status), seen in self._seen.items()), key=lambda kind: kind[2].first
        )

    @property
    def statuses(self) -> Counter[str]:
        """Answers by status."""
        statuses: Counter[str] = Counter()
        for (_, status), seen in self._seen.items():
            statuses[str(status)] += seen.count
        return statuses
