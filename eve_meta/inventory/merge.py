"""Merges the descriptions that several places have of one domain into one domain.

A person writes what the guest is to read: in a file, or in the domain's own metadata. The hypervisor knows uuid, name,
NICs and disks. Two descriptions are of the same domain if their uuids are equal or, where one of them has no uuid, if
their names are equal. Then ``overlay.py`` lays the more important over the less important ones, and over the domain's
profiles.

A domain one of whose profiles is missing, or cannot be added to it, is not served: a guest that boots without a part of
its configuration may never look for that part again. If it was served before, it stays as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import field, frozen

from eve_meta.inventory.overlay import CannotMerge, domain_of, origins, overlaid
from eve_meta.inventory.profiles import NO_PROFILES, Profile, Profiles
from eve_meta.inventory.source import InventoryProblem, Layer
from eve_meta.values.domain import Domain


@frozen
class _Around:
    """What domains are merged with.

    :ivar lines: the lines of fields, by the origin of their domain (:attr:`eve_meta.inventory.source.Layer.lines`).
    """

    profiles: Profiles
    lines: Mapping[str, Mapping[str, int]]

    @classmethod
    def of(cls, profiles: Profiles, layers: Sequence[Layer]) -> _Around:
        return cls(profiles, {origin: lines for layer in layers for origin, lines in layer.lines.items()})


@frozen(eq=False)
class Merged:
    """One domain, merged from its descriptions.

    :ivar parts: the description from each place, by origin, the most important first.
    :ivar domain: the merged description.
    :ivar refused: whether the domain is not served: the parts contradict each other about its identity, or its profiles
        cannot be added to it.
    :ivar profiles: its profiles by name, the most important first; None for a missing one.
    :ivar origins: the origins of all parts and profiles.
    :ivar problems: why its profiles cannot be added to it.
    """

    parts: Mapping[str, Domain]
    domain: Domain = field(repr=False)
    refused: bool = False
    profiles: Mapping[str, Profile | None] = {}
    origins: tuple[str, ...] = ()
    problems: tuple[InventoryProblem, ...] = ()
    _clashes: bool = False
    _unidentified: frozenset[str] = frozenset()
    # The one whose domain stays in force.
    _kept: Merged | None = None

    @property
    def origin(self) -> str:
        """The origin of the most important part."""
        return next(iter(self.parts))

    def renewed(self, parts: Mapping[str, Domain], around: _Around) -> Merged:
        """Return the same domain with other *parts* from the same places, and with its profiles as they are now."""
        return _merged(parts, self._unidentified, self._clashes, around, self)

    def is_current(self, parts: Mapping[str, Domain], clashes: bool, profiles: Profiles) -> bool:
        """Return whether merging *parts* with *profiles* once more would make the same domain."""
        return (
            self._clashes == clashes
            and not self.may_change_with(profiles)
            and list(self.parts) == list(parts)
            # By object identity: domains are large, and any change compares all of them.
            and all(self.parts[origin] is parts[origin] for origin in parts)
        )

    def may_change_with(self, profiles: Profiles) -> bool:
        """Return whether one of the domain's profiles is another one among *profiles*, or could not be added before."""
        return bool(self.problems) or any(
            profile is None or profiles.known.get(name) is not profile for name, profile in self.profiles.items()
        )

    def sources(self) -> Mapping[str, str]:
        """Return the origin of each field that is not missing, by the path to the field, such as ``nics[0].mac``."""
        shown = self._kept or self
        return dict(origins(overlaid(shown.parts, shown._unidentified, _by_origin(shown.profiles))))


def merge(
    layers: Sequence[Layer], before: Iterable[Merged] = (), profiles: Profiles = NO_PROFILES
) -> tuple[tuple[Merged, ...], tuple[InventoryProblem, ...]]:
    """Merge the domains of *layers*; return them, and the problems that keep some from being served.

    :param layers: the most important first. Within one layer, no two domains have the same uuid or name.
    :param before: the last result. Domains that have not changed since then are the same objects.
    """
    merged, clashes = _merge(layers, before, profiles)
    return merged, _problems(merged, clashes, profiles)


