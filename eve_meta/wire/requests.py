"""What guests asked for: how often, first and last, by a kind of what it was and the status of the answer.

A kind says to which kind of document a path leads; none holds a byte that a guest sent. Workers gather requests
(:mod:`eve_meta.web.tally`) and send rows of a fixed size; the supervisor keeps them by tap
(:mod:`eve_meta.supervisor.requests_seen`). All times are seconds of ``CLOCK_MONOTONIC``, which is one clock for all
processes of a host.

A tag may mean one domain and then another. Its *generation* counts that, so that what the guest of the one did is never
taken for the other's: the supervisor gives the number, a worker tells it with whatever it tells.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from itertools import islice
from typing import NamedTuple

from eve_meta.values.request_kind import RequestKind

_OPENSTACK = {
    "meta_data.json": RequestKind.META_DATA,
    "user_data": RequestKind.USER_DATA,
    "vendor_data.json": RequestKind.VENDOR_DATA,
    "vendor_data2.json": RequestKind.VENDOR_DATA2,
    "network_data.json": RequestKind.NETWORK_DATA,
    "password": RequestKind.PASSWORD,
}

_EC2 = {
    "meta-data": RequestKind.EC2_META_DATA,
    "user-data": RequestKind.EC2_USER_DATA,
    "dynamic": RequestKind.EC2_DYNAMIC,
}

_NOCLOUD = {
    "meta-data": RequestKind.NOCLOUD_META_DATA,
    "user-data": RequestKind.NOCLOUD_USER_DATA,
    "vendor-data": RequestKind.NOCLOUD_VENDOR_DATA,
    "network-config": RequestKind.NOCLOUD_NETWORK_CONFIG,
}

_REPORTS: dict[tuple[str, ...], RequestKind] = {
    ("eve-meta", "v1", "report"): RequestKind.REPORT,
    ("eve-meta", "v1", "phone-home"): RequestKind.PHONE_HOME,
}

_TOKEN_PATH = ("latest", "api", "token")


def kind_of(path: tuple[str, ...]) -> RequestKind:
    """What the normalised *path* asks for, whether or not it is there."""
    # No "match": this runs for each answer.
    length = len(path)
    tree = path[0] if length else ""
    if tree == "openstack":
        if length == 3:
            return RequestKind.CONTENT if path[1] == "content" else _OPENSTACK.get(path[2], RequestKind.OPENSTACK)
        return RequestKind.OPENSTACK
    if tree == "nocloud":
        return _NOCLOUD.get(path[1], RequestKind.NOCLOUD) if length == 2 else RequestKind.NOCLOUD
    if tree == "eve":
        return RequestKind.EVE
    if tree == "ec2":
        return _EC2.get(path[2], RequestKind.OTHER) if length > 2 else RequestKind.EC2
    if tree == "eve-meta":
        return _REPORTS.get(path, RequestKind.OTHER)
    if path == _TOKEN_PATH:
        return RequestKind.TOKEN
    return _EC2.get(path[1], RequestKind.OTHER) if length > 1 else RequestKind.EC2


class Row(NamedTuple):
    """The guest of *tag* got an answer of *status* to what *kind* says *number* times: at *first*, and at *last*.

    *generation* is the tag's then.
    """

    tag: int
    kind: RequestKind
    status: int
    number: int
    first: float
    last: float
    generation: int = 0


_KINDS = tuple(RequestKind)
_INDEX = {kind: index for index, kind in enumerate(_KINDS)}
_ROW = struct.Struct("=HBHIddI")

_STATUSES = frozenset(status.value for status in HTTPStatus)

MAX_ROWS = 4096
"""Rows told at once: 116 KiB."""

MAX_COUNT = 2**32 - 1
"""The largest count that a row holds."""


def pack(rows: Iterable[Row]) -> Iterator[bytes]:
    """*rows* as bytes, :data:`MAX_ROWS` at a time."""
    remaining = iter(rows)
    while piece := list(islice(remaining, MAX_ROWS)):
        yield b"".join(
            _ROW.pack(row.tag, _INDEX[row.kind], row.status, row.number, row.first, row.last, row.generation)
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
        if index >= len(_KINDS) or status not in _STATUSES or not count:
            raise ValueError(f"expected a kind, a status and a count, got {index}, {status} and {count}")
        rows.append(Row(tag, _KINDS[index], status, count, first, last, generation))
    return rows
