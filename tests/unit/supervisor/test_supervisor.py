"""What the supervisor sends to which worker, and when."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from attrs import evolve, frozen
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from eve_meta.config import SteeringConfig
from eve_meta.inventory.inventory import Inventory
from eve_meta.runtime.clock import Clock as HostClock
from eve_meta.state.host_keys import HostKeys
from eve_meta.state.passwords import Passwords
from eve_meta.state.tokenkeys import TokenKeys
from eve_meta.steering.taps.tap import Tap
from eve_meta.supervisor.dhcp import DhcpAnswers
from eve_meta.supervisor.supervisor import LEAVE_TIME, RETURN_TIME, SETTLE_TIME, Supervisor, WorkerListener
from eve_meta.supervisor.worker_feed import MakeEntry
from eve_meta.supervisor.worker_process import WorkerConfig, WorkerProcess
from eve_meta.values.domain import Domain, TokenPolicy
from eve_meta.values.eve_node import Node
from eve_meta.values.request_kind import RequestKind
from eve_meta.wire.messages import PutNode, PutTap, RemoveTap, TableCurrent, ToWorker
from eve_meta.wire.password import Outcome
from eve_meta.wire.requests import Row
from tests.contracts.fake_inventory import FakeInventory

CONFIG = WorkerConfig(
    ids=range(1, 65), root=Path("/"), birth=contextlib.nullcontext, domain_wait=60, hop_limit=1, hosts=()
)
KEYS = TokenKeys(bytes(32), UUID(int=7))
WEB = Domain(uuid=UUID(int=1), name="web1")
DB = Domain(uuid=UUID(int=2), name="db1", tokens=TokenPolicy.REQUIRED)


class FakeWorker:
    """Keeps what it is sent, and sends its counts when the test has it do so."""

    def __init__(self) -> None:
        self.received: list[ToWorker] = []
        self.counts_requests: list[Deferred[None]] = []
        self.accepts = False
        self.pid = 7
        self.restarts = 0
        self.begun = 0
        self.killed = 0
        self.distrusted: list[str] = []

    def send_now(self, message: ToWorker) -> None:
        self.received.append(message)

    def put(self, tag: int, make: MakeEntry) -> None:
        self.received.append(make().message)

    def begin(self) -> None:
        self.begun += 1

    def beat(self) -> None:
        pass

    def confirm_table(self, at: float) -> None:
        self.received.append(TableCurrent(at=at))

    def kill(self) -> None:
        self.killed += 1

    def link_distrusted(self, reason: str) -> None:
        self.distrusted.append(reason)

    def request_counts(self) -> Deferred[None]:
        self.counts_requests.append(Deferred())
        return self.counts_requests[-1]

    def last(self, tag: int) -> PutTap:
        """Return what the worker knows of a tap."""
        return [message for message in self.received if isinstance(message, PutTap) and message.tag == tag][-1]


@frozen
class Scene:
    """A supervisor with two workers and four taps: 1 and 3 are web1's, 2 is db1's, and 4 has no domain.

    The first worker answers the taps of even numbers, the second the others.
    """

    clock: Clock
    supervisor: Supervisor
    workers: list[FakeWorker]
    inventory: FakeInventory
    ready: list[str]

    def post(self, tag: int) -> list[Outcome]:
        """Post a password through the tap's worker; return the answers by now."""
        answers: list[Outcome] = []
        self.supervisor.passwords.posted(tag % 2, tag, "secret", answers.append)
        return answers

    def last(self, tag: int) -> PutTap:
        """Return what the tap's worker knows of it."""
        return self.workers[tag % 2].last(tag)

    def restart(self, number: int) -> FakeWorker:
        """Replace the worker of that number by one that knows nothing yet; return that."""
        worker = self.workers[number] = FakeWorker()
        WorkerListener(number, self.supervisor).started()
        return worker

    def send_all_counts(self) -> None:
        for worker in self.workers:
            while worker.counts_requests:
                worker.counts_requests.pop().callback(None)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """The scene; the disk takes no time."""
    clock = Clock()
    clock.advance(1000)
    ready: list[str] = []
    inventory = FakeInventory()
    inventory.by_tap = {"vnet1": WEB, "vnet2": DB, "vnet3": WEB}
    supervisor = Supervisor(
        cast(Any, clock),
        HostClock(monotonic=clock.seconds),
        cast(Inventory, inventory),
        CONFIG,
        2,
        tokens=TokenPolicy.OPTIONAL,
        token_keys=KEYS,
        passwords=Passwords(tmp_path, maybeDeferred, clock.seconds),
        host_keys=HostKeys(tmp_path, maybeDeferred, clock.seconds),
        dhcp=DhcpAnswers(SteeringConfig(), clock.seconds),
        ready=lambda: ready.append(supervisor.summary()),
        keep=lambda _: None,
    )
    workers = [FakeWorker(), FakeWorker()]
    supervisor.workers = cast(list[WorkerProcess], workers)
    for tag in range(1, 5):
        supervisor.tap_appeared(Tap(name=f"vnet{tag}", ifindex=100 + tag, tag=tag, since=0.0, carrier=True))
    return Scene(clock, supervisor, workers, inventory, ready)


