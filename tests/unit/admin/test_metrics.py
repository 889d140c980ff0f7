"""The metrics as a scraper reads them, and what they cost a daemon without metrics."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from attrs import evolve
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.web.test.requesthelper import DummyRequest

from eve_meta.admin.metrics import FRESH_TIME, Exposition, MetricsSite, Numbers, TapNumbers, read, text_of
from eve_meta.steering.bpf.maps import Reason
from eve_meta.values.request_kind import RequestKind
from eve_meta.wire.latency import BUCKETS

WEB = TapNumbers(
    names=("vnet1", "web1"),
    uuid="1a831fa7-c50b-4693-a16e-fb8171f1b69e",
    tag=7,
    asked=(
        (RequestKind.META_DATA, 200, 3),
        (RequestKind.META_DATA, 429, 2),
        (RequestKind.UNREAD, 431, 4),
        (RequestKind.TOKEN, 200, 5),
        (RequestKind.TOKEN, 400, 6),
    ),
    buckets=(1, 2, *[0] * (BUCKETS - 3), 3),
    total=31.5,
    counts={"no_token": 7, "invalid_token": 8, "timeout": 9, "malformed": 10, "wrong_host": 11},
    frames={
        Reason.PASSED_REQUEST: 12,
        Reason.DROP_ARP: 13,
        Reason.DROP_PACKET_RATE: 14,
        Reason.DROP_VLAN: 0,
        Reason.ANSWERED_DHCP_ACK: 15,
    },
)

NUMBERS = Numbers(
    taps=(WEB,),
    namespace="eve-meta",
    domains=2,
    problems=1,
    overruns=4,
    unsteered={"403": 5},
    unsteered_drops={"no_tag": 6},
    heals={"filter": 7},
    workers=((True, 0, 0, 0), (False, 3, 1, 2)),
    lapses=3,
)


ORDER = ("tap", "domain", "document", "status", "result", "limit", "reason", "direction", "uuid", "tag")
"""The labels whose values identify a series here, in this order."""


def samples(text: bytes) -> dict[tuple[str, tuple[str, ...]], float]:
    """Return the value of each series, by its name and the values of its labels."""
    families = text_string_to_metric_families(text.decode())
    found = [sample for family in families for sample in family.samples]
    return {(s.name, _values(s.labels)): s.value for s in found}


def _values(labels: dict[str, str]) -> tuple[str, ...]:
    last = len(ORDER)
    return tuple(labels[name] for name in sorted(labels, key=lambda n: ORDER.index(n) if n in ORDER else last))


def of(found: dict[tuple[str, tuple[str, ...]], float], name: str) -> dict[tuple[str, ...], float]:
    return {labels: value for (sample, labels), value in found.items() if sample == f"eve_meta_{name}"}


def test_a_scraper_reads_every_number() -> None:
    found = samples(text_of(NUMBERS))
    tap = ("vnet1", "web1")
    assert of(found, "tap_info") == {(*tap, WEB.uuid, "7"): 1}
    assert of(found, "requests_total") == {
        (*tap, "openstack/meta_data.json", "200"): 3,
        (*tap, "openstack/meta_data.json", "429"): 2,
        (*tap, "unread", "431"): 4,
        (*tap, "token", "200"): 5,
        (*tap, "token", "400"): 6,
    }
    buckets = of(found, "request_duration_seconds_bucket")
    assert len(buckets) == BUCKETS
    assert [buckets[("vnet1", "web1", end)] for end in ("0.0001", "0.00025", "10.0", "+Inf")] == [1, 3, 3, 6]
    assert of(found, "request_duration_seconds_sum") == {tap: 31.5}
    assert of(found, "request_duration_seconds_count") == {tap: 6}
    assert of(found, "tokens_total") == {(*tap, "issued"): 5, (*tap, "no_token"): 7, (*tap, "invalid_token"): 8}
    assert of(found, "limits_total") == {
        (*tap, "request_time"): 9,
        (*tap, "rate"): 2,
        (*tap, "size"): 4,
        (*tap, "packets"): 14,
    }
    assert of(found, "connections_cut_total") == {(*tap, "malformed"): 10}
    assert of(found, "frames_total") == {(*tap, "in"): 12}
    assert of(found, "dhcp_answers_total") == {(*tap, "ack"): 15}
    assert of(found, "dropped_frames_total") == {(*tap, "arp"): 13, (*tap, "packet_rate"): 14}
    assert of(found, "worker_up") == {("0",): 1, ("1",): 0}
    assert of(found, "worker_restarts_total") == {("0",): 0, ("1",): 3}
    assert of(found, "worker_forbidden_calls_total") == {("0",): 0, ("1",): 1}
    assert of(found, "worker_hangs_total") == {("0",): 0, ("1",): 2}
    assert of(found, "lapses_total") == {(): 3}
    assert of(found, "heals_total") == {("filter",): 7}
    assert of(found, "unsteered_requests_total") == {("403",): 5}
    assert of(found, "unsteered_frames_total") == {("no_tag",): 6}
    assert (of(found, "taps"), of(found, "domains"), of(found, "problems")) == ({(): 1}, {(): 2}, {(): 1})
    assert of(found, "netlink_overruns_total") == {(): 4}


def test_a_name_that_looks_like_further_series_makes_none() -> None:
    wild = 'x"} 1\neve_meta_taps 99\n\\'
    found = samples(text_of(evolve(NUMBERS, taps=(evolve(WEB, names=("vnet1", wild)),))))
    assert of(found, "taps") == {(): 1}
    assert of(found, "tap_info") == {("vnet1", wild, WEB.uuid, "7"): 1}


class _Nothing:
    """A supervisor, steering and inventory of a host on which nothing is."""

    taps = ()
    workers = ()
    overruns = 0
    name = ""

    def __init__(self) -> None:
        self.heartbeat = SimpleNamespace(lapses=0)
        self.unsteered: dict[str, int] = {}
        self.restorations: dict[str, int] = {}
        self.asked: list[Deferred[None]] = []
        self.problems: Any = dict
        self.namespace = self.tallies = self

    def current_counts(self) -> Deferred[None]:
        self.asked.append(Deferred())
        return self.asked[-1]

    def domains(self) -> tuple[()]:
        return ()

    def counters(self, tag: int) -> dict[Reason, int]:
        return {}


def test_of_two_taps_with_one_name_the_later_is_shown() -> None:
    host: Any = _Nothing()
    inventory: Any = _Nothing()
    host.problems = {}
    later = evolve(WEB, tag=8)
    assert read([WEB, later], host, host, inventory).taps == (later,)


@pytest.fixture
def host() -> _Nothing:
    return _Nothing()


def exposition(clock: Clock, host: _Nothing, made: list[bytes]) -> Exposition:
    steering, inventory = cast(Any, _Nothing()), cast(Any, _Nothing())
    steering.problems = {}

    def in_thread(make: Callable[[], bytes]) -> Deferred[bytes]:
        made.append(make())
        return succeed(made[-1])

    return Exposition(cast(Any, clock), cast(Any, host), steering, inventory, in_thread)


def test_the_text_is_made_once_a_second_however_many_scrapers_ask(host: _Nothing) -> None:
    clock, made = Clock(), cast(list[bytes], [])
    clock.advance(100)
    texts = exposition(clock, host, made)
    got: list[bytes] = []
    for _ in range(3):
        texts.text().addCallback(got.append)
    assert (len(host.asked), got) == (1, [])
    host.asked[0].callback(None)
    clock.advance(0)
    assert (got, len(made)) == (made * 3, 1)
    texts.text().addCallback(got.append)
    assert (len(got), len(host.asked)) == (4, 1)
    clock.advance(FRESH_TIME)
    texts.text()
    assert len(host.asked) == 2


def test_the_site_has_metrics_and_nothing_else(host: _Nothing) -> None:
    clock = Clock()
    clock.advance(100)
    site = MetricsSite(cast(Any, clock), exposition(clock, host, []))
    request = cast(Any, DummyRequest([b"metrics"]))
    resource = cast(Any, site.resource).getChildWithDefault(b"metrics", request)
    resource.render(request)
    host.asked[0].callback(None)
    clock.advance(0)
    assert samples(b"".join(request.written))[("eve_meta_taps", ())] == 0
    assert cast(Any, site.resource).getChildWithDefault(b"", request).__class__.__name__ != "_Metrics"


def test_a_scraper_that_leaves_before_the_text_comes_harms_no_other(host: _Nothing) -> None:
    clock = Clock()
    clock.advance(100)
    site = MetricsSite(cast(Any, clock), exposition(clock, host, []))
    gone, stays = (cast(Any, DummyRequest([b"metrics"])) for _ in range(2))
    for request in (gone, stays):
        cast(Any, site.resource).getChildWithDefault(b"metrics", request).render(request)
    gone.processingFailed(cast(Any, ValueError("gone")))
    host.asked[0].callback(None)
    clock.advance(0)
    assert (gone.written, bool(stays.written)) == ([], True)


def test_a_daemon_without_metrics_imports_no_module_for_them() -> None:
    code = (
        "import sys, eve_meta.daemon.main; "
        "print([m for m in sys.modules if m.startswith(('prometheus', 'twisted.web'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
