"""Prometheus metrics over HTTP, on an address of the host. Imported only where the configuration asks for it.

Every answer is made from what the daemon knows at that moment, so that a tap or a domain that is gone has no series any
more. Labels hold the host's own names and words of closed sets, never what a guest sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import accumulate
from typing import Any, cast

from attrs import frozen
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.http import Request as HttpRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from eve_meta import __version__
from eve_meta.admin.connections import Connections
from eve_meta.admin.status import DHCP_ANSWERS, drops
from eve_meta.inventory.inventory import Inventory
from eve_meta.runtime.turns import in_turns
from eve_meta.steering.bpf.maps import Reason
from eve_meta.steering.steering import Steering
from eve_meta.supervisor.supervisor import Supervisor
from eve_meta.supervisor.tap_state import TapState
from eve_meta.values.request_kind import RequestKind
from eve_meta.wire.counts import Drop, Note
from eve_meta.wire.latency import BOUNDS

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
"""The content type of Prometheus' text format, which every scraper reads."""

FRESH_TIME = 1.0
"""Seconds for which an answer is reused, however many scrapers ask: with 4,000 taps, making one takes a CPU second."""

MAX_CONNECTIONS = 32
"""The most connections at a time: enough for several scrapers and a few people."""

CONNECTION_TIME = 30.0
"""Seconds after which a connection is ended in any case: three times Prometheus' default ``scrape_timeout``. Each
connection is for one answer, so that nobody holds one for longer."""

CONNECTION_RATE = 50.0
"""Connections a second. A scraper opens one every few seconds."""

LIMITS = {
    Drop.REFUSED_CONNECTIONS: "connections",
    Drop.TIMEOUT: "request_time",
    Drop.SLOW_READER: "write_time",
}
"""The ends of connections that a limit causes, each with the limit (:mod:`eve_meta.web.limits`)."""

CUTS = (Drop.MALFORMED, Drop.REVOKED)

LIMIT_STATUSES = {429: "rate", 413: "size", 414: "size", 431: "size"}

LIMIT_REASONS = {Reason.DROP_CONNECTION_RATE: "new_connections", Reason.DROP_PACKET_RATE: "packets"}


@frozen(kw_only=True)
class TapNumbers:
    """The numbers of one tap at one moment.

    :ivar names: the values of the labels that all series of the tap have: the tap and its domain.
    """

    names: tuple[str, str]
    uuid: str
    tag: int
    asked: tuple[tuple[RequestKind, int, int], ...]
    buckets: tuple[int, ...]
    total: float
    counts: Mapping[str, int]
    frames: Mapping[Reason, int]


@frozen(kw_only=True)
class Numbers:
    """All numbers at one moment."""

    taps: tuple[TapNumbers, ...]
    namespace: str
    domains: int
    problems: int
    overruns: int
    unsteered: Mapping[str, int]
    unsteered_drops: Mapping[str, int]
    heals: Mapping[str, int]
    workers: tuple[tuple[bool, int, int, int], ...]
    lapses: int


def read_tap(state: TapState, steering: Steering) -> TapNumbers:
    """Read the numbers of one tap."""
    domain = state.domain
    return TapNumbers(
        names=(state.tap.name, "" if domain is None else domain.display_name),
        uuid="" if domain is None else str(domain.instance_uuid),
        tag=state.tap.tag,
        asked=tuple((kind, status, seen.count) for kind, status, seen in state.asked.kinds),
        buckets=tuple(state.times.buckets),
        total=state.times.total,
        counts=dict(state.counts),
        frames=steering.counters(state.tap.tag),
    )


def read(taps: Iterable[TapNumbers], supervisor: Supervisor, steering: Steering, inventory: Inventory) -> Numbers:
    """Read the other numbers, and join them with those of *taps*."""
    return Numbers(
        # Two taps never share a name for long, but two equal series would make the whole text invalid.
        taps=tuple({tap.names[0]: tap for tap in taps}.values()),
        namespace=steering.namespace.name,
        domains=sum(1 for _ in inventory.domains()),
        problems=len(steering.problems) + sum(1 for _ in inventory.problems()),
        overruns=steering.overruns,
        unsteered=dict(supervisor.tallies.unsteered),
        unsteered_drops=drops(steering.counters(0)),
        heals=dict(supervisor.restorations),
        workers=tuple(
            (worker.pid is not None, worker.restarts, worker.forbidden_calls, worker.hangs)
            for worker in supervisor.workers
        ),
        lapses=supervisor.heartbeat.lapses,
    )