# -- readiness --


def test_the_supervisor_is_ready_when_every_worker_accepts(scene: Scene) -> None:
    scene.workers[1].accepts = True
    scene.supervisor.worker_accepts()
    assert scene.ready == []
    scene.workers[0].accepts = True
    scene.supervisor.worker_accepts()
    assert scene.ready == ["taps: 4, of a known domain: 3; workers: 2, that accept: 2"]


def test_workers_begin_when_the_owners_of_all_taps_are_known(scene: Scene) -> None:
    scene.inventory.unsettled = {"vnet2", "vnet3"}
    scene.restart(0)
    scene.clock.advance(10)
    scene.supervisor._assignment.inventory_changed()
    assert [worker.begun for worker in scene.workers] == [0, 0]  # more taps may appear
    scene.supervisor.taps_complete()
    scene.clock.advance(0)
    scene.inventory.unsettled = {"vnet3"}
    scene.supervisor._assignment.inventory_changed()
    assert scene.workers[0].begun == 0
    scene.inventory.unsettled = set()
    scene.supervisor._assignment.inventory_changed()
    assert [worker.begun for worker in scene.workers] == [1, 1]
    # A tap that appears afterwards does not keep the other guests from their answers.
    scene.inventory.unsettled = {"vnet1"}
    scene.supervisor.taps_complete()
    assert [worker.begun for worker in scene.workers] == [1, 1]
    assert scene.restart(0).begun == 1


def test_a_tap_whose_owner_is_not_found_delays_the_others_for_a_moment_only(scene: Scene) -> None:
    scene.inventory.unsettled = {"vnet2"}
    scene.supervisor.taps_complete()
    scene.clock.advance(SETTLE_TIME - 0.1)
    assert scene.workers[0].begun == 0
    scene.clock.advance(0.1)
    scene.supervisor._assignment.inventory_changed()
    assert [worker.begun for worker in scene.workers] == [1, 1]


# -- the node --


def test_the_node_is_sent_once_and_no_domain_with_it(scene: Scene) -> None:
    for worker in scene.workers:
        worker.received.clear()
    node = scene.inventory.current_node = Node(location=b"{}")
    for _ in range(2):
        scene.supervisor._assignment.inventory_changed()
    assert [worker.received for worker in scene.workers] == [[PutNode(node=node)]] * 2


def test_a_new_worker_is_sent_the_node(scene: Scene) -> None:
    scene.inventory.current_node = Node(location=b"{}")
    scene.supervisor._assignment.inventory_changed()
    assert PutNode(node=scene.inventory.current_node) in scene.restart(0).received


# -- tokens --


def test_a_domain_that_begins_to_require_tokens_requires_them_at_once(scene: Scene) -> None:
    scene.inventory.by_tap["vnet1"] = evolve(WEB, tokens=TokenPolicy.REQUIRED)
    scene.supervisor.holder_may_have_changed(Tap(name="vnet1", ifindex=101, tag=1, since=0.0, carrier=True))
    assert scene.last(1).tokens is TokenPolicy.REQUIRED
    # It is the same guest, so its tokens stay valid.
    assert scene.last(1).token_key == KEYS.of(101, WEB.instance_uuid)


# -- passwords --


