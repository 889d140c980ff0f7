"""Operators, who are not root: what they may ask, that no answer has a secret, and what they take of the daemon."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast, get_args
from uuid import UUID

import attrs
import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock as TaskClock
from twisted.internet.testing import StringTransport

from eve_meta.admin import questions
from eve_meta.admin.access import OPERATORS, ROOT
from eve_meta.admin.answers import answers
from eve_meta.admin.domain import without_keys, without_secrets
from eve_meta.admin.questions import ANSWERED, OPERATORS_QUESTIONS, Question
from eve_meta.admin.queue import MAX_REST, REST, Queue
from eve_meta.admin.server import AdminFactory
from eve_meta.config import Config, SteeringConfig
from eve_meta.inventory.source import InventoryProblem
from eve_meta.runtime.clock import Clock
from eve_meta.steering.bpf.maps import Sightings
from eve_meta.steering.taps.tap import Tap
from eve_meta.supervisor.dhcp import DhcpAnswers
from eve_meta.supervisor.events import Events, Kind
from eve_meta.supervisor.tap_state import TapState
from eve_meta.values.checks import is_secret
from eve_meta.values.domain import Domain, File

CANARY = "hunter2canary"

FULL = Domain(
    uuid=UUID("1a831fa7-c50b-4693-a16e-fb8171f1b69e"),
    name="web1",
    hostname="web1.example.org",
    meta={CANARY: CANARY},
    public_keys={CANARY: CANARY},
    user_data=CANARY.encode(),
    vendor_data={CANARY: CANARY},
    vendor_data2={CANARY: CANARY},
    files=(File(path=f"/{CANARY}", content=CANARY.encode()),),
)

ALICE, BOB = 1001, 1002


class Transport(StringTransport):
    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class Operators:
    """The operators' socket of a daemon, and its clock."""

    def __init__(self, answering: dict[Question[Any], Any] | None = None) -> None:
        self.clock = TaskClock()
        self.events = Events(Clock())
        self.user = ALICE
        found = dict.fromkeys(ANSWERED, list) if answering is None else answering
        self.factory = AdminFactory(
            cast(Any, self.clock), cast(Any, found), self.events, OPERATORS, user_of=lambda _: self.user
        )

    def connect(self, user: int = ALICE) -> tuple[Any, Transport]:
        self.user = user
        protocol: Any = self.factory.buildProtocol(None)
        transport = Transport()
        protocol.makeConnection(transport)
        return protocol, transport

    def ask(self, question: str, user: int = ALICE, **arguments: str) -> tuple[Any, Transport]:
        protocol, transport = self.connect(user)
        protocol.dataReceived(json.dumps({"question": question, "arguments": arguments}).encode() + b"\n")
        return protocol, transport


# -- what they may ask --


def test_each_question_shows_a_secret_or_changes_something_or_operators_may_ask_it() -> None:
    for_root_alone = {"show_domain", "password", "clear_password", "rerun", "undo_rerun"}
    assert {question.name for question in ANSWERED} - OPERATORS.questions == for_root_alone
    assert OPERATORS.questions < ROOT.questions


@pytest.mark.parametrize("question", ["show_domain", "password", "clear_password", "rerun"])
def test_a_question_that_is_for_root_alone_is_refused(question: str) -> None:
    def called(name: str) -> None:
        raise AssertionError(name)

    operators = Operators(dict.fromkeys(ANSWERED, called))
    _, transport = operators.ask(question, name="web1")
    problem = json.loads(transport.value())["problem"]
    assert problem == f"only root may ask the daemon for {question!r}: it shows secrets or changes something"


class Inventory:
    """The inventory of a domain that is full of secrets."""

    def domains(self) -> list[Domain]:
        return [FULL]

    def described(self) -> list[tuple[Domain, tuple[str, ...]]]:
        return [(FULL, ("/d/web1.yaml",))]

    def origins(self, domain: Domain) -> tuple[str, ...]:
        return ("/d/web1.yaml",)

    def sources(self, domain: Domain) -> dict[str, str]:
        return {field.name: "/d/web1.yaml" for field in attrs.fields(Domain)}

    def written_taps(self) -> dict[str, list[Domain]]:
        return {"vnet1": [FULL]}

    def owners(self) -> dict[str, Any]:
        return {}

    def problems(self) -> tuple[InventoryProblem, ...]:
        return ()

    faults = refusals = problems


