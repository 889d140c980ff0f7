"""What the supervisor tells workers of tokens and passwords, and what it takes from one that a guest took over."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from attrs import evolve, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, eventAsText

from eve_meta import supervisor as module
from eve_meta.channel import Counts, PasswordDone, PutNode, PutTap, RemoveTap, SetPassword, ToWorker
from eve_meta.domain import Domain, TokenPolicy
from eve_meta.eve import UNKNOWN_NODE, Node
from eve_meta.feed import Content
from eve_meta.inventory.inventory import Inventory
from eve_meta.latency import Histogram
from eve_meta.ledger import Label, Row, Seen
from eve_meta.password import MAX_PASSWORD, Outcome
from eve_meta.state.passwords import Passwords
from eve_meta.state.tokenkeys import TokenKeys
from eve_meta.steering.steering import Tap
from eve_meta.supervisor import LEAVE_TIME, PASSWORD_RETRY_TIME, REFRESHED_AT_ONCE, SETTLE_TIME, Supervisor
from eve_meta.worker_process import WorkerConfig, WorkerProcess

CONFIG = WorkerConfig(uid=1, gid=1, root=Path("/"), domain_wait=60, hop_limit=1, hosts=())
KEYS = TokenKeys(bytes(32), UUID(int=7))
WEB = Domain(uuid=UUID(int=1), name="web1")
DB = Domain(uuid=UUID(int=2), name="db1", tokens=TokenPolicy.REQUIRED)


class FakeInventory:
    """Knows which domain is behind which tap."""

    def __init__(self) -> None:
        self.by_tap: dict[str, Domain] = {}
        self.concerned: set[str] | None = None
        self.asked: list[str] = []
        self.told: list[tuple[set[str], set[str]]] = []
        self.of_node = UNKNOWN_NODE
        self.unsettled: set[str] = set()

    def node(self) -> Node:
        return self.of_node

    def domain_of(self, tap: str) -> Domain | None:
        self.asked.append(tap)
        return self.by_tap.get(tap)

    def take_concerned(self) -> set[str] | None:
        return self.concerned

    def taps_changed(self, there: Iterable[str], gone: Iterable[str]) -> None:
        self.told.append((set(there), set(gone)))

    def carrier_changed(self, tap: str) -> None:
        pass

    def is_settled(self, tap: str) -> bool:
        return tap not in self.unsettled

    def problems(self) -> tuple[()]:
        return ()


class FakeWorker:
    """Hears what it is told, and reports when the test says so."""

    def __init__(self) -> None:
        self.heard: list[ToWorker] = []
        self.reports: list[Deferred[None]] = []
        self.accepts = False
        self.begun = 0
        self.killed = 0

    def at_once(self, message: ToWorker) -> None:
        self.heard.append(message)

    def put(self, tag: int, content: Content) -> None:
        self.heard.append(content()[0])

    def begin(self) -> None:
        self.begun += 1

    def kill(self) -> None:
        self.killed += 1

    def report(self) -> Deferred[None]:
        self.reports.append(Deferred())
        return self.reports[-1]

    def last(self, tag: int) -> PutTap:
        """What it knows of a tap."""
        return [message for message in self.heard if isinstance(message, PutTap) and message.tag == tag][-1]


@frozen
class Scene:
    """A supervisor with two workers and four taps: 1 and 3 are web1's, 2 is db1's, and 4 is nobody's.

    Taps of an even number are the first worker's, the others the second's.
    """

    clock: Clock
    supervisor: Supervisor
    workers: tuple[FakeWorker, FakeWorker]
    inventory: FakeInventory
    failing: list[bool]
    ready: list[str]

    def post(self, tag: int, text: str = "secret") -> list[Outcome]:
        """What a worker is answered to a password by now."""
        answers: list[Outcome] = []
        self.supervisor._password_posted(tag % 2, tag, text, answers.append)
        return answers

    def last(self, tag: int) -> PutTap:
        """What is known of a tap by who answers it."""
        return self.workers[tag % 2].last(tag)

    def all_report(self) -> None:
        for worker in self.workers:
            while worker.reports:
                worker.reports.pop().callback(None)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """The scene, and a disk that is fast."""
    clock = Clock()
    clock.advance(1000)
    failing = [False]

    def run(change: Any) -> Deferred[None]:
        if failing[0]:
            failed: Deferred[None] = Deferred()
            failed.errback(OSError(28, "No space left on device"))
            return failed
        return succeed(change())

    ready: list[str] = []
    inventory = FakeInventory()
    inventory.by_tap = {"vnet1": WEB, "vnet2": DB, "vnet3": WEB}
    supervisor = Supervisor(
        cast(Any, clock),
        cast(Inventory, inventory),
        CONFIG,
        tokens=TokenPolicy.OPTIONAL,
        token_keys=KEYS,
        passwords=Passwords(tmp_path, run, clock.seconds),
        ready=lambda: ready.append(supervisor.summary()),
        keep=lambda _: None,
    )
    workers = (FakeWorker(), FakeWorker())
    supervisor.workers = cast(list[WorkerProcess], list(workers))
    for tag in range(1, 5):
        supervisor.tap_appeared(Tap(name=f"vnet{tag}", ifindex=100 + tag, tag=tag, since=0.0, carrier=True))
    return Scene(clock, supervisor, workers, inventory, failing, ready)


# -- readiness --


def test_it_is_ready_when_every_worker_accepts(scene: Scene) -> None:
    scene.workers[1].accepts = True
    scene.supervisor._worker_accepts()
    assert scene.ready == []
    scene.workers[0].accepts = True
    scene.supervisor._worker_accepts()
    assert scene.ready == ["taps: 4, of a known domain: 3; workers: 2, that accept: 2"]


def test_workers_begin_when_whose_the_taps_are_is_known(scene: Scene) -> None:
    scene.inventory.unsettled = {"vnet2", "vnet3"}
    late = FakeWorker()
    scene.supervisor._tell_all(0, cast(WorkerProcess, late))
    scene.clock.advance(10)
    scene.supervisor._inventory_changed()
    assert (scene.workers[0].begun, late.begun) == (0, 0)  # taps may still come
    scene.supervisor.taps_complete()
    scene.clock.advance(0)
    scene.inventory.unsettled = {"vnet3"}
    scene.supervisor._inventory_changed()
    assert scene.workers[0].begun == 0
    scene.inventory.unsettled = set()
    scene.supervisor._inventory_changed()
    assert [worker.begun for worker in scene.workers] == [1, 1]
    # Afterwards a tap that is new keeps nobody from being answered.
    scene.inventory.unsettled = {"vnet1"}
    scene.supervisor.taps_complete()
    scene.supervisor._tell_all(0, cast(WorkerProcess, late))
    assert [worker.begun for worker in (*scene.workers, late)] == [1, 1, 1]


def test_a_tap_whose_owner_nobody_finds_keeps_the_others_waiting_for_a_moment(scene: Scene) -> None:
    scene.inventory.unsettled = {"vnet2"}
    scene.supervisor.taps_complete()
    scene.clock.advance(SETTLE_TIME - 0.1)
    assert scene.workers[0].begun == 0
    scene.clock.advance(0.1)
    scene.supervisor._inventory_changed()
    assert [worker.begun for worker in scene.workers] == [1, 1]


# -- the node --


def test_what_all_are_told_alike_is_told_once_and_no_domain_with_it(scene: Scene) -> None:
    for worker in scene.workers:
        worker.heard.clear()
    node = scene.inventory.of_node = Node(location=b"{}")
    for _ in range(2):
        scene.supervisor._inventory_changed()
    assert [worker.heard for worker in scene.workers] == [[PutNode(node=node)]] * 2


def test_a_new_worker_is_told_of_the_node(scene: Scene) -> None:
    scene.inventory.of_node = Node(location=b"{}")
    scene.supervisor._inventory_changed()
    worker = FakeWorker()
    scene.supervisor._tell_all(0, cast(WorkerProcess, worker))
    assert PutNode(node=scene.inventory.of_node) in worker.heard


# -- the log --


def test_what_guests_were_refused_is_a_line_now_and_then(scene: Scene) -> None:
    supervisor = scene.supervisor
    with capturedLogs() as logged:
        for _ in range(100):
            supervisor._counted(1, Counts(counts={"1": {"malformed": 2, "revoked": 1}, "0": {"timeout": 1}}))
            supervisor._asked(1, [Row(3, Label.UNREAD, 429, 5, 1.0, 1.0), Row(0, Label.UNREAD, 403, 1, 1.0, 1.0)])
            # Of taps that are gone, and of names that a worker in order does not say.
            supervisor._counted(1, Counts(counts={"99": {"malformed": 2}, "1": {"\x1b[2J": 1, "malformed": -1}}))
        assert logged == []
        scene.clock.advance(60)
    (line,) = [eventAsText(event, includeTimestamp=False, includeSystem=False) for event in logged]
    assert line == (
        "guests were refused within the last 60 s: vnet3: 500 answered 429; vnet1: 200 malformed; "
        "no tap: 100 timeout, 100 answered 403; 'eve-meta status' has all counts"
    )


# -- tokens --


def test_each_guest_has_a_key_of_its_own(scene: Scene) -> None:
    keys = [scene.last(tag).token_key for tag in range(1, 4)]
    assert keys == [KEYS.of(101, WEB.instance_uuid), KEYS.of(102, DB.instance_uuid), KEYS.of(103, WEB.instance_uuid)]
    assert len(set(keys)) == 3


def test_a_domain_decides_over_the_daemon(scene: Scene) -> None:
    assert [scene.last(tag).tokens.value for tag in range(1, 4)] == ["optional", "required", "optional"]


def test_a_tap_whose_domain_is_unknown_has_no_key_and_no_password(scene: Scene) -> None:
    assert scene.last(4) == PutTap(tag=4, tap="vnet4", since=0.0)


def test_a_domain_that_begins_to_require_tokens_does_so_at_once(scene: Scene) -> None:
    scene.inventory.by_tap["vnet1"] = evolve(WEB, tokens=TokenPolicy.REQUIRED)
    scene.supervisor.carrier_changed(Tap(name="vnet1", ifindex=101, tag=1, since=0.0, carrier=True))
    assert scene.last(1).tokens is TokenPolicy.REQUIRED
    # The same guest: its tokens hold.
    assert scene.last(1).token_key == KEYS.of(101, WEB.instance_uuid)


# -- passwords --


def test_a_password_is_answered_when_every_worker_knows_it(scene: Scene) -> None:
    answers = scene.post(1)
    assert [scene.last(tag).password for tag in (1, 2, 3)] == ["secret", None, "secret"]
    assert answers == []
    scene.all_report()
    assert answers == [Outcome.STORED]
    assert scene.supervisor.password(WEB.instance_uuid) == "secret"


def test_a_worker_that_was_taken_over_replaces_no_password(scene: Scene) -> None:
    scene.post(1)
    scene.all_report()
    assert scene.post(1, "other") == [Outcome.ALREADY_SET]
    assert scene.post(3, "other") == [Outcome.ALREADY_SET]
    assert scene.supervisor.password(WEB.instance_uuid) == "secret"


@pytest.mark.parametrize("tag", [0, -1, 4, 5, 99999])
def test_a_worker_that_was_taken_over_fills_the_disk_with_nothing(scene: Scene, tag: int, tmp_path: Path) -> None:
    assert scene.post(tag) == [Outcome.FAILED]
    assert list((tmp_path / "passwords").iterdir()) == []


def test_a_guest_keeps_no_full_disk_busy(scene: Scene) -> None:
    scene.failing[0] = True
    assert scene.post(1) == [Outcome.FAILED]
    scene.failing[0] = False
    for _ in range(100):
        assert scene.post(1) == [Outcome.FAILED]
    scene.post(2)
    scene.all_report()
    assert scene.supervisor.password(DB.instance_uuid) == "secret"  # its neighbour does not wait
    scene.clock.advance(PASSWORD_RETRY_TIME)
    scene.post(1)
    assert scene.supervisor.password(WEB.instance_uuid) == "secret"


def test_a_cleared_password_is_cleared_for_every_worker(scene: Scene) -> None:
    scene.post(1)
    scene.all_report()
    done: list[None] = []
    scene.supervisor.clear_password(WEB.instance_uuid).addCallback(lambda _: done.append(None))
    assert [scene.last(tag).password for tag in (1, 3)] == [None] * 2
    assert done == []
    scene.all_report()
    assert done == [None]


# -- what a worker knows when --


def test_a_domain_that_another_follows_ends_before_the_other_has_its_turn(scene: Scene) -> None:
    before = len(scene.workers[1].heard)
    scene.inventory.by_tap["vnet1"] = DB
    scene.supervisor._inventory_changed()
    unknown, new = scene.workers[1].heard[before:]
    assert unknown == PutTap(tag=1, tap="vnet1", since=0.0, generation=1)
    assert cast(PutTap, new).token_key == KEYS.of(101, DB.instance_uuid)


def test_a_domain_that_stays_is_never_unknown(scene: Scene) -> None:
    before = len(scene.workers[1].heard)
    scene.inventory.by_tap["vnet1"] = evolve(WEB, hostname="other")
    scene.supervisor._inventory_changed()
    (changed,) = scene.workers[1].heard[before:]
    assert cast(PutTap, changed).token_key == KEYS.of(101, WEB.instance_uuid)


def test_a_tap_is_heard_of_before_its_domain_has_its_turn(scene: Scene) -> None:
    first, second = [message for message in scene.workers[1].heard if isinstance(message, PutTap) and message.tag == 1]
    assert first == PutTap(tag=1, tap="vnet1", since=0.0)
    assert second == scene.last(1)


def test_a_worker_is_told_of_its_own_taps_only(scene: Scene) -> None:
    scene.supervisor.tap_gone(Tap(name="vnet3", ifindex=103, tag=3, since=0.0, carrier=True))
    scene.clock.advance(0)
    late = FakeWorker()
    scene.supervisor._tell_all(1, cast(WorkerProcess, late))
    for worker, own in ((scene.workers[0], {2, 4}), (scene.workers[1], {1, 3}), (late, {1})):
        assert {message.tag for message in worker.heard if isinstance(message, PutTap | RemoveTap)} == own


# -- counts --


def test_no_worker_can_spoil_the_counts(scene: Scene) -> None:
    wrong = {"timeout": 2**53, "revoked": 10**4000, "no_token": -1, "200": 1, "anything": 1}
    tags = ["0", "1", "99999", "-1", "x", "", "1" * 5000, "\u0661"]
    scene.supervisor._counted(1, Counts(counts={"2": {"malformed": 9}}))  # the other worker's to say
    scene.supervisor._counted(1, Counts(counts={tag: {**wrong, "malformed": 2} for tag in tags}))
    (one, *others) = scene.supervisor.taps
    # ARABIC-INDIC DIGIT ONE is a 1, too, and does no harm.
    assert one.counts == {"malformed": 4}
    assert all(not state.counts for state in others)
    assert scene.supervisor.unsteered == {"malformed": 2}


def test_what_guests_asked_for_is_kept_by_tap(scene: Scene) -> None:
    now = time.monotonic()
    scene.supervisor._asked(1, [Row(tag, Label.META_DATA, 200, 2, now - 1, now) for tag in (0, 1, 3, 99)])
    scene.supervisor._asked(1, [Row(1, Label.META_DATA, 200, 1, now + 3600, now + 3600)])  # no clock says so
    (one, _, three, _) = scene.supervisor.taps
    assert one.asked.kinds == three.asked.kinds == [(Label.META_DATA, 200, Seen(2, now - 1, now))]
    assert scene.supervisor.unsteered == {"200": 2}


def test_a_worker_that_is_asked_by_anothers_guest_shows_that_the_sockets_are_not_sound(scene: Scene) -> None:
    supervisor = scene.supervisor
    given_up: list[str] = []
    supervisor._listeners = cast(Any, SimpleNamespace(give_up=given_up.append))
    now = time.monotonic()
    rows = [Row(1, Label.META_DATA, 503, 1, now, now)]
    supervisor._asked(1, rows)
    assert (given_up, [worker.killed for worker in scene.workers]) == ([], [0, 0])
    supervisor._asked(0, rows)
    assert given_up == ["worker 0 was connected with the guest of tag 1, which is another's"]
    assert [worker.killed for worker in scene.workers] == [1, 1]
    assert next(iter(supervisor.taps)).asked.statuses == {"503": 1}


# -- a worker's own end of it --


class Process:
    """A worker's process and its channel: what it was told, and whether it lives."""

    def __init__(self) -> None:
        self.posted: list[tuple[int, str, Any]] = []
        self.sent: list[ToWorker] = []
        self.killed = False
        self.worker = WorkerProcess(
            cast(Any, Clock()),
            CONFIG,
            0,
            lambda: (),
            entered=cast(Any, None),
            started=lambda _: None,
            accepting=lambda: None,
            counted=lambda _: None,
            asked=lambda _: None,
            timed=lambda _: None,
            reported=lambda _: None,
            posted=lambda *posted: self.posted.append(posted),
        )
        self.worker._process = cast(Any, self)
        self.worker._channel = cast(Any, self)

    def signalProcess(self, signal: str) -> None:  # noqa: N802
        self.killed = signal == "KILL"

    def send(self, message: ToWorker, payload: bytes = b"") -> None:
        self.sent.append(message)


