"""The place of a mistake in a file, as people see it: the line, and a mark below the column.

The law of :mod:`eve_meta.values.checks` holds here, too: no output shows the value of a field that may hold a secret.
What a broken file says is not known, so a line is shown as it is only where it begins with the key of a field that
holds none. Of any other line, letters and digits are hidden: quotes, brackets, colons and blanks tell what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, get_args

import attrs

from eve_meta.values.checks import is_secret
from eve_meta.values.domain import Domain

WIDTH = 72
"""The most characters that are shown of a line."""

_KEY = re.compile(r"""[\s-]*["']?(\w+)""")


def place(content: bytes, line: int, column: int, *, is_open: bool = False) -> Iterator[str]:
    """Yield the *line* of *content*, and a mark below its *column*; nothing where there is no such line.

    :param line: counted from 1, as *column* is.
    :param is_open: whether *content* holds no secret.
    """
    lines = content.decode(errors="replace").split("\n")
    if not 0 < line <= len(lines):
        return
    text = lines[line - 1].rstrip("\r")
    key = _KEY.match(text)
    if not is_open and (key is None or key[1] not in _open_keys()):
        text = "".join("x" if c.isalnum() else c for c in text)
    begin = max(0, column - WIDTH // 2)
    shown = "".join(c if c.isprintable() else "→" if c == "\t" else "·" for c in text[begin : begin + WIDTH])
    yield f"    {shown}"
    yield f"    {' ' * (column - 1 - begin)}^"


@lru_cache(maxsize=1)
def _open_keys() -> frozenset[str]:
    """Return the keys of domain files that hold no secret in any place."""
    keys: dict[str, bool] = {}
    for kind, hidden in _classes(Domain, hidden=False):
        for field in attrs.fields(kind):
            keys[field.name] = keys.get(field.name, False) or hidden or is_secret(field)
    return frozenset(name for name, hidden in keys.items() if not hidden)


def _classes(kind: Any, *, hidden: bool) -> Iterator[tuple[Any, bool]]:
    """Yield *kind* and the classes within it, each with whether it is within a secret field."""
    attrs.resolve_types(kind)
    yield kind, hidden
    for field in attrs.fields(kind):
        for part in (field.type, *get_args(field.type)):
            if isinstance(part, type) and attrs.has(part):
                yield from _classes(part, hidden=hidden or is_secret(field))
