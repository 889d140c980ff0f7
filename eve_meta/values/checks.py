"""Validators of attrs' fields, whose errors name what they expected and quote what they got.

The law: the value of a field that may hold a secret (:func:`secret`) is in no error, no log and no ``repr``. Its errors
name the value's type instead. Errors are logged, shown by ``eve-meta status`` and sent on by whoever asks for help.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

from attrs import Attribute, field, frozen

from eve_meta.values.text import is_printable

QUOTES = ": put it in quotes"
"""The end of an error's message where quotes in the file would correct the error."""

Validator = Callable[[Any, "Attribute[Any]", Any], None]

SECRET: Mapping[str, bool] = MappingProxyType({"secret": True})
"""The ``metadata`` of a field that may hold a secret; :func:`secret` makes such a field."""

_KINDS: tuple[tuple[Any, str], ...] = (
    (bool, "a boolean"),
    (int, "a whole number"),
    (float, "a number"),
    (str, "a string"),
    (bytes, "bytes"),
    (date, "a date"),
    (Mapping, "a mapping"),
    ((list, tuple, set, frozenset), "a list"),
    (type(None), "nothing"),
)

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80


class BadValue(ValueError):
    """A field or a class refuses a value: "expected …, got …".

    :ivar field: the field's name; None where the class as a whole refuses its values.
    :ivar steps: the keys and list indices that lead from the field to what is wrong within it.
    """

    def __init__(self, message: str, name: str | None = None, steps: tuple[Any, ...] = ()) -> None:
        super().__init__(message)
        self.field = name
        self.steps = steps


def secret(**options: Any) -> Any:
    """Make a field that may hold a secret; *options* are those of :func:`attrs.field`."""
    return field(repr=False, metadata=SECRET, **options)


def is_secret(attribute: Attribute[Any]) -> bool:
    """Return whether *attribute* may hold a secret."""
    return attribute.metadata == SECRET


def name_type(value: Any) -> str:
    """Return the type of *value*, as people call it: what an error says in place of a secret."""
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "something else")


def quote(value: Any, *, hidden: bool = False) -> str:
    """Return *value* as an error quotes it: as people write it, and shortened to some 80 characters.

    :param hidden: whether the value may be a secret, of which an error names the type only.
    """
    if hidden:
        return name_type(value)
    if isinstance(value, date):
        return f"the date {value.isoformat()}"
    if isinstance(value, PurePath):
        value = str(value)
    return _SHORT.repr(list(value) if isinstance(value, tuple) else value)


def quote_where_text_belongs(value: Any, *, hidden: bool = False) -> str:
    """Quote *value*, as :func:`quote` does, where text was expected; advise quotes where YAML made another type of it.

    To YAML, ``true`` is no text, and ``007`` and ``1e3`` are numbers; to TOML, ``2024-01-01`` is a date.
    """
    return quote(value, hidden=hidden) + (QUOTES if isinstance(value, (int, float, date)) else "")


@frozen
class Check:
    """A validator that raises :class:`BadValue` ("expected *expected*, got …") unless ``good(value)``.

    :ivar schema: what it demands, as far as JSON Schema can say it, for the reference.
    """

    expected: str
    _good: Callable[[Any], bool]
    schema: Mapping[str, Any]

    def __call__(self, _instance: Any, attribute: Attribute[Any], value: Any) -> None:
        if not self._good(value):
            got = quote(value, hidden=is_secret(attribute))
            raise BadValue(f"expected {self.expected}, got {got}", attribute.name)


def check(expected: str, good: Callable[[Any], bool], **schema: Any) -> Check:
    """Make a :class:`Check`; *schema* has keywords of JSON Schema."""
    return Check(expected, good, schema)


@frozen
class OrNone:
    """A validator that accepts None, and whatever *validator* accepts."""

    validator: Validator

    def __call__(self, instance: Any, attribute: Attribute[Any], value: Any) -> None:
        if value is not None:
            self.validator(instance, attribute, value)


def optional(validator: Validator) -> OrNone:
    """Make a validator that accepts None, and whatever *validator* accepts."""
    return OrNone(validator)


def is_whole_number(value: Any, low: int, high: int) -> bool:
    """Return whether *value* is an integer of *low*..*high*; True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


TEXT_LINE = check(
    "a line of printable characters", lambda v: is_printable(v, 1024), minLength=1, maxLength=1024, pattern="^[^\\n]*$"
)

DEVICE_TAGS = check(
    "tags of printable characters without a comma",
    lambda v: all(is_printable(tag, 60) and "," not in tag for tag in v),
    items={"minLength": 1, "maxLength": 60, "pattern": "^[^,\\n]*$"},
)
"""The tags of a NIC or a disk."""