@pytest.fixture
def answering() -> dict[Question[Any], Any]:
    """The answers of a daemon whose only guest has the domain that is full of secrets."""
    tap = Tap(name="vnet1", ifindex=101, tag=1, since=0.0, carrier=True)
    supervisor = SimpleNamespace(
        taps=[TapState(tap, FULL)],
        workers=[],
        events=Events(Clock()),
        passwords=SimpleNamespace(get=lambda uuid: CANARY, clear=lambda uuid: succeed(None)),
        host_keys=SimpleNamespace(all=lambda: succeed({})),
        current_counts=lambda: succeed(None),
        dhcp=DhcpAnswers(SteeringConfig(), Clock().monotonic),
        heartbeat=SimpleNamespace(lapses=0),
        tallies=SimpleNamespace(unsteered={}),
        restorations={},
    )
    steering = SimpleNamespace(
        problems={},
        path_problem=None,
        overruns=0,
        namespace=SimpleNamespace(name="eve-meta"),
        counters=lambda tag: {},
        sightings=lambda tag: Sightings(),
        inspect=lambda taps: None,
    )
    made = answers(
        reactor=cast(Any, TaskClock()),
        clock=Clock(),
        supervisor=cast(Any, supervisor),
        steering=cast(Any, steering),
        inventory=cast(Any, Inventory()),
        config=Config(),
        in_thread=lambda call: succeed(
            SimpleNamespace(missing=lambda: False, filters={}, links={}, programs=(), namespace=(), rules=(), routes=())
        ),
    )
    supervisor.events.emit(Kind.DOMAIN_FOUND, tap="vnet1", tag=1, ifindex=101, uuid=str(FULL.uuid), name=FULL.name)
    return dict(made)


@pytest.mark.parametrize("name", ["web1", str(FULL.uuid), "vnet1", "web2"])
def test_no_answer_for_operators_has_a_secret(answering: dict[Question[Any], Any], name: str) -> None:
    secret = Operators(answering)
    secret.factory.access = ROOT
    _, transport = secret.ask("show_domain", name="web1")
    assert CANARY in transport.value().decode()  # the canary would be seen
    for question in OPERATORS_QUESTIONS:
        if question is questions.STATUS:  # needs a reactor that turns
            continue
        operators = Operators(answering)
        _, transport = operators.ask(question.name, ALICE, **dict.fromkeys(question.parameters, name))
        operators.clock.advance(1)
        if question is not questions.FOLLOW:
            assert transport.value(), question
        assert CANARY not in transport.value().decode(), question


def test_a_domain_without_its_secrets_names_them() -> None:
    public, hidden = without_secrets(FULL)
    assert sorted(hidden) == sorted(field.name for field in attrs.fields(Domain) if is_secret(field))
    assert (public.uuid, public.name, public.hostname) == (FULL.uuid, FULL.name, FULL.hostname)
    assert all(not getattr(public, name) for name in hidden)
    assert without_secrets(public) == (public, [])


def test_no_field_that_operators_see_has_a_secret_within() -> None:
    attrs.resolve_types(Domain)
    found = [kind for field in attrs.fields(Domain) if not is_secret(field) for kind in classes_in(field.type)]
    assert {kind.__name__ for kind in found} >= {"Nic", "Subnet", "Ec2", "Disk", "Application"}
    assert [field.name for kind in found for field in attrs.fields(kind) if is_secret(field)] == []


def classes_in(kind: Any) -> set[type]:
    """Return the attrs classes that a value of type *kind* can hold."""
    if isinstance(kind, type) and attrs.has(kind):
        attrs.resolve_types(kind)
        return {kind}.union(*(classes_in(field.type) for field in attrs.fields(kind)))
    return set().union(*(classes_in(part) for part in get_args(kind)))


def test_the_sources_of_a_domain_with_profiles_have_no_keys_of_secret_fields() -> None:
    sources = {"name": "f", f"meta.{CANARY}": "f", f"meta['{CANARY}']": "p", "user_data[0]": "p", "nics[0].tap": "f"}
    assert without_keys(sources, ["meta", "user_data"]) == {
        "name": "f",
        "meta": "f and p",
        "user_data": "p",
        "nics[0].tap": "f",
    }


