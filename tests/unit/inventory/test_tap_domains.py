"""Which domain is behind which tap, and above all which domain is not."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

import pytest

from eve_meta.inventory.grouping import differences
from eve_meta.inventory.merge import Merged, merge
from eve_meta.inventory.source import InventoryProblem, Layer
from eve_meta.inventory.tap_domains import HypervisorAnswers, TapDomains
from eve_meta.inventory.vmm.process import Owner
from eve_meta.inventory.written_taps import WrittenTaps
from eve_meta.values.domain import Domain
from eve_meta.values.nic import Nic

UUID1 = UUID("1a831fa7-c50b-4693-a16e-fb8171f1b69e")
UUID2 = UUID("2a831fa7-c50b-4693-a16e-fb8171f1b69e")

PROCESS = "QEMU process 1 behind t"


def domain(*, uuid: UUID | None = None, name: str | None = None, taps: tuple[str, ...] = ()) -> Domain:
    return Domain(uuid=uuid, name=name, nics=tuple(Nic(tap=tap) for tap in taps))


def owner(pid: int = 1, *, uuid: UUID | None = None, name: str | None = None) -> Owner:
    return Owner(pid=pid, start=1, uuid=uuid, name=name)


def untrusted(pid: int = 9, *, uuid: UUID | None = None, name: str | None = None) -> Owner:
    return Owner(pid=pid, start=1, uuid=uuid, name=name, uid=1000, trusted=False)


Problems = tuple[InventoryProblem, ...]


def decide(
    files: dict[str, Domain],
    owners: dict[str, Owner],
    virt: dict[str, Domain] | None = None,
    claims: dict[str, list[str]] | None = None,
) -> tuple[dict[str, Domain], Problems]:
    """Return the domains of taps, and the problems, that follow from files, processes and a hypervisor.

    :param virt: the hypervisor's domains, by origin.
    :param claims: its answers: the origins of each tap's domains.
    """
    layers = [Layer(domains=files, written=True), Layer(domains=virt or {}, written=False)]
    merged, problems = merge(layers)
    hypervisors = [] if claims is None else [HypervisorAnswers(set(virt or {}), claims)]
    tap_domains, written = decided(layers, merged, hypervisors, owners)
    taps = {*written, *owners, *(claims or {})}
    return {tap: pair[1] for tap in taps if (pair := tap_domains.get(tap)) is not None}, problems + tap_domains.problems


def decided(
    layers: list[Layer], merged: Collection[Merged], hypervisors: list[HypervisorAnswers], owners: dict[str, Owner]
) -> tuple[TapDomains, set[str]]:
    """Return the domains of taps, and the taps that people wrote."""
    written = WrittenTaps()
    taps, origins = written.update(layers, differences((), layers))
    tap_domains = TapDomains(written, owners, hypervisors)
    tap_domains.change((), merged, taps, origins)
    return tap_domains, taps


def refused(
    domains: dict[str, Domain],
    owners: dict[str, Owner],
    virt: dict[str, Domain] | None = None,
    claims: dict[str, list[str]] | None = None,
) -> list[str]:
    """Assert that no tap has a domain, and return the problems."""
    taps, problems = decide(domains, owners, virt, claims)
    assert taps == {}
    return [str(problem) for problem in problems]


# -- taps that must not get a domain --


def test_a_tap_that_a_file_names_but_another_domains_process_holds() -> None:
    assert refused({"a.yaml": domain(uuid=UUID1, taps=("t",))}, {"t": owner(uuid=UUID2)}) == [
        f"a.yaml: uuid: expected {PROCESS} to have uuid {UUID1}, got {UUID2}: it is not served"
    ]


def test_a_tap_that_a_file_names_but_a_process_of_another_name_holds() -> None:
    assert refused({"a.yaml": domain(name="web1", taps=("t",))}, {"t": owner(uuid=UUID2, name="web2")}) == [
        f"a.yaml: name: expected {PROCESS} to have name web1, got web2: it is not served"
    ]


def test_a_process_with_the_name_of_another_domain() -> None:
    (problem,) = refused({"a.yaml": domain(uuid=UUID1, name="web1")}, {"t": owner(uuid=UUID2, name="web1")})
    assert problem.startswith(f"a.yaml: uuid: expected {PROCESS} to have uuid {UUID1}")


def test_two_processes_with_one_uuid() -> None:
    assert refused({"a.yaml": domain(uuid=UUID1)}, {"t1": owner(1, uuid=UUID1), "t2": owner(2, uuid=UUID1)}) == [
        "a.yaml: expected one process to be this domain, got 1 behind t1 and 2 behind t2: none of them is served"
    ]


def test_two_processes_with_one_name() -> None:
    owners = {"t1": owner(1, uuid=UUID1, name="web1"), "t2": owner(2, uuid=UUID2, name="web1")}
    assert len(refused({"a.yaml": domain(name="web1")}, owners)) == 1


def test_a_file_that_names_no_tap_does_not_get_the_tap_of_another() -> None:
    domains = {"a.yaml": domain(uuid=UUID1, name="a", taps=("t",)), "b.yaml": domain(uuid=UUID2, name="b")}
    assert len(refused(domains, {"t": owner(uuid=UUID2, name="b")})) == 1


def test_a_process_of_no_known_domain() -> None:
    assert refused({"a.yaml": domain(uuid=UUID1, name="web1")}, {"t": owner(uuid=UUID2, name="web2")}) == []


def test_a_wrong_tap_leaves_the_domain_its_other_taps() -> None:
    web = domain(uuid=UUID1, taps=("t1", "t2"))
    taps, problems = decide({"a.yaml": web}, {"t1": owner(1, uuid=UUID1), "t2": owner(2, uuid=UUID2)})
    assert taps == {"t1": web}
    assert len(problems) == 1


def test_a_domain_that_names_its_taps_is_behind_no_other() -> None:
    web = domain(uuid=UUID1, name="web1", taps=("t1",))
    for process in (owner(2, uuid=UUID1), owner(2, name="web1"), untrusted(2, uuid=UUID1)):
        taps, problems = decide({"a.yaml": web}, {"t1": owner(1, uuid=UUID1), "t": process})
        assert taps == {"t1": web}
        assert len(problems) == 1
    assert refused({"a.yaml": domain(uuid=UUID1)}, {"t": untrusted(uuid=UUID1)})


def test_a_process_with_the_uuid_of_one_domain_and_the_name_of_another() -> None:
    """By the name it would get the other's documents under this uuid, and whatever is stored by the uuid."""
    domains = {"a.yaml": domain(uuid=UUID1, taps=("t1",)), "b.yaml": domain(name="b")}
    taps, problems = decide(domains, {"t": owner(uuid=UUID1, name="b")})
    assert taps == {"t1": domains["a.yaml"]}
    assert len(problems) == 1


