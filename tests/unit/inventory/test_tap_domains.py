"""Which domain is behind which tap, and above all which is not."""

from __future__ import annotations

from uuid import UUID

from eve_meta.inventory.merge import merge
from eve_meta.inventory.qemu.process import Owner
from eve_meta.inventory.source import InventoryProblem, Layer
from eve_meta.inventory.tap_domains import HypervisorAnswers, TapDomains, written_taps
from eve_meta.values.domain import Domain
from eve_meta.values.nic import Nic

UUID1 = UUID("1a831fa7-c50b-4693-a16e-fb8171f1b69e")
UUID2 = UUID("2a831fa7-c50b-4693-a16e-fb8171f1b69e")

WHO = "QEMU process 1 behind t"


def domain(*, uuid: UUID | None = None, name: str | None = None, taps: tuple[str, ...] = ()) -> Domain:
    return Domain(uuid=uuid, name=name, nics=tuple(Nic(tap=tap) for tap in taps))


def owner(pid: int = 1, *, uuid: UUID | None = None, name: str | None = None) -> Owner:
    return Owner(pid=pid, start=1, uuid=uuid, name=name)


def stranger(pid: int = 9, *, uuid: UUID | None = None, name: str | None = None) -> Owner:
    return Owner(pid=pid, start=1, uuid=uuid, name=name, uid=1000, trusted=False)


Problems = tuple[InventoryProblem, ...]


def joined(
    files: dict[str, Domain],
    owners: dict[str, Owner],
    virt: dict[str, Domain] | None = None,
    claims: dict[str, list[str]] | None = None,
) -> tuple[dict[str, Domain], Problems]:
    """What follows from files, processes, and a hypervisor's domains and answers."""
    layers = [Layer(domains=files, written=True), Layer(domains=virt or {}, written=False)]
    merged, problems = merge(layers)
    hypervisors = [] if claims is None else [HypervisorAnswers(set(virt or {}), claims)]
    written = written_taps(layers)
    found = TapDomains(merged, written, hypervisors, owners)
    taps = {*written, *owners, *(claims or {})}
    return {tap: pair[1] for tap in taps if (pair := found.get(tap)) is not None}, problems + found.problems


def nobody(
    domains: dict[str, Domain],
    owners: dict[str, Owner],
    virt: dict[str, Domain] | None = None,
    claims: dict[str, list[str]] | None = None,
) -> list[str]:
    """The problems, where no tap may have a domain."""
    taps, problems = joined(domains, owners, virt, claims)
    assert taps == {}
    return [str(problem) for problem in problems]


# -- what must not be --


def test_a_named_tap_that_is_another_vms() -> None:
    assert nobody({"a.yaml": domain(uuid=UUID1, taps=("t",))}, {"t": owner(uuid=UUID2)}) == [
        f"a.yaml: uuid: expected {WHO} to have uuid {UUID1}, got {UUID2}: it is not served"
    ]


def test_a_named_tap_of_a_vm_with_another_name() -> None:
    assert nobody({"a.yaml": domain(name="web1", taps=("t",))}, {"t": owner(uuid=UUID2, name="web2")}) == [
        f"a.yaml: name: expected {WHO} to have name web1, got web2: it is not served"
    ]


def test_a_vm_that_took_anothers_name() -> None:
    (problem,) = nobody({"a.yaml": domain(uuid=UUID1, name="web1")}, {"t": owner(uuid=UUID2, name="web1")})
    assert problem.startswith(f"a.yaml: uuid: expected {WHO} to have uuid {UUID1}")


def test_two_processes_with_one_uuid() -> None:
    assert nobody({"a.yaml": domain(uuid=UUID1)}, {"t1": owner(1, uuid=UUID1), "t2": owner(2, uuid=UUID1)}) == [
        "a.yaml: expected one QEMU process to be this domain, got 1 behind t1 and 2 behind t2: none of them is served"
    ]


def test_two_processes_with_one_name() -> None:
    owners = {"t1": owner(1, uuid=UUID1, name="web1"), "t2": owner(2, uuid=UUID2, name="web1")}
    assert len(nobody({"a.yaml": domain(name="web1")}, owners)) == 1


def test_a_file_that_names_no_tap_does_not_get_another_files() -> None:
    domains = {"a.yaml": domain(uuid=UUID1, name="a", taps=("t",)), "b.yaml": domain(uuid=UUID2, name="b")}
    assert len(nobody(domains, {"t": owner(uuid=UUID2, name="b")})) == 1


def test_an_unknown_process() -> None:
    assert nobody({"a.yaml": domain(uuid=UUID1, name="web1")}, {"t": owner(uuid=UUID2, name="web2")}) == []


def test_one_wrong_tap_leaves_the_others() -> None:
    web = domain(uuid=UUID1, taps=("t1", "t2"))
    taps, problems = joined({"a.yaml": web}, {"t1": owner(1, uuid=UUID1), "t2": owner(2, uuid=UUID2)})
    assert taps == {"t1": web}
    assert len(problems) == 1