def test_what_became_of_a_password_is_told_to_who_asked() -> None:
    process = Process()
    process.worker._received(SetPassword(tag=7), "pässword".encode())
    ((tag, text, answer),) = process.posted
    answer(Outcome.STORED)
    assert (tag, text, process.sent) == (7, "pässword", [PasswordDone(tag=7, outcome=Outcome.STORED)])
    assert not process.killed


def test_the_worker_that_follows_one_that_died_is_not_told() -> None:
    process = Process()
    process.worker._received(SetPassword(tag=7), b"x")
    process.worker._channel = cast(Any, Process())
    process.posted[0][2](Outcome.STORED)
    assert process.sent == []
    assert cast(Any, process.worker._channel).sent == []


@pytest.mark.parametrize("posted", [b"", b"x" * (MAX_PASSWORD + 1), b"\xff", b"x" * 1_000_000])
def test_a_worker_that_says_what_no_sound_worker_says_is_killed(posted: bytes) -> None:
    process = Process()
    process.worker._received(SetPassword(tag=7), posted)
    assert (process.posted, process.killed) == ([], True)


def test_a_worker_that_speaks_like_the_supervisor_is_killed() -> None:
    process = Process()
    process.worker._received(PasswordDone(tag=7, outcome=Outcome.STORED), b"")
    assert process.killed