# -- how much they take --


def later(asked: list[tuple[str, Deferred[Any]]]) -> Callable[..., Deferred[Any]]:
    """Return an answer that comes when its Deferred in *asked* is called."""

    def answer(name: str) -> Deferred[Any]:
        answered: Deferred[Any] = Deferred()
        asked.append((name, answered))
        return answered

    return answer


def test_questions_are_answered_one_at_a_time_and_users_take_turns() -> None:
    asked: list[tuple[str, Deferred[Any]]] = []
    operators = Operators({questions.TIMELINE: later(asked)})
    open_ones = {name: operators.ask("timeline", ALICE, name=name) for name in ("a1", "a2", "a3")}
    open_ones["b1"] = operators.ask("timeline", BOB, name="b1")
    order = []
    for _ in range(4):
        (name, answer) = asked[-1]
        order.append(name)
        assert len(asked) == len(order)
        answer.callback([])
        protocol, transport = open_ones[name]
        assert transport.value() == b'{"answer": []}\n'
        protocol.connectionLost()
        operators.clock.advance(0.001)
    assert order == ["a1", "a2", "b1", "a3"] or order == ["a1", "b1", "a2", "a3"]


def test_whoever_hangs_up_has_not_ended_the_work_and_cannot_pile_it_up() -> None:
    asked: list[tuple[str, Deferred[Any]]] = []
    operators = Operators({questions.TIMELINE: later(asked)})
    for number in range(50):
        protocol, _ = operators.ask("timeline", name=f"n{number}")
        protocol.connectionLost()
    assert [name for name, _ in asked] == ["n0"]
    asked[0][1].callback([])
    operators.clock.advance(MAX_REST)
    assert len(asked) == 1  # nobody waits for the others' answers


def test_a_reader_that_does_not_read_is_cut_off_and_the_next_one_is_answered() -> None:
    asked: list[tuple[str, Deferred[Any]]] = []
    operators = Operators({questions.TIMELINE: later(asked)})
    slow, transport = operators.ask("timeline", ALICE, name="slow")
    operators.ask("timeline", BOB, name="next")
    asked[0][1].callback([])
    operators.clock.advance(OPERATORS.reading_time - 0.1)
    assert (transport.aborted, len(asked)) == (False, 1)
    operators.clock.advance(0.1)
    assert transport.aborted
    slow.connectionLost()
    operators.clock.advance(MAX_REST)
    assert [name for name, _ in asked] == ["slow", "next"]


def test_the_daemon_rests_after_each_question() -> None:
    clock = TaskClock()
    queue = Queue(cast(Any, clock))
    began: list[float] = []
    working: list[Deferred[None]] = []

    def work() -> Deferred[None]:
        began.append(clock.seconds())
        working.append(Deferred())
        return working[-1]

    for _ in range(3):
        queue.add(ALICE, work)
    clock.advance(0.1)
    working[0].callback(None)
    clock.advance(REST * 0.1 - 0.01)
    assert began == [0.0]
    clock.advance(0.02)
    assert len(began) == 2
    clock.advance(5)
    working[1].errback(RuntimeError("a defect"))
    clock.advance(MAX_REST)
    assert len(began) == 3


def test_a_user_has_few_connections_and_leaves_others_theirs() -> None:
    operators = Operators()
    most = OPERATORS.of_one_user or 0
    of_alice = [operators.connect(ALICE) for _ in range(most + 2)]
    assert [transport.aborted for _, transport in of_alice] == [False] * most + [True] * 2
    assert not operators.connect(BOB)[1].aborted
    for protocol, _ in of_alice:
        protocol.connectionLost()
    assert not operators.connect(ALICE)[1].aborted


def test_followers_take_no_turn() -> None:
    operators = Operators()
    for _ in range(3):
        operators.ask("follow")
        operators.clock.advance(0.01)
    _, transport = operators.ask("events", BOB)
    operators.clock.advance(0.01)
    assert transport.value() == b'{"answer": []}\n'
