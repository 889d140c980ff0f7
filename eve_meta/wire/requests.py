"""Rows about the requests of guests: how often and when, by kind of request and status of the answer.

Workers gather requests (:mod:`eve_meta.web.tally`) and send rows of a fixed size; the supervisor keeps them by tap
(:mod:`eve_meta.supervisor.requests_seen`). All times are seconds of ``CLOCK_MONOTONIC``, which is one clock for all
processes of a host.

A tap may have one domain and later another. The tag's *generation* counts them, so that the requests of one domain's
guest are never taken for those of the other's: the supervisor sets the number, and a worker sends it along with all
that it counts for the tag.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from itertools import islice
from typing import NamedTuple

from eve_meta.values.request_kind import RequestKind


class Row(NamedTuple):
    """*number* requests of one *kind* by the guest of *tag*, all answered with *status*.

    :ivar first: the time of the first of them.
    :ivar last: the time of the last of them.
    :ivar generation: the tag's generation when they were answered.
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
"""The most rows in one payload: 116 KiB."""

MAX_COUNT = 2**32 - 1
"""The largest number that a row holds."""


def pack(rows: Iterable[Row]) -> Iterator[bytes]:
    """Pack *rows* into payloads of :data:`MAX_ROWS` rows at most."""
    remaining = iter(rows)
    while chunk := list(islice(remaining, MAX_ROWS)):
        yield b"".join(
            _ROW.pack(row.tag, _INDEX[row.kind], row.status, row.number, row.first, row.last, row.generation)
            for row in chunk
        )


def unpack(packed: bytes) -> list[Row]:
    """Unpack a payload, which a compromised worker may have made. The times in it are not checked.

    :raises ValueError: when *packed* is nothing that :func:`pack` yields.
    """
    if len(packed) % _ROW.size or len(packed) > MAX_ROWS * _ROW.size:
        raise ValueError(f"expected up to {MAX_ROWS} rows of {_ROW.size} bytes, got {len(packed)} bytes")
    rows = []
    for tag, index, status, count, first, last, generation in _ROW.iter_unpack(packed):
        if index >= len(_KINDS) or status not in _STATUSES or not count:
            raise ValueError(f"expected a kind, a status and a count, got {index}, {status} and {count}")
        rows.append(Row(tag, _KINDS[index], status, count, first, last, generation))
    return rows
