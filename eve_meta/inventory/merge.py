"""What several places say of one domain, made into one domain.

A person writes what to tell the guest: in a file, or in the domain's own metadata. The hypervisor knows uuid, name,
NICs and disks. Places are told to be the same domain by their uuid, else by their name where not both say a uuid. Then
the more important place wins, field by field; a field that holds None or nothing says nothing.

NICs are the same by their tap, else by their MAC address, else in their order where nothing contradicts that; disks by
serial, else address, else path, never by their order. They are completed field by field, too. What only one place
knows of is added after the others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs
from attrs import field, frozen

from eve_meta.inventory.source import InventoryProblem, Layer
from eve_meta.values.domain import Disk, Domain, Ec2
from eve_meta.values.nic import Nic

_Said = tuple[Any, str]
"""A value, and where it is said."""

_Tree = dict[str, Any]
"""The fields of a value that say something: each a :data:`_Said`, a tree for a value of values, or a list of trees."""

_KINDS: Mapping[str, type] = {"ec2": Ec2, "nics": Nic, "disks": Disk}
"""The fields of a domain that are completed from within; any other is one place's as a whole."""


@frozen(eq=False)
class Merged:
    """One domain, and all that is said of it.

    :ivar parts: what each place says, by where, from the most important place to the least.
    :ivar domain: all of it together.
    :ivar refused: whether places contradict each other about who it is; then nobody is to be served it.
    """

    parts: Mapping[str, Domain]
    domain: Domain = field(repr=False)
    refused: bool = False
    _unidentified: frozenset[str] = frozenset()

    @property
    def origin(self) -> str:
        """The most important place."""
        return next(iter(self.parts))

    def saying(self, parts: Mapping[str, Domain]) -> Merged:
        """The same domain, of which the same places say these *parts*."""
        return Merged(parts, _domain(parts, self._unidentified), self.refused, self._unidentified)

    def sources(self) -> Mapping[str, str]:
        """Where each field that says something comes from, by the way to it: ``nics[0].mac``."""
        return dict(_origins(_overlaid(self.parts, self._unidentified), ""))


def merge(
    layers: Sequence[Layer], before: Iterable[Merged] = ()
) -> tuple[tuple[Merged, ...], tuple[InventoryProblem, ...]]:
    """The domains that *layers*, from the most important to the least, make together, and what keeps some from being
    served.

    :param layers: within one of them, no two domains have one uuid or name.
    :param before: the result of the last time; what has not changed is taken from there.
    """
    groups, refused, problems = _grouped(layers)
    refused |= _clashes(groups, problems)
    known = {each.origin: each for each in before}
    unidentified = frozenset(origin for layer in layers if not layer.identified for origin in layer.domains)
    merged = []
    for index, parts in enumerate(groups):
        old = known.get(next(iter(parts)))
        if old is None or old.refused != (index in refused) or not _same(old.parts, parts):
            silent = frozenset(origin for origin in parts if origin in unidentified)
            old = Merged(parts, _domain(parts, silent), index in refused, silent)
        merged.append(old)
    return tuple(merged), tuple(problems)


class Merging:
    """What :func:`merge` makes of layers, again and again, for the cost of what changed.

    :ivar merged: the domains.
    :ivar problems: what keeps some from being served.
    """

    def __init__(self) -> None:
        self.merged: list[Merged] = []
        self.problems: tuple[InventoryProblem, ...] = ()
        self._layers: Sequence[Layer] = ()
        self._at: dict[str, int] = {}

    def update(self, layers: Sequence[Layer]) -> Mapping[Merged, Merged] | None:
        """Take *layers* for those of the last time; give each of :attr:`merged` that another replaces, with that.

        None where more may have changed than what is told to domains: which there are, who they are, or which taps
        people wrote.
        """
        said = _said_anew(self._layers, layers)
        self._layers = tuple(layers)
        if said is None:
            merged, self.problems = merge(layers, self.merged)
            self.merged = list(merged)
            self._at = {origin: index for index, each in enumerate(merged) for origin in each.parts}
            return None
        replaced: dict[Merged, Merged] = {}
        for index in {self._at[origin] for origin in said}:
            old = self.merged[index]
            new = old.saying({origin: said.get(origin, domain) for origin, domain in old.parts.items()})
            self.merged[index] = replaced[old] = new
        return replaced


def _said_anew(before: Sequence[Layer], layers: Sequence[Layer]) -> Mapping[str, Domain] | None:
    """What is said now in *layers*, where that was said *before* in other words of the same domain; else None."""
    if len(before) != len(layers):
        return None
    said: dict[str, Domain] = {}
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
                said[origin] = domain
    return said


def _same(one: Mapping[str, Domain], other: Mapping[str, Domain]) -> bool:
    # By identity: domains are large, and compared at each change of anything.
    return list(one) == list(other) and all(one[origin] is other[origin] for origin in one)


# -- which are one --


