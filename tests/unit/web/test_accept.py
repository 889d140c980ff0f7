"""Connections whose request arrived before they are accepted, and those that outlive the turn that accepts them."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import select
import socket
import struct
import time
from collections.abc import Callable

import pytest
from twisted.logger import capturedLogs

from eve_meta.web import accept
from eve_meta.web.accept import Acceptor
from eve_meta.web.answering import Answering
from eve_meta.web.guests import Guests
from tests.unit.turns import TurnClock
from tests.unit.web.guest import TAG, answers, counted, domain, get
from tests.unit.web.loopback import LIMITS, MIB, PATIENCE, USER_DATA, Server, ask_again, rest, statuses, until

RESET = struct.pack("ii", 1, 0)
ONE = get("/openstack", "Connection: close")


class CountingReactor(TurnClock):
    """A reactor that only notes which descriptors are to be read."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[object] = []

    def addReader(self, reader: object) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: object) -> None:
        if reader in self.readers:
            self.readers.remove(reader)

    addWriter = addReader


class OneTurn:
    """An acceptor whose turns the test calls itself."""

    def __init__(self) -> None:
        self.reactor = CountingReactor()
        self._tags: dict[int, int] = {}
        guests = Guests(self.reactor, identify=lambda sock: self._tags[sock.getpeername()[1]], limits=LIMITS)
        self.answering = Answering(self.reactor, guests)
        self.answering.current_until = math.inf
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.acceptor = Acceptor(self.reactor, self.listener, self.answering)
        self.acceptor.start()

    def guest(self, tag: int = TAG, data: bytes = b"") -> socket.socket:
        """Return the socket of a guest of *tag* that is connected, has sent *data*, and is not accepted yet."""
        if self.answering.guests.table.get(tag) is None:
            self.answering.guests.put(tag, f"vnet{tag}", 0.0, domain())
        guest = socket.create_connection(self.listener.getsockname(), timeout=PATIENCE)
        self._tags[guest.getsockname()[1]] = tag
        guest.sendall(data)
        return guest


@pytest.fixture
def turn() -> OneTurn:
    return OneTurn()


def test_one_request_costs_the_reactor_nothing(turn: OneTurn) -> None:
    with turn.guest() as guest, turn.listener:
        guest.sendall(get("/latest/meta-data/hostname", "Connection: close"))
        turn.acceptor.doRead()
        assert turn.reactor.readers == [turn.acceptor]
        assert len(turn.reactor.getDelayedCalls()) == 2  # the sweep, and the ageing of the table
        (answer,) = answers(rest(guest))
        assert answer.body == b"web1.example.org"
        assert counted(turn.answering) == {"200": 1}


def test_all_waiting_guests_are_answered_in_one_turn(turn: OneTurn) -> None:
    with turn.listener:
        guests = [turn.guest(tag, ONE) for tag in range(1, accept.BATCH + 1)]
        turn.acceptor.doRead()
        for guest in guests:
            with guest:
                assert statuses(rest(guest)) == [200]


def unanswered(guests: list[socket.socket]) -> list[socket.socket]:
    """Return those of *guests* that have got nothing yet."""
    answered, _, _ = select.select(guests, (), (), 0)
    return [guest for guest in guests if guest not in answered]


def test_a_guest_with_many_connections_at_once_delays_its_neighbours_by_its_share(turn: OneTurn) -> None:
    with turn.listener, contextlib.ExitStack() as stack:
        flooding = [stack.enter_context(turn.guest(TAG, ONE)) for _ in range(accept.BATCH - 1)]
        neighbour = stack.enter_context(turn.guest(TAG + 1, ONE))
        turn.acceptor.doRead()
        assert statuses(rest(neighbour)) == [200]
        left = len(flooding) - LIMITS.max_answers_a_turn
        while left > 0:
            assert len(unanswered(flooding)) == left
            turn.reactor.turn()
            left -= LIMITS.max_answers_a_turn
        # Each costs what it costs alone: the reactor never hears of it.
        assert turn.reactor.readers == [turn.acceptor]
        assert [statuses(rest(guest)) for guest in flooding] == [[200]] * len(flooding)
        assert turn.answering.guests.is_quiet


def test_a_connection_that_waits_for_its_turn_ends_as_any_other(turn: OneTurn) -> None:
    with turn.listener, contextlib.ExitStack() as stack:
        spent = [stack.enter_context(turn.guest(TAG, ONE)) for _ in range(LIMITS.max_answers_a_turn)]
        reset = turn.guest(TAG, ONE)
        silent = stack.enter_context(turn.guest())
        more = stack.enter_context(turn.guest(TAG, get("/openstack")))
        turn.acceptor.doRead()
        assert [statuses(rest(guest)) for guest in spent] == [[200]] * len(spent)
        reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        reset.close()
        assert turn.reactor.readers == [turn.acceptor]
        turn.reactor.turn()
        # The silent one and the one that is kept alive are Twisted's now.
        assert len(turn.reactor.readers) == 3
        assert unanswered([silent, more]) == [silent]


