"""Whatever changes, in whatever order: a result that is updated equals one that is computed afresh.

The identity of guests depends on it. Contents wait for their turn, so that a domain may have old ones for a while; the
domain of each tap is never out of date.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any
from uuid import UUID

from attrs import evolve
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from eve_meta.inventory.grouping import differences
from eve_meta.inventory.merge import Merged, Merging, merge
from eve_meta.inventory.profiles import NO_PROFILES, Profile, Profiles
from eve_meta.inventory.source import Layer
from eve_meta.inventory.tap_domains import HypervisorAnswers, TapDomains
from eve_meta.inventory.vmm.process import Owner
from eve_meta.inventory.written_taps import WrittenTaps
from eve_meta.values.domain import Domain
from eve_meta.values.nic import Nic

TAPS = ("t0", "t1", "t2")
UUIDS = tuple(UUID(int=number) for number in range(1, 4))
NAMES = ("web", "db", "mail")
PLACES = ("a", "b", "c")

taps = st.lists(st.sampled_from(TAPS), max_size=2, unique=True).map(lambda names: tuple(Nic(tap=tap) for tap in names))
hostnames = st.sampled_from(["one", "two"])
profile_names = st.sampled_from([(), (), ("base",), ("base", "more")])
written = st.builds(
    Domain,
    uuid=st.none() | st.sampled_from(UUIDS),
    name=st.sampled_from(NAMES),
    hostname=hostnames,
    nics=taps,
    profiles=profile_names,
)
described = st.builds(Domain, uuid=st.sampled_from(UUIDS), name=st.sampled_from(NAMES), nics=taps)
metadata = st.none() | st.tuples(hostnames, taps, profile_names)
owners = st.builds(
    Owner,
    pid=st.integers(1, 3),
    start=st.just(1),
    uuid=st.none() | st.sampled_from(UUIDS),
    name=st.none() | st.sampled_from(NAMES),
    trusted=st.booleans(),
)
# One that has user data which nothing can be joined with makes a domain that cannot be merged.
profile = st.none() | st.builds(
    lambda meta, data: Domain(name="profile", meta={"key": meta}, user_data=data),
    st.sampled_from(["1", "2"]),
    st.sampled_from([None, b"#cloud-config\n", b"{}"]),
)


class Changes(RuleBasedStateMachine):
    """Sources that change, and the two results."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, Domain] = {}
        self.xml: dict[str, Domain] = {}
        self.metadata: dict[str, Domain] = {}
        self.taps: dict[str, list[str]] = {}
        self.processes: dict[str, Owner] = {}
        self.profiles = Profiles(directory="/p")
        self.merging = Merging()
        self.written = WrittenTaps()
        self.tap_domains = TapDomains(self.written, self.processes, [HypervisorAnswers((), {})])
        # What each domain had at any time, by its identity.
        self.had: dict[Any, list[Domain]] = {}

    # -- the sources --

    def layers(self) -> list[Layer]:
        return [
            Layer(domains=dict(sorted(self.files.items())), written=True),
            Layer(domains=dict(self.metadata), written=True, identified=False),
            Layer(domains=dict(self.xml), written=False),
        ]

    def answers(self) -> list[HypervisorAnswers]:
        known = {tap: [origin for origin in origins if origin in self.xml] for tap, origins in self.taps.items()}
        return [HypervisorAnswers(set(self.xml), known)]

    @initialize(files=st.dictionaries(st.sampled_from(PLACES), written), xml=st.lists(described, max_size=3))
    def begin(self, files: dict[str, Domain], xml: list[Domain]) -> None:
        for place, domain in files.items():
            if _is_free(domain, self.files.values()):
                self.files[place] = domain
        for place, domain in zip(PLACES, xml, strict=False):
            if _is_free(domain, self.xml.values()):
                self.xml[f"xml {place}"] = domain
        self.update()

    @rule(place=st.sampled_from(PLACES), domain=st.none() | written)
    def change_a_file(self, place: str, domain: Domain | None) -> None:
        others = [each for at, each in self.files.items() if at != place]
        self.files.pop(place, None)
        if domain is not None and _is_free(domain, others):
            self.files[place] = domain
        self.update()

    @rule(place=st.sampled_from(PLACES), nics=taps)
    def change_the_taps_of_a_file(self, place: str, nics: tuple[Nic, ...]) -> None:
        if place in self.files:
            self.files[place] = evolve(self.files[place], nics=nics)
            self.update()

    @rule(place=st.sampled_from(PLACES), domain=st.none() | described, own=metadata)
    def change_a_domain_of_the_hypervisor(self, place: str, domain: Domain | None, own: Any) -> None:
        others = [each for at, each in self.xml.items() if at != f"xml {place}"]
        self.xml.pop(f"xml {place}", None)
        self.metadata.pop(f"metadata {place}", None)
        if domain is not None and _is_free(domain, others):
            self.xml[f"xml {place}"] = domain
            if own is not None:
                hostname, nics, names = own
                self.metadata[f"metadata {place}"] = Domain(
                    uuid=domain.uuid, name=domain.name, hostname=hostname, nics=nics, profiles=names
                )
        self.update()

    @rule(hostname=hostnames)
    def change_the_contents_of_all_files(self, hostname: str) -> None:
        self.files = {place: evolve(domain, hostname=hostname) for place, domain in self.files.items()}
        self.update()

    @rule(name=st.sampled_from(["base", "more"]), part=profile)
    def change_a_profile(self, name: str, part: Domain | None) -> None:
        known = {other: each for other, each in self.profiles.known.items() if other != name}
        if part is not None:
            known[name] = Profile(f"/p/{name}.yaml", part)
        self.profiles = Profiles(directory="/p", known=known)
        self.update()

    @rule(tap=st.sampled_from(TAPS), owner=st.none() | owners)
    def change_a_process(self, tap: str, owner: Owner | None) -> None:
        before = self.served()
        self.processes.pop(tap, None)
        if owner is not None:
            self.processes[tap] = owner
        self.expect(before, self.tap_domains.decide(tap))

    @rule(tap=st.sampled_from(TAPS), places=st.none() | st.lists(st.sampled_from(PLACES), max_size=2, unique=True))
    def change_an_answer(self, tap: str, places: list[str] | None) -> None:
        before = self.served()
        self.taps.pop(tap, None)
        if places is not None:
            self.taps[tap] = [f"xml {place}" for place in places]
        self.tap_domains.hypervisors = self.answers()
        self.expect(before, self.tap_domains.decide(tap))

    @rule()
    def merge_one(self) -> None:
        before = self.served()
        self.expect(before, self.tap_domains.replace(self.merging.go_on(lambda: True)))

    @rule()
    def merge_all(self) -> None:
        before = self.served()
        self.expect(before, self.tap_domains.replace(self.merging.go_on()))
        assert not self.merging.is_behind

    def update(self) -> None:
        """Do what :class:`~eve_meta.inventory.inventory.Inventory` does when a source has changed."""
        before, layers = self.served(), self.layers()
        old, self.tap_domains.hypervisors = self.tap_domains.hypervisors, self.answers()
        changes = self.merging.update(layers, self.profiles)
        written = self.written.update(layers, changes.differences)
        concerned = self.tap_domains.change(changes.gone, changes.present, *written)
        for tap in TAPS:
            if old[0].taps.get(tap) != self.tap_domains.hypervisors[0].taps.get(tap):
                concerned |= self.tap_domains.decide(tap)
        concerned |= self.tap_domains.replace(self.merging.go_on(lambda: True))
        self.expect(before, concerned)

    # -- the results --

    def served(self) -> dict[str, Domain | None]:
        return _served(self.tap_domains)

    def expect(self, before: dict[str, Domain | None], concerned: Collection[str]) -> None:
        """The supervisor refreshes the taps *concerned* and no others."""
        after = self.served()
        assert {tap for tap in TAPS if after[tap] is not before[tap]} <= set(concerned)

    def afresh(self, layers: list[Layer], profiles: Profiles = NO_PROFILES) -> tuple[list[Merged], Any, TapDomains]:
        merged, problems = merge(layers, profiles=profiles)
        written = WrittenTaps()
        tap_domains = TapDomains(written, self.processes, self.answers())
        tap_domains.change((), merged, *written.update(layers, differences((), layers)))
        return list(merged), problems, tap_domains

    @invariant()
    def no_tap_has_a_domain_that_it_should_not_have(self) -> None:
        """At any time. Profiles identify no domain; a domain that lacks one has no tap, or stays as it was."""
        without = [
            evolve(layer, domains={at: evolve(domain, profiles=()) for at, domain in layer.domains.items()})
            for layer in self.layers()
        ]
        _, _, tap_domains = self.afresh(without)
        for tap in TAPS:
            found, right = self.tap_domains.get(tap), tap_domains.get(tap)
            if found is not None:
                assert right is not None
                assert (list(found[0].parts), found[0].identity) == (list(right[0].parts), right[0].identity)
                assert (found[1].instance_uuid, found[1].name) == (right[1].instance_uuid, right[1].name)

    @invariant()
    def once_all_turns_are_taken_all_is_as_afresh(self) -> None:
        merged = self.merging.merged
        for each in merged:
            if not each.refused:
                self.had.setdefault(each.identity, []).append(each.domain)
        if self.merging.is_behind:
            return
        right, problems, tap_domains = self.afresh(self.layers(), self.profiles)
        expected = {each.origin: each for each in right}
        assert {each.origin for each in merged} == expected.keys()
        for each in merged:
            fresh = expected[each.origin]
            assert list(each.parts.items()) == list(fresh.parts.items())
            assert (each.identity, each.origins) == (fresh.identity, fresh.origins)
            assert (each.domain.uuid, each.domain.name) == each.identity
            assert [_begin(problem) for problem in each.problems] == [_begin(problem) for problem in fresh.problems]
            if not each.problems:
                assert (each.domain, each.refused) == (fresh.domain, fresh.refused)
            elif not each.refused:
                assert each.domain in self.had[each.identity]
        assert sorted(map(_begin, self.merging.faults + self.merging.refusals)) == sorted(map(_begin, problems))
        if not any(each.problems for each in merged):
            assert _served(tap_domains) == self.served()
            assert sorted(map(str, tap_domains.problems)) == sorted(map(str, self.tap_domains.problems))


def _is_free(domain: Domain, others: Iterable[Domain]) -> bool:
    """Return whether none of *others*, of the same layer, has the uuid or the name of *domain*."""
    return all(domain.name != each.name and (domain.uuid is None or domain.uuid != each.uuid) for each in others)


def _served(tap_domains: TapDomains) -> dict[str, Domain | None]:
    return {tap: None if (found := tap_domains.get(tap)) is None else found[1] for tap in TAPS}


def _begin(problem: object) -> str:
    """Return what is wrong without its consequence, which depends on what was served before."""
    return str(problem).rpartition(";")[0]


TestAnyChanges = Changes.TestCase
TestAnyChanges.settings = settings(max_examples=100, stateful_step_count=25, deadline=None)