class _Families(Collector):
    """*numbers* as the families that ``prometheus_client`` writes."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers

    def collect(self) -> Iterator[Metric]:
        yield from self._of_taps()
        yield from self._of_host()

    def _of_taps(self) -> Iterator[Metric]:
        taps = self._numbers.taps
        info = GaugeMetricFamily("eve_meta_tap_info", "A tap, its domain and its tag", labels=(*_BY_TAP, "uuid", "tag"))
        requests = _counter("requests", "Answers to guests", "document", "status")
        times = HistogramMetricFamily(
            "eve_meta_request_duration_seconds",
            "From the accepted connection, or a later request's first byte, to the answer's last",
            labels=_BY_TAP,
        )
        tokens = _counter(
            "tokens", "Session tokens issued; requests without one, or with one that is not valid", "result"
        )
        limits = _counter("limits", "How often a guest came up against a limit", "limit")
        cuts = _counter("connections_cut", "Connections that ended otherwise than in good order", "reason")
        frames = _counter("frames", "Frames to the service, and back", "direction")
        dhcp = _counter("dhcp_answers", "Answers of taps to their guests' DHCP", "answer")
        dropped = _counter("dropped_frames", "Frames dropped by the BPF programs", "reason")
        for tap in taps:
            info.add_metric((*tap.names, tap.uuid, str(tap.tag)), 1)
            for kind, status, count in tap.asked:
                requests.add_metric((*tap.names, kind.value, str(status)), count)
            if any(tap.buckets):
                times.add_metric(tap.names, _cumulative(tap.buckets), tap.total)
            _add(tokens, tap, _tokens(tap))
            _add(limits, tap, _limits(tap))
            _add(cuts, tap, {drop.value: tap.counts.get(drop.value, 0) for drop in CUTS})
            passed = {"in": Reason.PASSED_REQUEST, "out": Reason.PASSED_ANSWER}
            _add(frames, tap, {direction: tap.frames.get(reason, 0) for direction, reason in passed.items()})
            _add(dhcp, tap, {answer: tap.frames.get(reason, 0) for answer, reason in DHCP_ANSWERS.items()})
            _add(dropped, tap, drops(tap.frames))
        yield from (info, requests, times, tokens, limits, cuts, frames, dhcp, dropped)

    def _of_host(self) -> Iterator[Metric]:
        numbers = self._numbers
        info = GaugeMetricFamily("eve_meta_info", "The daemon", labels=("version", "namespace"))
        info.add_metric((__version__, numbers.namespace), 1)
        yield info
        yield GaugeMetricFamily("eve_meta_taps", "Taps that are steered", value=len(numbers.taps))
        yield GaugeMetricFamily("eve_meta_domains", "Domains that the inventory knows", value=numbers.domains)
        yield GaugeMetricFamily("eve_meta_problems", "Problems that 'eve-meta status' shows", value=numbers.problems)
        yield CounterMetricFamily("eve_meta_netlink_overruns", "Times netlink messages were lost", numbers.overruns)
        up = GaugeMetricFamily("eve_meta_worker_up", "Whether a worker runs", labels=("worker",))
        restarts = CounterMetricFamily("eve_meta_worker_restarts", "Times a worker died", labels=("worker",))
        forbidden = CounterMetricFamily(
            "eve_meta_worker_forbidden_calls", "Times a worker died of a forbidden system call", labels=("worker",)
        )
        hangs = CounterMetricFamily(
            "eve_meta_worker_hangs", "Times a worker was killed because it did not answer", labels=("worker",)
        )
        for number, (runs, died, called, hung) in enumerate(numbers.workers):
            up.add_metric((str(number),), int(runs))
            restarts.add_metric((str(number),), died)
            forbidden.add_metric((str(number),), called)
            hangs.add_metric((str(number),), hung)
        yield from (up, restarts, forbidden, hangs)
        yield CounterMetricFamily(
            "eve_meta_lapses", "Times workers answered 503 because the supervisor did not keep up", numbers.lapses
        )
        for name, text, label, counts in (
            ("heals", "Pieces of the path that were missing and have been restored", "piece", numbers.heals),
            ("unsteered_requests", "Requests that came through no tap, by result", "result", numbers.unsteered),
            ("unsteered_frames", "Frames of no tap that were dropped", "reason", numbers.unsteered_drops),
        ):
            family = CounterMetricFamily(f"eve_meta_{name}", text, labels=(label,))
            for value, count in sorted(counts.items()):
                family.add_metric((value,), count)
            yield family


_BY_TAP = ("tap", "domain")


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"eve_meta_{name}", text, labels=(*_BY_TAP, *labels))


def _add(family: CounterMetricFamily, tap: TapNumbers, counts: Mapping[str, int]) -> None:
    for value, count in counts.items():
        if count:
            family.add_metric((*tap.names, value), count)


def _tokens(tap: TapNumbers) -> dict[str, int]:
    return {
        "issued": sum(count for kind, status, count in tap.asked if (kind, status) == (RequestKind.TOKEN, 200)),
        **{note.value: tap.counts.get(note.value, 0) for note in (Note.NO_TOKEN, Note.INVALID_TOKEN)},
    }


def _limits(tap: TapNumbers) -> dict[str, int]:
    hit = {limit: tap.counts.get(drop.value, 0) for drop, limit in LIMITS.items()}
    hit |= {limit: tap.frames.get(reason, 0) for reason, limit in LIMIT_REASONS.items()}
    for _, status, count in tap.asked:
        if limit := LIMIT_STATUSES.get(status):
            hit[limit] = hit.get(limit, 0) + count
    hit["unread"] = tap.counts.get(Note.TOO_MUCH_UNREAD.value, 0)
    hit["rate"] = max(0, hit.get("rate", 0) - hit["unread"])  # these got 429, too
    return hit


def _cumulative(buckets: tuple[int, ...]) -> list[tuple[str, float]]:
    ends = (*(floatToGoString(bound) for bound in BOUNDS), "+Inf")
    return list(zip(ends, accumulate(buckets), strict=True))


def text_of(numbers: Numbers) -> bytes:
    """Return *numbers* in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(numbers))
    return generate_latest(registry)


