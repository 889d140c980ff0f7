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
