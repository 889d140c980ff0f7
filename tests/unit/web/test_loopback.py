"""The same attacks over real sockets and a real reactor, where resets and half-closes are the kernel's."""

from __future__ import annotations

import contextlib
import socket
import struct
import time

import pytest

from tests.unit.web.guest import OTHER_UUID, answers, domain, get
from tests.unit.web.loopback import LIMITS, MIB, PATIENCE, USER_DATA, Server, ask_again, rest, statuses, until


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (get("/openstack", "Connection: close"), 200),
        (b"GET / HTTP/1.0\r\n\r\n", 200),
        (b"GET / HTTP/1.1\n\n", 400),
        (b"\x16\x03\x01\x02\0\x01\0\n", 400),  # begins like TLS
        (get("/nothing", "Connection: close"), 404),
        (get("/openstack", "Connection: close", method="DELETE"), 405),
        (b"GET / HTT", 408),
        (get("/", "Transfer-Encoding: chunked", method="POST") + b"5\r\nhello\r\n", 411),
        (get("/", "Content-Length: 1000000", method="POST") + bytes(1_000_000), 413),
        (b"GET /" + b"a" * 100_000, 414),
        (get("/", "Expect: tea"), 417),
        (get("/", *(f"X: {'a' * 1000}" for _ in range(100))), 431),
        (get("/", method="BREW"), 501),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ],
)
def test_each_answer_arrives_although_the_guest_sends_on(server: Server, data: bytes, status: int) -> None:
    with server.connect() as guest:
        # After a refusal the worker may close before all is sent; the answer must have arrived all the same.
        with contextlib.suppress(ConnectionError):
            guest.sendall(data)
        assert statuses(rest(guest)) == [status]


def test_a_slow_sender_byte_by_byte(server: Server) -> None:
    with server.connect() as guest:
        for byte in get("/latest/meta-data/hostname", "Connection: close"):
            guest.send(bytes([byte]))
            time.sleep(0.002)
        (answer,) = answers(rest(guest))
    assert answer.body == b"web1.example.org"


def test_slowloris(server: Server) -> None:
    with server.connect() as guest, contextlib.suppress(ConnectionError):
        guest.settimeout(0.05)
        began = time.monotonic()
        read = b""
        guest.sendall(b"GET / HTTP/1.1\r\n")
        while not read:
            guest.send(b"a")
            with contextlib.suppress(TimeoutError):
                read = guest.recv(4096)
        assert statuses(read) == [408]
        assert LIMITS.request_time <= time.monotonic() - began < PATIENCE
    assert server.counted()["timeout"] == 1


def test_100_requests_at_once(server: Server) -> None:
    with server.connect() as guest:
        guest.sendall(get("/openstack") * 99 + get("/openstack", "Connection: close"))
        assert statuses(rest(guest)) == [200] * 100


def test_100_large_answers_in_a_pipeline(server: Server) -> None:
    with server.connect(receive_buffer=4096) as guest:
        guest.sendall(get(USER_DATA) * 9 + get(USER_DATA, "Connection: close"))
        assert [answer.body == MIB for answer in answers(rest(guest))] == [True] * 10


def test_a_guest_that_shuts_its_half_still_gets_1_mib(server: Server) -> None:
    with server.connect(receive_buffer=4096) as guest:
        guest.sendall(get(USER_DATA))
        guest.shutdown(socket.SHUT_WR)
        time.sleep(0.1)
        (answer,) = answers(rest(guest))
    assert answer.body == MIB


def test_a_guest_that_does_not_read_its_1_mib_is_cut(server: Server) -> None:
    with server.connect(receive_buffer=4096) as guest:
        guest.sendall(get(USER_DATA) * 3)
        until(lambda: server.open() == 1)
        until(lambda: server.open() == 0)
        with pytest.raises(ConnectionResetError):
            rest(guest)
    assert server.counted() == {"200": 1, "slow_reader": 1}


def test_a_guest_that_resets_within_its_answer(server: Server) -> None:
    for _ in range(20):
        with server.connect(receive_buffer=4096) as guest:
            guest.sendall(get(USER_DATA) * 3)
            guest.recv(1000)
            guest.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: server.open() == 0)


def test_a_guest_that_is_gone_before_it_is_accepted(server: Server) -> None:
    for _ in range(LIMITS.max_connections):
        with server.connect() as guest:
            guest.sendall(get("/openstack"))
            guest.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: server.open() == 0)


def test_an_idle_connection_is_closed_in_good_order(server: Server) -> None:
    with server.connect() as guest:
        guest.sendall(get("/openstack"))
        assert statuses(rest(guest)) == [200]


def test_a_connection_too_many_is_reset(server: Server) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(LIMITS.max_connections):
            stack.enter_context(server.connect())
        until(lambda: server.open() == LIMITS.max_connections)
        # The reset may be there before connect() is back.
        with pytest.raises(ConnectionError):
            ask_again(server.connect())
        assert server.counted() == {"refused_connections": 1}


def test_the_next_domain_of_a_tap_is_never_served_on_an_old_connection(server: Server) -> None:
    with server.connect() as idle, server.connect(receive_buffer=4096) as reading:
        idle.sendall(get("/openstack"))
        assert idle.recv(4096)
        reading.sendall(get(USER_DATA))
        assert reading.recv(1000)
        server.put(domain(OTHER_UUID))
        with pytest.raises(ConnectionError):
            ask_again(idle)
        with pytest.raises(ConnectionResetError):
            rest(reading)