def test_no_password_is_in_what_a_message_shows_of_itself() -> None:
    message = PutTap(tag=7, tap="vnet0", since=1.0, token_key=b"key", password="secret")
    assert "secret" not in repr(message)
    assert "b'key'" not in repr(message)


# -- events --


def told(scene: Scene) -> list[dict[str, Any]]:
    """The events since the taps came, without their times."""
    return [{k: v for k, v in event.plain.items() if k != "time"} for event in scene.supervisor.events.latest][7:]


VNET1 = {"tap": "vnet1", "tag": 1, "ifindex": 101}
IS_WEB = {"uuid": str(WEB.instance_uuid), "name": "web1"}
IS_DB = {"uuid": str(DB.instance_uuid), "name": "db1"}


def test_taps_and_their_domains_come_and_go(scene: Scene) -> None:
    first = [event.plain["event"] for event in scene.supervisor.events.latest]
    assert first == ["tap-appeared", "domain-found"] * 3 + ["tap-appeared"]
    scene.inventory.by_tap["vnet1"] = evolve(WEB, hostname="other")  # the same domain
    scene.supervisor._inventory_changed()
    scene.inventory.by_tap["vnet1"] = DB
    scene.supervisor._inventory_changed()
    scene.supervisor.tap_gone(Tap(name="vnet1", ifindex=101, tag=1, since=0.0, carrier=True))
    scene.supervisor.healed("filter", "vnet2")
    assert told(scene) == [
        {"event": "domain-lost", **VNET1, **IS_WEB},
        {"event": "domain-found", **VNET1, **IS_DB},
        {"event": "tap-gone", **VNET1, **IS_DB},
        {"event": "healed", "piece": "filter", "name": "vnet2"},
    ]
    assert scene.supervisor.heals == {"filter": 1}