def test_a_stale_file_without_uuid_and_the_process_of_another_domain() -> None:
    domains = {"a.yaml": domain(name="old", taps=("t",)), "b.yaml": domain(uuid=UUID2)}
    assert refused(domains, {"t": owner(uuid=UUID2)}) == [
        f"a.yaml: nics: expected this domain behind t, got {PROCESS}, which is b.yaml: it is not served"
    ]


def test_an_untrusted_process_wins_nothing_by_its_claim() -> None:
    for claim in (untrusted(uuid=UUID1), untrusted(name="web1")):
        assert refused({"a.yaml": domain(uuid=UUID1, name="web1")}, {"t": claim}) == [
            (
                "a.yaml: tap t: process 9 of user 1000 is not trusted to claim a domain: it is not served; "
                "if that user runs nothing but VMs, name it in [inventory] process_users"
            )
        ]
    assert refused({"a.yaml": domain(uuid=UUID1)}, {"t": untrusted(uuid=UUID2)}) == []


def test_an_untrusted_process_takes_nothing_from_others_by_its_claim() -> None:
    web = domain(uuid=UUID1, name="web1")
    taps, problems = decide({"a.yaml": web}, {"t1": owner(uuid=UUID1), "t2": untrusted(uuid=UUID1)})
    assert taps == {"t1": web}
    assert len(problems) == 1
    tied = domain(uuid=UUID1, taps=("t1", "t2"))
    assert decide({"a.yaml": tied}, {"t1": owner(uuid=UUID1), "t2": untrusted(uuid=UUID1)}) == (
        {"t1": tied, "t2": tied},
        (),
    )


def test_an_untrusted_process_behind_a_tap_that_a_file_names() -> None:
    """The file assigns the tap, but may be stale: an honest user's QEMU must not get another domain's documents."""
    domains = {"a.yaml": domain(name="web1", taps=("t",))}
    assert len(refused(domains, {"t": untrusted(name="web2")})) == 1
    taps, problems = decide(domains, {"t": untrusted(uuid=UUID2, name="web1")})
    assert problems == ()
    assert taps["t"].uuid is None  # not one that the process chose: more than documents depends on it


