"""One file of ``domains.d``: YAML → :class:`~eve_meta.values.domain.Domain`, or everything that is wrong with it.

A file has the fields of a Domain, with bytes in a form that suits a person: ``user_data`` as text,
``user_data_base64``, or ``user_data_file``, a path relative to the file; ``content`` or ``content_base64`` for each of
``files``. A domain's own metadata in libvirt contain the same text, see :func:`read_metadata`.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from uuid import UUID

from attrs import field, frozen
from cattrs.errors import BaseValidationError

from eve_meta.inventory.files.reading import Stamp, read, stamp
from eve_meta.inventory.files.yaml_document import BrokenYaml, YamlDocument
from eve_meta.inventory.source import InventoryProblem
from eve_meta.values.checks import name_type, quote_where_text_belongs
from eve_meta.values.domain import MAX_USER_DATA, Domain, File
from eve_meta.values.plain import Fault, decode_base64, faults, field_of, make_converter
from eve_meta.values.text import is_printable

MAX_FILE = 32 * 1024 * 1024
"""The most bytes of a domain file: user data of the largest size in base64, and room. A larger file is refused
unread."""

MAX_PATH = 1024
"""The most characters of the path in ``user_data_file``. A longer one is user data in the wrong field, rather; Linux
takes 4,095 bytes."""

_STEPS = re.compile(r"[^.\[\]]+")

_ALIASES: Mapping[type, tuple[str, ...]] = {
    Domain: ("user_data_file", "user_data_base64"),
    File: ("content_base64",),
}


@frozen(kw_only=True)
class DomainFile:
    """A domain file as it was read.

    :ivar domain: None when something is wrong with the file.
    :ivar lines: the lines of the fields that no other file may repeat: uuid, name, taps.
    :ivar stamps: the stamp of every file that was read, or should have been.
    """

    path: str
    domain: Domain | None
    problems: tuple[InventoryProblem, ...]
    lines: Mapping[str, int] = field(repr=False)
    stamps: Mapping[str, Stamp] = field(repr=False)

    def unchanged(self) -> bool:
        """Return whether reading the file again would give the same result."""
        return all(mark is not None and mark == stamp(path) for path, mark in self.stamps.items())


def read_domain_file(path: str) -> DomainFile:
    """Read the file at *path*. Mistakes in it are among the result's problems."""
    reading = _Reading(path)
    domain = reading.read()
    problems = sorted(reading.problems, key=lambda problem: problem.line or 0)
    return DomainFile(path=path, domain=domain, problems=tuple(problems), lines=reading.lines, stamps=reading.stamps)


def read_metadata(text: str, origin: str, uuid: UUID, name: str) -> tuple[Domain | None, tuple[InventoryProblem, ...]]:
    """Read a domain from *text*, the text of a domain file in the metadata of the libvirt domain *uuid* named *name*.

    The text need not name its domain, and cannot name another. It cannot name a file either, as no file lies beside it.

    :returns: the domain, None where something is wrong with it; and what is wrong, by *origin* and line.
    """
    reading = _Metadata(origin, uuid, name)
    domain = reading.parse(text)
    return domain, tuple(sorted(reading.problems, key=lambda problem: problem.line or 0))


def lines_of(path: str, names: Iterable[str]) -> Mapping[str, int]:
    """Return the lines of fields in the file at *path*, by the path to each field, such as ``nics[0].mac``.

    Bytes may stand in the file in another form than under the field's own name. A broken file has no lines.
    """
    content = read(path, MAX_FILE).content
    try:
        document = YamlDocument((content or b"").decode())
    except ValueError:
        return {}
    lines = {}
    for name in names:
        steps = tuple(int(step) if step.isdecimal() else step for step in _STEPS.findall(name))
        paths = [steps, *((form,) for form in _ALIASES[Domain] if form.startswith(f"{name}_"))]
        lines[name] = next(filter(None, map(document.line, paths)), None)
    return {name: line for name, line in lines.items() if line is not None}


def _as_read(value: Any, _kind: Any) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"expected the bytes that _Reading put in place, got {name_type(value)}")
    return value


_CONVERTER = make_converter(written=True)
_CONVERTER.register_structure_hook(bytes, _as_read)