def test_a_first_fetch_is_told_once_for_each_domain_and_of_the_one_that_read(scene: Scene) -> None:
    def row(generation: int, label: Label = Label.USER_DATA, status: int = 200, tag: int = 1) -> Row:
        now = time.monotonic()
        return Row(tag, label, status, 1, now, now, generation)

    supervisor = scene.supervisor
    supervisor._asked(1, [row(0), row(0), row(0, status=304), row(0, Label.META_DATA, 401)])
    scene.inventory.by_tap["vnet1"] = DB
    supervisor._inventory_changed()
    # The worker gathered some of it before it heard of the other domain.
    supervisor._asked(1, [row(0), row(0, Label.META_DATA), row(1), row(9), row(1, tag=99)])
    (one, *_) = supervisor.taps
    assert [(label, seen.count) for label, _, seen in one.asked.kinds] == [(Label.USER_DATA, 1)]
    supervisor.tap_gone(Tap(name="vnet1", ifindex=101, tag=1, since=0.0, carrier=True))
    supervisor._asked(1, [row(1, Label.META_DATA)])  # told when the tap is gone
    fetches = [event for event in told(scene) if event.pop("event") == "first-fetch"]
    assert fetches == [
        {**VNET1, **IS_WEB, "document": "openstack/user_data", "status": 200, "worker": 1},
        {**VNET1, **IS_WEB, "document": "openstack/meta_data.json", "status": 200, "worker": 1},
        {**VNET1, **IS_DB, "document": "openstack/user_data", "status": 200, "worker": 1},
        {**VNET1, **IS_DB, "document": "openstack/meta_data.json", "status": 200, "worker": 1},
    ]
    scene.clock.advance(LEAVE_TIME)
    before = len(told(scene))
    supervisor._asked(1, [row(1, Label.NETWORK_DATA)])
    assert len(told(scene)) == before