# -- a hypervisor that was asked --


XML1, XML2 = "libvirt XML of web1", "libvirt XML of web2"
VIRT = {
    XML1: Domain(uuid=UUID1, name="web1", nics=(Nic(tap="vnet0"),)),
    XML2: Domain(uuid=UUID2, name="web2", nics=(Nic(tap="vnet1"),)),
}
CLAIMS = {"vnet0": [XML1], "vnet1": [XML2]}


def test_the_hypervisor_alone_assigns_a_tap() -> None:
    assert decide({}, {}, VIRT, CLAIMS) == ({"vnet0": VIRT[XML1], "vnet1": VIRT[XML2]}, ())


def test_a_file_completes_the_hypervisors_domain() -> None:
    taps, problems = decide({"a": Domain(name="web1", hostname="h")}, {}, VIRT, CLAIMS)
    assert problems == ()
    assert (taps["vnet0"].uuid, taps["vnet0"].hostname, taps["vnet0"].nics) == (UUID1, "h", (Nic(tap="vnet0"),))
    assert taps["vnet1"].hostname is None


def test_nics_in_the_hypervisors_description_tie_no_tap() -> None:
    """Its XML may be out of date; only its answer about the tap counts."""
    assert refused({}, {}, VIRT, {}) == []
    assert refused({"a": Domain(name="web1", hostname="h")}, {}, VIRT, {}) == []


def test_a_file_that_names_a_tap_of_another_domain_of_the_hypervisor() -> None:
    problems = refused({"a": domain(name="web1", taps=("vnet1",))}, {}, VIRT, CLAIMS)
    assert sorted(problems) == [
        f"a: nics: expected this domain behind the taps that its nics name, got {XML1} with vnet0: it is not served",
        f"a: nics: expected this domain behind vnet1, got {XML2}: it is not served",
    ]


def test_a_file_that_is_stale_takes_no_tap_from_the_hypervisors_domain() -> None:
    stale = {"a": domain(name="old", taps=("vnet0",))}
    taps, problems = decide(stale, {}, VIRT, CLAIMS)
    assert taps == {"vnet1": VIRT[XML2]}
    assert [str(problem) for problem in problems] == [
        f"a: nics: expected this domain behind vnet0, got {XML1}: it is not served"
    ]


def test_a_domain_of_the_hypervisor_that_does_not_have_the_tap() -> None:
    file = {"a": domain(uuid=UUID1, taps=("vnet0",))}
    assert refused(file, {}, VIRT, {"vnet0": []}) == [
        f"a: nics: expected this domain behind vnet0, but {XML1} has no such tap: it is not served"
    ]
    assert refused({}, {"vnet0": owner(uuid=UUID1, name="web1")}, VIRT, {"vnet0": []}) == [
        f"{XML1}: nics: expected this domain behind vnet0, but {XML1} has no such tap: it is not served"
    ]
    # A domain that the hypervisor does not know may have a tap that is none of its own.
    other = {"a": domain(name="other", taps=("vnet0",))}
    assert decide(other, {}, VIRT, {"vnet0": []})[0] == {"vnet0": other["a"]}


def test_the_hypervisor_and_the_process_must_agree() -> None:
    for process in (owner(uuid=UUID2, name="web2"), untrusted(uuid=UUID2), owner(uuid=UUID(int=7), name="web1")):
        taps, problems = decide({}, {"vnet0": process}, VIRT, {"vnet0": [XML1]})
        assert taps == {}
        assert len(problems) == 1
        assert "it is not served" in str(problems[0])
    agreed = owner(uuid=UUID1, name="web1")
    assert decide({}, {"vnet0": agreed}, VIRT, {"vnet0": [XML1]}) == ({"vnet0": VIRT[XML1]}, ())
    # libvirt may run QEMU as any user; its answer suffices then.
    assert decide({}, {"vnet0": untrusted(uuid=UUID1)}, VIRT, {"vnet0": [XML1]}) == ({"vnet0": VIRT[XML1]}, ())


def test_a_tap_that_the_hypervisor_gives_to_two_domains() -> None:
    assert refused({}, {}, VIRT, {"vnet0": [XML1, XML2]}) == [
        f"{XML1}: nics: expected this domain behind vnet0, got {XML2}: it is not served"
    ]


