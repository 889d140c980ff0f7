"""What a name, a uuid or a tap means."""

from __future__ import annotations

import pytest

from eve_meta.explain.facts import DomainFacts, ProcessFacts
from eve_meta.explain.finding import find, near

WEB = DomainFacts(name="web1", uuid="1a831fa7-c50b-4693-a16e-fb8171f1b69e", origins=("/web1.yaml",), taps=("vnet0",))
DB = DomainFacts(name="db1", uuid="2a831fa7-c50b-4693-a16e-fb8171f1b69e", origins=("/db1.yaml",))
VNET1 = DomainFacts(name="vnet1", uuid="3a831fa7-c50b-4693-a16e-fb8171f1b69e", origins=("/vnet1.yaml",))

LINKS = ("lo", "eth0", "vnet0", "vnet1", "vnet2", "vnet3")
PROCESSES = {
    "vnet2": ProcessFacts(pid=1, uuid=DB.uuid, name="other"),
    "vnet3": ProcessFacts(pid=2, uuid=None, name="nobody"),
}
SERVED = {"vnet0": WEB.uuid, "vnet2": DB.uuid}


@pytest.mark.parametrize(
    ("asked_for", "domain", "taps"),
    [
        ("web1", WEB, ("vnet0",)),
        (WEB.uuid.upper(), WEB, ("vnet0",)),
        ("db1", DB, ("vnet2",)),
        ("vnet0", WEB, ("vnet0",)),
        ("vnet2", DB, ("vnet2",)),
        ("vnet1", VNET1, ()),  # a domain that is called as a tap is
        ("vnet3", None, ("vnet3",)),
        ("eth0", None, ("eth0",)),
        ("nobody", None, ("vnet3",)),
        ("vnet9", None, ()),
        ("../../etc", None, ()),
    ],
)
def test_what_is_meant(asked_for: str, domain: DomainFacts | None, taps: tuple[str, ...]) -> None:
    assert find(asked_for, [WEB, DB, VNET1], LINKS, PROCESSES, SERVED) == (domain, taps)


def test_a_file_that_names_a_tap_is_found_by_it_also_where_it_is_not_served() -> None:
    assert find("vnet0", [WEB], LINKS, {}, {}) == (WEB, ("vnet0",))


def test_the_taps_of_a_domain_are_all_that_have_to_do_with_it() -> None:
    both = {"vnet3": ProcessFacts(pid=3, uuid=WEB.uuid, name=None)}
    assert find("web1", [WEB], LINKS, both, {}) == (WEB, ("vnet0", "vnet3"))


def test_what_is_nearly_called_so() -> None:
    assert near("wbe1", ["web1", "db1", "mail"]) == ("web1",)
    assert near("zzz", ["web1"]) == ()
