"""The manual pages of files, eve-meta-domain(5) and eve-meta.toml(5), made from the classes that read the files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from eve_meta.config import DEFAULT_PATH, Config
from eve_meta.values.domain import METADATA_NAMESPACE, Domain
from harness.fields import Field, classes_of, classes_within, fields_of, words_for
from harness.manpage import escape, paragraphs

HEAD = """\
.\\" Made by scripts/harness/filepages.py from the classes that read the file.
.TH {title} 5 "" "eve-meta" "File Formats"
.nh
.ad l"""

ABOUT_DOMAINS = f"""\
A domain is a VM as its hypervisor knows it. Each has one file in {Config().inventory.directory}, whose name ends in
.yaml or .yml. At least one of uuid and name is required. The daemon notices when files change; while a file is broken,
its last good version stays in force. "eve-meta check" reports everything that is wrong, with the line, and what a guest
would pass over; "eve-meta new" begins a file.

The files are YAML 1.2 by its core schema, or JSON. off, yes, 52:54:00:12:34:56 and 2024-01-01 are text and need no
quotes; true, 007 and 1.5 are not text, and need quotes where text belongs.

The same text can be in the metadata of a libvirt domain, below the namespace {METADATA_NAMESPACE}. There it has no
user_data_file, and needs neither uuid nor name. Where several places describe a domain, files take precedence, field
by field; "eve-meta render NAME --sources" shows which place each field is from."""

EXAMPLE = """\
\b
uuid: 1a831fa7-c50b-4693-a16e-fb8171f1b69e
name: web1
hostname: web1.example.org
user_data: |
  #cloud-config
  packages: [nginx]
nics:
- tap: vnet0
  mac: fa:16:3e:00:00:01
  subnets:
  - {type: ipv4, address: 10.1.2.10/24, gateway: 10.1.2.1, dns: [10.1.2.2]}"""

ABOUT_CONFIGURATION = """\
The configuration of eve-meta, in TOML. Every key has a default, so that an empty file and no file work. The daemon
reads the file when it starts; "eve-meta check" reports everything that is wrong."""


def domain_page() -> str:
    """Return eve-meta-domain(5), in roff."""
    return "\n".join([HEAD.format(title="EVE\\-META\\-DOMAIN"), *_domain_page(), ""])


def config_page() -> str:
    """Return eve-meta.toml(5), in roff."""
    return "\n".join([HEAD.format(title="EVE\\-META.TOML"), *_config_page(), ""])


def _domain_page() -> Iterator[str]:
    yield ".SH NAME"
    yield "eve\\-meta\\-domain \\- what the metadata service tells a VM"
    yield ".SH SYNOPSIS"
    yield escape(f"{Config().inventory.directory}/NAME.yaml")
    yield ".SH DESCRIPTION"
    yield from paragraphs(ABOUT_DOMAINS)
    yield ".SH KEYS"
    yield from _keys(Domain)
    places = _places(Domain)
    for kind in classes_within(Domain):
        yield f".SS {escape(f'Keys below {places[kind]}')}"
        yield from _keys(kind)
    yield ".SH EXAMPLE"
    yield from paragraphs(EXAMPLE)
    yield ".SH SEE ALSO"
    yield ".BR eve\\-meta (8),\n.BR eve\\-meta.toml (5),\n.BR cloud\\-init (1)"


def _config_page() -> Iterator[str]:
    yield ".SH NAME"
    yield "eve\\-meta.toml \\- the configuration of eve\\-meta"
    yield ".SH SYNOPSIS"
    yield escape(str(DEFAULT_PATH))
    yield ".SH DESCRIPTION"
    yield from paragraphs(ABOUT_CONFIGURATION)
    for table in fields_of(Config):
        yield f".SH {escape(f'TABLE [{table.name}]')}"
        yield from paragraphs(sentence(table.about))
        yield from _keys(table.kind, with_defaults=True)
    yield ".SH SEE ALSO"
    yield ".BR eve\\-meta (8),\n.BR eve\\-meta\\-domain (5)"


def _keys(kind: type[Any], *, with_defaults: bool = False) -> Iterator[str]:
    for field in fields_of(kind):
        yield from (".TP", f".B {escape(field.name)}")
        yield escape(" ".join([sentence(field.about), *_notes(field, with_defaults)]))


def _notes(field: Field, with_defaults: bool) -> Iterator[str]:
    expected = words_for(field.kind) if field.check is None else field.check.expected
    yield f"Value: {expected}."
    if field.required:
        yield "Required."
    elif with_defaults:
        yield f"Default: {_toml(field.default)}."


def _toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case _:
            return f'"{getattr(value, "value", value)}"'


def _places(kind: type[Any], above: str = "") -> dict[type[Any], str]:
    """Return by class where its fields stand, such as ``nics[].subnets[]``."""
    places: dict[type[Any], list[str]] = {}
    for field in fields_of(kind):
        for part in classes_of(field):
            here = f"{above}{field.name}{'[]' if part is not field.kind else ''}"
            places.setdefault(part, []).append(here)
            for inner, place in _places(part, f"{here}.").items():
                places.setdefault(inner, []).append(place)
    return {part: " and ".join(where) for part, where in places.items()}


def sentence(text: str) -> str:
    """Return *text*, which is reStructuredText, as a sentence of plain text."""
    plain = re.sub(r"``|\*(?=\w)|(?<=\w)\*|:\w+:(?=`)|`", "", text)
    first = plain[:1] if text.startswith("`") else plain[:1].upper()
    return f"{first}{plain[1:]}{'' if plain.endswith('.') else '.'}"
