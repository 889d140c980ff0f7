"""Guests that have much answered at once: what one gets in a turn of the reactor, and what waits for the next.

The clock of these tests stands. What :meth:`~tests.unit.turns.TurnClock.turn` calls belongs to another turn.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from eve_meta.values.domain import Domain
from eve_meta.web.answering import Answering
from eve_meta.web.guests import SWEEP_EVERY
from eve_meta.web.limits import DEFAULT_MAX_ANSWERS_A_TURN, DEFAULT_MAX_CONNECTIONS, DEFAULT_REQUEST_TIME, SLICE, Limits
from eve_meta.wire.password import Outcome
from tests.unit.turns import TurnClock
from tests.unit.web.guest import OTHER_UUID, TAG, TAP, UUID, FakeWire, Guest, counted, domain, get, make_answering

SHARE = DEFAULT_MAX_ANSWERS_A_TURN
PIPELINED = 8
HOSTNAME = get("/latest/meta-data/hostname")
MIB = bytes(range(256)) * 4096


@pytest.fixture
def clock() -> TurnClock:
    clock = TurnClock()
    clock.advance(1000)
    return clock


@pytest.fixture
def answering(clock: TurnClock) -> Answering:
    """An Answering that serves the guests of two taps."""
    answering = make_answering(clock, limits=Limits(burst=1e9))
    answering.guests.put(TAG + 1, "vnet8", clock.seconds(), domain(OTHER_UUID))
    return answering


def statuses(guests: Sequence[Guest]) -> list[list[int]]:
    """Return the answers that each of *guests* has read by now."""
    for guest in guests:
        guest.read_now()
    return [guest.statuses for guest in guests]


def spend(answering: Answering, tag: int = TAG) -> Guest:
    """Let a guest of *tag* have its share of this turn; return the guest."""
    guest = Guest(answering, tag)
    guest.send_now(HOSTNAME * SHARE)
    return guest


def sweep(clock: TurnClock, seconds: float) -> None:
    """Let time pass in which the reactor takes no turn but for the sweeps: what waits for its turn still waits."""
    waiting = [call for call in clock.calls if call.getTime() <= clock.seconds()]
    for call in waiting:
        clock.calls.remove(call)
    for _ in range(int(seconds / SWEEP_EVERY)):
        clock.advance(SWEEP_EVERY)
    clock.calls[:0] = waiting


# -- the share --


def test_a_guest_that_pipelines_on_all_its_connections_delays_its_neighbours_by_its_share(
    answering: Answering, clock: TurnClock
) -> None:
    flooding = [Guest(answering) for _ in range(DEFAULT_MAX_CONNECTIONS)]
    neighbour = Guest(answering, TAG + 1)
    for guest in flooding:
        guest.send_now(HOSTNAME * PIPELINED)
    assert sum(map(len, statuses(flooding))) == SHARE
    neighbour.send_now(HOSTNAME)
    assert statuses([neighbour]) == [[200]]
    for turn in range(2, DEFAULT_MAX_CONNECTIONS * PIPELINED // SHARE + 1):
        clock.turn()
        assert sum(map(len, statuses(flooding))) == turn * SHARE
        neighbour.send_now(HOSTNAME)
        assert len(statuses([neighbour])[0]) == turn
    assert statuses(flooding) == [[200] * PIPELINED] * DEFAULT_MAX_CONNECTIONS
    clock.turn()
    assert [guest.wire.reading for guest in flooding] == [True] * DEFAULT_MAX_CONNECTIONS
    assert len(clock.getDelayedCalls()) == 2  # the sweep, and the ageing of the table


def test_requests_of_one_connection_are_answered_in_order_over_many_turns(
    answering: Answering, clock: TurnClock
) -> None:
    guest = Guest(answering)
    guest.send_now(b"".join(get(path) for path in ["/openstack", "/nothing", "/latest"] * SHARE))
    clock.turns()
    assert statuses([guest]) == [[200, 404, 200] * SHARE]


def test_every_guest_has_a_share_of_its_own(answering: Answering, clock: TurnClock) -> None:
    guests = [spend(answering), spend(answering, TAG + 1)]
    assert list(map(len, statuses(guests))) == [SHARE, SHARE]


def test_refusals_count_for_the_share(answering: Answering, clock: TurnClock) -> None:
    guests = [Guest(answering) for _ in range(2 * SHARE)]
    for guest in guests:
        guest.send_now(b"\0\n")
    assert statuses(guests) == [[400]] * SHARE + [[]] * SHARE
    clock.turn()
    assert statuses(guests) == [[400]] * 2 * SHARE


def test_long_answers_count_for_the_share_by_their_slices(clock: TurnClock) -> None:
    known = Domain(uuid=uuid.UUID(UUID), name="web1", user_data=MIB)
    answering = make_answering(clock, known=known)
    guests = [Guest(answering) for _ in range(DEFAULT_MAX_CONNECTIONS)]
    for guest in guests:
        guest.send_now(get("/openstack/latest/user_data", "Connection: close"))
    while any(not guest.ended for guest in guests):
        before = sum(len(guest.wire.received) + len(guest.wire.buffer) for guest in guests)
        for guest in guests:
            guest.wire.turn()  # the guest reads, and so more may be sent in this turn of the reactor
        sent = sum(len(guest.wire.received) + len(guest.wire.buffer) for guest in guests) - before
        assert sent <= SHARE * SLICE
        clock.turn()
    assert all(guest.answers[0].body == MIB for guest in guests)


def test_a_guest_that_asks_now_and_then_makes_the_reactor_do_nothing(answering: Answering, clock: TurnClock) -> None:
    for _ in range(10 * SHARE):
        answering.guests.turn += 1  # as an acceptor does
        guest = Guest(answering)
        guest.send_now(get("/openstack", "Connection: close"))
        assert statuses([guest]) == [[200]]
    assert len(clock.getDelayedCalls()) == 2


# -- whoever waits for its turn --


def test_nothing_is_read_of_a_connection_that_waits_for_its_turn(answering: Answering, clock: TurnClock) -> None:
    spend(answering)
    early, late = Guest(answering, TAG + 1), Guest(answering)
    spend(answering, TAG + 1)
    early.send_now(HOSTNAME)
    assert (early.wire.reading, late.wire.reading) == (False, False)
    clock.turn()
    late.send_now(HOSTNAME)
    assert (early.wire.reading, late.wire.reading) == (True, True)
    assert statuses([early, late]) == [[200], [200]]


@pytest.mark.parametrize("removed", [True, False])
def test_a_connection_that_is_revoked_gets_nothing_in_its_turn(
    answering: Answering, clock: TurnClock, removed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Twisted's transport ends in the next turn, after what was to be called in it before.
    monkeypatch.setattr(FakeWire, "abortConnection", lambda self: clock.callLater(0, self._end, "aborted", OSError()))
    guest, unread = spend(answering), Guest(answering)
    guest.send_now(HOSTNAME)
    assert statuses([guest, unread]) == [[200] * SHARE, []]
    assert counted(answering) == {"200": SHARE}
    if removed:
        answering.guests.remove(TAG)
    else:
        answering.guests.put(TAG, TAP, clock.seconds(), domain(OTHER_UUID))
    clock.turns()
    assert statuses([guest, unread]) == [[200] * SHARE, []]
    assert counted(answering) == {"revoked": 2}
    assert answering.guests.is_quiet


def test_a_guest_that_leaves_before_its_turn_costs_the_others_nothing(answering: Answering, clock: TurnClock) -> None:
    spend(answering)
    gone, stays = Guest(answering), Guest(answering)
    gone.wire.abortConnection()
    clock.turn()
    stays.send_now(HOSTNAME)
    assert statuses([gone, stays]) == [[], [200]]


def test_no_deadline_passes_while_a_connection_waits_for_its_turn(answering: Answering, clock: TurnClock) -> None:
    """The guest has sent all of its request; that no answer has come is not its fault."""
    waits, first = Guest(answering), spend(answering)
    waits.send_now(HOSTNAME)
    first.wire.abortConnection()
    sweep(clock, DEFAULT_REQUEST_TIME + 1)
    assert statuses([waits]) == [[]]
    clock.turn()
    assert (statuses([waits]), waits.ended) == ([[200]], "")


def test_slowloris_gains_no_time_by_waiting_for_its_turn(answering: Answering, clock: TurnClock) -> None:
    slow = Guest(answering)
    for byte in b"GET / HTTP/1.1\r\nX: " + b"a" * 20:
        spent = spend(answering)
        slow.send_now(bytes([byte]))
        clock.turns()
        spent.wire.abortConnection()
        clock.advance(SWEEP_EVERY)
        if statuses([slow]) == [[408]]:
            break
    assert clock.seconds() <= 1000 + DEFAULT_REQUEST_TIME + SWEEP_EVERY


def test_a_guest_that_shuts_its_half_gets_all_its_answers(answering: Answering, clock: TurnClock) -> None:
    guest = Guest(answering)
    guest.send_now(HOSTNAME * 3 * SHARE)
    guest.wire.protocol.readConnectionLost()
    clock.turns()
    guest.read()
    assert (guest.statuses, guest.ended) == ([200] * 3 * SHARE, "closed")


def test_what_is_no_request_is_refused_in_its_turn(answering: Answering, clock: TurnClock) -> None:
    guest = Guest(answering)
    guest.send_now(HOSTNAME * (SHARE + 1) + b"\0\n")
    assert statuses([guest]) == [[200] * SHARE]
    clock.turn()
    assert (statuses([guest]), guest.ended) == ([[200] * (SHARE + 1) + [400]], "half-closed")


def test_a_password_is_stored_in_its_turn(answering: Answering, clock: TurnClock) -> None:
    asked: list[Deferred[Outcome]] = []

    def store(_tag: int, _password: str) -> Deferred[Outcome]:
        asked.append(Deferred())
        return asked[-1]

    answering.store_password = store
    guest = Guest(answering)
    guest.send_now(
        HOSTNAME * SHARE + get("/openstack/latest/password", "Content-Length: 1", method="POST") + b"x" + HOSTNAME
    )
    assert asked == []
    clock.turns()
    (waiting,) = asked
    assert not guest.wire.reading
    spend(answering)
    waiting.callback(Outcome.ALREADY_SET)
    assert statuses([guest]) == [[200] * SHARE + [409]]
    assert not guest.wire.reading
    clock.turns()
    assert statuses([guest]) == [[200] * SHARE + [409, 200]]
    assert guest.wire.reading


def test_the_last_answer_before_the_worker_ends_is_given_in_its_turn(answering: Answering, clock: TurnClock) -> None:
    guest, unread = spend(answering), Guest(answering)
    guest.send_now(HOSTNAME * 2)
    answering.draining = True
    answering.guests.end_idle()
    clock.turn()
    unread.send_now(HOSTNAME)
    assert statuses([guest, unread]) == [[200] * (SHARE + 1), [200]]
    assert [each.answers[-1].fields["Connection"] for each in (guest, unread)] == ["close", "close"]
    assert (guest.ended, unread.ended) == ("half-closed", "closed")


def test_no_turn_brings_an_answer_when_the_supervisor_is_gone(answering: Answering, clock: TurnClock) -> None:
    guest, unread = spend(answering), Guest(answering)
    guest.send_now(HOSTNAME)
    answering.guests.finish()
    clock.turns()
    assert (statuses([guest, unread]), guest.ended, unread.ended) == ([[200] * SHARE, []], "half-closed", "closed")
    guest.shut()  # is read: otherwise the connection would stay until its time is over
    assert guest.wire.reading or guest.ended == "closed"
    assert answering.guests.is_quiet


def test_a_defect_ends_one_connection_and_the_others_take_their_turns(
    answering: Answering, clock: TurnClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    spend(answering)
    broken, whole = Guest(answering, TAG), Guest(answering, TAG)

    def advance(_allowance: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(broken.wire.protocol, "_advance", advance)
    with capturedLogs() as logged:
        clock.turn()
    (line,) = logged
    assert "secret" not in str(line["log_format"]).format(**line)
    whole.send_now(HOSTNAME)
    assert (broken.ended, statuses([whole])) == ("aborted", [[200]])
