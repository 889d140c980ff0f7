"""Merges the descriptions that several places have of one domain into one domain.

A person writes what the guest is to read: in a file, or in the domain's own metadata. The hypervisor knows uuid, name,
NICs and disks. Two descriptions are of the same domain if their uuids are equal or, where one of them has no uuid, if
their names are equal. Then the more important place wins, field by field. A field that is None or empty counts as
missing.

Two descriptions are of the same NIC if their taps are equal, else if their MAC addresses are, else if they have the
same position and nothing contradicts that; and of the same disk if their serials are equal, else their addresses, else
their paths, never by position. NICs and disks are completed field by field, too. Those that only one place knows are
added after the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs
from attrs import field, frozen

from eve_meta.inventory.source import InventoryProblem, Layer
from eve_meta.values.domain import Disk, Domain, Ec2
from eve_meta.values.nic import Nic

_Sourced = tuple[Any, str]
"""A value and its origin, the place that has it."""

_Tree = dict[str, Any]
"""The fields of a value that are not missing: each a :data:`_Sourced`, or a tree for a nested value, or a list of
trees."""

_KINDS: Mapping[str, type] = {"ec2": Ec2, "nics": Nic, "disks": Disk}
"""The fields of a domain that are merged field by field. Any other field comes from one place as a whole."""


@frozen(eq=False)
class Merged:
    """One domain, merged from its descriptions.

    :ivar parts: the description from each place, by origin, the most important first.
    :ivar domain: the merged description.
    :ivar refused: whether the parts contradict each other about the identity of the domain. Then it is not served.
    """

    parts: Mapping[str, Domain]
    domain: Domain = field(repr=False)
    refused: bool = False
    _unidentified: frozenset[str] = frozenset()

    @property
    def origin(self) -> str:
        """The origin of the most important part."""
        return next(iter(self.parts))

    def with_parts(self, parts: Mapping[str, Domain]) -> Merged:
        """Return the same domain with other *parts* from the same places."""
        return Merged(parts, _domain(parts, self._unidentified), self.refused, self._unidentified)

    def sources(self) -> Mapping[str, str]:
        """Return the origin of each field that is not missing, by the path to the field, such as ``nics[0].mac``."""
        return dict(_origins(_overlaid(self.parts, self._unidentified), ""))


def merge(
    layers: Sequence[Layer], before: Iterable[Merged] = ()
) -> tuple[tuple[Merged, ...], tuple[InventoryProblem, ...]]:
    """Merge the domains of *layers*; return them, and the problems that keep some from being served.

    :param layers: the most important first. Within one layer, no two domains have the same uuid or name.
    :param before: the last result. Domains that have not changed since then are the same objects.
    """
    groups, refused, problems = _grouped(layers)
    refused |= _clashes(groups, problems)
    known = {each.origin: each for each in before}
    unidentified = frozenset(origin for layer in layers if not layer.identified for origin in layer.domains)
    merged = []
    for index, parts in enumerate(groups):
        old = known.get(next(iter(parts)))
        if old is None or old.refused != (index in refused) or not _same(old.parts, parts):
            without_identity = frozenset(origin for origin in parts if origin in unidentified)
            old = Merged(parts, _domain(parts, without_identity), index in refused, without_identity)
        merged.append(old)
    return tuple(merged), tuple(problems)


class Merging:
    """The result of :func:`merge`, updated at a cost that depends on how much has changed.

    :ivar merged: the domains.
    :ivar problems: what keeps some domains from being served.
    """

    def __init__(self) -> None:
        self.merged: list[Merged] = []
        self.problems: tuple[InventoryProblem, ...] = ()
        self._layers: Sequence[Layer] = ()
        self._at: dict[str, int] = {}

    def update(self, layers: Sequence[Layer]) -> Mapping[Merged, Merged] | None:
        """Replace the layers by *layers*; return the domains of :attr:`merged` that change, each with its successor.

        :returns: None where more may have changed than the contents of domains: which domains exist, their identities,
            or the taps that people wrote.
        """
        changed = _changed_contents(self._layers, layers)
        self._layers = tuple(layers)
        if changed is None:
            merged, self.problems = merge(layers, self.merged)
            self.merged = list(merged)
            self._at = {origin: index for index, each in enumerate(merged) for origin in each.parts}
            return None
        replaced: dict[Merged, Merged] = {}
        for index in {self._at[origin] for origin in changed}:
            old = self.merged[index]
            new = old.with_parts({origin: changed.get(origin, domain) for origin, domain in old.parts.items()})
            self.merged[index] = replaced[old] = new
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


def _same(one: Mapping[str, Domain], other: Mapping[str, Domain]) -> bool:
    # By object identity: domains are large, and any change compares all of them.
    return list(one) == list(other) and all(one[origin] is other[origin] for origin in one)


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


# -- merging --


def _domain(parts: Mapping[str, Domain], unidentified: Collection[str]) -> Domain:
    if len(parts) == 1:
        return next(iter(parts.values()))
    domain: Domain = _value(Domain, _overlaid(parts, unidentified))
    return domain


def _overlaid(parts: Mapping[str, Domain], unidentified: Collection[str]) -> _Tree:
    tree: _Tree = {}
    for origin, domain in parts.items():
        part = _tree(domain, origin)
        if origin in unidentified:
            part = {name: value for name, value in part.items() if name not in ("uuid", "name")}
        tree = _completed(tree, part)
    return tree


def _tree(value: Any, origin: str) -> _Tree:
    tree: _Tree = {}
    for attribute in attrs.fields(type(value)):
        inner = getattr(value, attribute.name)
        if isinstance(value, Domain) and attribute.name in _KINDS:
            tree[attribute.name] = (
                [_tree(each, origin) for each in inner] if isinstance(inner, tuple) else _tree(inner, origin)
            )
        elif inner is not None and inner not in ((), {}):
            tree[attribute.name] = (inner, origin)
    return tree


def _completed(upper: _Tree, lower: _Tree) -> _Tree:
    tree = {**lower, **upper}
    for name in upper.keys() & lower.keys():
        if isinstance(upper[name], dict):
            tree[name] = _completed(upper[name], lower[name])
        elif isinstance(upper[name], list):
            tree[name] = _completed_list(upper[name], lower[name], _RULES[name])
    return tree


def _completed_list(upper: list[_Tree], lower: list[_Tree], rules: Sequence[_Rule]) -> list[_Tree]:
    partners: dict[int, int] = {}
    free = dict.fromkeys(range(len(lower)))  # it keeps their order
    for rule in rules:
        find = rule.finder(lower, free)
        for index, one in enumerate(upper):
            if index not in partners and (partner := find(one)) is not None:
                partners[index] = partner
                del free[partner]
    completed = [
        _completed(one, lower[partners[index]]) if index in partners else one for index, one in enumerate(upper)
    ]
    return completed + [lower[at] for at in free]


@frozen
class _Equal:
    """Two descriptions are of one thing if each has all of *names*, with equal values."""

    names: tuple[str, ...]

    def finder(self, lower: Sequence[_Tree], free: Collection[int]) -> Callable[[_Tree], int | None]:
        """Return a function that finds the first of *lower* that is *free* and of the same thing as a description."""
        # An index: people and hypervisors may describe a thousand disks each.
        places: dict[tuple[Any, ...], deque[int]] = {}
        for at in free:
            if (key := self._key(lower[at])) is not None:
                places.setdefault(key, deque()).append(at)

        def find(one: _Tree) -> int | None:
            key = self._key(one)
            return places[key].popleft() if key is not None and places.get(key) else None

        return find

    def _key(self, tree: _Tree) -> tuple[Any, ...] | None:
        return tuple(tree[name][0] for name in self.names) if all(name in tree for name in self.names) else None


@frozen
class _Uncontradicted:
    """Two descriptions are of one thing if no value of *names* that both have differs."""

    names: tuple[str, ...]

    def finder(self, lower: Sequence[_Tree], free: Collection[int]) -> Callable[[_Tree], int | None]:
        """As :meth:`_Equal.finder`."""

        def is_same(one: _Tree, other: _Tree) -> bool:
            return all(one[name][0] == other[name][0] for name in self.names if name in one and name in other)

        return lambda one: next((at for at in free if is_same(one, lower[at])), None)


_Rule = _Equal | _Uncontradicted

_RULES: Mapping[str, Sequence[_Rule]] = {
    "nics": (_Equal(("tap",)), _Equal(("mac",)), _Uncontradicted(("tap", "mac"))),
    "disks": (_Equal(("serial",)), _Equal(("bus", "address")), _Equal(("path",))),
}


def _value(kind: type, tree: _Tree) -> Any:
    values: dict[str, Any] = {}
    for name, item in tree.items():
        if isinstance(item, list):
            values[name] = tuple(_value(_KINDS[name], each) for each in item)
        else:
            values[name] = _value(_KINDS[name], item) if isinstance(item, dict) else item[0]
    return kind(**values)


def _origins(tree: _Tree, path: str) -> Iterator[tuple[str, str]]:
    for name, item in tree.items():
        if isinstance(item, dict):
            yield from _origins(item, f"{path}{name}.")
        elif isinstance(item, list):
            for index, each in enumerate(item):
                yield from _origins(each, f"{path}{name}[{index}].")
        else:
            yield f"{path}{name}", item[1]