def _merge(
    layers: Sequence[Layer], before: Iterable[Merged], profiles: Profiles
) -> tuple[tuple[Merged, ...], Sequence[InventoryProblem]]:
    groups, clashing, problems = _grouped(layers)
    clashing |= _clashes(groups, problems)
    known = {each.origin: each for each in before}
    unidentified = frozenset(origin for layer in layers if not layer.identified for origin in layer.domains)
    around = _Around.of(profiles, layers)
    merged = []
    for index, parts in enumerate(groups):
        old = known.get(next(iter(parts)))
        if old is None or not old.is_current(parts, index in clashing, profiles):
            without_identity = frozenset(origin for origin in parts if origin in unidentified)
            old = _merged(parts, without_identity, index in clashing, around, old)
        merged.append(old)
    return tuple(merged), problems


def _problems(
    merged: Iterable[Merged], clashes: Iterable[InventoryProblem], profiles: Profiles
) -> tuple[InventoryProblem, ...]:
    return (*clashes, *_missing_for_all(profiles), *(problem for each in merged for problem in each.problems))


class Merging:
    """The result of :func:`merge`, updated at a cost that depends on how much has changed.

    :ivar merged: the domains.
    """

    def __init__(self) -> None:
        self.merged: list[Merged] = []
        self._clashes: Sequence[InventoryProblem] = ()
        self._layers: Sequence[Layer] = ()
        self._profiles = NO_PROFILES
        self._at: dict[str, int] = {}

    @property
    def faults(self) -> tuple[InventoryProblem, ...]:
        """Why some domains stay as they were."""
        return _problems((each for each in self.merged if not each.refused), (), self._profiles)

    @property
    def refusals(self) -> tuple[InventoryProblem, ...]:
        """Why some domains are not served."""
        return _problems((each for each in self.merged if each.refused), self._clashes, self._profiles)

    def update(self, layers: Sequence[Layer], profiles: Profiles = NO_PROFILES) -> Mapping[Merged, Merged] | None:
        """Replace the layers by *layers*; return the domains of :attr:`merged` that change, each with its successor.

        :returns: None where more may have changed than the contents of domains: which domains exist, their identities,
            or the taps that people wrote.
        """
        changed = _changed_contents(self._layers, layers)
        same_profiles = profiles == self._profiles
        self._layers, self._profiles = tuple(layers), profiles
        if changed is None:
            merged, self._clashes = _merge(layers, self.merged, profiles)
            self.merged = list(merged)
            self._at = {origin: index for index, each in enumerate(merged) for origin in each.parts}
            return None
        indices = {self._at[origin] for origin in changed}
        if not same_profiles:
            indices.update(index for index, each in enumerate(self.merged) if each.may_change_with(profiles))
        around = _Around.of(profiles, layers)
        replaced: dict[Merged, Merged] = {}
        for index in indices:
            old = self.merged[index]
            parts = {origin: changed.get(origin, domain) for origin, domain in old.parts.items()}
            self.merged[index] = replaced[old] = old.renewed(parts, around)
        return replaced


def _changed_contents(before: Sequence[Layer], layers: Sequence[Layer]) -> Mapping[str, Domain] | None:
    """Return the domains of *layers* whose contents have changed since *before*, by origin.

    :returns: None where anything else may have changed: domains, their identities, or the taps that people wrote.
    """
    if len(before) != len(layers):
        return None
    changed: dict[str, Domain] = {}
    for old, new in zip(before, layers, strict=True):
        if (old.written, old.identified) != (new.written, new.identified):
            return None
        if old.domains is new.domains:
            continue
        if old.domains.keys() != new.domains.keys():
            return None
        for origin, domain in new.domains.items():
            last = old.domains[origin]
            if domain is not last:
                if (last.uuid, last.name) != (domain.uuid, domain.name):
                    return None
                if new.written and last.taps != domain.taps:
                    return None
                changed[origin] = domain
    return changed


# -- which descriptions belong to one domain --


