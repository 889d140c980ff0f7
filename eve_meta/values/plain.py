"""Values to plain data and back: one cattrs converter for files and messages.

Plain data is what JSON holds. Addresses and uuids become their usual text, bytes and contents become base64, enums
their value. Structuring is strict: a key that a class does not know, and a value of another type than the field's, are
errors.
:func:`faults` turns the exceptions of structuring into one message for each thing that is wrong.
"""

from __future__ import annotations

import base64
import enum
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_interface,
    ip_network,
)
from operator import attrgetter
from types import GenericAlias, NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin
from uuid import UUID

import attrs
import cattrs
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    ForbiddenExtraKeysError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn, override

from eve_meta.values.addresses import plain_address
from eve_meta.values.checks import BadValue, is_secret, name_type, quote, quote_where_text_belongs
from eve_meta.values.content import Content, content_of
from eve_meta.values.domain import OF_A_SOURCE, TokenPolicy
from eve_meta.values.nic import (
    Address,
    BondHash,
    BondMode,
    DhcpPolicy,
    DhcpServerPolicy,
    Interface,
    Network,
    SubnetType,
)
from eve_meta.values.text import suggestion

T = TypeVar("T")
E = TypeVar("E", bound=enum.Enum)


def _interface(text: str) -> Interface:
    # ip_interface() takes an address without a prefix for a network of that address alone, without neighbours.
    if "/" not in text or "%" in text:
        raise ValueError
    return ip_interface(text)


def _network(text: str) -> Network:
    if "%" in text:
        raise ValueError
    return ip_network(text)


TEXTUAL: tuple[tuple[Any, Callable[[str], Any], str], ...] = (
    (UUID, UUID, "a uuid such as 1a831fa7-c50b-4693-a16e-fb8171f1b69e"),
    (Address, plain_address, "an IP address such as 10.1.2.1"),
    (Interface, _interface, "an address with its prefix length such as 10.1.2.10/24"),
    (Network, _network, "a network such as 192.168.50.0/24"),
    (IPv4Address, IPv4Address, "an IPv4 address such as 203.0.113.7"),
)
"""Types that are written as text: how each is parsed, and what an error names as expected."""

CHOICES: tuple[type[enum.Enum], ...] = (
    BondHash,
    BondMode,
    DhcpPolicy,
    DhcpServerPolicy,
    SubnetType,
    TokenPolicy,
)
"""Types that are written as one of a few words."""

STRICT: tuple[tuple[type, str], ...] = ((str, "a string"), (int, "a whole number"), (bool, "true or false"))

MAX_KEY = 100
"""The most characters of an unknown key that are compared with the known ones."""

_PLAIN_KEY = re.compile(r"[\w-]+\Z")


@attrs.frozen
class Fault:
    """One thing that is wrong in plain data: the *message*, and the *path* of keys and list indices to it.

    The path may contain a secret, as a key of ``meta``; :func:`field_of` makes of it what people may see.

    :param message: the message, or a function that makes it: the nearest of the known keys is worth its search only
        where somebody reads of it.
    """

    path: tuple[Any, ...] = attrs.field(repr=False)
    _message: str | Callable[[], str]

    @property
    def message(self) -> str:
        """What is wrong."""
        return self._message if isinstance(self._message, str) else self._message()


def field_of(kind: Any, path: tuple[Any, ...], aliases: Mapping[type, Collection[str]] | None = None) -> str:
    """Return *path* as people write it: ``nics[0].subnets[1].address``.

    It ends before the first key that may be a secret: a key within a secret field, or below a key that is unknown.

    :param kind: the class whose plain data the path leads through.
    :param aliases: as of :func:`faults`.
    """
    text = ""
    hidden = False
    for step in path:
        after: Any = None
        if isinstance(kind, type) and attrs.has(kind):
            attrs.resolve_types(kind)
            attribute = attrs.fields_dict(kind).get(step) if isinstance(step, str) else None
            if attribute is not None:
                after, hidden = attribute.type, is_secret(attribute)
            elif hidden and step not in (aliases or {}).get(kind, ()):
                break
        elif get_origin(kind) is tuple and isinstance(step, int):
            after = get_args(kind)[0]
        elif get_origin(kind) is Mapping and not hidden:
            after = get_args(kind)[1]
        else:
            break
        plain = isinstance(step, str) and _PLAIN_KEY.match(step)
        text += ("." if text else "") + step if plain else f"[{quote(step)}]"
        kind = next((part for part in get_args(after) if part is not NoneType), after) if _is_union(after) else after
    return text


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, UnionType)


