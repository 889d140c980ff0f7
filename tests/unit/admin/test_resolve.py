"""What a NAME means."""

from __future__ import annotations

from uuid import UUID

import pytest

from eve_meta.admin.resolve import MAX_COMPARED, MAX_LISTED, Meaning, NamedDomain, Names, _comparable
from eve_meta.inventory.vmm.process import Owner
from eve_meta.values.problem import Problem

WEB = NamedDomain(name="web1", uuid=UUID("1a831fa7-c50b-4693-a16e-fb8171f1b69e"), taps=("vnet0",))
DB = NamedDomain(name="db1", uuid=UUID("2a831fa7-c50b-4693-a16e-fb8171f1b69e"))
VNET1 = NamedDomain(name="vnet1", uuid=UUID("3a831fa7-c50b-4693-a16e-fb8171f1b69e"))
LOUD = NamedDomain(name="MAIL", uuid=UUID("4a831fa7-c50b-4693-a16e-fb8171f1b69e"))
QUIET = NamedDomain(name="mail", uuid=UUID("5a831fa7-c50b-4693-a16e-fb8171f1b69e"))


def owner(pid: int, name: str | None, uuid: UUID | None = None) -> Owner:
    return Owner(pid=pid, start=1, name=name, uuid=uuid)


CHECK = ": see 'eve-meta check')"

NOBODY = UUID("6a831fa7-c50b-4693-a16e-fb8171f1b69e")

NAMES = Names(
    domains=[WEB, DB, VNET1, LOUD, QUIET],
    taps=("lo", "eth0", "vnet0", "vnet1", "vnet2", "vnet3"),
    served={"vnet0": WEB.uuid, "vnet2": DB.uuid},
    processes={"vnet2": owner(1, "other", DB.uuid), "vnet3": owner(2, "nobody", NOBODY)},
)


@pytest.mark.parametrize(
    ("name", "domain", "taps"),
    [
        ("web1", WEB, ("vnet0",)),
        ("WEB1", WEB, ("vnet0",)),
        (str(WEB.uuid), WEB, ("vnet0",)),
        (str(WEB.uuid).upper(), WEB, ("vnet0",)),
        (WEB.uuid.hex, WEB, ("vnet0",)),
        (WEB.uuid.urn, WEB, ("vnet0",)),
        ("db1", DB, ("vnet2",)),
        ("vnet0", WEB, ("vnet0",)),
        ("VNET0", WEB, ("vnet0",)),
        ("vnet2", DB, ("vnet2",)),
        ("vnet1", VNET1, ()),  # a domain that is called as a tap is
        ("mail", QUIET, ()),
        ("MAIL", LOUD, ()),
        ("vnet3", None, ("vnet3",)),
        ("eth0", None, ("eth0",)),
        ("nobody", None, ("vnet3",)),
        (str(NOBODY).upper(), None, ("vnet3",)),
    ],
)
def test_every_form_of_a_name(name: str, domain: NamedDomain | None, taps: tuple[str, ...]) -> None:
    meaning = NAMES.resolve(name)
    assert meaning is not None
    assert (meaning.domain, meaning.taps) == (domain, taps)


@pytest.mark.parametrize("name", ["vnet9", "../../etc", "", "Mail", "web", str(UUID(int=0))])
def test_a_name_without_a_meaning(name: str) -> None:
    assert NAMES.resolve(name) is None


def test_only_a_tap_that_is_named_is_the_tap_of_a_meaning() -> None:
    assert NAMES.resolve("vnet0") == Meaning(domain=WEB, taps=("vnet0",), tap="vnet0")
    assert NAMES.resolve("web1") == Meaning(domain=WEB, taps=("vnet0",), tap=None)


def test_a_tap_in_another_case_than_two_taps_means_neither() -> None:
    assert Names(domains=[], taps=("Tap0", "TAP0")).resolve("tap0") is None
    assert Names(domains=[], taps=("Tap0",)).resolve("tap0") == Meaning(domain=None, taps=("Tap0",), tap="Tap0")


def test_a_tap_exactly_as_written_comes_before_a_domain_in_another_case() -> None:
    names = Names(domains=[NamedDomain(name="VNET5", uuid=UUID(int=5))], taps=("vnet5",))
    assert names.resolve("vnet5") == Meaning(domain=None, taps=("vnet5",), tap="vnet5")