def test_a_posted_password_is_answered_when_every_worker_knows_it(scene: Scene) -> None:
    answers = scene.post(1)
    assert [scene.last(tag).password for tag in (1, 2, 3)] == ["secret", None, "secret"]
    assert answers == []
    scene.send_all_counts()
    assert answers == [Outcome.STORED]
    assert scene.supervisor.passwords.get(WEB.instance_uuid) == "secret"


def test_a_password_is_cleared_when_every_worker_knows_it(scene: Scene) -> None:
    scene.post(1)
    scene.send_all_counts()
    done: list[None] = []
    scene.supervisor.passwords.clear(WEB.instance_uuid).addCallback(lambda _: done.append(None))
    assert [scene.last(tag).password for tag in (1, 3)] == [None] * 2
    assert done == []
    scene.send_all_counts()
    assert done == [None]


# -- what a worker knows when --


def test_a_replaced_domain_ends_before_the_next_one_has_its_turn(scene: Scene) -> None:
    before = len(scene.workers[1].received)
    scene.inventory.by_tap["vnet1"] = DB
    scene.supervisor._assignment.inventory_changed()
    unknown, new = scene.workers[1].received[before:]
    assert unknown == PutTap(tag=1, tap="vnet1", since=0.0, generation=1)
    assert cast(PutTap, new).token_key == KEYS.of(101, DB.instance_uuid)


def test_a_domain_that_changes_but_stays_is_never_unknown(scene: Scene) -> None:
    before = len(scene.workers[1].received)
    scene.inventory.by_tap["vnet1"] = evolve(WEB, hostname="other")
    scene.supervisor._assignment.inventory_changed()
    (changed,) = scene.workers[1].received[before:]
    assert cast(PutTap, changed).token_key == KEYS.of(101, WEB.instance_uuid)


def test_a_worker_knows_a_tap_before_its_domain_has_its_turn(scene: Scene) -> None:
    first, second = [
        message for message in scene.workers[1].received if isinstance(message, PutTap) and message.tag == 1
    ]
    assert first == PutTap(tag=1, tap="vnet1", since=0.0)
    assert second == scene.last(1)


def test_a_worker_is_sent_its_own_taps_only(scene: Scene) -> None:
    scene.supervisor.tap_gone(Tap(name="vnet3", ifindex=103, tag=3, since=0.0, carrier=True))
    scene.clock.advance(0)
    first, second = scene.workers
    for worker, own in ((first, {2, 4}), (second, {1, 3}), (scene.restart(1), {1})):
        assert {message.tag for message in worker.received if isinstance(message, PutTap | RemoveTap)} == own


def test_a_worker_that_reports_the_request_of_anothers_guest_is_killed_alone(scene: Scene) -> None:
    supervisor = scene.supervisor
    now = scene.clock.seconds()
    rows = [Row(1, RequestKind.META_DATA, 503, 1, now, now)]
    supervisor.tallies.asked(1, rows)
    assert [worker.distrusted for worker in scene.workers] == [[], []]
    supervisor.tallies.asked(0, rows)
    reason = "a request of the guest of tag 1, which is another worker's"
    assert [worker.distrusted for worker in scene.workers] == [[reason], []]
    assert next(iter(supervisor.taps)).asked.statuses == {"503": 1}


def test_a_tap_that_appears_or_goes_looks_up_no_other(scene: Scene) -> None:
    """With thousands of taps, what is done for one must not be done for each."""
    scene.clock.advance(0)
    scene.inventory.tap_changes.clear()
    scene.inventory.looked_up.clear()
    scene.supervisor.tap_appeared(Tap(name="vnet5", ifindex=105, tag=5, since=0.0, carrier=True))
    scene.supervisor.tap_gone(Tap(name="vnet1", ifindex=101, tag=1, since=0.0, carrier=True))
    scene.clock.advance(0)
    assert set(scene.inventory.looked_up) == {"vnet5"}
    assert scene.inventory.tap_changes == [({"vnet5"}, {"vnet1"})]


# -- events --


def emitted(scene: Scene) -> list[dict[str, Any]]:
    """Return the events since the taps appeared, without their times."""
    return [{k: v for k, v in event.plain.items() if k != "time"} for event in scene.supervisor.events.latest][7:]


