"""Decides which descriptions are of one domain.

Two are of one domain if their uuids are equal or, where one of them has no uuid, if their names are equal. So whatever
is decided about a description depends on those alone that have its uuid or name, and on those that have theirs, and so
on. A change decides these anew, and no others: it costs as much as they are many.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import evolve, frozen

from eve_meta.inventory.source import InventoryProblem, Layer
from eve_meta.values.domain import Domain


@frozen(eq=False)
class Group:
    """The descriptions of one domain.

    :ivar parts: the description from each place, by origin, the most important first.
    :ivar unidentified: the origins of those whose uuid and name do not count.
    :ivar clashes: whether the domain must not be served.
    """

    parts: Mapping[str, Domain]
    unidentified: frozenset[str] = frozenset()
    clashes: bool = False

    @property
    def origin(self) -> str:
        """The origin of the most important part."""
        return next(iter(self.parts))

    @property
    def identity(self) -> tuple[Any, ...]:
        """The uuid and the name of the domain, None for each that it does not have."""
        identified = [part for origin, part in self.parts.items() if origin not in self.unidentified]
        uuid = next((part.uuid for part in identified if part.uuid is not None), None)
        return uuid, next((part.name for part in identified if part.name is not None), None)

    def equals(self, other: Group) -> bool:
        """Return whether both have the same descriptions, by object identity: domains are large."""
        return (
            self.clashes == other.clashes
            and list(self.parts) == list(other.parts)
            and all(part is other.parts[origin] for origin, part in self.parts.items())
        )


@frozen
class Difference:
    """A description that came, went or changed: *old* is None where it came, *new* where it went."""

    layer: Layer
    origin: str
    old: Domain | None
    new: Domain | None

    @property
    def keeps_identity(self) -> bool:
        """Whether uuid and name are as they were."""
        old, new = self.old, self.new
        return old is not None and new is not None and (old.uuid, old.name) == (new.uuid, new.name)


def differences(before: Sequence[Layer], layers: Sequence[Layer]) -> Iterator[Difference]:
    """Yield how *layers* differ from *before*, what they were."""
    if [(each.written, each.identified) for each in before] != [(each.written, each.identified) for each in layers]:
        for layer in before:
            yield from (Difference(layer, origin, domain, None) for origin, domain in layer.domains.items())
        before = [evolve(layer, domains={}) for layer in layers]
    for old, new in zip(before, layers, strict=True):
        if old.domains is new.domains:
            continue
        for origin in old.domains.keys() - new.domains.keys():
            yield Difference(new, origin, old.domains[origin], None)
        for origin, domain in new.domains.items():
            last = old.domains.get(origin)
            if domain is not last:
                yield Difference(new, origin, last, domain)


def grouped(layers: Sequence[Layer]) -> tuple[list[Group], list[InventoryProblem]]:
    """Return the groups of all descriptions of *layers*, and why some domains are not served."""
    groups, clashing, problems = _grouped(layers)
    clashing |= _clashes(groups, problems)
    unidentified = frozenset(origin for layer in layers if not layer.identified for origin in layer.domains)
    return [
        Group(parts, unidentified & parts.keys() if unidentified else unidentified, index in clashing)
        for index, parts in enumerate(groups)
    ], problems


class Grouping:
    """The result of :func:`grouped`, updated change by change.

    :ivar groups: the groups, by the origin of each one's most important part.
    """

    def __init__(self) -> None:
        self.groups: dict[str, Group] = {}
        self._of: dict[str, str] = {}  # the origin of any part → the key of its group
        self._problems: dict[str, InventoryProblem] = {}  # by the origins that they name
        # Those that have a uuid or a name, by that.
        self._having: dict[Any, dict[str, None]] = {}

    @property
    def problems(self) -> tuple[InventoryProblem, ...]:
        """Why some domains are not served."""
        return tuple(self._problems.values())

    def key_of(self, origin: str) -> str:
        """Return the key of the group of the description from *origin*."""
        return self._of[origin]

    def update(self, layers: Sequence[Layer], changes: Iterable[Difference]) -> tuple[list[str], list[str]]:
        """Bring the groups up to date with *layers*, which have changed by *changes*.

        :returns: the keys of the groups that are decided anew and had been there before, and of those that are there
            now. A group of which only contents have changed is in neither, but it is in :attr:`groups`.
        """
        seeds: dict[Any, None] = {}
        gone: list[str] = []
        for change in changes:
            if change.keeps_identity and change.new is not None:
                group = self.groups[self._of[change.origin]]
                self.groups[group.origin] = evolve(group, parts={**group.parts, change.origin: change.new})
                continue
            for domain in (change.old, change.new):
                seeds.update(dict.fromkeys(() if domain is None else _keys(domain)))
            self._index(change)
            if change.new is None:
                gone.append(change.origin)
        if not seeds:
            return [], []
        origins = self._connected(seeds, layers)
        before = self._take_out(origins | dict.fromkeys(gone))
        groups, problems = grouped(_part_of(layers, origins))
        for group in groups:
            self.groups[group.origin] = group
            self._of.update(dict.fromkeys(group.parts, group.origin))
        self._problems.update((problem.file, problem) for problem in problems)
        return before, [group.origin for group in groups]

    def _index(self, change: Difference) -> None:
        for key in () if change.old is None else _keys(change.old):
            having = self._having[key]
            having.pop(change.origin, None)
            if not having:
                del self._having[key]
        for key in () if change.new is None else _keys(change.new):
            self._having.setdefault(key, {})[change.origin] = None

    def _connected(self, seeds: Mapping[Any, None], layers: Sequence[Layer]) -> dict[str, None]:
        """Return the origins that are connected with *seeds*, uuids and names, by these and others."""
        origins: dict[str, None] = {}
        seen, ahead = set(seeds), list(seeds)
        while ahead:
            for origin in self._having.get(ahead.pop(), ()):
                if origin not in origins:
                    origins[origin] = None
                    domain = next(layer.domains[origin] for layer in layers if origin in layer.domains)
                    new = [key for key in _keys(domain) if key not in seen]
                    seen.update(new)
                    ahead += new
        return origins

    def _take_out(self, origins: Iterable[str]) -> list[str]:
        keys: dict[str, None] = {}
        for origin in origins:
            self._problems.pop(origin, None)
            if (key := self._of.pop(origin, None)) is not None:
                keys[key] = None
        for key in keys:
            del self.groups[key]
        return list(keys)


def _keys(domain: Domain) -> list[Any]:
    # UUIDs and strings are never equal.
    return [key for key in (domain.uuid, domain.name) if key is not None]


def _part_of(layers: Sequence[Layer], origins: Collection[str]) -> list[Layer]:
    """Return *layers* with those of *origins* alone, in the same order."""
    return [
        evolve(layer, domains={origin: domain for origin, domain in layer.domains.items() if origin in origins})
        for layer in layers
    ]


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
