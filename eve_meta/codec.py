"""How the project's values become plain data and come back: one cattrs converter for files and messages.

Plain data is what JSON holds. Addresses and uuids are their usual text, bytes are base64, enums their value. Structuring
is strict: a key that a class does not know, and a value of another type than the field's, is an error that says so.
"""

from __future__ import annotations

import base64
import binascii
import enum
from collections.abc import Callable, Mapping
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from types import GenericAlias
from typing import Any, TypeVar, get_args, get_origin
from uuid import UUID

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn

from eve_meta.domain import Address, Interface, Network, SubnetType, TokenPolicy

T = TypeVar("T")
E = TypeVar("E", bound=enum.Enum)

TEXTUAL: tuple[tuple[Any, Callable[[str], Any], str], ...] = (
    (UUID, UUID, "a uuid such as 1a831fa7-c50b-4693-a16e-fb8171f1b69e"),
    (Address, ip_address, "an IP address such as 10.1.2.1"),
    (Interface, ip_interface, "an address with its prefix length such as 10.1.2.10/24"),
    (Network, ip_network, "a network such as 192.168.50.0/24"),
    (IPv4Address, IPv4Address, "an IPv4 address such as 203.0.113.7"),
)
"""Types that are written as text: how they are read, and what to tell whoever wrote something else."""

STRICT: tuple[tuple[type, str], ...] = ((str, "a string"), (int, "a whole number"), (bool, "true or false"))


def make_converter(**options: Any) -> cattrs.Converter:
    """A converter of the project's values; *options* are :class:`cattrs.Converter`'s.

    Structuring raises ``cattrs.errors.ClassValidationError`` and ``IterableValidationError``, whose parts are
    ``ValueError`` ("expected …, got …") and know their path.
    """
    converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=True, **options)
    for kind, parse, expected in TEXTUAL:
        structure = _textual(parse, expected)
        converter.register_structure_hook(kind, structure)
        # "Address | None" is one flat union to Python, so cattrs does not see the Address in it.
        converter.register_structure_hook(kind | None, _or_none(structure))
    for kind in (UUID, IPv4Address, IPv6Address, IPv4Interface, IPv6Interface, IPv4Network, IPv6Network):
        converter.register_unstructure_hook(kind, str)
    for union in (Address, Interface, Network):
        converter.register_unstructure_hook(union, str)
        converter.register_unstructure_hook(union | None, lambda value: None if value is None else str(value))
    # cattrs iterates whatever it is given: "tags: public" would become six tags of one letter.
    converter.register_structure_hook_factory(_is(tuple), lambda kind: _tuple_of_list(kind, converter))
    converter.register_structure_hook_factory(_is(Mapping), lambda kind: _mapping_of_dict(kind, converter))
    converter.register_structure_hook_factory(attrs.has, lambda kind: _class_of_dict(kind, converter))
    for choice in (SubnetType, TokenPolicy):
        converter.register_structure_hook(choice, _one_of(choice))
    for kind, expected in STRICT:
        converter.register_structure_hook(kind, _strict(kind, expected))
    converter.register_unstructure_hook(bytes, lambda value: base64.b64encode(value).decode())
    converter.register_structure_hook(bytes, lambda value, _: decode_base64(value))
    return converter


def decode_base64(text: Any) -> bytes:
    """The bytes that *text* encodes; white space, as folded YAML has it, does not matter.

    :raises ValueError: when it is not base64.
    """
    if not isinstance(text, str):
        raise ValueError(f"expected base64 text, got {text!r}")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"expected base64 text, got {text[:40]!r}") from None


def _plain(plain: type, expected: str, hook: Callable[[Any], T]) -> Callable[[Any, Any], T]:
    def structure(value: Any, _kind: Any) -> T:
        if not isinstance(value, plain):
            raise ValueError(f"expected {expected}, got {value!r}")
        return hook(value)

    return structure


def _is(origin: Any) -> Callable[[Any], bool]:
    return lambda kind: get_origin(kind) is origin


def _tuple_of_list(kind: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    items: Any = GenericAlias(list, get_args(kind)[:1])
    hook = converter.get_structure_hook(items)
    return _plain(list, "a list", lambda value: tuple(hook(value, items)))


def _mapping_of_dict(kind: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    items: Any = GenericAlias(dict, get_args(kind))
    hook = converter.get_structure_hook(items)
    return _plain(dict, "a mapping of names to values", lambda value: hook(value, items))


def _class_of_dict(kind: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    hook = make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=True)
    return _plain(dict, "a mapping of names to values", lambda value: hook(value, kind))


def _or_none(hook: Callable[[Any, Any], T]) -> Callable[[Any, Any], T | None]:
    return lambda value, kind: None if value is None else hook(value, kind)


def _textual(parse: Callable[[str], Any], expected: str) -> Callable[[Any, Any], Any]:
    def structure(value: Any, _kind: Any) -> Any:
        try:
            # Not parse(value): ip_address(1) is 0.0.0.1.
            return parse(value) if isinstance(value, str) else parse("")
        except ValueError:
            raise ValueError(f"expected {expected}, got {value!r}") from None

    return structure


def _one_of(choice: type[E]) -> Callable[[Any, Any], E]:
    def structure(value: Any, _kind: Any) -> E:
        try:
            return choice(value)
        except ValueError:
            raise ValueError(f"expected one of {', '.join(member.value for member in choice)}, got {value!r}") from None

    return structure


def _strict(kind: type[T], expected: str) -> Callable[[Any, Any], T]:
    def structure(value: Any, _kind: Any) -> T:
        # type(), not isinstance(): to Python, True is an int.
        if type(value) is not kind:
            hint = ": put it in quotes" if kind is str and isinstance(value, (int, float, bool)) else ""
            raise ValueError(f"expected {expected}, got {value!r}{hint}")
        return value

    return structure
