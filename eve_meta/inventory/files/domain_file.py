"""One file of ``domains.d`` or ``profiles.d``: its :class:`~eve_meta.values.domain.Domain`, or what is wrong with it.

Root opens the files, the reader (:mod:`eve_meta.reader.domain_text`) parses and checks the text, and root makes the
domain of the plain data that come back.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from typing import Any

import attrs
from attrs import field, frozen

from eve_meta.inventory.files.reading import Stamp, read, stamp
from eve_meta.inventory.readers.reading import Reader, Reading, Unread
from eve_meta.inventory.source import InventoryProblem
from eve_meta.values.content import Content, content_of
from eve_meta.values.domain import MAX_DISKS, MAX_NICS, MAX_USER_DATA, Domain
from eve_meta.values.plain import make_converter
from eve_meta.values.text import escape_unprintable, is_printable
from eve_meta.wire.reading import MAX_FAULTS, MAX_FIELD, MAX_MESSAGE, MAX_PATH, DomainAnswer, Parts

MAX_FILE = 32 * 1024 * 1024
"""The most bytes of a domain file: user data of the largest size in base64, and room. A larger file is refused
unread."""


@frozen(kw_only=True)
class DomainFile:
    """A domain file, or a profile's, as it was read.

    :ivar domain: None when something is wrong with the file.
    :ivar lines: the lines of the fields that a later problem may name: uuid, name, taps, profiles, user data.
    :ivar stamps: the stamp of every file that was read, or should have been.
    :ivar retry_at: when the reader may be handed the file again, which it did not read; None where it did.
    """

    path: str
    domain: Domain | None
    problems: tuple[InventoryProblem, ...]
    lines: Mapping[str, int] = field(repr=False)
    stamps: Mapping[str, Stamp] = field(repr=False)
    retry_at: float | None = None

    def unchanged(self) -> bool:
        """Return whether reading the file again would give the same result."""
        return all(mark is not None and mark == stamp(path) for path, mark in self.stamps.items())


@frozen(kw_only=True)
class ReadDomain:
    """The result of reading the text of a domain file.

    :ivar domain: None when something is wrong with the text.
    :ivar beside: the file that has the user data, by its path from the text's folder.
    """

    domain: Domain | None
    problems: tuple[InventoryProblem, ...]
    lines: Mapping[str, int]
    beside: str | None
    beside_line: int | None


_ANSWERS = make_converter(detailed=False)
_DOMAINS = make_converter(written=True, detailed=False)


def _as_read(value: Any, _kind: Any) -> Content:
    if not isinstance(value, bytes):
        raise TypeError("expected the bytes of a part")
    return content_of(value)


_DOMAINS.register_structure_hook(Content, _as_read)


def read_answer(answer: DomainAnswer, parts: Parts, origin: str) -> ReadDomain:
    """Make values of the reader's *answer* to the text from *origin*.

    :raises Exception: of any kind, where no honest reader gives such an answer.
    """
    faults = answer.faults[:MAX_FAULTS]
    problems = [
        InventoryProblem(
            file=origin,
            line=fault.line,
            column=fault.column,
            field=escape_unprintable(fault.field[:MAX_FIELD]),
            message=escape_unprintable(fault.message[:MAX_MESSAGE]),
        )
        for fault in faults
    ]
    if answer.more > 0:
        problems.append(InventoryProblem(file=origin, message=f"… and {answer.more:,} more mistakes"))
    domain = None
    if answer.domain is not None:
        plain = answer.domain
        for place, key in ((plain, "user_data"), *((item, "content") for item in plain.get("files") or ())):
            if place.get(key) is not None:
                place[key] = parts.take(place[key])
        domain = _DOMAINS.structure(plain, Domain)
        if len(domain.nics) > MAX_NICS or len(domain.disks) > MAX_DISKS:
            raise ValueError("more than the reader should have taken")
    if answer.beside is not None and not is_printable(answer.beside, MAX_PATH):
        raise ValueError("a path that the reader should have refused")
    if domain is None and not problems:
        raise ValueError("neither a domain nor a mistake")
    return ReadDomain(
        domain=domain,
        problems=tuple(problems),
        lines=answer.lines if domain is not None else {},
        beside=answer.beside,
        beside_line=answer.beside_line,
    )


def structure_answer(plain: dict[str, Any]) -> DomainAnswer:
    """Make a DomainAnswer of plain data.

    :raises Exception: of any kind, where it is none.
    """
    return _ANSWERS.structure(plain, DomainAnswer)


class FileReading:
    """The reading of the domain file at *path*, or of a profile's.

    :param profile: the name of the profile, None for a domain file.
    :ivar reading: the reader's part; None where the file itself cannot be read.
    :ivar size: the bytes that it has.
    """

    def __init__(self, path: str, reader: Reader, profile: str | None = None) -> None:
        self._path = path
        self._problems: list[InventoryProblem] = []
        self._stamps: dict[str, Stamp] = {}
        self.reading: Reading[ReadDomain] | None = None
        self.size = 0
        try:
            content = self._content(path, MAX_FILE)
        except ValueError as error:
            self._report(str(error))
        else:
            self.size = len(content)
            head = {"kind": "domain"} if profile is None else {"kind": "profile", "name": profile}
            self.reading = Reading(path, head, content, self._structure)
            reader.read(self.reading)

    def finish(self) -> DomainFile:
        """Return the file; :attr:`reading`, where there is one, has its result."""
        read = None if self.reading is None else self.reading.result
        if read is None:
            return self._file(None)
        if isinstance(read, Unread):
            self._report(str(read))
            self._stamps[self._path] = None
            return self._file(None, retry_at=read.retry_at)
        self._problems += read.problems
        domain = read.domain
        if read.beside is not None:
            try:
                user_data = self._content(os.path.join(os.path.dirname(self._path), read.beside), MAX_USER_DATA)
            except ValueError as error:
                self._report(str(error), read.beside_line, "user_data_file")
                domain = None
            else:
                domain = None if domain is None else attrs.evolve(domain, user_data=user_data)
        return self._file(domain, lines=read.lines)

    def _file(
        self, domain: Domain | None, *, lines: Mapping[str, int] | None = None, retry_at: float | None = None
    ) -> DomainFile:
        return DomainFile(
            path=self._path,
            domain=domain,
            problems=tuple(sorted(self._problems, key=lambda problem: problem.line or 0)),
            lines=(lines or {}) if domain is not None else {},
            stamps=self._stamps,
            retry_at=retry_at,
        )

    def _structure(self, plain: dict[str, Any], parts: bytes) -> ReadDomain:
        answer = structure_answer(plain)
        return read_answer(answer, Parts(parts, answer.parts), self._path)

    def _content(self, path: str, limit: int) -> bytes:
        file = read(path, limit)
        self._stamps[path] = file.stamp
        if file.content is None:
            raise ValueError(file.why)
        if file.public and os.stat(os.path.dirname(path) or ".").st_mode & stat.S_IXOTH:
            message = "every user of this host can read it, with the secrets that it may hold: chmod o= it"
            self._problems.append(InventoryProblem(file=path, message=message, warning=True))
        return file.content

    def _report(self, message: str, line: int | None = None, name: str = "") -> None:
        self._problems.append(InventoryProblem(file=self._path, line=line, field=name, message=message))


class LinesReading:
    """The search for the lines of fields in the file at *path*.

    :param names: the path to each field, such as ``nics[0].mac``.
    """

    def __init__(self, path: str, names: Iterable[str], reader: Reader) -> None:
        content = read(path, MAX_FILE).content or b""
        self.reading: Reading[Mapping[str, int]] = Reading(
            path, {"kind": "lines", "names": list(names)}, content, lambda plain, _: structure_answer(plain).lines
        )
        reader.read(self.reading)

    def finish(self) -> Mapping[str, int]:
        """Return the line of each field that has one. A file that is broken has no lines."""
        return {} if self.reading.result is None or isinstance(self.reading.result, Unread) else self.reading.result
