"""One domain, laid over one another from several descriptions of it: the more important one wins, field by field.

A field that is None or empty counts as missing. NICs, disks and ``ec2`` are completed field by field, too. Two
descriptions are of the same NIC if their taps are equal, else if their MAC addresses are, else if they have the same
position and nothing contradicts that; and of the same disk if their serials are equal, else their addresses, else their
paths, never by position. Those that only one place knows are added after the others. Any other field comes from one
place as a whole.

Profiles lie below all that describes the domain itself, and add to it: mappings are joined key by key, ``files`` path
by path, ``shares`` id by id, and ``user_data`` as cloud-init joins them (:mod:`eve_meta.values.user_data`). Where two
have one key, path or id, the more important one wins, and so it does for any other field.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from operator import attrgetter
from typing import Any
from weakref import WeakValueDictionary

import attrs
from attrs import frozen

from eve_meta.values.checks import BadValue, quote
from eve_meta.values.content import Content, content_of
from eve_meta.values.domain import OF_ONE_DOMAIN, Disk, Domain, Ec2, with_values
from eve_meta.values.nic import Nic
from eve_meta.values.user_data import CannotJoin, joined

_Sourced = tuple[Any, str]
"""A value and its origin, the place that has it."""

Tree = dict[str, Any]
"""The fields of a value that are not missing: each a :data:`_Sourced`, or a :class:`_Joined`, or a tree for a nested
value, or a list of trees."""

_KINDS: Mapping[str, type] = {"ec2": Ec2, "nics": Nic, "disks": Disk}
"""The fields of a domain that are merged field by field."""

_IDENTITY = ("uuid", "name")

_KEYS: Mapping[str, Callable[[Any], Any]] = {"files": attrgetter("path"), "shares": attrgetter("share_id")}
"""The lists of a domain that are joined, and the key of their items."""

_PLAIN_KEY = re.compile(r"[\w-]+\Z")

_LISTED = (*_KEYS, "user_data")
"""The joined fields whose items have a number, not a name."""


@frozen
class _Joined:
    """A field that several places share: its items by their keys, in the order in which the guest reads them."""

    items: Mapping[Any, _Sourced]


class CannotMerge(ValueError):
    """The descriptions make no domain together: a field is too large, or cannot be joined.

    :ivar field: the field.
    :ivar origin: the place that has what is wrong; "" where that is no single one.
    """

    def __init__(self, field: str, message: str, origin: str = "") -> None:
        super().__init__(message)
        self.field = field
        self.origin = origin


def overlaid(parts: Mapping[str, Domain], unidentified: Collection[str], profiles: Mapping[str, Domain]) -> Tree:
    """Lay *parts* over one another, and over *profiles*; each by its origin, the most important first.

    :param unidentified: those of *parts* whose uuid and name do not count.
    """
    tree: Tree = {}
    for origin, domain in parts.items():
        tree = _completed(tree, _tree(domain, origin, () if origin not in unidentified else _IDENTITY))
    for origin, profile in profiles.items():
        tree = _added(tree, profile_tree(profile, origin))
    return tree


def domain_of(tree: Tree) -> Domain:
    """Make the domain of *tree*.

    :raises CannotMerge: where there is none.
    """
    try:
        domain: Domain = _value(Domain, tree)
    except BadValue as error:
        raise CannotMerge(error.field or "", str(error)) from None
    return domain


def profile_tree(profile: Domain, origin: str) -> Tree:
    """Return what *profile* from *origin* adds to domains, for :func:`with_profiles`."""
    return _tree(profile, origin, OF_ONE_DOMAIN)


def with_profiles(domain: Domain, profiles: Iterable[Tree]) -> Domain:
    """Return *domain* over *profiles*: what :func:`domain_of` makes of both, several times as fast.

    A profile may be that of thousands of domains. What it adds to one is made and validated; all else was, when
    *domain* was made.

    :param profiles: each as :func:`profile_tree` returns it, the most important first.
    :raises CannotMerge: where they make no domain together; its origin is "" where *domain* has what is wrong.
    """
    own = tree = _tree(domain, "", OF_ONE_DOMAIN)
    for profile in profiles:
        tree = _added(tree, profile)
    try:
        return with_values(domain, {name: _field(name, tree[name]) for name in tree if tree[name] != own.get(name)})
    except BadValue as error:
        raise CannotMerge(error.field or "", str(error)) from None


def origins(tree: Tree) -> Iterator[tuple[str, str]]:
    """Yield the path to each field of *tree*, such as ``nics[0].mac``, and its origin."""
    return _origins(tree, "")


def _tree(value: Any, origin: str, without: Collection[str] = ()) -> Tree:
    tree: Tree = {}
    kind: type = type(value)
    for name in _names(kind):
        inner = getattr(value, name)
        if name in without or inner is None or (not inner and isinstance(inner, (tuple, Mapping))):
            continue
        if isinstance(value, Domain) and name in _KINDS:
            tree[name] = [_tree(each, origin) for each in inner] if isinstance(inner, tuple) else _tree(inner, origin)
        else:
            tree[name] = (inner, origin)
    return tree


@cache
def _names(kind: type) -> tuple[str, ...]:
    return tuple(attribute.name for attribute in attrs.fields(kind))


def _completed(upper: Tree, lower: Tree) -> Tree:
    tree = {**lower, **upper}
    for name in upper.keys() & lower.keys():
        if isinstance(upper[name], dict):
            tree[name] = _completed(upper[name], lower[name])
        elif isinstance(upper[name], list):
            tree[name] = _completed_list(upper[name], lower[name], _RULES[name])
    return tree


def _added(upper: Tree, profile: Tree) -> Tree:
    """Return *upper* with what *profile* adds to it."""
    tree = {**upper, **profile, **upper}
    for name in upper.keys() & profile.keys():
        if isinstance(upper[name], dict):
            tree[name] = _added(upper[name], profile[name])
        elif (more := _items(name, profile[name])) is not None:
            own = _items(name, upper[name]) or {}
            # Of user data, cloud-init lets the last win; of public keys, some guests take the first alone.
            tree[name] = _Joined({**more, **own} if name == "user_data" else {**own, **more, **own})
    return tree


def _items(name: str, item: _Sourced | _Joined) -> Mapping[Any, _Sourced] | None:
    """Return the items of a field by their keys, None for a field that is not joined."""
    if isinstance(item, _Joined):
        return item.items
    value, origin = item
    if isinstance(value, Mapping):
        return {key: (inner, origin) for key, inner in value.items()}
    if isinstance(value, Content):
        return {origin: item}
    if name in _KEYS:
        return {_KEYS[name](each): (each, origin) for each in value}
    return None


def _completed_list(upper: list[Tree], lower: list[Tree], rules: Sequence[_Rule]) -> list[Tree]:
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

    def finder(self, lower: Sequence[Tree], free: Collection[int]) -> Callable[[Tree], int | None]:
        """Return a function that finds the first of *lower* that is *free* and of the same thing as a description."""
        # An index: people and hypervisors may describe a thousand disks each.
        places: dict[tuple[Any, ...], deque[int]] = {}
        for at in free:
            if (key := self._key(lower[at])) is not None:
                places.setdefault(key, deque()).append(at)

        def find(one: Tree) -> int | None:
            key = self._key(one)
            return places[key].popleft() if key is not None and places.get(key) else None

        return find

    def _key(self, tree: Tree) -> tuple[Any, ...] | None:
        return tuple(tree[name][0] for name in self.names) if all(name in tree for name in self.names) else None


@frozen
class _Uncontradicted:
    """Two descriptions are of one thing if no value of *names* that both have differs."""

    names: tuple[str, ...]

    def finder(self, lower: Sequence[Tree], free: Collection[int]) -> Callable[[Tree], int | None]:
        """As :meth:`_Equal.finder`."""

        def is_same(one: Tree, other: Tree) -> bool:
            return all(one[name][0] == other[name][0] for name in self.names if name in one and name in other)

        return lambda one: next((at for at in free if is_same(one, lower[at])), None)


_Rule = _Equal | _Uncontradicted

_RULES: Mapping[str, Sequence[_Rule]] = {
    "nics": (_Equal(("tap",)), _Equal(("mac",)), _Uncontradicted(("tap", "mac"))),
    "disks": (_Equal(("serial",)), _Equal(("bus", "address")), _Equal(("path",))),
}


def _value(kind: type, tree: Tree) -> Any:
    return kind(**{name: _field(name, item) for name, item in tree.items()})


def _field(name: str, item: Any) -> Any:
    if isinstance(item, list):
        return tuple(_value(_KINDS[name], each) for each in item)
    if isinstance(item, _Joined):
        return _joined_value(name, item)
    return _value(_KINDS[name], item) if isinstance(item, dict) else item[0]


def _joined_value(name: str, joint: _Joined) -> Any:
    if name == "user_data":
        return _joined_content([(content, origin) for content, origin in joint.items.values() if len(content)])
    if name in _KEYS:
        return tuple(value for value, _ in joint.items.values())
    return {key: value for key, (value, _) in joint.items.items()}


_MESSAGES: WeakValueDictionary[tuple[Content, ...], Content] = WeakValueDictionary()
"""What was joined, by its parts, for as long as a domain has it: a thousand domains may have the same profiles."""


def _joined_content(parts: Sequence[_Sourced]) -> Content | None:
    contents: tuple[Content, ...] = tuple(content for content, _ in parts)
    if len(contents) < 2:
        return contents[0] if contents else None
    message = _MESSAGES.get(contents)
    if message is None:
        try:
            message = content_of(joined(contents))
        except CannotJoin as error:
            raise CannotMerge("user_data", str(error), parts[error.index][1]) from None
        _MESSAGES[contents] = message
    return message


def _origins(tree: Tree, path: str) -> Iterator[tuple[str, str]]:
    for name, item in tree.items():
        if isinstance(item, dict):
            yield from _origins(item, f"{path}{name}.")
        elif isinstance(item, list):
            for index, each in enumerate(item):
                yield from _origins(each, f"{path}{name}[{index}].")
        elif isinstance(item, _Joined):
            for index, (key, (_, origin)) in enumerate(item.items.items()):
                yield f"{path}{name}{f'[{index}]' if name in _LISTED else _step(key)}", origin
        else:
            yield f"{path}{name}", item[1]


def _step(key: str) -> str:
    return f".{key}" if _PLAIN_KEY.match(key) else f"[{quote(key)}]"
