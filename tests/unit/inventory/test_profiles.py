"""Domains with profiles: which profiles, what they add, and what happens where one is missing or broken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from eve_meta.config import InventoryConfig
from eve_meta.inventory import Inventory
from eve_meta.inventory.merge import Merged, Merging, merge
from eve_meta.inventory.profiles import Profile, Profiles
from eve_meta.inventory.source import Layer
from eve_meta.values.content import Content
from eve_meta.values.domain import MAX_MAPPING, Domain, Ec2, File, Share, TokenPolicy
from eve_meta.values.nic import Nic
from tests.contracts.fake_reader import FakeReader
from tests.unit.inventory.conftest import Until
from tests.unit.inventory.writing import write

UUID1 = UUID("1a831fa7-c50b-4693-a16e-fb8171f1b69e")
BASE = b"#cloud-config\npackages: [chrony]\n"
WEB = b"#cloud-config\npackages: [nginx]\n"
IGNITION = b'{"ignition": {"version": "3.3.0"}}'
NO_BASE = "there is no /p/base.yaml"


def profiles(for_all: tuple[str, ...] = (), **known: Domain) -> Profiles:
    return Profiles(
        directory="/p", known={name: Profile(f"/p/{name}.yaml", part) for name, part in known.items()}, for_all=for_all
    )


def one(domain: Domain, these: Profiles) -> Merged:
    """Return *domain*, from a file, with its profiles."""
    (merged,), problems = merge([Layer(domains={"/d/web1.yaml": domain}, written=True)], profiles=these)
    assert problems == ()
    return merged


def profile(**values: Any) -> Domain:
    return Domain(name="profile", **values)


def layer(*domains: Domain, lines: Mapping[str, int] | None = None) -> list[Layer]:
    return [
        Layer(
            domains={f"/d/{domain.name}.yaml": domain for domain in domains},
            written=True,
            lines={f"/d/{domain.name}.yaml": lines or {} for domain in domains},
        )
    ]


def update(merging: Merging, layers: list[Layer], these: Profiles) -> Mapping[Merged, Merged]:
    """Take *layers* and profiles over; return the domains whose contents were merged, each with its successor."""
    merging.update(layers, these)
    return merging.go_on()


# -- what they add --


def test_a_profile_gives_what_the_domain_does_not_have() -> None:
    base = profile(project_id="p", availability_zone="z", tokens=TokenPolicy.REQUIRED, user_data=BASE)
    merged = one(Domain(name="web1", availability_zone="own", profiles=("base",)), profiles(base=base))
    assert merged.domain == Domain(
        name="web1",
        profiles=("base",),
        project_id="p",
        availability_zone="own",
        tokens=TokenPolicy.REQUIRED,
        user_data=BASE,
    )


def test_mappings_files_and_shares_are_joined_and_the_domains_own_come_first() -> None:
    share = Share(share_id=UUID1, tag="own")
    own = Domain(
        name="web1",
        profiles=("base",),
        public_keys={"b": "own", "a": "own"},
        meta={"role": "web"},
        files=(File(path="/a", content=b"own"),),
        shares=(share,),
        ec2=Ec2(instance_type="m1", block_device_mapping={"root": "vda"}),
    )
    base = profile(
        public_keys={"c": "base", "b": "base"},
        meta={"role": "base", "site": "x"},
        files=(File(path="/b", content=b"base"), File(path="/a", content=b"base")),
        shares=(Share(share_id=UUID1, tag="base"),),
        vendor_data={"cloud-init": "x"},
        ec2=Ec2(region="r", instance_type="no", block_device_mapping={"ami": "vda"}),
    )
    domain = one(own, profiles(base=base)).domain
    assert list(domain.public_keys.items()) == [("b", "own"), ("a", "own"), ("c", "base")]
    assert domain.meta == {"role": "web", "site": "x"}
    assert domain.files == (File(path="/a", content=b"own"), File(path="/b", content=b"base"))
    assert domain.shares == (share,)
    assert domain.vendor_data == {"cloud-init": "x"}
    assert domain.ec2 == Ec2(instance_type="m1", region="r", block_device_mapping={"root": "vda", "ami": "vda"})


def test_the_profile_named_last_is_the_more_important_one_and_those_for_all_are_the_least() -> None:
    these = profiles(
        for_all=("all", "web"),
        all=profile(meta={"a": "all", "b": "all", "c": "all", "d": "all"}),
        base=profile(meta={"b": "base", "c": "base"}),
        web=profile(meta={"c": "web", "a": "web"}),
    )
    named = one(Domain(name="web1", profiles=("base", "web")), these)
    assert named.domain.meta == {"a": "web", "b": "base", "c": "web", "d": "all"}
    assert named.origins == ("/d/web1.yaml", "/p/web.yaml", "/p/base.yaml", "/p/all.yaml")
    assert one(Domain(name="web1"), these).domain.meta == {"a": "web", "b": "all", "c": "web", "d": "all"}


def test_a_profile_identifies_no_domain() -> None:
    base = Domain(uuid=UUID1, name="x", hostname="x", nics=(Nic(tap="vnet0"),), launch_index=1, profiles=("y",))
    own = Domain(name="web1", profiles=("base",))
    assert one(own, profiles(base=base)).domain == own


def test_the_user_data_of_one_place_stay_as_they_are() -> None:
    merged = one(
        Domain(name="web1", profiles=("base", "web")), profiles(base=profile(user_data=IGNITION), web=profile())
    )
    assert bytes(merged.domain.user_data or b"") == IGNITION
    own = one(Domain(name="web1", profiles=("base",), user_data=IGNITION), profiles(base=profile(user_data=b"")))
    assert bytes(own.domain.user_data or b"") == IGNITION


def test_the_user_data_of_several_places_are_joined_the_most_important_last() -> None:
    these = profiles(for_all=("base",), base=profile(user_data=BASE), web=profile(user_data=WEB))
    merged = one(Domain(name="web1", profiles=("web",), user_data=b"#!/bin/sh\n"), these)
    message = bytes(merged.domain.user_data or b"").decode()
    positions = [message.index(part) for part in ("chrony", "nginx", "#!/bin/sh")]
    assert positions == sorted(positions)


def test_domains_with_the_same_profiles_have_one_content() -> None:
    these = profiles(for_all=("base",), base=profile(user_data=BASE), web=profile(user_data=WEB))
    domains = [Domain(name=f"web{number}", profiles=("web",)) for number in range(1000)]
    merged, _ = merge(layer(*domains), profiles=these)
    contents: set[int] = {id(each.domain.user_data) for each in merged}
    assert len(contents) == 1
    assert isinstance(merged[0].domain.user_data, Content)


def test_the_sources_tell_each_key_and_part() -> None:
    own = Domain(
        name="web1", profiles=("base",), public_keys={"me": "k"}, user_data=WEB, files=(File(path="/a"),), hostname="h"
    )
    base = profile(public_keys={"a@b.c": "k"}, user_data=BASE, files=(File(path="/b"),), meta={"a": "b"})
    assert dict(one(own, profiles(base=base)).sources()) == {
        "name": "/d/web1.yaml",
        "hostname": "/d/web1.yaml",
        "profiles": "/d/web1.yaml",
        "public_keys.me": "/d/web1.yaml",
        "public_keys['a@b.c']": "/p/base.yaml",
        "meta": "/p/base.yaml",
        "user_data[0]": "/p/base.yaml",
        "user_data[1]": "/d/web1.yaml",
        "files[0]": "/d/web1.yaml",
        "files[1]": "/p/base.yaml",
    }


# -- where one is missing, or cannot be added --


def test_a_domain_with_an_unknown_profile_is_not_served() -> None:
    (merged,), problems = merge(
        layer(Domain(name="web1", profiles=("web", "bsae")), lines={"profiles[1]": 3}),
        profiles=profiles(base=profile(), web=profile()),
    )
    assert merged.refused
    (problem,) = problems
    assert str(problem) == (
        "/d/web1.yaml:3: profiles[1]: expected a profile, got 'bsae': there is no /p/bsae.yaml (did you mean 'base'?); "
        "it is not served"
    )


def test_a_domain_that_was_served_stays_as_it_was() -> None:
    merging = Merging()
    these = profiles(base=profile(meta={"a": "1"}))
    update(merging, layer(Domain(name="web1", profiles=("base",))), these)
    for domain in (Domain(name="web1", profiles=("nil",)), Domain(name="web1", profiles=("nil", "base"))):
        update(merging, layer(domain), these)
        (merged,) = merging.merged
        assert not merged.refused
        assert merged.domain == Domain(name="web1", profiles=("base",), meta={"a": "1"})
        assert merged.sources()["meta"] == "/p/base.yaml"
        (problem,) = merging.faults
        assert str(problem).endswith("got 'nil': there is no /p/nil.yaml; the domain stays as it was")
        assert merging.refusals == ()
    update(merging, layer(Domain(name="web1", profiles=("base",), hostname="new")), these)
    assert merging.merged[0].domain == Domain(name="web1", profiles=("base",), meta={"a": "1"}, hostname="new")
    assert merging.faults == ()


def test_domains_whose_files_are_renamed_are_served_before_their_turn_comes() -> None:
    merging = Merging()
    these = profiles(base=profile(meta={"a": "1"}))

    def at(folder: str) -> list[Layer]:
        domains = {f"{folder}/{n}.yaml": Domain(name=f"vm{n}", profiles=("base",)) for n in range(3)}
        return [Layer(domains=domains, written=True)]

    update(merging, at("/d"), these)
    before = {each.domain.name: each.domain for each in merging.merged}
    merging.update(at("/e"), these)
    merging.go_on(lambda: True)
    assert merging.is_behind
    assert {each.domain.name: each.domain for each in merging.merged if not each.refused} == before
    merging.go_on()
    assert [each.origin for each in merging.merged] == ["/e/0.yaml", "/e/1.yaml", "/e/2.yaml"]


def test_another_domain_does_not_inherit_what_the_last_one_was() -> None:
    merging = Merging()
    update(
        merging, [Layer(domains={"f": Domain(name="web1", profiles=("base",))}, written=True)], profiles(base=profile())
    )
    update(
        merging, [Layer(domains={"f": Domain(name="web2", profiles=("nil",))}, written=True)], profiles(base=profile())
    )
    assert merging.merged[0].refused


def test_profiles_that_change_come_and_go_reach_their_domains_alone() -> None:
    merging = Merging()
    layers = layer(Domain(name="web1", profiles=("base",)), Domain(name="db1"))
    update(merging, layers, profiles())
    web1, db1 = merging.merged
    assert (web1.refused, db1.refused) == (True, False)
    one_profile = profiles(base=profile(meta={"a": "1"}))
    assert list(update(merging, layers, one_profile)) == [web1]
    assert merging.merged[0].domain.meta == {"a": "1"}
    assert update(merging, layers, one_profile) == {}
    update(merging, layers, profiles(base=profile(meta={"a": "2"})))
    assert merging.merged[0].domain.meta == {"a": "2"}
    update(merging, layers, profiles())
    assert merging.merged[0].domain.meta == {"a": "2"}  # gone, but named
    assert [str(fault) for fault in merging.faults] == [
        f"/d/web1.yaml: profiles[0]: expected a profile, got 'base': {NO_BASE}; the domain stays as it was"
    ]
    assert merging.merged[1] is db1


def test_a_missing_profile_for_all_is_one_problem() -> None:
    merged, problems = merge(layer(Domain(name="web1"), Domain(name="web2")), profiles=profiles(for_all=("base",)))
    assert all(each.refused for each in merged)
    assert all("/p/base.yaml" in each.origins for each in merged)
    assert list(map(str, problems)) == [
        f"/p/base.yaml: [inventory] profiles names 'base': {NO_BASE}; only domains that had it before are served"
    ]


def test_until_profiles_are_read_their_domains_wait_without_a_problem() -> None:
    unread = Profiles(directory="/p", unread=True, for_all=("base",))
    merging = Merging()
    update(merging, layer(Domain(name="web1", profiles=("nil",))), unread)
    assert merging.merged[0].refused
    assert merging.refusals == ()
    update(merging, layer(Domain(name="web1", profiles=("nil",))), profiles(base=profile()))
    assert len(merging.refusals) == 1


def test_user_data_that_cloud_init_does_not_join_are_a_problem() -> None:
    these = profiles(for_all=("base",), base=profile(user_data=BASE))
    _, problems = merge(layer(Domain(name="web1", user_data=IGNITION), lines={"user_data": 7}), profiles=these)
    expected = (
        "expected what cloud-init joins with others, such as '#cloud-config' or '#!', got JSON, such as Ignition's"
    )
    assert list(map(str, problems)) == [f"/d/web1.yaml:7: user_data: {expected}; it is not served"]
    these = profiles(for_all=("base",), base=profile(user_data=IGNITION))
    _, problems = merge(layer(Domain(name="web1", user_data=BASE)), profiles=these)
    assert list(map(str, problems)) == [f"/d/web1.yaml: user_data: {expected}, in /p/base.yaml; it is not served"]


def test_what_is_too_much_together_is_a_problem() -> None:
    half = {"a": "x" * (MAX_MAPPING // 2)}
    these = profiles(base=profile(meta={"b": half["a"]}))
    (merged,), problems = merge(layer(Domain(name="web1", profiles=("base",), meta=half)), profiles=these)
    assert merged.refused
    assert f"meta: expected at most {MAX_MAPPING} bytes as JSON, got" in str(problems[0])


# -- live --


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name in ("domains.d", "profiles.d"):
        (tmp_path / name).mkdir(0o700)
    return tmp_path / "domains.d"


@pytest.fixture
def inventory(directory: Path, reactor: Any) -> Iterator[Inventory]:
    config = InventoryConfig(directory=directory, profiles=("all",), process=False)
    inventory = Inventory(config, reactor, FakeReader())
    yield inventory
    inventory.stop()


def problems_of(inventory: Inventory, directory: Path) -> list[str]:
    return [str(problem).replace(f"{directory.parent}/", "") for problem in inventory.problems()]


def test_a_change_of_a_profile_reaches_the_taps_of_its_domains(
    inventory: Inventory, directory: Path, until: Until
) -> None:
    of_profiles = directory.with_name("profiles.d")
    write(of_profiles / "all.yaml", "meta: {site: here}\n")
    write(of_profiles / "web.yaml", "user_data: '#!/bin/sh'\n")
    write(directory / "web1.yaml", "name: web1\nprofiles: [web]\nnics: [{tap: t1}]\n")

    def served() -> tuple[Mapping[str, str], bytes]:
        domain = inventory.domain_of("t1")
        return ({}, b"") if domain is None else (domain.meta, bytes(domain.user_data or b""))

    inventory.start(lambda: None)
    inventory.taps_changed(["t1"])
    until(lambda: served() == ({"site": "here"}, b"#!/bin/sh"))
    assert problems_of(inventory, directory) == []
    write(of_profiles / "web.yaml", "user_data: '#!/bin/bash'\nmeta: {role: web}\n")
    until(lambda: served() == ({"role": "web", "site": "here"}, b"#!/bin/bash"))
    inventory.take_concerned()
    write(of_profiles / "web.yaml", "user_data: [\n")
    until(lambda: len(inventory.problems()) == 1)
    assert problems_of(inventory, directory) == [
        "profiles.d/web.yaml:2:1: YAML: the text ends here within '[' or '{', which is not closed"
    ]
    assert served() == ({"role": "web", "site": "here"}, b"#!/bin/bash")
    (of_profiles / "web.yaml").unlink()
    until(lambda: problems_of(inventory, directory) != [] and "domains.d" in problems_of(inventory, directory)[0])
    (problem,) = problems_of(inventory, directory)
    assert problem == (
        "domains.d/web1.yaml:2: profiles[0]: expected a profile, got 'web': there is no profiles.d/web.yaml; "
        "the domain stays as it was"
    )
    assert served() == ({"role": "web", "site": "here"}, b"#!/bin/bash")
    write(directory / "web1.yaml", "name: web1\nnics: [{tap: t1}]\n")
    until(lambda: served() == ({"site": "here"}, b""))
    assert problems_of(inventory, directory) == []


def test_a_profile_that_appears_is_found_though_its_directory_was_missing(
    inventory: Inventory, directory: Path, until: Until
) -> None:
    of_profiles = directory.with_name("profiles.d")
    of_profiles.rmdir()
    write(directory / "web1.yaml", "name: web1\nnics: [{tap: t1}]\n")
    inventory.start(lambda: None)
    inventory.taps_changed(["t1"])
    until(lambda: len(inventory.problems()) == 1)
    assert inventory.domain_of("t1") is None
    of_profiles.mkdir(0o700)
    write(of_profiles / "all.yaml", "meta: {site: here}\n")
    until(lambda: (domain := inventory.domain_of("t1")) is not None and domain.meta == {"site": "here"})


def test_domains_are_merged_anew_in_turns_and_none_is_lost_meanwhile(
    inventory: Inventory, directory: Path, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    taps = [f"t{number}" for number in range(20)]
    profile = directory.with_name("profiles.d") / "all.yaml"
    write(profile, "meta: {site: '0'}\n")
    for tap in taps:
        write(directory / f"{tap}.yaml", f"name: {tap}\nnics: [{{tap: {tap}}}]\n")

    def sites() -> list[str]:
        return [domain.meta["site"] for tap in taps if (domain := inventory.domain_of(tap)) is not None]

    inventory.start(lambda: None)
    inventory.taps_changed(taps)
    until(lambda: all(map(inventory.is_settled, taps)) and len(sites()) == len(taps))
    monkeypatch.setattr("eve_meta.runtime.turns.TURN", 0)  # one domain a turn
    write(profile, "meta: {site: '1'}\n")
    until(lambda: "1" in sites())
    assert len(sites()) == len(taps)
    assert len(set(sites())) == 2
    # What changes in between counts: another profile for those that wait and those that have had their turn, and a tap
    # at once.
    write(profile, "meta: {site: '2'}\n")
    write(directory / "t19.yaml", "name: t19\nnics: [{tap: other}]\n")
    until(lambda: inventory.domain_of("t19") is None)
    until(lambda: set(sites()) == {"2"})
    moved = inventory.domain_of("other")
    assert moved is not None
    assert (moved.name, moved.meta) == ("t19", {"site": "2"})