def test_a_worker_that_was_taken_over_tells_no_times_that_cannot_be(scene: Scene) -> None:
    far = time.monotonic() + 3600
    for first, last in ((-5.0, 1.0), (far, far), (float("nan"), 1.0)):
        scene.supervisor._asked(1, [Row(1, Label.USER_DATA, 200, 1, first, last)])
    assert told(scene) == []


def test_refusals_are_told_with_their_domain(scene: Scene) -> None:
    now = time.monotonic()
    scene.supervisor._asked(0, [Row(2, Label.META_DATA, 401, 3, now, now)])
    scene.clock.advance(1)
    scene.supervisor._asked(0, [Row(0, Label.UNREAD, 403, 4, now, now)])
    assert told(scene) == [
        {"event": "refused", "tap": "vnet2", "tag": 2, "ifindex": 102, **IS_DB, "what": "answered 401", "count": 3},
        {"event": "refused", "tap": None, "what": "answered 403", "count": 4},
    ]


def test_how_long_answers_took_is_kept_for_the_domain(scene: Scene) -> None:
    histogram = Histogram()
    histogram.add(0.0002)
    scene.supervisor._timed(1, [histogram.told(1, 0), histogram.told(1, 5), histogram.told(99, 0)])
    (one, *_) = scene.supervisor.taps
    assert sum(one.times.buckets) == 1
    scene.inventory.by_tap["vnet1"] = DB
    scene.supervisor._inventory_changed()
    assert sum(one.times.buckets) == 0


