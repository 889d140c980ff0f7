"""The text of a domain file: YAML → plain data of a :class:`~eve_meta.values.domain.Domain`, or what is wrong with it.

A file has the fields of a Domain, with bytes in a form that suits a person: ``user_data`` as text,
``user_data_base64``, or ``user_data_file``, a path relative to the file; ``content`` or ``content_base64`` for each of
``files``. A domain's own metadata in libvirt contain the same text, see :func:`read_metadata`, and profiles a part of
it, see :func:`read_profile`. The reader can open no file: the path of ``user_data_file`` goes back to root.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from uuid import UUID

from cattrs.errors import BaseValidationError

from eve_meta.reader.yaml_document import BrokenYaml, YamlDocument, resolve
from eve_meta.values.checks import QUOTES, name_type, quote, quote_where_text_belongs
from eve_meta.values.content import Content
from eve_meta.values.domain import MAX_DISKS, MAX_NICS, OF_ONE_DOMAIN, Domain, File
from eve_meta.values.plain import Fault, decode_base64, faults, field_of, make_converter
from eve_meta.values.text import is_printable
from eve_meta.values.written import refused
from eve_meta.wire.reading import MAX_FAULTS, MAX_FIELD, MAX_MESSAGE, MAX_PATH, DomainAnswer, FaultAt

_STEPS = re.compile(r"[^.\[\]]+")

FORMS: Mapping[type, Mapping[str, str]] = {
    Domain: {
        "user_data_file": "the path of a file that has the user data, from the domain file's folder.",
        "user_data_base64": "user data in base64, for bytes that are not text.",
    },
    File: {"content_base64": "what the file has, in base64."},
}
"""By class, the keys that stand for bytes in a file beside the field's own, and what each means."""

_SHARED = ("meta", "public_keys", "user_data", "vendor_data", "vendor_data2", "files", "shares")


class Blob(bytes):
    """Bytes of a domain, put in place of the form that they have in the file."""


def _as_read(value: Any, _kind: Any) -> Content:
    if not isinstance(value, Blob):
        raise TypeError(f"expected the bytes that _Reading put in place, got {name_type(value)}")
    return Content(len(value), "", value)  # without a digest, which takes time: this domain is looked at, not kept


_CONVERTER = make_converter(written=True)
_CONVERTER.register_structure_hook(Content, _as_read)


def read_domain(content: bytes) -> tuple[DomainAnswer, list[bytes]]:
    """Read *content*, the content of a domain file; return the answer and its parts."""
    return _Reading().read(content)


def read_metadata(text: str, uuid: UUID, name: str) -> tuple[DomainAnswer, list[bytes]]:
    """Read *text*, the text of a domain file in the metadata of the libvirt domain *uuid* named *name*.

    The text need not name its domain, and cannot name another. It cannot name a file either, as no file lies beside it.
    """
    return _Metadata(uuid, name).parse(text)


def read_profile(content: bytes, name: str) -> tuple[DomainAnswer, list[bytes]]:
    """Read *content*, the content of the file of the profile *name*: the fields that domains may share.

    It is answered as a domain with the profile's name.
    """
    return _Profile(name).read(content)


def read_lines(content: bytes, names: Iterable[str]) -> DomainAnswer:
    """Return the lines of the fields *names* in *content*, by the path to each field, such as ``nics[0].mac``.

    Bytes may stand in the file in another form than under the field's own name. A broken file has no lines.
    """
    try:
        document = YamlDocument(content.decode())
    except ValueError:
        return DomainAnswer()
    lines: dict[str, int] = {}
    for name in names:
        steps = tuple(int(step) if step.isdecimal() else step for step in _STEPS.findall(name))
        # Of a field that several places share, such as user_data[1], each has a part under another name, or number.
        whole = steps[:1] if steps[0] in _SHARED else ()
        paths = [steps, whole, *((form,) for form in FORMS[Domain] if form.startswith(f"{steps[0]}_"))]
        line = next(filter(None, map(document.line, paths)), None)
        if line is not None:
            lines[name] = line
    return DomainAnswer(lines=lines)


