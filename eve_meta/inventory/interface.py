"""What a source of the inventory is, and how it says what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from attrs import frozen

from eve_meta.domain import Domain


@frozen(kw_only=True)
class FileProblem:
    """Something wrong in a file that a person wrote, or that keeps a tap from having its domain.

    :ivar file: its path, "" where it is about none.
    :ivar line: counted from 1, or None where it is about the file as a whole.
    :ivar field: the way to the field, such as ``nics[0].mac``; "" for none.
    :ivar message: one line: what was expected, what was got.
    :ivar warning: whether eve-meta works all the same.
    """

    file: str
    message: str
    line: int | None = None
    field: str = ""
    warning: bool = False

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        parts = (where, "warning" if self.warning else "", self.field, self.message)
        return ": ".join(part for part in parts if part)


class Source(Protocol):
    """Something that knows domains: a directory of files, libvirt, EVE.

    Each says what it knows; where two know the same domain, the inventory joins them.
    """

    def start(self, changed: Callable[[], None]) -> None:
        """Begin to read and to watch; call *changed* once when everything has been read, then after every change."""

    def stop(self) -> None:
        """End watching."""

    def domains(self) -> Mapping[str, Domain]:
        """The domains, each by where it is said: a file's path, a libvirt domain's name. The mapping never changes."""

    def problems(self) -> tuple[FileProblem, ...]:
        """What is wrong at present."""