VNET1 = {"tap": "vnet1", "tag": 1, "ifindex": 101}
IS_WEB = {"uuid": str(WEB.instance_uuid), "name": "web1"}
IS_DB = {"uuid": str(DB.instance_uuid), "name": "db1"}


def test_taps_and_domains_that_come_and_go_are_events(scene: Scene) -> None:
    first = [event.plain["event"] for event in scene.supervisor.events.latest]
    assert first == ["tap-appeared", "domain-found"] * 3 + ["tap-appeared"]
    scene.inventory.by_tap["vnet1"] = evolve(WEB, hostname="other")  # the same domain
    scene.supervisor._assignment.inventory_changed()
    scene.inventory.by_tap["vnet1"] = DB
    scene.supervisor._assignment.inventory_changed()
    scene.supervisor.tap_gone(Tap(name="vnet1", ifindex=101, tag=1, since=0.0, carrier=True))
    scene.supervisor.restored("filter", "vnet2")
    assert emitted(scene) == [
        {"event": "domain-lost", **VNET1, **IS_WEB},
        {"event": "domain-found", **VNET1, **IS_DB},
        {"event": "tap-gone", **VNET1, **IS_DB},
        {"event": "healed", "piece": "filter", "name": "vnet2"},
    ]
    assert scene.supervisor.restorations == {"filter": 1}


def test_what_a_guest_read_before_its_tap_went_is_an_event_for_a_while(scene: Scene) -> None:
    def read(kind: RequestKind) -> None:
        now = scene.clock.seconds()
        scene.supervisor.tallies.asked(1, [Row(1, kind, 200, 1, now, now)])

    scene.supervisor.tap_gone(Tap(name="vnet1", ifindex=101, tag=1, since=0.0, carrier=True))
    scene.clock.advance(LEAVE_TIME - 0.1)
    read(RequestKind.USER_DATA)
    scene.clock.advance(0.1)
    read(RequestKind.META_DATA)
    documents = [event["document"] for event in emitted(scene) if event["event"] == "first-fetch"]
    assert documents == ["openstack/user_data"]


# -- how current the workers' table is --


def confirmed(scene: Scene) -> float | None:
    return scene.supervisor._true_at()


def test_the_table_is_true_when_the_kernels_messages_have_been_read(scene: Scene) -> None:
    reported_until = None
    assert confirmed(scene) is None  # there is no steering yet
    scene.supervisor._steering = cast(Any, SimpleNamespace(catch_up=lambda _: reported_until))
    assert confirmed(scene) is None
    reported_until = scene.clock.seconds() - 0.25
    assert confirmed(scene) == scene.clock.seconds() - 0.25


def test_what_the_kernel_reported_is_revoked_before_the_table_is_confirmed(scene: Scene) -> None:
    def catch_up(now: float) -> float:
        scene.supervisor.tap_gone(Tap(name="vnet1", ifindex=101, tag=1, since=0.0, carrier=True))
        return now

    scene.supervisor._steering = cast(Any, SimpleNamespace(catch_up=catch_up))
    scene.supervisor.heartbeat._workers = cast(Any, scene.workers)
    scene.supervisor.heartbeat.start()
    scene.clock.advance(0)
    current = TableCurrent(at=scene.clock.seconds())
    assert scene.workers[1].received[-2:] == [RemoveTap(tag=1), current]
    assert scene.workers[0].received[-1] == current


def test_a_supervisor_that_was_away_reads_the_files_first_but_not_for_ever(scene: Scene) -> None:
    scene.supervisor._steering = cast(Any, SimpleNamespace(catch_up=lambda now: now))
    scene.inventory.due += 1
    assert confirmed(scene) is not None  # a file of today is no reason to keep guests waiting
    for read in (True, False):
        scene.inventory.due = scene.inventory.scans + 1
        scene.supervisor._returned()
        assert confirmed(scene) is None
        scene.inventory.scans += read
        scene.clock.advance(0 if read else RETURN_TIME)
        assert confirmed(scene) == scene.clock.seconds()


def test_a_worker_that_hangs_is_an_event(scene: Scene) -> None:
    WorkerListener(1, scene.supervisor).hung()
    assert emitted(scene) == [{"event": "worker-hung", "worker": 1, "pid": 7}]
