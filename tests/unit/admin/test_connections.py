"""Limits on the connections that programs of the host open: how many, how fast and for how long."""

from __future__ import annotations

from typing import Any, cast

from attrs import define, field
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from eve_meta.admin.access import ROOT
from eve_meta.admin.connections import PAUSE, Connections
from eve_meta.admin.metrics import CONNECTION_TIME, MAX_CONNECTIONS, MetricsSite
from eve_meta.admin.server import AdminFactory
from eve_meta.runtime.clock import Clock as WallClock
from eve_meta.supervisor.events import Events


@define(eq=False)
class Client:
    is_idle: bool = True
    aborted: bool = False

    def abort(self) -> None:
        self.aborted = True


@define
class Port:
    calls: list[str] = field(factory=list)

    def stopReading(self) -> None:
        self.calls.append("stop")

    def startReading(self) -> None:
        self.calls.append("start")


class Transport(StringTransport):
    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


def test_one_too_many_ends_the_oldest_that_is_idle() -> None:
    connections = Connections(cast(Any, Clock()), most=3, time=10, rate=100)
    clients = [Client(is_idle=False), Client(), Client()]
    for client in clients:
        assert connections.admit()
        connections.opened(client)
    assert connections.admit()
    assert ([client.aborted for client in clients], len(connections)) == ([False, True, False], 2)


def test_nobody_is_ended_while_all_wait_for_an_answer() -> None:
    connections = Connections(cast(Any, Clock()), most=1, time=10, rate=100)
    client = Client(is_idle=False)
    connections.opened(client)
    assert (connections.admit(), client.aborted) == (False, False)


def test_a_connection_ends_when_its_time_is_over_unless_it_asked() -> None:
    clock = Clock()
    connections = Connections(cast(Any, clock), most=9, time=10, rate=100)
    silent, asking, gone = Client(), Client(), Client()
    for client in (silent, asking, gone):
        connections.opened(client)
    connections.asked(asking)
    connections.closed(gone)
    clock.advance(10)
    assert (silent.aborted, asking.aborted, gone.aborted) == (True, False, False)


def test_beyond_the_rate_nothing_is_accepted_for_a_moment() -> None:
    clock, port = Clock(), Port()
    connections = Connections(cast(Any, clock), most=1000, time=10, rate=20)
    connections.listen(port)
    assert [connections.admit() for _ in range(22)] == [True] * 20 + [False] * 2
    assert port.calls == ["stop"]
    clock.advance(PAUSE)
    assert port.calls == ["stop", "start"]
    assert connections.admit()
    assert [connections.admit() for _ in range(2)] == [True, False]
    assert port.calls == ["stop", "start", "stop"]


def connect(factory: Any) -> tuple[Any, Transport]:
    protocol, transport = factory.buildProtocol(None), Transport()
    protocol.makeConnection(transport)
    return protocol, transport


def site(clock: Clock) -> Any:
    return MetricsSite(cast(Any, clock), cast(Any, None))


def test_a_flood_of_connections_to_the_metrics_holds_few() -> None:
    clock = Clock()
    flooded = site(clock)
    clients = []
    for _ in range(1000):
        clients.append(connect(flooded))
        clock.advance(0.05)
    assert len(flooded.connections) == MAX_CONNECTIONS
    assert [transport.aborted for _, transport in clients] == [True] * (1000 - MAX_CONNECTIONS) + [
        False
    ] * MAX_CONNECTIONS


def test_a_scraper_that_sends_a_byte_now_and_then_is_ended() -> None:
    clock = Clock()
    protocol, transport = connect(site(clock))
    for _ in range(int(CONNECTION_TIME)):
        assert not transport.aborted
        protocol.dataReceived(b"G")
        clock.advance(1)
    assert transport.aborted


def test_a_body_is_not_stored() -> None:
    for header in (b"Content-Length: 1000000000000", b"Transfer-Encoding: chunked"):
        protocol, transport = connect(site(Clock()))
        protocol.dataReceived(b"POST /metrics HTTP/1.1\r\nHost: a\r\n" + header + b"\r\n\r\n")
        assert transport.aborted


def test_each_connection_to_the_metrics_is_for_one_answer() -> None:
    protocol, transport = connect(site(Clock()))
    protocol.dataReceived(b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\nGET /nothing HTTP/1.1\r\nHost: a\r\n\r\n")
    assert transport.value().count(b"HTTP/1.1 404") == 1
    assert b"connection: close" in transport.value().lower()
    assert transport.disconnecting


def test_the_admin_socket_has_the_same_limits() -> None:
    clock = Clock()
    factory = AdminFactory(cast(Any, clock), {}, Events(WallClock()), ROOT, user_of=lambda _: 0)
    clients = [connect(factory) for _ in range(ROOT.connections + 1)]
    assert [transport.aborted for _, transport in clients] == [True] + [False] * ROOT.connections
    follower, of_follower = clients[-1]
    follower.dataReceived(b'{"question": "follow"}\n')
    clock.advance(ROOT.question_time)
    assert all(transport.aborted for _, transport in clients[:-1])
    assert not of_follower.aborted
