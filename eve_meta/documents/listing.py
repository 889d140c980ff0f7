"""A path with paths below it, which a guest finds by its listing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from eve_meta.documents.document import Document, lines


class Listing:
    """A path with paths below it: documents and directories by their names, in the order of the listing.

    They are made when first asked for, and kept: most guests read one tree, and little of the others.

    :param make: makes what is below. As in :class:`~eve_meta.documents.document.PerVersion`, it must not refer to
        whatever holds the directory.
    :param line: how the directory above lists this one, where that is not by its name and a "/".
    """

    __slots__ = ("_entries", "_make", "line")

    def __init__(self, make: Callable[[], Mapping[str, Entry]], *, line: str | None = None) -> None:
        self._make = make
        self._entries: Mapping[str, Entry] | None = None
        self.line = line

    @property
    def entries(self) -> Mapping[str, Entry]:
        """What is below, by name."""
        if self._entries is None:
            self._entries = self._make()
        return self._entries


Entry = Document | Listing
"""What is at a path."""


def listing(entries: Mapping[str, Entry]) -> Document:
    """What a guest reads at a directory with *entries*."""
    return lines(_line(name, entry) for name, entry in entries.items())


def _line(name: str, entry: Entry) -> str:
    if isinstance(entry, Document):
        return name
    return entry.line or f"{name}/"


def in_order(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """*entries* as nova and AWS list them: by name."""
    return {name: entries[name] for name in sorted(entries)}
