"""Validators of attrs' fields, whose errors name what they expected and quote what they got."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from datetime import date
from pathlib import PurePath
from typing import Any

from attrs import Attribute

from eve_meta.values.text import is_printable

QUOTES = ": put it in quotes"
"""The end of an error's message where quotes in the file would mend it."""

Validator = Callable[[Any, "Attribute[Any]", Any], None]


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80


class BadValue(ValueError):
    """A field or a class refuses a value: "expected …, got …".

    :ivar field: the field's name; None where the class as a whole refuses its values.
    """

    def __init__(self, message: str, name: str | None = None) -> None:
        super().__init__(message)
        self.field = name


def quote(value: Any) -> str:
    """Return *value* as an error quotes it: as people write it, and shortened to some 80 characters."""
    if isinstance(value, date):
        return f"the date {value.isoformat()}"
    if isinstance(value, PurePath):
        value = str(value)
    return _SHORT.repr(list(value) if isinstance(value, tuple) else value)


def quote_where_text_belongs(value: Any) -> str:
    """Quote *value* in place of which text was expected, and advise quotes where YAML made another type of the text.

    To YAML, ``yes`` is true, ``007`` a number, ``10:20:30`` a number to the base of 60, and ``2024-01-01`` a date.
    """
    return quote(value) + (QUOTES if isinstance(value, (int, float, date)) else "")


def check(expected: str, good: Callable[[Any], bool]) -> Validator:
    """Make a validator that raises :class:`BadValue` ("expected *expected*, got …") unless ``good(value)``."""

    def validate(_instance: Any, attribute: Attribute[Any], value: Any) -> None:
        if not good(value):
            raise BadValue(f"expected {expected}, got {quote(value)}", attribute.name)

    return validate


def optional(validator: Validator) -> Validator:
    """Make a validator that accepts None, and whatever *validator* accepts."""

    def validate(instance: Any, attribute: Attribute[Any], value: Any) -> None:
        if value is not None:
            validator(instance, attribute, value)

    return validate


def is_whole_number(value: Any, low: int, high: int) -> bool:
    """Return whether *value* is an integer of *low*..*high*; True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


TEXT_LINE = check("a line of printable characters", lambda v: is_printable(v, 1024))

DEVICE_TAGS = check(
    "tags of printable characters without a comma",
    lambda v: all(is_printable(tag, 60) and "," not in tag for tag in v),
)
"""The tags of a NIC or a disk."""