@pytest.mark.parametrize("end", [Guests.cut_all, Guests.finish])
def test_no_connection_that_waits_for_its_turn_is_answered_after_its_end(
    turn: OneTurn, end: Callable[[Guests], None]
) -> None:
    with turn.listener, contextlib.ExitStack() as stack:
        guests = [stack.enter_context(turn.guest(TAG, ONE)) for _ in range(LIMITS.max_answers_a_turn + 1)]
        turn.acceptor.doRead()
        end(turn.answering.guests)
        turn.reactor.turn()
        with pytest.raises(ConnectionResetError):
            guests[-1].recv(1)
        assert turn.answering.guests.is_quiet


def test_a_defect_in_a_later_turn_ends_one_connection(turn: OneTurn, monkeypatch: pytest.MonkeyPatch) -> None:
    with turn.listener, contextlib.ExitStack() as stack, capturedLogs() as logged:
        guests = [stack.enter_context(turn.guest(TAG, ONE)) for _ in range(LIMITS.max_answers_a_turn + 1)]
        turn.acceptor.doRead()
        with monkeypatch.context() as broken:
            broken.setattr(turn.answering, "now", _fail)
            turn.reactor.turn()
        with pytest.raises(ConnectionError):
            guests[-1].recv(1)
        assert turn.answering.guests.is_quiet
    (line,) = logged
    assert "secret" not in str(line["log_format"]).format(**line)


def test_a_turn_accepts_a_limited_number_of_guests(turn: OneTurn) -> None:
    with turn.listener:
        guests = [turn.guest() for _ in range(accept.BATCH + 1)]
        for guest in guests:
            guest.sendall(ONE)
        turn.acceptor.doRead()
        guests[-1].settimeout(0.05)
        with pytest.raises(TimeoutError):
            guests[-1].recv(1)
        for guest in guests:
            guest.close()


def test_a_guest_that_comes_while_a_turn_waits_is_answered_in_that_turn(
    turn: OneTurn, monkeypatch: pytest.MonkeyPatch
) -> None:
    with turn.listener, contextlib.ExitStack() as stack:
        guests = [stack.enter_context(turn.guest()) for _ in range(2)]

        def another(*_: object) -> tuple[list[socket.socket], list[int], list[int]]:
            if len(guests) == 3:
                return [], [], []
            guests.append(stack.enter_context(turn.guest()))
            guests[-1].sendall(ONE)
            return [turn.listener], [], []

        monkeypatch.setattr("eve_meta.web.accept.select.select", another)
        for guest in tuple(guests):
            guest.sendall(ONE)
        turn.acceptor.doRead()
        assert [statuses(rest(guest)) for guest in guests] == [[200]] * 3