def make_converter(*, written: bool = False, detailed: bool = True, **options: Any) -> cattrs.Converter:
    """Make a converter for the project's values; *options* are those of :class:`cattrs.Converter`.

    Structuring raises ``cattrs.errors.BaseValidationError``, which :func:`faults` explains. Of the value of a secret
    field (:func:`eve_meta.values.checks.secret`), the errors name the type only. The fields of a class below a secret
    field are secret only if they are marked themselves.

    :param written: whether the data are a person's, who may not fill in the fields that only a source of the inventory
        knows (:data:`~eve_meta.values.domain.OF_A_SOURCE`).
    :param detailed: whether all mistakes in the data are to be found. Otherwise structuring is faster, and raises an
        exception of any kind for the first mistake.
    """
    converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=detailed, **options)
    of_secrets = cattrs.Converter(forbid_extra_keys=True, detailed_validation=detailed, **options)
    converters = _Converters(converter, of_secrets, written, detailed)
    _register_structuring(converter, converters, hidden=False)
    _register_structuring(of_secrets, converters, hidden=True)
    # A user of *converter* may give it another hook for bytes or contents, which then holds for secret ones, too.
    of_secrets.register_structure_hook(bytes, converter.structure)
    of_secrets.register_structure_hook(Content, converter.structure)
    for kind in (UUID, IPv4Address, IPv6Address, IPv4Interface, IPv6Interface, IPv4Network, IPv6Network):
        converter.register_unstructure_hook(kind, str)
    for union in (Address, Interface, Network):
        converter.register_unstructure_hook(union, str)
        converter.register_unstructure_hook(union | None, lambda value: None if value is None else str(value))
    for choice in CHOICES:
        # cattrs would not convert an enum of strings, which JSON can hold but YAML cannot.
        converter.register_unstructure_hook(choice, attrgetter("value"))
    converter.register_unstructure_hook(bytes, lambda value: base64.b64encode(value).decode())
    converter.register_unstructure_hook(Content, lambda content: base64.b64encode(bytes(content)).decode())
    return converter


@attrs.frozen
class _Converters:
    """The converter of a class's fields: *plain*, or *of_secrets*, whose errors quote no value.

    :ivar written: as of :func:`make_converter`.
    :ivar detailed: as of :func:`make_converter`.
    """

    plain: cattrs.Converter
    of_secrets: cattrs.Converter
    written: bool
    detailed: bool

    def of(self, attribute: attrs.Attribute[Any]) -> cattrs.Converter:
        return self.of_secrets if is_secret(attribute) else self.plain


def _register_structuring(converter: cattrs.Converter, converters: _Converters, *, hidden: bool) -> None:
    for kind, parse, expected in TEXTUAL:
        structure = _textual(parse, expected, hidden)
        converter.register_structure_hook(kind, structure)
        # "Address | None" is one flat union to Python, so cattrs does not see the Address in it.
        converter.register_structure_hook(kind | None, _or_none(structure))
    # cattrs iterates any iterable: "tags: public" would become six tags of one letter.
    converter.register_structure_hook_factory(_is(tuple), lambda kind: _tuple_of_list(kind, converter, hidden))
    converter.register_structure_hook_factory(_is(Mapping), lambda kind: _mapping_of_dict(kind, converter, hidden))
    converter.register_structure_hook_factory(attrs.has, lambda kind: _class_of_dict(kind, converters, hidden))
    for choice in CHOICES:
        converter.register_structure_hook(choice, _one_of(choice, hidden))
    for kind, expected in STRICT:
        converter.register_structure_hook(kind, _strict(kind, expected, hidden))
    converter.register_structure_hook(bytes, lambda value, _: decode_base64(value))
    converter.register_structure_hook(Content, lambda value, _: content_of(decode_base64(value)))


def faults(
    error: Exception, *, aliases: Mapping[type, Collection[str]] | None = None, path: tuple[Any, ...] = ()
) -> Iterator[Fault]:
    """Yield each thing that is wrong, from the *error* that a converter of :func:`make_converter` raised.

    :param aliases: by class, further keys that a file may hold, which are suggested as the fields are.
    :param path: the path of the structured data within the whole.
    """
    if isinstance(error, BaseValidationError):
        for part in error.exceptions:
            yield from faults(part, aliases=aliases, path=path + _step(part))
    elif isinstance(error, ForbiddenExtraKeysError):
        fields = [field.name for field in attrs.fields(error.cl) if not _is_of_a_source(field)]
        known = fields + list((aliases or {}).get(error.cl, ()))
        for key in sorted(error.extra_fields, key=str):
            yield Fault((*path, key), partial(_unknown_key, str(key), known))
    elif isinstance(error, KeyError):
        yield Fault(path, "expected a value, but the key is missing")
    else:
        yield Fault(path, str(error))


def _unknown_key(key: str, known: list[str]) -> str:
    hint = suggestion(key[:MAX_KEY], known) or f"known are {', '.join(known)}"
    return f"unknown key; {hint}"