def test_a_tap_that_people_wrote_into_two_domains() -> None:
    layers = [
        Layer(domains={"a": domain(name="web1", taps=("t",))}, written=True),
        Layer(domains={"metadata": domain(uuid=UUID2, name="web2", taps=("t",))}, written=True),
    ]
    merged, _ = merge(layers)
    tap_domains, _ = decided(layers, merged, [], {})
    assert tap_domains.get("t") is None
    assert [str(problem) for problem in tap_domains.problems] == [
        "a: nics: expected one domain to name tap t, got a and metadata: none of them is served"
    ]


def test_a_name_with_two_uuids_serves_nobody() -> None:
    """The file describes the domain that had this name before; nobody knows whether the new one is meant."""
    taps, problems = decide({"a": domain(uuid=UUID(int=7), name="web1")}, {}, VIRT, CLAIMS)
    assert taps == {"vnet1": VIRT[XML2]}
    (problem,) = problems
    assert str(problem) == (
        f"a: uuid: expected the domain 'web1' to have one uuid, got {UUID(int=7)} here and {XML1} has {UUID1}: "
        "none is served"
    )


# -- taps that get their domain --


def test_a_tap_that_a_file_names_and_no_process_contradicts() -> None:
    web = domain(uuid=UUID1, name="web1", taps=("t",))
    assert decide({"a": web}, {}) == ({"t": web}, ())
    assert decide({"a": web}, {"t": owner(uuid=UUID1, name="renamed")}) == ({"t": web}, ())
    assert decide({"a": web}, {"t": owner(name="web1")}) == ({"t": web}, ())


def test_a_process_is_known_by_its_uuid_before_its_name() -> None:
    domains = {"a": domain(uuid=UUID1, name="a"), "b": domain(uuid=UUID2, name="b")}
    process = owner(uuid=UUID2, name="a")
    assert decide(domains, {"t1": process, "t2": process})[0] == {"t1": domains["b"], "t2": domains["b"]}


def test_a_process_is_known_by_its_name() -> None:
    domains = {"a": domain(uuid=UUID1, name="a"), "b": domain(name="b")}
    assert decide(domains, {"t": owner(name="a")})[0] == {"t": domains["a"]}
    assert decide(domains, {"t": owner(name="b")})[0] == {"t": domains["b"]}


def test_a_domain_without_a_uuid_gets_that_of_its_process_on_all_its_taps() -> None:
    taps, _ = decide({"a": domain(name="web1", taps=("t1", "t2"))}, {"t1": owner(uuid=UUID1, name="web1")})
    assert {tap: each.uuid for tap, each in taps.items()} == {"t1": UUID1, "t2": UUID1}


# -- what to do --

FILE = "/d/web1.yaml"
WITHOUT = f"in {FILE}, below nics: remove tap: vnet0"


@pytest.mark.parametrize(
    ("file", "process", "virt", "mend"),
    [
        # What "new" wrote once: a uuid of its own.
        (domain(uuid=UUID1, name="web1"), owner(uuid=UUID2, name="web1"), None, f"in {FILE}: uuid: {UUID2}"),
        (
            domain(uuid=UUID1, taps=("vnet0",)),
            owner(uuid=UUID2, name="other"),
            None,
            f"{WITHOUT}; or, if it is this VM, in {FILE}: uuid: {UUID2}",
        ),
        (
            domain(name="web1", taps=("vnet0",)),
            owner(name="007"),
            None,
            f'{WITHOUT}; or, if it is this VM, in {FILE}: name: "007"',
        ),
        (domain(uuid=UUID1), untrusted(uuid=UUID1), None, f"in {FILE}: nics: [{{tap: vnet0}}]"),
        (domain(uuid=UUID1, taps=("t",)), owner(uuid=UUID1), None, f"in {FILE}, below nics: tap: vnet0"),
        (domain(name="old", taps=("vnet0",)), None, CLAIMS, WITHOUT),
        (domain(name="web2", taps=("vnet0",)), None, {"vnet0": []}, WITHOUT),
    ],
)
def test_a_problem_comes_with_the_line_to_write(
    file: Domain, process: Owner | None, virt: dict[str, list[str]] | None, mend: str
) -> None:
    owners = {} if process is None else {"vnet0": process}
    _, problems = decide({FILE: file}, owners, VIRT if virt is not None else None, virt)
    assert [problem.mend for problem in problems if problem.file == FILE] == [mend]
