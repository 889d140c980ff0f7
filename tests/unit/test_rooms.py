"""README.rst's map of the code consists of the rooms' own first sentences."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

import pytest

from tests import texts

COLUMN = 28
"""The column at which the sentences begin."""

WIDTH = 116
"""The width of a line without the block's indentation."""


def rooms() -> list[Path]:
    """Return bpf/ and the Python packages, except those in tests/unit, which mirror the packages of eve_meta."""
    found = []
    for top in ("eve_meta", "bpf", "scripts", "tests"):
        inits = sorted((texts.ROOT / top).rglob("__init__.py"))
        packages = [path.parent.relative_to(texts.ROOT) for path in inits] if top != "bpf" else [Path("bpf")]
        found += [path for path in packages if path.parts != (top,) or top == "bpf"]
    return [path for path in found if Path("tests/unit") not in path.parents]


def first_sentence(room: Path) -> str:
    """Return the first sentence of the room's docstring; for bpf/, that of its README.rst."""
    if room == Path("bpf"):
        text = (texts.ROOT / "bpf/README.rst").read_text(encoding="utf-8").split("\n\n")[1]
    else:
        text = ast.get_docstring(ast.parse((texts.ROOT / room / "__init__.py").read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].replace("``", "").split()).split(". ")[0].removesuffix(".") + "."


def code_map() -> str:
    """Return the map, a line or more for each room."""
    lines = []
    for room in rooms():
        sentence = textwrap.wrap(first_sentence(room), WIDTH - COLUMN, break_on_hyphens=False, break_long_words=False)
        lines += [f"{name:<{COLUMN}}{part}" for name, part in zip([f"{room}/", *[""] * 9], sentence, strict=False)]
    return "\n".join(lines)


@pytest.mark.parametrize("room", rooms(), ids=str)
def test_each_room_has_a_first_sentence(room: Path) -> None:
    assert len(first_sentence(room)) > len("A room.")


def test_readme_has_the_map() -> None:
    """When this fails, ``.venv/bin/python -m tests.unit.test_rooms`` prints the map for README.rst."""
    assert [block for block in texts.blocks(texts.read(texts.README)) if "eve_meta/values/" in block] == [code_map()]


if __name__ == "__main__":
    print(textwrap.indent(code_map(), "    "))