def _grouped(layers: Sequence[Layer]) -> tuple[list[dict[str, Domain]], set[int], list[InventoryProblem]]:
    """Return the parts of each domain, the indices of those that must not be served, and the problems."""
    groups: list[list[tuple[int, str, Domain]]] = []
    by_uuid: dict[Any, int] = {}
    by_name: dict[str, list[int]] = {}
    without_uuid: list[tuple[int, str, Domain]] = []
    refused: set[int] = set()
    problems: list[InventoryProblem] = []
    for rank, layer in enumerate(layers):
        for origin, domain in layer.domains.items():
            if domain.uuid is None:
                without_uuid.append((rank, origin, domain))
                continue
            index = by_uuid.setdefault(domain.uuid, len(groups))
            if index == len(groups):
                groups.append([])
            groups[index].append((rank, origin, domain))
            if domain.name is not None and index not in by_name.setdefault(domain.name, []):
                by_name[domain.name].append(index)
    # After all descriptions with a uuid, so that it is known which domains have the name. Only files lack a uuid.
    for rank, origin, domain in without_uuid:
        named = by_name.setdefault(str(domain.name), [])
        same_layer = [other for index in named for each, other, _ in groups[index] if each == rank]
        if len(named) == 1 and not same_layer:
            groups[named[0]].append((rank, origin, domain))
            continue
        if named:
            got = f"{domain.name!r}, which {f'{same_layer[0]} describes' if same_layer else 'several domains have'}"
            message = f"expected the name of one domain that no other file describes, got {got}: it is not served"
            problems.append(InventoryProblem(file=origin, field="name", message=message))
            refused.add(len(groups))
        else:
            named.append(len(groups))
        groups.append([(rank, origin, domain)])
    ordered = [sorted(group, key=lambda part: part[0]) for group in groups]
    return [{origin: domain for _, origin, domain in group} for group in ordered], refused, problems


def _clashes(groups: Sequence[Mapping[str, Domain]], problems: list[InventoryProblem]) -> set[int]:
    """Return the indices of domains that share a name but not a uuid, and add a problem for each.

    One of them is out of date, and nothing shows which.
    """
    seen: dict[str, dict[int, str]] = {}
    for index, parts in enumerate(groups):
        for origin, domain in parts.items():
            if domain.name is not None and domain.uuid is not None:
                seen.setdefault(domain.name, {}).setdefault(index, origin)
    refused: set[int] = set()
    for name, sharing in seen.items():
        if len(sharing) > 1:
            refused |= sharing.keys()
            (first, origin), *others = sharing.items()
            uuid = groups[first][origin].uuid
            for index, other in others:
                got = f"{other} has {groups[index][other].uuid}"
                message = f"expected the domain {name!r} to have one uuid, got {uuid} here and {got}: none is served"
                problems.append(InventoryProblem(file=origin, field="uuid", message=message))
    return refused


# -- one domain and its profiles --


def _merged(
    parts: Mapping[str, Domain], unidentified: frozenset[str], clashes: bool, around: _Around, before: Merged | None
) -> Merged:
    origin, own = next(((origin, part.profiles) for origin, part in parts.items() if part.profiles), ("", ()))
    profiles = around.profiles.wanted(own)
    origins = (*parts, *map(around.profiles.path, profiles))
    try:
        domain = _domain(parts, unidentified, profiles)
    except CannotMerge as error:
        where = "" if error.origin in parts or not error.origin else f", in {error.origin}"
        wrong = [(next(iter(parts)), error.field, f"{error}{where}")]
    else:
        wrong = [
            (origin, f"profiles[{index}]", f"expected a profile, got {name!r}: {around.profiles.why_missing(name)}")
            for index, name in enumerate(own)
            if profiles[name] is None
        ]
        if None not in profiles.values():
            return Merged(parts, domain, clashes, profiles, origins, (), clashes, unidentified)
    alone = _domain(parts, unidentified, {})
    same = before is not None and (before.domain.uuid, before.domain.name) == (alone.uuid, alone.name)
    kept = (before._kept or before) if before is not None and same and not (before.refused or clashes) else None
    consequence = "it is not served" if kept is None else "the domain stays as it was"
    problems = tuple(
        InventoryProblem(
            file=place, line=around.lines.get(place, {}).get(name), field=name, message=f"{message}; {consequence}"
        )
        for place, name, message in wrong
        if not around.profiles.unread
    )
    domain = alone if kept is None else kept.domain
    return Merged(parts, domain, kept is None, profiles, origins, problems, clashes, unidentified, kept)


def _domain(
    parts: Mapping[str, Domain], unidentified: frozenset[str], profiles: Mapping[str, Profile | None]
) -> Domain:
    if len(parts) == 1 and not profiles:
        return next(iter(parts.values()))
    return domain_of(overlaid(parts, unidentified, _by_origin(profiles)))


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