def _grouped(layers: Sequence[Layer]) -> tuple[list[dict[str, Domain]], set[int], list[InventoryProblem]]:
    """What is said of each domain, which of them must not be served, and why."""
    groups: list[list[tuple[int, str, Domain]]] = []
    by_uuid: dict[Any, int] = {}
    by_name: dict[str, list[int]] = {}
    alone: list[tuple[int, str, Domain]] = []
    refused: set[int] = set()
    problems: list[InventoryProblem] = []
    for rank, layer in enumerate(layers):
        for origin, domain in layer.domains.items():
            if domain.uuid is None:
                alone.append((rank, origin, domain))
                continue
            index = by_uuid.setdefault(domain.uuid, len(groups))
            if index == len(groups):
                groups.append([])
            groups[index].append((rank, origin, domain))
            if domain.name is not None and index not in by_name.setdefault(domain.name, []):
                by_name[domain.name].append(index)
    # After all that have a uuid: which domain has the name is known only now.
    for rank, origin, domain in alone:
        named = by_name.setdefault(str(domain.name), [])
        taken = [other for index in named for each, other, _ in groups[index] if each == rank]
        if len(named) == 1 and not taken:
            groups[named[0]].append((rank, origin, domain))
            continue
        if named:
            got = f"{domain.name!r}, which {f'{taken[0]} is about' if taken else 'several have'}"
            message = f"expected the name of a domain of which nobody else says this, got {got}: it is not served"
            problems.append(InventoryProblem(file=origin, field="name", message=message))
            refused.add(len(groups))
        else:
            named.append(len(groups))
        groups.append([(rank, origin, domain)])
    ordered = [sorted(group, key=lambda part: part[0]) for group in groups]
    return [{origin: domain for _, origin, domain in group} for group in ordered], refused, problems


def _clashes(groups: Sequence[Mapping[str, Domain]], problems: list[InventoryProblem]) -> set[int]:
    """The domains that have a name together, though not a uuid: one of them is out of date, and nobody knows which."""
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


# -- what they are together --


def _domain(parts: Mapping[str, Domain], unidentified: Collection[str]) -> Domain:
    if len(parts) == 1:
        return next(iter(parts.values()))
    made: Domain = _value(Domain, _overlaid(parts, unidentified))
    return made


def _overlaid(parts: Mapping[str, Domain], unidentified: Collection[str]) -> _Tree:
    tree: _Tree = {}
    for origin, domain in parts.items():
        said = _tree(domain, origin)
        if origin in unidentified:
            said = {name: each for name, each in said.items() if name not in ("uuid", "name")}
        tree = _over(tree, said)
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


def _over(upper: _Tree, lower: _Tree) -> _Tree:
    tree = {**lower, **upper}
    for name in upper.keys() & lower.keys():
        if isinstance(upper[name], dict):
            tree[name] = _over(upper[name], lower[name])
        elif isinstance(upper[name], list):
            tree[name] = _listed(upper[name], lower[name], _RULES[name])
    return tree


def _listed(upper: list[_Tree], lower: list[_Tree], rules: Sequence[_Rule]) -> list[_Tree]:
    partners: dict[int, int] = {}
    for same in rules:
        for index, one in enumerate(upper):
            free = (at for at in range(len(lower)) if at not in partners.values())
            if index not in partners and (found := next((at for at in free if same(one, lower[at])), None)) is not None:
                partners[index] = found
    both = [_over(one, lower[partners[index]]) if index in partners else one for index, one in enumerate(upper)]
    return both + [other for at, other in enumerate(lower) if at not in partners.values()]


_Rule = Callable[[_Tree, _Tree], bool]


def _equal(*names: str) -> _Rule:
    return lambda one, other: all(name in one and name in other and one[name][0] == other[name][0] for name in names)


def _uncontradicted(*names: str) -> _Rule:
    return lambda one, other: all(one[name][0] == other[name][0] for name in names if name in one and name in other)


_RULES: Mapping[str, Sequence[_Rule]] = {
    "nics": (_equal("tap"), _equal("mac"), _uncontradicted("tap", "mac")),
    "disks": (_equal("serial"), _equal("bus", "address"), _equal("path")),
}


def _value(kind: type, tree: _Tree) -> Any:
    values: dict[str, Any] = {}
    for name, said in tree.items():
        if isinstance(said, list):
            values[name] = tuple(_value(_KINDS[name], each) for each in said)
        else:
            values[name] = _value(_KINDS[name], said) if isinstance(said, dict) else said[0]
    return kind(**values)


def _origins(tree: _Tree, path: str) -> Iterator[tuple[str, str]]:
    for name, said in tree.items():
        if isinstance(said, dict):
            yield from _origins(said, f"{path}{name}.")
        elif isinstance(said, list):
            for index, each in enumerate(said):
                yield from _origins(each, f"{path}{name}[{index}].")
        else:
            yield f"{path}{name}", said[1]