class _Reading:
    """The reading of one file."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.problems: list[InventoryProblem] = []
        self.lines: dict[str, int] = {}
        self.stamps: dict[str, Stamp] = {}

    def read(self) -> Domain | None:
        try:
            text = self._content(self.path, MAX_FILE).decode()
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            self._report(f"expected text in UTF-8, got the byte 0x{error.object[error.start]:02x}", line)
        except ValueError as error:
            self._report(str(error))
        else:
            return self.parse(text)
        return None

    def parse(self, text: str) -> Domain | None:
        try:
            document = YamlDocument(text)
        except BrokenYaml as error:
            self._report(str(error), error.line)
        else:
            return self._structure(document)
        return None

    def _structure(self, document: YamlDocument) -> Domain | None:
        if not isinstance(document.value, dict):
            got = name_type(document.value)
            self._report(f"expected a domain, which is a mapping with a 'uuid' or a 'name', got {got}")
            return None
        mistakes = [fault for _, fault in document.repeated]
        plain = self._with_bytes(document.value, mistakes)
        mistakes += self._identify(plain)
        domain = None
        try:
            domain = _CONVERTER.structure(plain, Domain)
        except BaseValidationError as error:
            mistakes += faults(error, aliases=_ALIASES)
        else:
            taps = [("nics", index, "tap") for index in range(len(domain.nics))]
            for path in (("uuid",), ("name",), *taps):
                self.lines[field_of(Domain, path)], _ = document.locate(Fault(path, ""))
        lines = {fault: line for line, fault in document.repeated}
        for fault in mistakes:
            line, message = document.locate(fault)
            self._report(message, lines.get(fault, line), field_of(Domain, fault.path, _ALIASES))
        return None if mistakes else domain

    def _with_bytes(self, value: dict[Any, Any], mistakes: list[Fault]) -> dict[Any, Any]:
        # Copies of what changes: YAML's aliases make one object of two places.
        plain = dict(value)
        forms = {"user_data": _text, "user_data_file": self._beside, "user_data_base64": decode_base64}
        mistakes += _take(plain, (), "user_data", forms)
        if isinstance(plain.get("files"), list):
            plain["files"] = [dict(item) if isinstance(item, dict) else item for item in plain["files"]]
            for index, item in enumerate(plain["files"]):
                if isinstance(item, dict):
                    forms = {"content": _text, "content_base64": decode_base64}
                    mistakes += _take(item, ("files", index), "content", forms)
        return plain

    def _identify(self, plain: dict[Any, Any]) -> Iterator[Fault]:
        """Complete the identity of the domain; yield what is wrong with it."""
        yield from ()

    def _beside(self, value: Any) -> bytes:
        # Not quoted: somebody may have written the user data here.
        if not isinstance(value, str) or not is_printable(value, MAX_PATH):
            raise ValueError(f"expected the path of a file, got {'other text' if value else 'nothing'}")
        return self._content(os.path.join(os.path.dirname(self.path), value), MAX_USER_DATA)

    def _content(self, path: str, limit: int) -> bytes:
        file = read(path, limit)
        self.stamps[path] = file.stamp
        if file.content is None:
            raise ValueError(file.why)
        if file.public and os.stat(os.path.dirname(path) or ".").st_mode & stat.S_IXOTH:
            message = "every user of this host can read it, with the secrets that it may hold: chmod o= it"
            self.problems.append(InventoryProblem(file=path, message=message, warning=True))
        return file.content

    def _report(self, message: str, line: int | None = None, name: str = "") -> None:
        self.problems.append(InventoryProblem(file=self.path, line=line, field=name, message=message))


class _Metadata(_Reading):
    """The reading of a domain's metadata."""

    def __init__(self, origin: str, uuid: UUID, name: str) -> None:
        super().__init__(origin)
        self._own = {"uuid": str(uuid), "name": name}

    def _identify(self, plain: dict[Any, Any]) -> Iterator[Fault]:
        for key, own in self._own.items():
            value = plain.get(key)
            if value is not None and (value.lower() if key == "uuid" and isinstance(value, str) else value) != own:
                yield Fault(
                    (key,), f"expected the domain's own, {own!r}, or none, got {quote_where_text_belongs(value)}"
                )
            plain[key] = own

    def _beside(self, value: Any) -> bytes:
        raise ValueError("expected no file, as no file lies beside metadata: write user_data or user_data_base64")


def _text(value: Any) -> bytes:
    if not isinstance(value, str):
        hint = "; write '|' after the colon and indent the text" if isinstance(value, (dict, list)) else ""
        raise ValueError(f"expected text, got {quote_where_text_belongs(value, hidden=True)}{hint}")
    return value.encode()


def _take(
    plain: dict[Any, Any], path: tuple[Any, ...], name: str, forms: Mapping[str, Callable[[Any], bytes]]
) -> Iterator[Fault]:
    # Puts the bytes under the field's own name, whichever form they have in the file.
    written = {form: plain.pop(form) for form in forms if form in plain}
    given = [form for form, value in written.items() if value is not None]
    if len(given) > 1:
        yield Fault((*path, given[1]), f"expected one of {', '.join(forms)}, got {' and '.join(given)}")
    for form in given:
        try:
            plain[name] = forms[form](written[form])
        except ValueError as error:
            yield Fault((*path, form), str(error))