def test_only_taps_that_a_change_concerns_are_asked_for(scene: Scene) -> None:
    """With thousands of taps, what is done for one must not be done for each."""
    scene.clock.advance(0)
    scene.inventory.told.clear()
    scene.inventory.asked.clear()
    scene.inventory.concerned = {"vnet4", "no tap of ours"}
    scene.inventory.by_tap["vnet4"] = DB
    scene.supervisor._inventory_changed()
    assert set(scene.inventory.asked) == {"vnet4"}
    assert scene.workers[0].last(4).tap == "vnet4"
    scene.supervisor.tap_appeared(Tap(name="vnet5", ifindex=105, tag=5, since=0.0, carrier=True))
    scene.supervisor.tap_gone(Tap(name="vnet1", ifindex=101, tag=1, since=0.0, carrier=True))
    scene.clock.advance(0)
    assert set(scene.inventory.asked) == {"vnet4", "vnet5"}
    assert scene.inventory.told == [({"vnet5"}, {"vnet1"})]


def test_two_taps_of_one_name_are_both_heard_of(scene: Scene) -> None:
    """Where messages of the kernel were lost, the new one may be heard of before the end of the old one."""
    scene.supervisor.tap_appeared(Tap(name="vnet1", ifindex=105, tag=5, since=0.0, carrier=True))
    scene.inventory.concerned = {"vnet1"}
    scene.inventory.by_tap["vnet1"] = DB
    scene.supervisor._inventory_changed()
    assert [state.domain for state in scene.supervisor.taps if state.tap.name == "vnet1"] == [DB, DB]
    scene.supervisor.tap_gone(Tap(name="vnet1", ifindex=101, tag=1, since=0.0, carrier=True))
    scene.clock.advance(0)
    scene.inventory.by_tap["vnet1"] = WEB
    scene.supervisor._inventory_changed()
    assert [state.domain for state in scene.supervisor.taps if state.tap.name == "vnet1"] == [WEB]
    assert not any("vnet1" in gone for _, gone in scene.inventory.told)


def test_many_taps_get_their_domain_in_turns_but_lose_it_at_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONG", 1000.0)  # however slow this machine is
    turns: list[Any] = []
    monkeypatch.setattr(scene.clock, "callLater", lambda delay, call: turns.append(call))
    names = [f"many{number}" for number in range(REFRESHED_AT_ONCE * 2 + 10)]
    for tag, name in enumerate(names, 10):
        scene.supervisor.tap_appeared(Tap(name=name, ifindex=100 + tag, tag=tag, since=0.0, carrier=True))
    turns.clear()
    scene.inventory.by_tap |= dict.fromkeys(names, WEB)
    scene.supervisor._inventory_changed()

    def known() -> int:
        return sum(state.domain is WEB for state in scene.supervisor.taps if state.tap.name in names)

    assert (known(), len(turns)) == (REFRESHED_AT_ONCE, 1)
    turns.pop()()
    assert (known(), len(turns)) == (REFRESHED_AT_ONCE * 2, 1)
    scene.inventory.by_tap |= dict.fromkeys(names, DB)
    scene.supervisor._inventory_changed()
    assert known() == 0
    while turns:
        turns.pop()()
    assert all(state.domain is DB for state in scene.supervisor.taps if state.tap.name in names)