class _Reading:
    """The reading of one text."""

    whole = "a domain, which is a mapping with a 'uuid' or a 'name'"

    def __init__(self) -> None:
        self._beside: str | None = None

    def read(self, content: bytes) -> tuple[DomainAnswer, list[bytes]]:
        try:
            return self.parse(content.decode())
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            return _wrong(f"expected text in UTF-8, got the byte 0x{error.object[error.start]:02x}", line)

    def parse(self, text: str) -> tuple[DomainAnswer, list[bytes]]:
        try:
            document = YamlDocument(text)
        except BrokenYaml as error:
            return _wrong(str(error), error.line, error.column)
        if not isinstance(document.value, dict):
            got = name_type(document.value)
            return _wrong(f"expected {self.whole}, got {got}", None)
        return self._structure(document)

    def _structure(self, document: YamlDocument) -> tuple[DomainAnswer, list[bytes]]:
        mistakes: list[Fault] = []
        plain = self._with_bytes(document.value, mistakes)
        mistakes += self._identify(plain)
        for name, limit in (("nics", MAX_NICS), ("bonds", MAX_NICS), ("disks", MAX_DISKS)):
            if isinstance(plain.get(name), list) and len(plain[name]) > limit:
                mistakes.append(Fault((name,), f"expected at most {limit}, got {len(plain[name])}"))
        lines: dict[str, int] = {}
        try:
            domain = _CONVERTER.structure(plain, Domain)
        except BaseValidationError as error:
            mistakes += faults(error, aliases=FORMS)
        else:
            mistakes += refused(domain)
            taps = [("nics", index, "tap") for index in range(len(domain.nics))]
            named = [("profiles", index) for index in range(len(domain.profiles))]
            for path in (("uuid",), ("name",), *taps, *named):
                lines[field_of(Domain, path)] = document.locate(path)[0]
            for form in ("user_data", *FORMS[Domain]):
                if (line := document.line((form,))) is not None:
                    lines["user_data"] = line
        located: list[tuple[int, Fault, str]] = [(line, fault, "") for line, fault in document.mistakes]
        for fault in mistakes:
            line, written = document.locate(fault.path)
            located.append((line, fault, written))
        located.sort(key=lambda each: each[0])
        beside_line = None if self._beside is None else document.locate(("user_data_file",))[0]
        parts: list[bytes] = []
        return DomainAnswer(
            domain=None if located else _with_parts(plain, parts),
            beside=self._beside,
            beside_line=beside_line,
            lines=lines,
            faults=[_at(line, fault, written) for line, fault, written in located[:MAX_FAULTS]],
            more=max(0, len(located) - MAX_FAULTS),
            parts=list(map(len, parts)),
        ), parts

    def _with_bytes(self, value: dict[str, Any], mistakes: list[Fault]) -> dict[str, Any]:
        # Copies of what changes: YAML's aliases make one object of two places.
        plain = dict(value)
        forms = {"user_data": _text, "user_data_file": self._file, "user_data_base64": _base64}
        mistakes += _take(plain, (), "user_data", forms)
        if isinstance(plain.get("files"), list):
            plain["files"] = [dict(item) if isinstance(item, dict) else item for item in plain["files"]]
            for index, item in enumerate(plain["files"]):
                if isinstance(item, dict):
                    mistakes += _take(item, ("files", index), "content", {"content": _text, "content_base64": _base64})
        return plain

    def _identify(self, plain: dict[str, Any]) -> Iterator[Fault]:
        """Complete the identity of the domain; yield what is wrong with it."""
        yield from ()

    def _file(self, value: Any) -> bytes | None:
        # Not quoted: somebody may have written the user data here.
        if not isinstance(value, str) or not is_printable(value, MAX_PATH):
            raise ValueError(f"expected the path of a file, got {'other text' if value else 'nothing'}")
        self._beside = value
        return None


class _Metadata(_Reading):
    """The reading of a domain's metadata."""

    def __init__(self, uuid: UUID, name: str) -> None:
        super().__init__()
        self._own = {"uuid": str(uuid), "name": name}

    def _identify(self, plain: dict[str, Any]) -> Iterator[Fault]:
        for key, own in self._own.items():
            value = plain.get(key)
            if value is not None and (value.lower() if key == "uuid" and isinstance(value, str) else value) != own:
                yield Fault(
                    (key,), f"expected the domain's own, {own!r}, or none, got {quote_where_text_belongs(value)}"
                )
            plain[key] = own

    def _file(self, value: Any) -> bytes | None:
        raise ValueError("expected no file, as no file lies beside metadata: write user_data or user_data_base64")


class _Profile(_Reading):
    """The reading of a profile."""

    whole = "a profile, which is a mapping of fields to values"

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def _identify(self, plain: dict[str, Any]) -> Iterator[Fault]:
        ec2 = plain.get("ec2")
        keys = [(key,) for key in plain] + [("ec2", key) for key in (ec2 if isinstance(ec2, dict) else ())]
        for path in keys:
            if ".".join(path) in OF_ONE_DOMAIN:
                yield Fault(path, "expected a field that domains may share; this one belongs in a domain's own file")
        plain["name"] = self._name


def _wrong(message: str, line: int | None, column: int | None = None) -> tuple[DomainAnswer, list[bytes]]:
    return DomainAnswer(faults=[FaultAt(line, "", message[:MAX_MESSAGE], column)]), []


def _at(line: int, fault: Fault, written: str) -> FaultAt:
    """Return *fault* as it is reported.

    :param written: the plain text that is wrong, as it stands in the file, where YAML reads something else of it.
    """
    message = fault.message
    # Not where the message hides the value, which may be a secret.
    if written and message.endswith(f"got {quote(resolve(written, line))}{QUOTES}") and written not in message:
        message += f" (that is how YAML reads {written})"
    return FaultAt(line, field_of(Domain, fault.path, FORMS)[:MAX_FIELD], message[:MAX_MESSAGE])


def _with_parts(plain: dict[str, Any], parts: list[bytes]) -> dict[str, Any]:
    """Return *plain* with the index of a part in place of bytes."""
    for place, key in ((plain, "user_data"), *((item, "content") for item in plain.get("files") or ())):
        if isinstance(place.get(key), Blob):
            parts.append(place[key])
            place[key] = len(parts) - 1
    return plain


def _text(value: Any) -> bytes:
    if not isinstance(value, str):
        hint = "; write '|' after the colon and indent the text" if isinstance(value, (dict, list)) else ""
        raise ValueError(f"expected text, got {quote_where_text_belongs(value, hidden=True)}{hint}")
    return value.encode()


def _base64(value: Any) -> bytes:
    return decode_base64(value)


def _take(
    plain: dict[str, Any], path: tuple[Any, ...], name: str, forms: Mapping[str, Callable[[Any], bytes | None]]
) -> Iterator[Fault]:
    # Puts the bytes under the field's own name, whichever form they have in the file.
    written = {form: plain.pop(form) for form in forms if form in plain}
    given = [form for form, value in written.items() if value is not None]
    if len(given) > 1:
        yield Fault((*path, given[1]), f"expected one of {', '.join(forms)}, got {' and '.join(given)}")
    for form in given:
        try:
            content = forms[form](written[form])
        except ValueError as error:
            yield Fault((*path, form), str(error))
        else:
            if content is not None:
                plain[name] = Blob(content)
