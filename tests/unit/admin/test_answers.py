"""The daemon's answers: every question has one, and all of them take a NAME for the same thing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from eve_meta.admin import questions
from eve_meta.admin.answers import answers
from eve_meta.admin.questions import Question
from eve_meta.config import Config, SteeringConfig
from eve_meta.inventory.source import InventoryProblem
from eve_meta.inventory.vmm.process import Owner
from eve_meta.runtime.clock import Clock
from eve_meta.steering.bpf.maps import Sightings
from eve_meta.steering.path.inspection import Inspection
from eve_meta.steering.taps.tap import Tap
from eve_meta.supervisor.dhcp import DhcpAnswers
from eve_meta.supervisor.events import Events
from eve_meta.supervisor.tap_state import TapState
from eve_meta.values.domain import Domain
from eve_meta.values.problem import Problem

WEB = Domain(uuid=UUID("1a831fa7-c50b-4693-a16e-fb8171f1b69e"), name="web1")
DB = Domain(uuid=UUID("2a831fa7-c50b-4693-a16e-fb8171f1b69e"), name="db1")
GONE = UUID("3a831fa7-c50b-4693-a16e-fb8171f1b69e")

FILES = {"/d/web1.yaml": WEB, "/d/db1.yaml": DB}


class Inventory:
    """An inventory of web1 and db1; db1's file names vnet8, which does not exist. A file is broken."""

    def domains(self) -> list[Domain]:
        return list(FILES.values())

    def described(self) -> list[tuple[Domain, tuple[str, ...]]]:
        return [(domain, (path,)) for path, domain in FILES.items()]

    def origins(self, domain: Domain) -> tuple[str, ...]:
        return tuple(path for path, each in FILES.items() if each is domain)

    def sources(self, domain: Domain) -> dict[str, str]:
        return {"name": self.origins(domain)[0]}

    def written_taps(self) -> dict[str, list[Domain]]:
        return {"vnet8": [DB]}

    def give_instance_id(self, domain: Domain, instance_id: UUID | None) -> Deferred[None]:
        return succeed(None)

    def owners(self) -> dict[str, Owner]:
        return {}

    def problems(self) -> tuple[InventoryProblem, ...]:
        return self.faults()

    def refusals(self) -> tuple[InventoryProblem, ...]:
        return ()

    def faults(self) -> tuple[InventoryProblem, ...]:
        return (
            InventoryProblem(file="/d/mail.yaml", message="broken", line=1),
            InventoryProblem(file="/d/web1.yaml", message="every user can read it", warning=True),
            InventoryProblem(file="libvirt metadata of db1", message="unknown key"),
        )


class Passwords:
    """The passwords that web1 and a domain that is gone have posted."""

    def __init__(self) -> None:
        self.kept = {WEB.instance_uuid: "secret", GONE: "left behind"}

    def get(self, uuid: UUID) -> str | None:
        return self.kept.get(uuid)

    def clear(self, uuid: UUID) -> Deferred[None]:
        del self.kept[uuid]
        return succeed(None)


def tap_state(name: str, tag: int, domain: Domain | None) -> TapState:
    return TapState(Tap(name=name, ifindex=100 + tag, tag=tag, since=0.0, carrier=True), domain)


@pytest.fixture
def passwords() -> Passwords:
    return Passwords()


@pytest.fixture
def answering(passwords: Passwords) -> Mapping[Question[Any], Any]:
    """The answers of a daemon with web1 behind vnet1 and vnet2, and a tap of an unknown domain, vnet9."""
    return answers_of(passwords, lambda _: fail(Problem("nsenter is not installed")))