def _step(part: Exception) -> tuple[Any, ...]:
    # cattrs adds a note with the name of a field or the index of an item, but none to what __attrs_post_init__ raises.
    steps = part.steps if isinstance(part, BadValue) else ()
    for note in getattr(part, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            return (note.name, *steps)
        if isinstance(note, IterableValidationNote):
            return (note.index, *steps)
    return (part.field, *steps) if isinstance(part, BadValue) and part.field is not None else steps


def decode_base64(text: Any) -> bytes:
    """Return the bytes that *text* encodes; white space in it, as of folded YAML, is skipped.

    :raises ValueError: when *text* is not base64. The error does not quote it: bytes are user data, files and keys.
    """
    if isinstance(text, str):
        try:
            return base64.b64decode("".join(text.split()), validate=True)
        except ValueError:
            pass
    raise ValueError(f"expected base64 text, got {'other text' if isinstance(text, str) else name_type(text)}")


def _of_type(plain: type, expected: str, hook: Callable[[Any], T], hidden: bool) -> Callable[[Any, Any], T]:
    def structure(value: Any, _kind: Any) -> T:
        if not isinstance(value, plain):
            raise ValueError(f"expected {expected}, got {quote(value, hidden=hidden)}")
        return hook(value)

    return structure


def _is(origin: Any) -> Callable[[Any], bool]:
    return lambda kind: get_origin(kind) is origin


def _tuple_of_list(kind: Any, converter: cattrs.Converter, hidden: bool) -> Callable[[Any, Any], Any]:
    items: Any = GenericAlias(list, get_args(kind)[:1])
    hook = converter.get_structure_hook(items)
    return _of_type(list, "a list", lambda value: tuple(hook(value, items)), hidden)


def _mapping_of_dict(kind: Any, converter: cattrs.Converter, hidden: bool) -> Callable[[Any, Any], Any]:
    items: Any = GenericAlias(dict, get_args(kind))
    hook = converter.get_structure_hook(items)
    return _of_type(dict, "a mapping of names to values", lambda value: hook(value, items), hidden)


def _class_of_dict(kind: Any, converters: _Converters, hidden: bool) -> Callable[[Any, Any], Any]:
    attrs.resolve_types(kind)
    hooks: Any = {
        each.name: override(omit=True)
        if converters.written and _is_of_a_source(each)
        else override(struct_hook=_validated(each, converters.of(each)))
        for each in attrs.fields(kind)
        if converters.detailed or (converters.written and _is_of_a_source(each))
    }
    hook = make_dict_structure_fn(
        kind,
        converters.plain,
        _cattrs_forbid_extra_keys=True,
        _cattrs_detailed_validation=converters.detailed,
        **hooks,
    )
    return _of_type(dict, "a mapping of names to values", lambda value: hook(value, kind), hidden)


def _is_of_a_source(attribute: attrs.Attribute[Any]) -> bool:
    return attribute.metadata == OF_A_SOURCE


def _validated(attribute: attrs.Attribute[Any], converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    # attrs runs a class's validators one after the other and stops at the first that fails. Run here, while each field
    # is structured, they find all mistakes of a file at once.
    hook = converter.get_structure_hook(attribute.type)
    convert: Any = attribute.converter

    def structure(value: Any, kind: Any) -> Any:
        structured = hook(value, kind)
        if convert is not None:
            structured = convert(structured)
        if attribute.validator is not None and not attrs.validators.get_disabled():
            attribute.validator(None, attribute, structured)
        return structured

    return structure


def _or_none(hook: Callable[[Any, Any], T]) -> Callable[[Any, Any], T | None]:
    return lambda value, kind: None if value is None else hook(value, kind)


def _textual(parse: Callable[[str], Any], expected: str, hidden: bool) -> Callable[[Any, Any], Any]:
    def structure(value: Any, _kind: Any) -> Any:
        # Text alone: ip_address(1) is 0.0.0.1.
        if isinstance(value, str):
            try:
                return parse(value)
            except ValueError:
                pass
        raise ValueError(f"expected {expected}, got {quote_where_text_belongs(value, hidden=hidden)}")

    return structure


def _one_of(choice: type[E], hidden: bool) -> Callable[[Any, Any], E]:
    def structure(value: Any, _kind: Any) -> E:
        try:
            return choice(value)
        except ValueError:
            choices = ", ".join(member.value for member in choice)
            got = quote_where_text_belongs(value, hidden=hidden)
            raise ValueError(f"expected one of {choices}, got {got}") from None

    return structure


def _strict(kind: type[T], expected: str, hidden: bool) -> Callable[[Any, Any], T]:
    quoted = quote_where_text_belongs if kind is str else quote

    def structure(value: Any, _kind: Any) -> T:
        # type(), not isinstance(): to Python, True is an int.
        if type(value) is not kind:
            raise ValueError(f"expected {expected}, got {quoted(value, hidden=hidden)}")
        return value

    return structure