def test_a_tap_that_does_not_exist_means_the_domain_whose_file_names_it() -> None:
    assert Names(domains=[WEB]).resolve("vnet0") == Meaning(domain=WEB, taps=("vnet0",), tap="vnet0")


def test_the_domain_served_behind_a_tap_comes_before_the_one_whose_file_names_it() -> None:
    names = Names(domains=[WEB, DB], served={"vnet0": DB.uuid})
    assert names.domain("vnet0") == DB


def test_the_taps_of_a_domain_include_those_that_its_processes_hold() -> None:
    names = Names(domains=[WEB], processes={"vnet3": owner(3, None, WEB.uuid), "vnet4": owner(4, "web1")})
    assert names.taps_of(WEB) == ("vnet0", "vnet3", "vnet4")
    assert Names(domains=[WEB], taps=("vnet4",), processes={"vnet4": owner(4, "web1")}).domain("vnet4") == WEB


@pytest.mark.parametrize(
    ("name", "near"),
    [("wbe1", ("web1",)), ("WBE1", ("web1",)), ("vnet", ("vnet3", "vnet2", "vnet1")), ("Mail", ("MAIL", "mail"))],
)
def test_similar_names(name: str, near: tuple[str, ...]) -> None:
    assert NAMES.near(name) == near


@pytest.mark.parametrize(
    ("names", "name", "error"),
    [
        (NAMES, "wbe1", "no domain or tap 'wbe1': did you mean web1?"),
        (NAMES, "Mail", "no domain or tap 'Mail': did you mean MAIL or mail?"),
        (NAMES, "zzz", "no domain or tap 'zzz': the domains are MAIL, db1, mail, vnet1, web1"),
        (Names(domains=[]), "zzz", "no domain or tap 'zzz': no domain is known"),
        (Names(domains=[], broken=1), "x", f"no domain or tap 'x': no domain is known (1 file is broken{CHECK}"),
        (Names(domains=[WEB], broken=2), "x", f"no domain or tap 'x': the domains are web1 (2 files are broken{CHECK}"),
        (NAMES, "eth0", "the domain behind eth0 is unknown: 'eve-meta explain eth0' says why"),
    ],
)
def test_the_error_suggests_what_may_have_been_meant(names: Names, name: str, error: str) -> None:
    with pytest.raises(Problem) as raised:
        names.domain(name)
    assert str(raised.value) == error


def test_the_error_lists_no_more_domains_than_a_screen_shows() -> None:
    names = Names(domains=[NamedDomain(name=f"vm{n:04}", uuid=UUID(int=n)) for n in range(1, 5000)])
    with pytest.raises(Problem, match=r"^no domain or tap 'zzz': the domains are vm0001, .*, vm0020, …$") as raised:
        names.meaning("zzz")
    assert str(raised.value).count("vm") == MAX_LISTED


@pytest.mark.parametrize(
    ("start", "offered"),
    [
        ("", ["MAIL", "db1", "eth0", "lo", "mail", "vnet0", "vnet1", "vnet2", "vnet3", "web1"]),
        ("w", ["web1"]),
        ("W", ["web1"]),
        ("m", ["mail"]),
        ("vnet", ["vnet0", "vnet1", "vnet2", "vnet3"]),
        ("1a8", [str(WEB.uuid)]),
        ("zzz", []),
    ],
)
def test_completions(start: str, offered: list[str]) -> None:
    assert NAMES.completions(start) == offered


@pytest.mark.parametrize("name", ["x" * 16000, "ab" * 32, "customer-frontend-x"])
def test_a_name_takes_no_longer_to_compare_however_many_resemble_it(name: str) -> None:
    others = [f"{'ba' * 30}{number:04}" for number in range(5000)]
    others += [f"customer-frontend-{number:06}" for number in range(5000)]
    compared = _comparable(name, others)
    assert sum(len(name) * len(other) for other in compared) <= MAX_COMPARED
    assert len(compared) > 10 or len(name) > MAX_COMPARED // 64


def test_the_nearest_are_compared_first() -> None:
    others = [f"aaaa-{number:06}" for number in range(50_000)] + ["web1"]
    assert "web1" in _comparable("web", others)
