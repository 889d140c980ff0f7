"""Directories of a tree: paths with other paths below them, which a guest finds by the listing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from eve_meta.documents.document import Document, lines


class Listing:
    """A directory: documents and other directories by their names, in the order of the listing.

    The entries are made at their first use, and kept: most guests read one tree, and little of the others.

    :param make: makes the entries. As in :class:`~eve_meta.documents.document.PerVersion`, it must not refer to the
        object that holds the directory.
    :param line: the line of this directory in the listing of its parent, where that is not its name and a "/".
    """

    __slots__ = ("_entries", "_make", "line")

    def __init__(self, make: Callable[[], Mapping[str, Entry]], *, line: str | None = None) -> None:
        self._make = make
        self._entries: Mapping[str, Entry] | None = None
        self.line = line

    @property
    def entries(self) -> Mapping[str, Entry]:
        """The entries by name."""
        if self._entries is None:
            self._entries = self._make()
        return self._entries


Entry = Document | Listing
"""The entry of a directory: a document or another directory."""


def listing(entries: Mapping[str, Entry]) -> Document:
    """Make the document that a guest reads at a directory with *entries*."""
    return lines(_line(name, entry) for name, entry in entries.items())


def _line(name: str, entry: Entry) -> str:
    if isinstance(entry, Document):
        return name
    return entry.line or f"{name}/"


def in_order(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Return *entries* in the order in which nova and AWS list them: by name."""
    return {name: entries[name] for name in sorted(entries)}
