"""Merges the descriptions that several places have of one domain into one domain.

A person writes what the guest is to read: in a file, or in the domain's own metadata. The hypervisor knows uuid, name,
NICs and disks. ``grouping.py`` decides which descriptions are of one domain. Then ``overlay.py`` lays the more
important over the less important ones, and over the domain's profiles.

A domain one of whose profiles is missing, or cannot be added to it, is not served: a guest that boots without a part of
its configuration may never look for that part again. If it was served before, it stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from attrs import evolve, field, frozen

from eve_meta.inventory.grouping import Difference, Group, Grouping, differences, grouped
from eve_meta.inventory.overlay import CannotMerge, Tree, domain_of, origins, overlaid, profile_tree, with_profiles
from eve_meta.inventory.profiles import NO_PROFILES, Profile, Profiles
from eve_meta.inventory.source import InventoryProblem, Layer
from eve_meta.values.domain import Domain, with_values


class _Around:
    """What domains are merged with."""

    def __init__(self, profiles: Profiles, layers: Sequence[Layer]) -> None:
        self.profiles = profiles
        self._layers = layers
        # Of a profile that thousands of domains have, once for all of them.
        self.tree_of: Callable[[Profile], Tree] = cache(lambda profile: profile_tree(profile.part, profile.origin))

    def line_of(self, origin: str, name: str) -> int | None:
        """Return the line of the field *name* in the place *origin*, None where it is not known."""
        return next((layer.lines[origin].get(name) for layer in self._layers if origin in layer.lines), None)


@frozen(eq=False)
class Merged:
    """One domain, merged from its descriptions.

    :ivar group: its descriptions.
    :ivar domain: the merged description.
    :ivar identity: the uuid and the name of *domain*.
    :ivar refused: whether the domain is not served: the parts contradict each other about its identity, or its profiles
        cannot be added to it, or it waits for being merged.
    :ivar profiles: its profiles by name, the most important first; None for a missing one.
    :ivar origins: the origins of all parts and profiles.
    :ivar problems: why its profiles cannot be added to it.
    """

    group: Group
    domain: Domain = field(repr=False)
    identity: tuple[Any, ...]
    refused: bool = False
    profiles: Mapping[str, Profile | None] = {}
    origins: tuple[str, ...] = ()
    problems: tuple[InventoryProblem, ...] = ()
    # The one whose domain stays in force.
    _kept: Merged | None = None

    @property
    def parts(self) -> Mapping[str, Domain]:
        """The description from each place, by origin, the most important first."""
        return self.group.parts

    @property
    def origin(self) -> str:
        """The origin of the most important part."""
        return self.group.origin

    def served(self) -> Merged | None:
        """Return the one whose domain is served while this one is in force, None where none is."""
        return None if self.refused else self._kept or self

    def may_change_with(self, profiles: Profiles) -> bool:
        """Return whether one of the domain's profiles is another one among *profiles*, or could not be added before."""
        return bool(self.problems) or any(
            profile is None or profiles.known.get(name) is not profile for name, profile in self.profiles.items()
        )

    def sources(self) -> Mapping[str, str]:
        """Return the origin of each field that is not missing, by the path to the field, such as ``nics[0].mac``."""
        shown = self._kept or self
        return dict(origins(overlaid(shown.parts, shown.group.unidentified, _by_origin(shown.profiles))))


def merge(
    layers: Sequence[Layer], before: Iterable[Merged] = (), profiles: Profiles = NO_PROFILES
) -> tuple[tuple[Merged, ...], tuple[InventoryProblem, ...]]:
    """Merge the domains of *layers*; return them, and the problems that keep some from being served.

    :param layers: the most important first. Within one layer, no two domains have the same uuid or name.
    :param before: the last result. Domains that have not changed since then are the same objects.
    """
    groups, clashes = grouped(layers)
    known = {each.origin: each for each in before}
    moved = _served_by_identity(known[origin] for origin in known.keys() - {group.origin for group in groups})
    around = _Around(profiles, layers)
    merged = []
    for group in groups:
        old = known.get(group.origin)
        if old is None or not old.group.equals(group) or old.may_change_with(profiles):
            old = _merged(group, around, moved.get(group.identity) if old is None else old.served())
        merged.append(old)
    return tuple(merged), _problems(merged, clashes, profiles)


