"""Advice on domain files that are good, for ``eve-meta check``: see :mod:`eve_meta.reader.advice`."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from eve_meta.inventory.files.directory import SUFFIXES, Directory
from eve_meta.inventory.files.domain_file import MAX_FILE, DomainFile, structure_answer
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


def advice(directory: Directory, reader: CommandReader) -> Iterator[InventoryProblem]:
    """Yield what is remarkable about the good files of *directory*, as warnings.

    :param reader: one that gives advice.
    """
    for path, file in directory.files.items():
        if file.domain is not None:
            yield from _on_file(path, file, reader)


def passed_over(directory: Directory) -> Iterator[InventoryProblem]:
    """Yield the files in *directory* that nobody reads, as warnings.

    Files whose names begin with a dot are editors' and version control's. User data lie beside the files that name
    them.
    """
    named = {os.path.abspath(path) for file in directory.files.values() for path in file.stamps}
    for name in sorted(os.listdir(directory.path)):
        path = os.path.join(directory.path, name)
        here = os.path.abspath(path)
        if name.startswith(".") or any(each == here or each.startswith(f"{here}/") for each in named):
            continue
        message = f"is passed over: the names of domain files end in {' or '.join(SUFFIXES)}"
        yield InventoryProblem(file=path, message=message, warning=True)


def _on_file(path: str, file: DomainFile, reader: CommandReader) -> Iterator[InventoryProblem]:
    yield from _ask(path, "advice", reader)
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
