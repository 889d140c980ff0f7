"""What fields accept: validators for attrs that say what they expected and quote what they got."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from datetime import date
from pathlib import PurePath
from typing import Any

from attrs import Attribute

from eve_meta.values.text import is_printable

QUOTES = ": put it in quotes"
"""How an error ends where quotes are what is missing."""

Validator = Callable[[Any, "Attribute[Any]", Any], None]


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80


class BadValue(ValueError):
    """A value that a field cannot hold: "expected …, got …".

    :ivar field: the name of the field in its class, or None where it is the class as a whole.
    """

    def __init__(self, message: str, name: str | None = None) -> None:
        super().__init__(message)
        self.field = name


def quote(value: Any) -> str:
    """*value* as an error quotes it: as people write it, and short, however much it was."""
    if isinstance(value, date):
        return f"the date {value.isoformat()}"
    if isinstance(value, PurePath):
        value = str(value)
    return _SHORT.repr(list(value) if isinstance(value, tuple) else value)


def quote_where_text_belongs(value: Any) -> str:
    """As :func:`quote`, with the way out for values that YAML does not read as the text that somebody wrote.

    To YAML, ``yes`` is a truth, ``007`` a number, ``10:20:30`` one to the base of 60, and ``2024-01-01`` a date.
    """
    return quote(value) + (QUOTES if isinstance(value, (int, float, date)) else "")


def check(expected: str, good: Callable[[Any], bool]) -> Validator:
    """A validator that raises :class:`BadValue` ("expected *expected*, got …") unless ``good(value)``."""

    def validate(_instance: Any, attribute: Attribute[Any], value: Any) -> None:
        if not good(value):
            raise BadValue(f"expected {expected}, got {quote(value)}", attribute.name)

    return validate


def optional(validator: Validator) -> Validator:
    """*validator* for a field that may also be None."""

    def validate(instance: Any, attribute: Attribute[Any], value: Any) -> None:
        if value is not None:
            validator(instance, attribute, value)

    return validate


def whole(value: Any, low: int, high: int) -> bool:
    """Whether *value* is an integer of *low*..*high*; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


TEXT_LINE = check("a line of printable characters", lambda v: is_printable(v, 1024))

DEVICE_TAGS = check(
    "tags of printable characters without a comma",
    lambda v: all(is_printable(tag, 60) and "," not in tag for tag in v),
)
"""The tags of a NIC or a disk."""