def _served_by_identity(gone: Iterable[Merged]) -> Mapping[tuple[Any, ...], Merged]:
    """Return by identity what is served of *gone*: a domain whose most important place changes is the same one."""
    return {served.identity: served for each in gone if (served := each.served()) is not None}


def _problems(
    merged: Iterable[Merged], clashes: Iterable[InventoryProblem], profiles: Profiles
) -> tuple[InventoryProblem, ...]:
    return (*clashes, *_missing_for_all(profiles), *(problem for each in merged for problem in each.problems))


@frozen
class Changes:
    """What :meth:`Merging.update` has changed at once.

    :ivar gone: domains that are no more. One whose identity was decided anew is among them, too.
    :ivar present: the domains whose identity was decided anew, as they are now.
    :ivar differences: how the descriptions have changed.
    """

    gone: Sequence[Merged]
    present: Sequence[Merged]
    differences: Sequence[Difference]


class Merging:
    """The result of :func:`merge`, updated at a cost that depends on how much has changed.

    The law: which domains there are, and their identities, are up to date when :meth:`update` returns. A domain that
    was merged keeps its contents until its turn comes in :meth:`go_on`; one that was not is refused until then.
    """

    def __init__(self) -> None:
        self._merged: dict[str, Merged] = {}
        self._grouping = Grouping()
        self._layers: Sequence[Layer] = ()
        self._profiles = NO_PROFILES
        self._around = _Around(NO_PROFILES, ())
        # Those that are refused until they are merged, each with the one that was served before; then the others that
        # are to be merged anew. Dicts, because they keep the order.
        self._refused: dict[str, Merged | None] = {}
        self._waiting: dict[str, None] = {}
        self._with_problems: dict[str, Merged] = {}

    @property
    def merged(self) -> Sequence[Merged]:
        """The domains."""
        return tuple(self._merged.values())

    @property
    def is_behind(self) -> bool:
        """Whether a domain waits for its turn."""
        return bool(self._refused or self._waiting)

    @property
    def is_incomplete(self) -> bool:
        """Whether a domain is refused until its turn comes."""
        return bool(self._refused)

    @property
    def faults(self) -> tuple[InventoryProblem, ...]:
        """Why some domains stay as they were."""
        return _problems((each for each in self._with_problems.values() if not each.refused), (), self._profiles)

    @property
    def refusals(self) -> tuple[InventoryProblem, ...]:
        """Why some domains are not served."""
        refused = (each for each in self._with_problems.values() if each.refused)
        return _problems(refused, self._grouping.problems, self._profiles)

    def update(self, layers: Sequence[Layer], profiles: Profiles = NO_PROFILES) -> Changes:
        """Replace the layers by *layers*, and the profiles."""
        changes = list(differences(self._layers, layers))
        changed_profiles = profiles != self._profiles
        self._layers, self._profiles, self._around = tuple(layers), profiles, _Around(profiles, layers)
        before, present = self._grouping.update(layers, changes)
        gone = {key: self._merged[key] for key in before}
        left = gone.keys() - set(present)
        moved = _served_by_identity(gone[key] for key in left)
        for key in left:
            self._take_out(key)
            del self._merged[key]
        for key in present:
            self._put(key, moved)
        for change in changes:
            if change.new is not None and (key := self._grouping.key_of(change.origin)) not in self._refused:
                self._waiting[key] = None
        if changed_profiles:
            for key, each in self._merged.items():
                if key not in self._refused and each.may_change_with(profiles):
                    self._waiting[key] = None
        return Changes(list(gone.values()), [self._merged[key] for key in present], changes)

    def go_on(self, is_over: Callable[[], bool] = lambda: False) -> Mapping[Merged, Merged]:
        """Merge the contents of domains that wait for it; return those that change, each with its successor.

        :param is_over: returns whether the others are to wait for the next call. One at least is merged.
        """
        replaced: dict[Merged, Merged] = {}
        while self.is_behind and not (replaced and is_over()):
            key = next(iter(self._refused or self._waiting))
            old = self._merged[key]
            new = _merged(self._grouping.groups[key], self._around, self._served(key))
            self._take_out(key)
            self._merged[key] = replaced[old] = new
            if new.problems:
                self._with_problems[key] = new
        return replaced

    def _served(self, key: str) -> Merged | None:
        """Return the domain of *key* that is served, or was served before it was refused until its turn comes."""
        return self._refused[key] if key in self._refused else self._merged[key].served()

    def _take_out(self, key: str) -> None:
        self._refused.pop(key, None)
        self._waiting.pop(key, None)
        self._with_problems.pop(key, None)

    def _put(self, key: str, moved: Mapping[tuple[Any, ...], Merged]) -> None:
        """Put the domain of *key* in place, whose group was decided anew.

        :param moved: by identity what was served of domains whose most important place is gone.
        """
        group, old = self._grouping.groups[key], self._merged.get(key)
        served = moved.get(group.identity) if old is None else None
        if old is not None:
            if key not in self._refused and old.group.equals(group):
                return
            served = self._served(key)
            self._take_out(key)
        uuid, name = identity = group.identity
        if served is not None and served.identity == identity and not group.clashes:
            self._merged[key] = evolve(served, group=group, kept=served)
            self._waiting[key] = None
            return
        domain = next(iter(group.parts.values()))
        if (domain.uuid, domain.name) != identity:
            domain = with_values(domain, {"uuid": uuid, "name": name})
        self._merged[key] = Merged(group, domain, identity, refused=True)
        self._refused[key] = served


