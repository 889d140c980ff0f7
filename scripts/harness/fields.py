"""The fields of attrs classes, each with all that a reference says of it.

``:ivar`` in the class's docstring tells what a field means, the field's type and validator what belongs into it. So
manual pages and JSON Schema need no list of their own: a new field is in both.
"""

from __future__ import annotations

import enum
import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import attrs

from eve_meta.reader.domain_text import FORMS
from eve_meta.values.checks import Check, OrNone
from eve_meta.values.content import Content
from eve_meta.values.domain import OF_A_SOURCE
from eve_meta.values.plain import STRICT, TEXTUAL

_IVAR = re.compile(r":ivar (\w+): (.*?)(?=\n\s*:|\n\s*\n|\Z)", re.DOTALL)


@attrs.frozen
class Field:
    """A key that people write.

    :ivar about: what the key means, in reStructuredText; "" where nobody has said it.
    :ivar kind: its type, without None.
    :ivar may_be_none: whether ``null`` stands for "not given".
    :ivar default: what holds where the key is missing.
    :ivar check: what its value must keep, beyond the type.
    """

    name: str
    about: str
    kind: Any
    may_be_none: bool
    required: bool
    default: Any
    check: Check | None


def fields_of(kind: type[Any]) -> list[Field]:
    """Return the fields of *kind* that people write, in their order, each followed by its other forms."""
    attrs.resolve_types(kind)
    about = {name: " ".join(text.split()) for name, text in _IVAR.findall(inspect.getdoc(kind) or "")}
    forms = FORMS.get(kind, {})
    fields = []
    for attribute in attrs.fields(kind):
        if attribute.metadata == OF_A_SOURCE:
            continue
        fields.append(_field(attribute, about.get(attribute.name, "")))
        fields += [
            attrs.evolve(fields[-1], name=form, about=text)
            for form, text in forms.items()
            if form.startswith(f"{attribute.name}_")
        ]
    return fields


def _field(attribute: attrs.Attribute[Any], about: str) -> Field:
    parts = get_args(attribute.type) if get_origin(attribute.type) in (Union, UnionType) else (attribute.type,)
    kinds = [part for part in parts if part is not NoneType]
    validator: Any = attribute.validator
    if isinstance(validator, OrNone):
        validator = validator.validator
    default: Any = attribute.default
    return Field(
        name=attribute.name,
        about=about,
        kind=kinds[0] if len(kinds) == 1 else Union[tuple(kinds)],  # noqa: UP007
        may_be_none=NoneType in parts,
        required=default is attrs.NOTHING,
        default=getattr(default, "factory", lambda: default)(),
        check=validator if isinstance(validator, Check) else None,
    )


def classes_within(kind: type[Any]) -> Iterator[type[Any]]:
    """Yield the classes whose fields people write below a *kind*, each once, in their order."""
    seen: dict[type[Any], None] = {}
    for field in fields_of(kind):
        for part in classes_of(field):
            seen[part] = None
            seen |= dict.fromkeys(classes_within(part))
    yield from seen


def classes_of(field: Field) -> list[type[Any]]:
    """Return the classes whose fields people write as the value of *field*, or as an item of it."""
    return [part for part in (field.kind, *get_args(field.kind)) if isinstance(part, type) and attrs.has(part)]


def words_for(kind: Any) -> str:
    """Return what belongs into a field of the type *kind*, as people say it.

    :raises TypeError: where no field had this type before: whoever adds the first one tells it here.
    """
    for textual, _, expected in TEXTUAL:
        if kind == textual:
            return expected
    for strict, expected in STRICT:
        if kind is strict:
            return {"a string": "text"}.get(expected, expected)
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        return (
            "a list of mappings" if isinstance(inner, type) and attrs.has(inner) else f"a list, each {words_for(inner)}"
        )
    if get_origin(kind) is Mapping:
        return "a mapping of names to text" if get_args(kind)[1] is str else "a mapping"
    match kind:
        case type() if issubclass(kind, enum.Enum):
            return f"one of {', '.join(member.value for member in kind)}"
        case type() if issubclass(kind, Path):
            return "a path"
        case type() if kind is Content:
            return "text"
        case type() if attrs.has(kind):
            return "a mapping"
    raise TypeError(f"no words for {kind!r}")
