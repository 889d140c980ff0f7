"""The answer to each kind of document that root hands over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from eve_meta.reader.domain_text import read_domain, read_lines, read_profile
from eve_meta.reader.eve_published import read_published
from eve_meta.reader.libvirt_xml import read_xml

if TYPE_CHECKING:
    from eve_meta.reader.advice import Adviser


def answer(
    head: Mapping[str, Any], content: bytes, adviser: Adviser | None = None
) -> tuple[dict[str, Any], list[bytes]]:
    """Return head and parts of the answer to the document *content* with *head*.

    :param adviser: gives advice; None in a daemon's reader, which is never asked for any.
    """
    match head["kind"]:
        case "advice" if adviser is not None:
            return _plain(adviser.on_domain(content)), []
        case "advice on profile" if adviser is not None:
            return _plain(adviser.on_profile(content)), []
        case "advice on user data" if adviser is not None:
            return _plain(adviser.on_user_data(content)), []
        case "domain":
            read, parts = read_domain(content)
            return _plain(read), parts
        case "profile":
            read, parts = read_profile(content, head["name"])
            return _plain(read), parts
        case "lines":
            return _plain(read_lines(content, head["names"])), []
        case "libvirt":
            described, parts = read_xml(content)
            return _plain(described), parts
        case "eve":
            return _plain(read_published(content, head["topic"], head["key"])), []
        case kind:
            raise ValueError(f"expected a known kind of document, got {kind!r}")


def _plain(answered: Any) -> dict[str, Any]:
    # Not attrs.asdict(): it would copy all plain data in the answer.
    plain = {each.name: getattr(answered, each.name) for each in attrs.fields(type(answered))}
    if plain.get("faults"):
        plain["faults"] = [
            {"line": each.line, "field": each.field, "message": each.message, "column": each.column}
            for each in plain["faults"]
        ]
    if plain.get("metadata") is not None:
        plain["metadata"] = _plain(plain["metadata"])
    return plain