def test_a_domain_that_names_its_taps_is_behind_no_other() -> None:
    web = domain(uuid=UUID1, name="web1", taps=("t1",))
    for process in (owner(2, uuid=UUID1), owner(2, name="web1"), stranger(2, uuid=UUID1)):
        taps, problems = joined({"a.yaml": web}, {"t1": owner(1, uuid=UUID1), "t": process})
        assert taps == {"t1": web}
        assert len(problems) == 1
    assert nobody({"a.yaml": domain(uuid=UUID1)}, {"t": stranger(uuid=UUID1)})


def test_who_names_another_domains_uuid_is_not_taken_for_a_namesake() -> None:
    """Else it would get its namesake's documents under that uuid, and whatever is kept by it."""
    domains = {"a.yaml": domain(uuid=UUID1, taps=("t1",)), "b.yaml": domain(name="b")}
    taps, problems = joined(domains, {"t": owner(uuid=UUID1, name="b")})
    assert taps == {"t1": domains["a.yaml"]}
    assert len(problems) == 1


def test_a_stale_file_without_uuid_and_the_process_of_another_domain() -> None:
    domains = {"a.yaml": domain(name="old", taps=("t",)), "b.yaml": domain(uuid=UUID2)}
    assert nobody(domains, {"t": owner(uuid=UUID2)}) == [
        f"a.yaml: nics: expected this domain behind t, got {WHO}, which is b.yaml: it is not served"
    ]


def test_a_stranger_gets_nothing_by_its_word() -> None:
    for claim in (stranger(uuid=UUID1), stranger(name="web1")):
        assert nobody({"a.yaml": domain(uuid=UUID1, name="web1")}, {"t": claim}) == [
            "a.yaml: tap t: process 9 of user 1000 is not trusted to say whose it is"
        ]
    assert nobody({"a.yaml": domain(uuid=UUID1)}, {"t": stranger(uuid=UUID2)}) == []


def test_a_stranger_takes_nothing_from_others_by_its_word() -> None:
    web = domain(uuid=UUID1, name="web1")
    taps, problems = joined({"a.yaml": web}, {"t1": owner(uuid=UUID1), "t2": stranger(uuid=UUID1)})
    assert taps == {"t1": web}
    assert len(problems) == 1
    tied = domain(uuid=UUID1, taps=("t1", "t2"))
    assert joined({"a.yaml": tied}, {"t1": owner(uuid=UUID1), "t2": stranger(uuid=UUID1)}) == (
        {"t1": tied, "t2": tied},
        (),
    )


def test_a_stranger_behind_a_tap_that_a_file_names() -> None:
    """The file says whose the tap is; but it may be stale, and an honest user's QEMU gets nobody else's documents."""
    domains = {"a.yaml": domain(name="web1", taps=("t",))}
    assert len(nobody(domains, {"t": stranger(name="web2")})) == 1
    taps, problems = joined(domains, {"t": stranger(uuid=UUID2, name="web1")})
    assert problems == ()
    assert taps["t"].uuid is None  # not one of the stranger's choice: more than documents hangs on it


# -- a hypervisor that was asked --


XML1, XML2 = "libvirt XML of web1", "libvirt XML of web2"
VIRT = {
    XML1: Domain(uuid=UUID1, name="web1", nics=(Nic(tap="vnet0"),)),
    XML2: Domain(uuid=UUID2, name="web2", nics=(Nic(tap="vnet1"),)),
}
CLAIMS = {"vnet0": [XML1], "vnet1": [XML2]}


def test_a_tap_that_the_hypervisor_gives_to_a_domain_without_any_file() -> None:
    assert joined({}, {}, VIRT, CLAIMS) == ({"vnet0": VIRT[XML1], "vnet1": VIRT[XML2]}, ())


def test_a_file_completes_the_hypervisors_domain() -> None:
    taps, problems = joined({"a": Domain(name="web1", hostname="h")}, {}, VIRT, CLAIMS)
    assert problems == ()
    assert (taps["vnet0"].uuid, taps["vnet0"].hostname, taps["vnet0"].nics) == (UUID1, "h", (Nic(tap="vnet0"),))
    assert taps["vnet1"].hostname is None


def test_what_the_hypervisor_says_of_nics_ties_no_tap() -> None:
    """Its XML may be out of date; only what it answers about the tap counts."""
    assert nobody({}, {}, VIRT, {}) == []
    assert nobody({"a": Domain(name="web1", hostname="h")}, {}, VIRT, {}) == []


def test_a_file_that_names_a_tap_which_the_hypervisor_gives_to_another() -> None:
    problems = nobody({"a": domain(name="web1", taps=("vnet1",))}, {}, VIRT, CLAIMS)
    assert sorted(problems) == [
        f"a: nics: expected this domain behind the taps that its nics name, got {XML1} with vnet0: it is not served",
        f"a: nics: expected this domain behind vnet1, got what {XML2} has: it is not served",
    ]


