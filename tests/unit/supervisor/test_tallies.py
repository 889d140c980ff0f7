"""What workers send about their guests, and what is not taken from a compromised worker."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from attrs import evolve, field, frozen
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, eventAsText

from eve_meta.runtime.clock import Clock as HostClock
from eve_meta.steering.taps.tap import Tap
from eve_meta.supervisor.events import Events
from eve_meta.supervisor.requests_seen import Seen
from eve_meta.supervisor.tallies import Tallies
from eve_meta.supervisor.tap_state import TapState
from eve_meta.supervisor.tap_table import TapTable
from eve_meta.values.domain import Domain
from eve_meta.values.request_kind import RequestKind
from eve_meta.wire.boot_reports import BootReport, TaggedReport, What
from eve_meta.wire.latency import Histogram
from eve_meta.wire.messages import BootReports, Counts
from eve_meta.wire.requests import Row

WEB = Domain(uuid=UUID(int=1), name="web1")
DB = Domain(uuid=UUID(int=2), name="db1")

VNET1 = {"tap": "vnet1", "tag": 1, "ifindex": 101}
IS_WEB = {"uuid": str(WEB.instance_uuid), "name": "web1"}
IS_DB = {"uuid": str(DB.instance_uuid), "name": "db1"}


@frozen
class Scene:
    """Two workers and three taps: 1 and 3 are web1's and the second worker's, 2 is db1's and the first worker's."""

    clock: Clock
    table: TapTable
    events: Events
    tallies: Tallies
    misrouted: list[tuple[int, int]] = field(factory=list)
    phoned_home: list[tuple[Domain, BootReport]] = field(factory=list)

    def tap(self, tag: int) -> TapState:
        return self.table[tag]

    @property
    def emitted(self) -> list[dict[str, Any]]:
        """The events, without their times."""
        return [{k: v for k, v in event.plain.items() if k != "time"} for event in self.events.latest]


@pytest.fixture
def scene() -> Scene:
    clock, table, misrouted = Clock(), TapTable(2), list[tuple[int, int]]()
    home = list[tuple[Domain, BootReport]]()
    clock.advance(1000)
    events = Events(HostClock(monotonic=clock.seconds))
    for tag, domain in enumerate((WEB, DB, WEB), 1):
        table.add(TapState(Tap(name=f"vnet{tag}", ifindex=100 + tag, tag=tag, since=0.0, carrier=True), domain))
    tallies = Tallies(
        clock, table, events, lambda *worker_and_tag: misrouted.append(worker_and_tag), lambda *each: home.append(each)
    )
    return Scene(clock, table, events, tallies, misrouted, home)


# -- counts --


def test_a_compromised_worker_cannot_spoil_the_counts(scene: Scene) -> None:
    wrong = {"timeout": 2**53, "revoked": 10**4000, "no_token": -1, "200": 1, "anything": 1}
    tags = ["0", "1", "99999", "-1", "x", "", "1" * 5000, "\u0661"]
    scene.tallies.counted(1, Counts(counts={"2": {"malformed": 9}}))  # the other worker's tap
    scene.tallies.counted(1, Counts(counts={tag: {**wrong, "malformed": 2} for tag in tags}))
    # ARABIC-INDIC DIGIT ONE is a 1, too, and does no harm.
    assert scene.tap(1).counts == {"malformed": 4}
    assert not scene.tap(2).counts
    assert not scene.tap(3).counts
    assert scene.tallies.unsteered == {"malformed": 2}


def test_requests_are_kept_by_tap(scene: Scene) -> None:
    now = scene.clock.seconds()
    scene.tallies.asked(1, [Row(tag, RequestKind.META_DATA, 200, 2, now - 1, now) for tag in (0, 1, 3, 99)])
    scene.tallies.asked(1, [Row(1, RequestKind.META_DATA, 200, 1, now + 3600, now + 3600)])  # in the future
    assert scene.tap(1).asked.kinds == scene.tap(3).asked.kinds == [(RequestKind.META_DATA, 200, Seen(2, now - 1, now))]
    assert scene.tallies.unsteered == {"200": 2}


def test_rows_about_another_workers_guest_count_for_nothing_and_are_passed_on_as_misrouted(scene: Scene) -> None:
    now = scene.clock.seconds()
    rows = [Row(1, RequestKind.META_DATA, 503, 1, now, now)]
    scene.tallies.asked(1, rows)
    assert scene.misrouted == []
    scene.tallies.asked(0, rows * 2)
    assert scene.misrouted == [(0, 1)]
    assert scene.tap(1).asked.statuses == {"503": 1}


def test_latencies_are_kept_for_the_domain(scene: Scene) -> None:
    histogram = Histogram()
    histogram.add(0.0002)
    scene.tallies.timed(0, [histogram.times(1, 0)])  # the other worker's tap
    scene.tallies.timed(1, [histogram.times(1, 0), histogram.times(1, 5), histogram.times(99, 0)])
    one = scene.tap(1)
    assert sum(one.times.buckets) == 1
    one.assign(DB, scene.clock.seconds())
    assert sum(one.times.buckets) == 0


def test_boot_reports_are_kept_by_tap(scene: Scene) -> None:
    report = BootReport(at=scene.clock.seconds(), what=What.START, name="init-network")
    reports = BootReports(reports=tuple(TaggedReport(tag=tag, generation=0, report=report) for tag in (1, 2, 99)))
    scene.tallies.reported(1, reports)
    assert scene.tap(1).reports == [report]
    assert scene.tap(2).reports == []  # the other worker's tap


def test_a_phone_home_is_passed_on_with_the_domain_of_the_workers_own_tap(scene: Scene) -> None:
    now = scene.clock.seconds()
    home = BootReport(at=now, what=What.PHONE_HOME, fields={"hostname": "vm"})
    late = evolve(home, at=now + 1)
    start = BootReport(at=now, what=What.START, name="init")
    sent = [(1, 0, home), (2, 0, home), (99, 0, home), (3, 7, home), (3, 0, late), (3, 0, start)]
    scene.tallies.reported(1, BootReports(reports=tuple(TaggedReport(*each) for each in sent)))
    assert scene.phoned_home == [(WEB, home)]
    scene.tap(1).assign(None, now)
    scene.tallies.reported(1, BootReports(reports=(TaggedReport(1, 1, home),)))
    assert scene.phoned_home == [(WEB, home)]


# -- events --


def test_a_first_fetch_is_an_event_once_for_each_domain_and_names_the_one_that_read(scene: Scene) -> None:
    def row(generation: int, kind: RequestKind = RequestKind.USER_DATA, status: int = 200, tag: int = 1) -> Row:
        now = scene.clock.seconds()
        return Row(tag, kind, status, 1, now, now, generation)

    tallies, one = scene.tallies, scene.tap(1)
    tallies.asked(1, [row(0), row(0), row(0, status=304), row(0, RequestKind.META_DATA, 401)])
    one.assign(DB, scene.clock.seconds())
    # The worker gathered some of these rows before it learned of the other domain.
    tallies.asked(1, [row(0), row(0, RequestKind.META_DATA), row(1), row(9), row(1, tag=99)])
    assert [(kind, seen.count) for kind, _, seen in one.asked.kinds] == [(RequestKind.USER_DATA, 1)]
    scene.table.remove(1)
    tallies.asked(1, [row(1, RequestKind.META_DATA)])  # sent when the tap is gone
    fetches = [event for event in scene.emitted if event.pop("event") == "first-fetch"]
    assert fetches == [
        {**VNET1, **IS_WEB, "document": "openstack/user_data", "status": 200, "worker": 1},
        {**VNET1, **IS_WEB, "document": "openstack/meta_data.json", "status": 200, "worker": 1},
        {**VNET1, **IS_DB, "document": "openstack/user_data", "status": 200, "worker": 1},
        {**VNET1, **IS_DB, "document": "openstack/meta_data.json", "status": 200, "worker": 1},
    ]
    scene.table.forget(1)
    before = len(scene.emitted)
    tallies.asked(1, [row(1, RequestKind.NETWORK_DATA)])
    assert len(scene.emitted) == before


def test_impossible_times_of_a_compromised_worker_are_no_event(scene: Scene) -> None:
    far = scene.clock.seconds() + 3600
    for first, last in ((-5.0, 1.0), (far, far), (float("nan"), 1.0)):
        scene.tallies.asked(1, [Row(1, RequestKind.USER_DATA, 200, 1, first, last)])
    assert scene.emitted == []


def test_refusals_are_events_that_name_the_domain(scene: Scene) -> None:
    now = scene.clock.seconds()
    scene.tallies.asked(0, [Row(2, RequestKind.META_DATA, 401, 3, now, now)])
    scene.clock.advance(1)
    scene.tallies.asked(0, [Row(0, RequestKind.UNREAD, 403, 4, now, now)])
    assert scene.emitted == [
        {"event": "refused", "tap": "vnet2", "tag": 2, "ifindex": 102, **IS_DB, "what": "answered 401", "count": 3},
        {"event": "refused", "tap": None, "what": "answered 403", "count": 4},
    ]


# -- the log --


def test_refusals_are_a_line_of_the_log_now_and_then(scene: Scene) -> None:
    tallies = scene.tallies
    with capturedLogs() as logged:
        for _ in range(100):
            tallies.counted(1, Counts(counts={"1": {"malformed": 2, "revoked": 1}, "0": {"timeout": 1}}))
            tallies.asked(
                1, [Row(3, RequestKind.UNREAD, 429, 5, 1.0, 1.0), Row(0, RequestKind.UNREAD, 403, 1, 1.0, 1.0)]
            )
            # Tags of taps that are gone, and names that a sound worker does not send.
            tallies.counted(1, Counts(counts={"99": {"malformed": 2}, "1": {"\x1b[2J": 1, "malformed": -1}}))
        assert logged == []
        scene.clock.advance(60)
    (line,) = [eventAsText(event, includeTimestamp=False, includeSystem=False) for event in logged]
    assert line == (
        "guests were refused within the last 60 s: vnet3: 500 answered 429; vnet1: 200 malformed; "
        "no tap: 100 timeout, 100 answered 403; 'eve-meta status' has all counts"
    )
