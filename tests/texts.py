"""README.rst and eve_meta/docs as docutils reads them, for the tests that check their claims."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from docutils.core import publish_doctree

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.rst"
GUESTS = ROOT / "eve_meta/docs/guests.rst"
SECURITY = ROOT / "eve_meta/docs/security.rst"
CHANGES = ROOT / "CHANGELOG.rst"
ALL = (README, CHANGES, ROOT / "bpf/README.rst", *sorted((ROOT / "eve_meta/docs").glob("*.rst")))

WARNING = 2


def read(path: Path) -> nodes.document:
    """Return the document at *path*.

    :raises docutils.utils.SystemMessage: when it is not valid reStructuredText.
    """
    quiet = {"halt_level": WARNING, "report_level": WARNING, "warning_stream": False}
    return publish_doctree(path.read_text(encoding="utf-8"), source_path=str(path), settings_overrides=quiet)


def literals(text: nodes.document) -> list[str]:
    """Return the texts between double backquotes."""
    return [node.astext() for node in text.findall(nodes.literal)]


def blocks(text: nodes.document) -> list[str]:
    """Return the blocks below a double colon."""
    return [node.astext() for node in text.findall(nodes.literal_block)]


def in_the_guest(text: nodes.document) -> Iterator[str]:
    """Yield the blocks that are commands for the guest's shell."""
    for node in text.findall(nodes.literal_block):
        before = node.parent[node.parent.index(node) - 1]
        if before.astext().endswith("In the guest:"):
            yield node.astext()


def table(text: nodes.document, *header: str) -> list[list[str]]:
    """Return the rows of the table with *header*, each cell as one line."""
    for node in text.findall(nodes.table):
        rows = [
            [" ".join(cell.astext().split()) for cell in row.findall(nodes.entry)] for row in node.findall(nodes.row)
        ]
        if rows[0] == list(header):
            return rows[1:]
    raise AssertionError(f"no table {header}")