def test_a_file_of_no_domain_that_the_hypervisor_knows() -> None:
    stale = {"a": domain(name="old", taps=("vnet0",))}
    taps, problems = joined(stale, {}, VIRT, CLAIMS)
    assert taps == {"vnet1": VIRT[XML2]}
    assert [str(problem) for problem in problems] == [
        f"a: nics: expected this domain behind vnet0, got what {XML1} has: it is not served"
    ]


def test_a_tap_that_the_hypervisor_says_its_domain_does_not_have() -> None:
    file = {"a": domain(uuid=UUID1, taps=("vnet0",))}
    assert nobody(file, {}, VIRT, {"vnet0": []}) == [
        f"a: nics: expected this domain behind vnet0, but {XML1} has no such tap: it is not served"
    ]
    assert nobody({}, {"vnet0": owner(uuid=UUID1, name="web1")}, VIRT, {"vnet0": []}) == [
        f"{XML1}: nics: expected this domain behind vnet0, but {XML1} has no such tap: it is not served"
    ]
    # One that it knows nothing about is not its business.
    other = {"a": domain(name="other", taps=("vnet0",))}
    assert joined(other, {}, VIRT, {"vnet0": []})[0] == {"vnet0": other["a"]}


def test_the_hypervisor_and_the_process_have_to_agree() -> None:
    for process in (owner(uuid=UUID2, name="web2"), stranger(uuid=UUID2), owner(uuid=UUID(int=7), name="web1")):
        taps, problems = joined({}, {"vnet0": process}, VIRT, {"vnet0": [XML1]})
        assert taps == {}
        assert len(problems) == 1
        assert "it is not served" in str(problems[0])
    agreed = owner(uuid=UUID1, name="web1")
    assert joined({}, {"vnet0": agreed}, VIRT, {"vnet0": [XML1]}) == ({"vnet0": VIRT[XML1]}, ())
    # libvirt may run QEMU as any user; its own word suffices then.
    assert joined({}, {"vnet0": stranger(uuid=UUID1)}, VIRT, {"vnet0": [XML1]}) == ({"vnet0": VIRT[XML1]}, ())


def test_a_tap_that_the_hypervisor_gives_to_two_domains() -> None:
    assert nobody({}, {}, VIRT, {"vnet0": [XML1, XML2]}) == [
        f"{XML1}: nics: expected this domain behind vnet0, got what {XML2} has: it is not served"
    ]


def test_two_places_that_name_one_tap_for_two_domains() -> None:
    layers = [
        Layer(domains={"a": domain(name="web1", taps=("t",))}, written=True),
        Layer(domains={"metadata": domain(uuid=UUID2, name="web2", taps=("t",))}, written=True),
    ]
    merged, _ = merge(layers)
    found = TapDomains(merged, written_taps(layers), [], {})
    assert found.get("t") is None
    assert [str(problem) for problem in found.problems] == [
        "a: nics: expected one domain to name tap t, got a and metadata: none of them is served"
    ]


def test_a_name_whose_uuid_is_said_to_be_another_serves_nobody() -> None:
    """A file of the domain that had this name before: nobody knows whether it is meant for the new one."""
    taps, problems = joined({"a": domain(uuid=UUID(int=7), name="web1")}, {}, VIRT, CLAIMS)
    assert taps == {"vnet1": VIRT[XML2]}
    (problem,) = problems
    assert str(problem) == (
        f"a: uuid: expected the domain 'web1' to have one uuid, got {UUID(int=7)} here and {XML1} has {UUID1}: "
        "none is served"
    )


# -- what is --


def test_a_tap_that_a_file_names_and_no_process_contradicts() -> None:
    web = domain(uuid=UUID1, name="web1", taps=("t",))
    assert joined({"a": web}, {}) == ({"t": web}, ())
    assert joined({"a": web}, {"t": owner(uuid=UUID1, name="renamed")}) == ({"t": web}, ())
    assert joined({"a": web}, {"t": owner(name="web1")}) == ({"t": web}, ())


def test_taps_of_a_process_by_its_uuid_before_its_name() -> None:
    domains = {"a": domain(uuid=UUID1, name="a"), "b": domain(uuid=UUID2, name="b")}
    process = owner(uuid=UUID2, name="a")
    assert joined(domains, {"t1": process, "t2": process})[0] == {"t1": domains["b"], "t2": domains["b"]}


def test_taps_of_a_process_by_its_name() -> None:
    domains = {"a": domain(uuid=UUID1, name="a"), "b": domain(name="b")}
    assert joined(domains, {"t": owner(name="a")})[0] == {"t": domains["a"]}
    assert joined(domains, {"t": owner(name="b")})[0] == {"t": domains["b"]}


def test_a_domain_without_uuid_gets_its_process_uuid_on_all_its_taps() -> None:
    taps, _ = joined({"a": domain(name="web1", taps=("t1", "t2"))}, {"t1": owner(uuid=UUID1, name="web1")})
    assert {tap: each.uuid for tap, each in taps.items()} == {"t1": UUID1, "t2": UUID1}
