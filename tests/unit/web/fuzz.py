"""Fuzz of the HTTP side: guests of several taps that send, in any pieces and at any pace, what is nearly right.

Each of them gets answers of the closed set or is cut off; none reads anything of another's domain; what is held for
it is bounded; and when all are gone and time has passed, nothing of them is left. ``scripts/fuzz http`` runs it.
"""

from __future__ import annotations

import contextlib
import math
import re
import sys
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from random import Random
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from eve_meta.web.answer import REFUSED
from eve_meta.web.answering import Answering
from eve_meta.web.connection import Connection
from eve_meta.web.guests import SWEEP_EVERY, Guests
from eve_meta.web.hosts import Hosts
from eve_meta.web.limits import SLICE, Limits
from eve_meta.web.request import Memo
from eve_meta.web.table import Grants
from eve_meta.wire import counts
from eve_meta.wire.password import Outcome
from tests import fuzzing
from tests.unit.web.guest import BUFFER, TODAY, FakeWire, Guest, describe
from tests.unit.web.traffic import MANY_KINDS, NEW_OWNER, NO_TAP, NOT_YET, Requests, Tap

CLOSED_SET = frozenset(
    {
        HTTPStatus.CONTINUE,
        HTTPStatus.OK,
        HTTPStatus.NO_CONTENT,
        HTTPStatus.NOT_MODIFIED,
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.CONFLICT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
        *REFUSED,
    }
)
"""Every status that a guest may ever read. 500 is not among them: it would be a defect of ours."""

LIMITS = Limits(max_connections=3, burst=60.0, rate=40.0, max_answers_a_turn=2)
"""Small ones, so that guests reach them."""

KEPT = LIMITS.max_request_line + LIMITS.max_headers + LIMITS.max_body
"""Bytes that the longest request has."""

LARGEST_PIECE = 64 * 1024
"""Bytes that Twisted reads at a time."""

HEADS = 4096
"""Bytes that the heads of a few answers have, beside their bodies."""

PATIENCE = 60
"""Seconds after which every limit of time has passed, one after the other, and each allowance is whole again."""


MARK = re.compile(rb"secret-of-\d+-")


class Visitor:
    """A guest on one connection, and what it has yet to send."""

    def __init__(self, answering: Answering, tap: Tap, data: bytes, random: Random) -> None:
        self.tap = tap
        self.guest = Guest(answering, tap.tag)
        self.guest.wire.takes = random.randrange(6) > 0
        self.marks = {tap.mark.encode()}
        self._sends_head = b"HEAD" in data
        cuts = sorted(random.randrange(len(data) + 1) for _ in range(random.choice((0, 0, 1, 3, 10))))
        pieces = (data[start:end] for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True))
        self._ahead = [piece[at : at + LARGEST_PIECE] for piece in pieces for at in range(0, len(piece), LARGEST_PIECE)]
        self._ahead.reverse()

    def step(self, random: Random) -> None:
        """Do one thing."""
        wire = self.guest.wire
        match random.randrange(12):
            case 0:
                wire.takes = not wire.takes
            case 1:
                if not self._ahead and not wire.ended and wire.reading:
                    self.guest.shut()
            case 2 if random.randrange(4) == 0:
                wire.abortConnection()
            case _:
                if self._ahead and wire.reading and not wire.ended:
                    self.guest.send_now(self._ahead.pop())
        if len(self._ahead) % 3 == 1:
            self.guest.read_now()  # whoever waits for another turn of the reactor still waits
        else:
            self.guest.read()

    def check_held(self) -> None:
        """Check that what is held for the guest is bounded, whatever it did."""
        wire = self.guest.wire
        if not wire.ended:
            connection = cast(Connection, wire.protocol)
            assert len(connection._reader._buffer) <= KEPT + LARGEST_PIECE, "too much kept of what it sent"
            assert len(wire.buffer) <= BUFFER + SLICE + HEADS, "too much kept of what it is to read"

    def check_read(self) -> str:
        """Check that what the guest has read is its own, and of the closed set; return the first status."""
        read = bytes(self.guest.wire.received)
        assert set(MARK.findall(read)) <= self.marks, "another's data"
        statuses = self._statuses(read)
        assert set(statuses) <= CLOSED_SET, statuses
        return str(int(statuses[0])) if statuses else "cut off"

    def _statuses(self, read: bytes) -> list[int]:
        """Return the statuses of the answers in *read*. The last may be cut off; answers to HEAD have no bodies."""
        statuses = []
        while read:
            head, end, read = read.partition(b"\r\n\r\n")
            found = re.match(rb"HTTP/1\.1 (\d{3}) [^\r\n]+(?:\r\n[A-Za-z0-9-]+: [\x20-\x7e]*)*$", head)
            assert found or not end, f"no answer: {head[:200]!r}"
            if not found:
                break
            statuses.append(int(found[1]))
            length = re.search(rb"\r\nContent-Length: (\d+)", head)
            if length and not (self._sends_head and (not read or read.startswith(b"HTTP/1.1 "))):
                assert len(read) >= int(length[1]) or self.guest.ended == "aborted", "an answer cut off"
                read = read[int(length[1]) :]
        return statuses