def test_a_turn_is_prolonged_for_a_few_guests_only(turn: OneTurn, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = 0

    def one_soon(*_: object) -> tuple[list[socket.socket], list[int], list[int]]:
        nonlocal waits
        waits += 1
        return [turn.listener], [], []

    monkeypatch.setattr("eve_meta.web.accept.select.select", one_soon)
    with turn.listener, turn.guest() as one, turn.guest() as other:
        for guest in (one, other):
            guest.sendall(ONE)
        turn.acceptor.doRead()
    assert waits == accept.WAITS


def test_a_guest_that_boots_alone_makes_nobody_wait(turn: OneTurn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eve_meta.web.accept.select.select", _fail)
    with turn.listener, turn.guest() as guest:
        guest.sendall(ONE)
        turn.acceptor.doRead()
        assert statuses(rest(guest)) == [200]


def test_no_descriptors_left(turn: OneTurn, monkeypatch: pytest.MonkeyPatch) -> None:
    with turn.guest() as guest, turn.listener:
        guest.sendall(ONE)
        with monkeypatch.context() as full:
            full.setattr(socket.socket, "accept", _no_descriptors)
            turn.acceptor.doRead()
        # A listener that stays readable would keep the reactor busy.
        assert turn.reactor.readers == []
        turn.reactor.advance(accept.REST)
        assert turn.reactor.readers == [turn.acceptor]
        turn.acceptor.doRead()
        assert statuses(rest(guest)) == [200]


def test_a_stopped_acceptor_leaves_guests_to_other_processes(turn: OneTurn, monkeypatch: pytest.MonkeyPatch) -> None:
    with turn.listener.dup() as other, turn.guest() as guest:
        guest.sendall(ONE)
        with monkeypatch.context() as full:
            full.setattr(socket.socket, "accept", _no_descriptors)
            turn.acceptor.doRead()
        turn.acceptor.stop()
        turn.reactor.advance(accept.REST)
        assert turn.reactor.readers == []
        next_one = Acceptor(turn.reactor, other, turn.answering)
        next_one.doRead()
        assert statuses(rest(guest)) == [200]


def _no_descriptors(_self: socket.socket) -> None:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_a_defect_ends_one_connection_and_not_the_listener(turn: OneTurn, monkeypatch: pytest.MonkeyPatch) -> None:
    with turn.listener, capturedLogs() as logged:
        with turn.guest() as guest, monkeypatch.context() as broken:
            broken.setattr(turn.answering, "now", _fail)
            guest.sendall(get("/latest/user-data", "Connection: close"))
            turn.acceptor.doRead()
            with pytest.raises(ConnectionError):
                guest.recv(1)
        with turn.guest() as guest:
            guest.sendall(ONE)
            turn.acceptor.doRead()
            assert statuses(rest(guest)) == [200]
    (line,) = logged
    assert "secret" not in str(line["log_format"]).format(**line)


def _fail(*_: object) -> None:
    raise RuntimeError("secret")


def test_a_turn_without_a_connection_ends(turn: OneTurn) -> None:
    with turn.listener:
        turn.acceptor.doRead()
        assert turn.reactor.readers == [turn.acceptor]


# -- with a real reactor; the guest has done all this before it is accepted --


def test_nc_sends_shuts_its_half_and_reads(server: Server) -> None:
    with server.connect() as guest:
        with server.held():
            guest.sendall(b"GET /latest/meta-data/hostname HTTP/1.0\r\n\r\n")
            guest.shutdown(socket.SHUT_WR)
        (answer,) = answers(rest(guest))
    assert answer.body == b"web1.example.org"


def test_half_a_request_and_its_rest_later(server: Server) -> None:
    request = get("/latest/meta-data/hostname", "Connection: close")
    with server.held():
        guest = server.connect()
        guest.sendall(request[:20])
    with guest:
        until(lambda: server.open() == 1)
        guest.sendall(request[20:])
        assert statuses(rest(guest)) == [200]


def test_nothing_at_first_and_a_request_later(server: Server) -> None:
    with server.held():
        guest = server.connect()
    with guest:
        until(lambda: server.open() == 1)
        guest.sendall(ONE)
        assert statuses(rest(guest)) == [200]


def test_a_connection_that_is_kept_alive_goes_on(server: Server) -> None:
    with server.held():
        guest = server.connect()
        guest.sendall(get("/openstack"))
    with guest:
        assert guest.recv(4096).startswith(b"HTTP/1.1 200")
        guest.sendall(ONE)
        assert statuses(rest(guest)) == [200]


def test_the_socket_takes_a_part_of_the_answer_only(server: Server) -> None:
    with server.held():
        guest = server.connect(receive_buffer=4096)
        guest.sendall(get(USER_DATA) + get(USER_DATA, "Connection: close"))
    with guest:
        assert [answer.body == MIB for answer in answers(rest(guest))] == [True, True]


def test_the_guest_does_not_read_what_the_socket_did_not_take(server: Server) -> None:
    with server.held():
        guest = server.connect(receive_buffer=4096)
        guest.sendall(get(USER_DATA, "Connection: close"))
    with guest:
        until(lambda: server.open() == 1)
        until(lambda: server.open() == 0)
        with pytest.raises(ConnectionResetError):
            rest(guest)


def test_reset_before_and_after_the_request(server: Server) -> None:
    for request in (b"", get(USER_DATA), ONE):
        with server.held(), server.connect() as guest:
            guest.sendall(request)
            guest.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    time.sleep(0.05)
    until(lambda: server.open() == 0)


def test_a_refusal_arrives_although_the_guest_has_sent_more(server: Server) -> None:
    with server.held():
        guest = server.connect()
        guest.sendall(get("/", "Content-Length: 100000", method="POST") + bytes(100_000))
    with guest:
        assert statuses(rest(guest)) == [413]


def test_one_connection_too_many(server: Server) -> None:
    with server.held():
        guests = [server.connect() for _ in range(LIMITS.max_connections + 1)]
        for guest in guests:
            guest.sendall(b"G")  # a silent one is the kernel's for a while
    until(lambda: server.open() == LIMITS.max_connections)
    with pytest.raises(ConnectionError):
        ask_again(guests[-1])
    for guest in guests:
        guest.close()


def test_a_password_waits_for_the_supervisor(server: Server) -> None:
    body = b"secret"
    with server.held():
        guest = server.connect()
        fields = (f"Content-Length: {len(body)}", "Connection: close")
        guest.sendall(get("/openstack/latest/password", *fields, method="POST") + body)
    with guest:
        # No supervisor stores passwords here.
        assert statuses(rest(guest)) == [503]