def answers_of(
    passwords: Passwords, in_thread: Callable[[Any], Deferred[Any]], **more: Any
) -> Mapping[Question[Any], Any]:
    """Return the answers of that daemon.

    :param more: what its steering has in addition.
    """
    supervisor = SimpleNamespace(
        taps=[tap_state("vnet1", 1, WEB), tap_state("vnet2", 2, WEB), tap_state("vnet9", 9, None)],
        workers=[],
        events=Events(Clock()),
        passwords=passwords,
        host_keys=SimpleNamespace(all=lambda: succeed({})),
        current_counts=lambda: succeed(None),
        dhcp=DhcpAnswers(SteeringConfig(), Clock().monotonic),
    )
    steering = SimpleNamespace(
        problems={},
        namespace=SimpleNamespace(name="eve-meta"),
        counters=lambda tag: {},
        sightings=lambda tag: Sightings(),
        **{"inspect": lambda taps: None, "path_problem": None, **more},
    )
    return answers(
        reactor=cast(Any, None),
        clock=Clock(),
        supervisor=cast(Any, supervisor),
        steering=cast(Any, steering),
        inventory=cast(Any, Inventory()),
        config=Config(),
        in_thread=in_thread,
    )


def result(answer: Any) -> Any:
    """Return *answer*, or the result of the Deferred that it is; raise a failure."""
    if not isinstance(answer, Deferred):
        return answer
    came: list[Any] = []
    answer.addBoth(came.append)
    (value,) = came
    if isinstance(value, Failure):
        value.raiseException()
    return value


def test_every_question_is_answered_by_a_function_of_its_parameters(answering: Mapping[Question[Any], Any]) -> None:
    assert set(answering) == set(questions.ANSWERED)
    for question, answer in answering.items():
        assert tuple(signature(answer).parameters) == question.parameters


BY_NAME = [question for question in questions.ANSWERED if question.parameters]

FORMS = ["web1", "WEB1", str(WEB.uuid), str(WEB.uuid).upper(), "vnet1", "VNET1"]
"""Every way of naming web1."""


def meant(question: Question[Any], answer: Any) -> Any:
    """Return the name or uuid of the domain that *answer* is about."""
    if question in (questions.SHOW_DOMAIN, questions.PUBLIC_DOMAIN):
        return answer["domain"]["name"]
    if question is questions.EXPLAIN:
        return answer["domain"]["name"]
    if question is questions.TIMELINE:
        return answer[0]["name"]
    return {str(WEB.uuid): "web1"}[answer["uuid"]]


@pytest.mark.parametrize("question", BY_NAME, ids=lambda question: question.name)
@pytest.mark.parametrize("name", FORMS)
def test_every_question_takes_every_form_of_a_name(
    answering: Mapping[Question[Any], Any], passwords: Passwords, question: Question[Any], name: str
) -> None:
    if question is questions.UNDO_RERUN:
        with pytest.raises(Problem, match="web1 has its own instance id: there is nothing to undo"):
            answering[question](name=name)
        return
    answer = result(answering[question](name=name))
    if question is questions.CLEAR_PASSWORD:
        assert set(passwords.kept) == {GONE}
    else:
        assert meant(question, answer) == "web1"


@pytest.mark.parametrize("question", BY_NAME, ids=lambda question: question.name)
@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("WBE1", "did you mean web1?"),
        ("zzz", "the domains are db1, web1"),
        (str(UUID(int=0)), "the domains are db1, web1"),
    ],
)
def test_every_question_suggests_the_same_in_place_of_an_unknown_name(
    answering: Mapping[Question[Any], Any], question: Question[Any], name: str, others: str
) -> None:
    if question is questions.EXPLAIN:
        near = result(answering[question](name=name))["near"]
        assert near == (["web1"] if "mean" in others else [])
        return
    with pytest.raises(Problem) as raised:
        result(answering[question](name=name))
    assert str(raised.value) == f"no domain or tap {name!r}: {others} (1 file is broken: see 'eve-meta check')"


@pytest.mark.parametrize("question", [questions.SHOW_DOMAIN, questions.PASSWORD, questions.CLEAR_PASSWORD])
def test_a_tap_of_an_unknown_domain_has_no_document_and_no_password(
    answering: Mapping[Question[Any], Any], question: Question[Any]
) -> None:
    with pytest.raises(Problem, match=r"^the domain behind vnet9 is unknown: 'eve-meta explain vnet9' says why$"):
        result(answering[question](name="vnet9"))


