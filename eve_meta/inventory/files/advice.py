"""Advice on domain files that are good, for ``eve-meta check``: see :mod:`eve_meta.reader.advice`."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from eve_meta.inventory.files.domain_file import MAX_FILE, DomainFile, structure_answer
from eve_meta.inventory.files.folder import SUFFIXES, Folder
from eve_meta.inventory.files.reading import read
from eve_meta.inventory.readers.command import CommandReader
from eve_meta.inventory.readers.reading import Reading, Unread
from eve_meta.inventory.source import InventoryProblem
from eve_meta.values.text import escape_unprintable
from eve_meta.wire.reading import MAX_FAULTS, MAX_FIELD, MAX_MESSAGE, DomainAnswer

_SCHEMA = "schema-cloud-config-v1.json"

INSTALLED_SCHEMA = Path(sys.prefix, "share/eve-meta/cloud-init", _SCHEMA)
"""cloud-init's schema of cloud-config where eve-meta is installed: taken from the distribution's package."""


def schema_path() -> Path:
    """Return where cloud-init's schema is, or should be. In a checkout, the lab has it within cloud-init's code."""
    of_the_lab = Path(sysconfig.get_path("purelib"), "cloudinit/config/schemas", _SCHEMA)
    return of_the_lab if of_the_lab.exists() and not INSTALLED_SCHEMA.exists() else INSTALLED_SCHEMA


def advice(folder: Folder, reader: CommandReader, kind: str = "advice") -> Iterator[InventoryProblem]:
    """Yield what is remarkable about the good files of *folder*, as warnings.

    :param reader: one that gives advice.
    :param kind: "advice on profile" for the files of profiles.
    """
    for path, file in folder.files.items():
        if file.domain is not None:
            yield from _on_file(path, file, kind, reader)


def passed_over(folder: Folder) -> Iterator[InventoryProblem]:
    """Yield the files in *folder* that nobody reads, as warnings.

    Files whose names begin with a dot are editors' and version control's. User data lie beside the files that name
    them.
    """
    named = {os.path.abspath(path) for file in folder.files.values() for path in file.stamps}
    for name in sorted(os.listdir(folder.path) if folder.error is None else ()):
        path = os.path.join(folder.path, name)
        here = os.path.abspath(path)
        if name.startswith(".") or any(each == here or each.startswith(f"{here}/") for each in named):
            continue
        message = f"is passed over: the names of the files that are read end in {' or '.join(SUFFIXES)}"
        yield InventoryProblem(file=path, message=message, warning=True)


def _on_file(path: str, file: DomainFile, kind: str, reader: CommandReader) -> Iterator[InventoryProblem]:
    yield from _ask(path, kind, reader)
    for beside in file.stamps.keys() - {path}:
        yield from _ask(beside, "advice on user data", reader)


def _ask(path: str, kind: str, reader: CommandReader) -> Iterable[InventoryProblem]:
    content = read(path, MAX_FILE).content
    if content is None:
        return
    reading: Reading[DomainAnswer] = Reading(path, {"kind": kind}, content, lambda plain, _: structure_answer(plain))
    reader.read(reading)
    reader.wait(reading)
    if isinstance(reading.result, Unread) or reading.result is None:
        why = "" if reading.result is None else f": {reading.result.why}"
        yield InventoryProblem(file=path, message=f"is not looked at as guests do{why}", warning=True)
        return
    for fault in reading.result.faults[:MAX_FAULTS]:
        yield InventoryProblem(
            file=path,
            line=fault.line,
            field=escape_unprintable(fault.field[:MAX_FIELD]),
            message=escape_unprintable(fault.message[:MAX_MESSAGE]),
            warning=True,
        )
    if reading.result.more > 0:
        yield InventoryProblem(file=path, message=f"… and {reading.result.more:,} more warnings", warning=True)
