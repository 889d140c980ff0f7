"""The JSON Schema of domain files, for editors and for programs that write such files.

It is made of the classes of :mod:`eve_meta.values`, in draft 7, which editors' YAML servers know best. ``eve-meta
check`` knows more: what no schema can say, such as that no two NICs have one MAC address.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from ipaddress import IPv4Address
from itertools import combinations
from typing import Any, get_args, get_origin
from uuid import UUID

import attrs

from eve_meta.reader.domain_text import FORMS
from eve_meta.values.content import Content
from eve_meta.values.domain import Domain
from eve_meta.values.nic import Address, Interface, Network, Subnet, SubnetType
from harness.fields import Field, classes_within, fields_of

_TEXTUAL: tuple[tuple[Any, Mapping[str, Any]], ...] = (
    (UUID, {"format": "uuid"}),
    (Address, {"anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}),
    (Interface, {"pattern": "^[0-9A-Fa-f:.]+/[0-9]{1,3}$"}),
    (Network, {"pattern": "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$"}),
    (IPv4Address, {"format": "ipv4"}),
)

_STATIC = [kind.value for kind in SubnetType if kind.static]

RULES: Mapping[type, Mapping[str, Any]] = {
    Domain: {"anyOf": [{"required": ["uuid"]}, {"required": ["name"]}]},
    Subnet: {"if": {"properties": {"type": {"enum": _STATIC}}}, "then": {"required": ["address"]}},
}
"""Rules of classes as a whole, which their fields do not tell."""


def domain_schema() -> dict[str, Any]:
    """Return the JSON Schema of a domain file."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A domain file of eve-meta",
        **_schema_of_class(Domain),
        "definitions": {kind.__name__: _schema_of_class(kind) for kind in classes_within(Domain)},
    }


def _schema_of_class(kind: type[Any]) -> dict[str, Any]:
    fields = fields_of(kind)
    required = [field.name for field in fields if field.required]
    return {
        "type": "object",
        "properties": {field.name: _schema_of_field(field) for field in fields},
        "additionalProperties": False,
        **({"required": required} if required else {}),
        **RULES.get(kind, {}),
        **_one_form(fields, FORMS.get(kind, {})),
    }


def _one_form(fields: list[Field], forms: Mapping[str, str]) -> dict[str, Any]:
    """Return the rule that of several forms of one field there is one."""
    names = [
        field.name for field in fields if field.name in forms or any(f.startswith(f"{field.name}_") for f in forms)
    ]
    pairs = [{"required": list(pair)} for pair in combinations(names, 2)]
    return {"not": {"anyOf": pairs}} if pairs else {}


def _schema_of_field(field: Field) -> dict[str, Any]:
    schema = _schema_of_type(field.kind)
    more = dict(field.check.schema) if field.check is not None else {}
    if "items" in more:
        more["items"] = schema["items"] | more["items"]
    schema |= more
    if field.may_be_none:
        schema = _or_null(schema)
    return {"description": field.about.replace("``", ""), **schema}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _schema_of_type(kind: Any) -> dict[str, Any]:
    for textual, schema in _TEXTUAL:
        if kind == textual:
            return {"type": "string", **schema}
    if get_origin(kind) is tuple:
        return {"type": "array", "items": _schema_of_type(get_args(kind)[0])}
    if get_origin(kind) is Mapping:
        values = get_args(kind)[1]
        return {"type": "object", **({} if values is Any else {"additionalProperties": _schema_of_type(values)})}
    match kind:
        case type() if kind is bool:
            return {"type": "boolean"}
        case type() if kind is int:
            return {"type": "integer"}
        case type() if issubclass(kind, enum.Enum):
            return {"enum": [member.value for member in kind]}
        case type() if kind in (str, Content):
            return {"type": "string"}
        case type() if attrs.has(kind):
            return {"$ref": f"#/definitions/{kind.__name__}"}
    raise TypeError(f"no JSON Schema for {kind!r}")