class Exposition:
    """Makes the text: it reads the numbers in many turns of the reactor, and formats them in a thread.

    :param in_thread: calls a function in a thread; the result comes later.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        supervisor: Supervisor,
        steering: Steering,
        inventory: Inventory,
        in_thread: Callable[[Callable[[], bytes]], Deferred[bytes]],
    ) -> None:
        self._reactor = reactor
        self._supervisor = supervisor
        self._steering = steering
        self._inventory = inventory
        self._in_thread = in_thread
        self._waiting: list[Deferred[bytes]] = []
        self._text = b""
        self._made = -FRESH_TIME

    def text(self) -> Deferred[bytes]:
        """Return the text, which comes later; it is not older than :data:`FRESH_TIME`."""
        wanted: Deferred[bytes] = Deferred()
        if self._reactor.seconds() - self._made < FRESH_TIME:
            wanted.callback(self._text)
            return wanted
        self._waiting.append(wanted)
        if len(self._waiting) == 1:
            made = self._supervisor.current_counts().addCallback(lambda _: self._read())
            made.addCallback(lambda numbers: self._in_thread(lambda: text_of(numbers)))
            made.addCallbacks(self._deliver, self._failed)
        return wanted

    def _read(self) -> Deferred[Numbers]:
        taps = in_turns(self._reactor, partial(read_tap, steering=self._steering), self._supervisor.taps)
        return taps.addCallback(lambda taps: read(taps, self._supervisor, self._steering, self._inventory))

    def _deliver(self, text: bytes) -> None:
        self._text, self._made = text, self._reactor.seconds()
        waiting, self._waiting = self._waiting, []
        for wanted in waiting:
            wanted.callback(text)

    def _failed(self, failure: Failure) -> None:
        waiting, self._waiting = self._waiting, []
        for wanted in waiting:
            wanted.errback(failure)


class _Metrics(Resource):
    """``/metrics``."""

    _log = Logger()
    isLeaf = True

    def __init__(self, exposition: Exposition) -> None:
        super().__init__()
        self._exposition = exposition

    def render_GET(self, request: Request) -> int:
        gone: list[Any] = []
        request.notifyFinish().addBoth(gone.append)

        def send(text: bytes) -> None:
            if not gone:
                request.setHeader(b"Content-Type", CONTENT_TYPE)
                request.write(text)
                request.finish()

        def failed(failure: Failure) -> None:
            self._log.failure("the metrics could not be made", failure)
            if not gone:
                request.setResponseCode(500)
                request.finish()

        self._exposition.text().addCallback(send).addErrback(failed)
        return NOT_DONE_YET


class _Request(Request):
    """A request without a body: twisted.web would write one of any size into a file."""

    def gotLength(self, length: int | None) -> None:
        super().gotLength(0)
        if length != 0:
            cast(_Channel, self.channel).abort()


class _Channel(HTTPChannel):
    """A connection for one answer.

    :ivar is_idle: False while the daemon makes the answer; True while it waits for the client to send or to read.
    """

    factory: MetricsSite
    is_idle = True

    def connectionMade(self) -> None:
        super().connectionMade()
        self.factory.connections.opened(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.connections.closed(self)
        super().connectionLost(reason)

    def abort(self) -> None:
        """End the connection at once."""
        cast(ITCPTransport, self.transport).abortConnection()

    def checkPersistence(self, request: HttpRequest, version: bytes) -> bool:
        self.is_idle = False
        request.responseHeaders.setRawHeaders(b"connection", [b"close"])
        return False

    def requestDone(self, request: HttpRequest) -> None:
        self.is_idle = True
        super().requestDone(request)


class MetricsSite(Site):
    """The HTTP site of the metrics: ``/metrics`` and nothing else."""

    noisy = False
    displayTracebacks = False
    # Not a channel that could turn to HTTP/2.
    protocol: Any = _Channel

    def __init__(self, reactor: IReactorTime, exposition: Exposition) -> None:
        root = Resource()
        root.putChild(b"metrics", _Metrics(exposition))
        super().__init__(root, requestFactory=_Request)
        self.connections = Connections(reactor, most=MAX_CONNECTIONS, time=CONNECTION_TIME, rate=CONNECTION_RATE)

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return super().buildProtocol(addr) if self.connections.admit() else None

    def log(self, request: HttpRequest) -> None:
        """Log nothing: scrapes are routine."""