class Bench:
    """A worker's side of several taps. It outlives its inputs, and each input has to leave it as it was."""

    def __init__(self) -> None:
        self._clock = Clock()
        self._clock.advance(1000)
        clock = self._clock
        self._answering = Answering(
            clock,
            Guests(
                clock,
                identify=lambda connection: cast(FakeWire, connection).tag,
                limits=LIMITS,
                monotonic=clock.seconds,
            ),
            hosts=Hosts(["metadata.example.org"]),
            uptime=clock.seconds,
            wall=lambda: TODAY + clock.seconds(),
        )
        self._answering.current_until = math.inf
        self._answering.store_password = self._store_password
        self._asked: list[Deferred[Outcome]] = []
        domains = {tap.tag: tap.domain for tap in (*MANY_KINDS, NEW_OWNER) if tap.tag is not None}
        described = describe(self._answering, *domains.values())
        self._json: Mapping[int, bytes] = dict(zip(domains, described, strict=True))

    def _store_password(self, _tag: int, _password: str) -> Deferred[Outcome]:
        waiting: Deferred[Outcome] = Deferred()
        self._asked.append(waiting)
        return waiting

    def _put(self, tap: Tap, owner: Tap) -> None:
        assert tap.tag is not None
        assert owner.tag is not None
        self._answering.guests.put(
            tap.tag,
            tap.name,
            self._clock.seconds(),
            self._json[owner.tag] if owner.known else None,
            Grants(tokens=tap.tokens, token_key=tap.key),
        )

    def try_one(self, random: Random) -> str:
        """Try one input; return its result."""
        for tap in MANY_KINDS:
            self._put(tap, tap)
        requests = Requests(random, self._clock.seconds())
        self._answering.memo = Memo(LIMITS)
        visitors = []
        data = b""
        for _ in range(random.choice((1, 1, 1, 1, 2, 4))):
            tap = random.choice((*MANY_KINDS, *MANY_KINDS, NO_TAP, NOT_YET))
            if not data or random.randrange(3):
                data = requests.stream()
            # Or the very same bytes as another tap's: their reading is remembered, but not their sender.
            visitors.append(Visitor(self._answering, tap, data, random))
        for _ in range(random.randrange(4, 30)):
            visitor = random.choice(visitors)
            visitor.step(random)
            visitor.check_held()
            if random.randrange(16) == 0:
                self._something_happens(random, visitors)
        self._all_end(visitors)
        return max(visitor.check_read() for visitor in visitors)

    def _something_happens(self, random: Random, visitors: list[Visitor]) -> None:
        match random.randrange(5):
            case 0 | 1:
                self._clock.advance(random.choice((0.01, 1, 1, 6, 11)))
            case 2:
                if self._asked:
                    self._asked.pop().callback(random.choice(list(Outcome)))
            case 3:
                # The tap changes hands: connected guests notice nothing but the close.
                tap = random.choice(MANY_KINDS)
                self._put(tap, NEW_OWNER)
                for visitor in visitors:
                    # Of a domain that is unknown any other is the first, and no change of hands.
                    if visitor.tap is tap and not tap.known:
                        visitor.marks.add(NEW_OWNER.mark.encode())
            case 4:
                tap = random.choice(MANY_KINDS)
                if tap.tag is not None:
                    self._answering.guests.remove(tap.tag)

    def _all_end(self, visitors: list[Visitor]) -> None:
        for visitor in visitors:
            visitor.guest.wire.takes = True
            visitor.guest.read()
        for _ in range(int(PATIENCE / SWEEP_EVERY)):
            if not self._clock.getDelayedCalls():
                break
            self._clock.advance(SWEEP_EVERY)
            for visitor in visitors:
                visitor.guest.read()
        assert all(visitor.guest.wire.ended for visitor in visitors), "a connection that never ends"
        assert not self._answering.guests._allowances, "something of a tap without connections is kept"
        assert not self._clock.getDelayedCalls(), "a timer without connections"
        for names in self._answering.guests.tally.counts.take().values():
            assert set(names) <= counts.NAMES, names
        self._asked.clear()


@contextlib.contextmanager
def _prepare() -> Iterator[fuzzing.Input]:
    yield Bench().try_one


if __name__ == "__main__":
    sys.exit(fuzzing.main("http", _prepare))