def test_a_domain_has_a_timeline_for_each_of_its_taps_and_a_tap_one(answering: Mapping[Question[Any], Any]) -> None:
    def taps(name: str) -> list[str]:
        return [timeline["tap"] for timeline in result(answering[questions.TIMELINE](name=name))]

    assert taps("web1") == ["vnet1", "vnet2"]
    assert taps("vnet2") == ["vnet2"]
    assert taps("vnet9") == ["vnet9"]
    with pytest.raises(Problem, match=r"^DB1 has no tap that is served: 'eve-meta explain DB1' says why$"):
        taps("DB1")
    with pytest.raises(Problem, match=r"^tap vnet8 is not steered: 'eve-meta explain vnet8' says why$"):
        taps("vnet8")


def test_the_password_of_a_domain_that_is_gone_is_found_by_its_uuid(
    answering: Mapping[Question[Any], Any], passwords: Passwords
) -> None:
    name = str(GONE).upper()
    assert result(answering[questions.PASSWORD](name=name)) == {"uuid": str(GONE), "password": "left behind"}
    assert result(answering[questions.CLEAR_PASSWORD](name=name)) is None
    with pytest.raises(Problem, match="no domain or tap"):
        result(answering[questions.PASSWORD](name=name))


def test_the_list_of_domains_has_their_taps(answering: Mapping[Question[Any], Any]) -> None:
    assert result(answering[questions.LIST_DOMAINS]()) == [
        {"name": "web1", "uuid": str(WEB.uuid), "taps": ["vnet1", "vnet2"]},
        {"name": "db1", "uuid": str(DB.uuid), "taps": ["vnet8"]},
    ]


def test_an_explanation_has_what_files_say_and_what_the_kernel_would_not(
    answering: Mapping[Question[Any], Any],
) -> None:
    facts = result(answering[questions.EXPLAIN](name="db1"))
    assert facts["domain"]["origins"] == ["/d/db1.yaml"]
    assert (facts["domain"]["faults"], facts["broken"]) == ([], ["libvirt metadata of db1: unknown key"])
    assert [(tap["name"], tap["link"], tap["tag"]) for tap in facts["taps"]] == [("vnet8", None, None)]
    assert facts["path"]["problem"] == "nsenter is not installed"
    facts = result(answering[questions.EXPLAIN](name="mail"))
    assert facts["broken"] == ["/d/mail.yaml:1: broken"]
    facts = result(answering[questions.EXPLAIN](name="vnet1"))
    assert [(tap["name"], tap["tag"], tap["domain"]["name"]) for tap in facts["taps"]] == [("vnet1", 1, "web1")]


WHOLE = Inspection(links={}, filters={}, programs=(), namespace=(), rules=(), routes=())


@pytest.mark.parametrize(
    "damaged",
    [
        evolve(WHOLE, routes=("the IPv4 route in table 169",)),
        evolve(WHOLE, filters={"vnet1": ()}),
    ],
)
def test_an_explanation_lets_the_daemon_restore_what_is_missing_first(
    passwords: Passwords, damaged: Inspection
) -> None:
    """Half of it may be restored already when somebody asks."""
    inspections, restoring = [damaged, evolve(WHOLE, rules=("iptables -A x",))], Deferred[None]()
    answering = answers_of(
        passwords,
        lambda function: succeed(function()),
        inspect=lambda taps: inspections.pop(0),
        restore=lambda: restoring,
        path_problem="iptables is out of order",
    )
    explaining = answering[questions.EXPLAIN](name="web1")
    assert len(inspections) == 1
    restoring.callback(None)
    path = result(explaining)["path"]
    assert (path["routes"], path["rules"]) == ([], ["iptables -A x"])
    assert path["unrestored"] == "iptables is out of order"


def test_an_explanation_of_a_path_that_is_whole_restores_nothing(passwords: Passwords) -> None:
    answering = answers_of(passwords, lambda function: succeed(function()), inspect=lambda taps: WHOLE)
    assert result(answering[questions.EXPLAIN](name="web1"))["path"]["rules"] == []