# -- one domain and its profiles --


def _merged(group: Group, around: _Around, served: Merged | None) -> Merged:
    """Merge *group*.

    :param served: the one that was served before, None for none.
    """
    parts = group.parts
    origin, own = next(((origin, part.profiles) for origin, part in parts.items() if part.profiles), ("", ()))
    profiles = around.profiles.wanted(own)
    origins = (*parts, *map(around.profiles.path, profiles))
    alone = next(iter(parts.values())) if len(parts) == 1 else domain_of(overlaid(parts, group.unidentified, {}))
    identity = (alone.uuid, alone.name)
    wrong: list[tuple[str, str, str]] = []
    domain = alone
    try:
        known = [around.tree_of(profile) for profile in profiles.values() if profile is not None]
        domain = with_profiles(alone, known) if known else alone
    except CannotMerge as error:
        wrong = [(next(iter(parts)), error.field, f"{error}{f', in {error.origin}' if error.origin else ''}")]
    else:
        wrong = [
            (origin, f"profiles[{index}]", f"expected a profile, got {name!r}: {around.profiles.why_missing(name)}")
            for index, name in enumerate(own)
            if profiles[name] is None
        ]
        if None not in profiles.values():
            return Merged(group, domain, identity, group.clashes, profiles, origins)
    kept = served if served is not None and served.identity == identity and not group.clashes else None
    consequence = "it is not served" if kept is None else "the domain stays as it was"
    problems = tuple(
        InventoryProblem(file=place, line=around.line_of(place, name), field=name, message=f"{message}; {consequence}")
        for place, name, message in wrong
        if not around.profiles.unread
    )
    domain = alone if kept is None else kept.domain
    return Merged(group, domain, identity, kept is None, profiles, origins, problems, kept)


def _by_origin(profiles: Mapping[str, Profile | None]) -> Mapping[str, Domain]:
    return {profile.origin: profile.part for profile in profiles.values() if profile is not None}


def _missing_for_all(profiles: Profiles) -> list[InventoryProblem]:
    """Return a problem for each profile that all domains should have and that is missing."""
    message = "[inventory] profiles names {!r}: {}; only domains that had it before are served"
    return [
        InventoryProblem(file=profiles.path(name), message=message.format(name, profiles.why_missing(name)))
        for name in profiles.for_all
        if name not in profiles.known and not profiles.unread
    ]
