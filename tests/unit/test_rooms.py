"""README.rst's map of the code is made of the rooms' own first sentences."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

import pytest

from tests import texts

COLUMN = 28
"""Where the sentences begin."""

WIDTH = 116
"""That of a line, without the block's indentation."""


def rooms() -> list[Path]:
    """bpf/ and each Python package, but for those in tests/unit, which mirror those of eve_meta."""
    packages = [path.parent.relative_to(texts.ROOT) for path in texts.ROOT.glob("[!.]*/**/__init__.py")]
    hidden = {Path("eve_meta"), Path("tests")}
    return sorted(
        [Path("bpf"), *(path for path in packages if path not in hidden and Path("tests/unit") not in path.parents)],
        key=lambda path: (["eve_meta", "bpf", "scripts", "tests"].index(path.parts[0]), path),
    )


def first_sentence(room: Path) -> str:
    """The first sentence of the room's docstring; of bpf/, that of its README.rst."""
    if room == Path("bpf"):
        text = (texts.ROOT / "bpf/README.rst").read_text(encoding="utf-8").split("\n\n")[1]
    else:
        text = ast.get_docstring(ast.parse((texts.ROOT / room / "__init__.py").read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].replace("``", "").split()).split(". ")[0].removesuffix(".") + "."


def code_map() -> str:
    lines = []
    for room in rooms():
        sentence = textwrap.wrap(first_sentence(room), WIDTH - COLUMN, break_on_hyphens=False, break_long_words=False)
        lines += [f"{name:<{COLUMN}}{part}" for name, part in zip([f"{room}/", *[""] * 9], sentence, strict=False)]
    return "\n".join(lines)


@pytest.mark.parametrize("room", rooms(), ids=str)
def test_each_room_says_what_belongs_there(room: Path) -> None:
    assert len(first_sentence(room)) > len("A room.")


def test_readme_has_the_map() -> None:
    """Print what README.rst is to have by ``.venv/bin/python -m tests.unit.test_rooms``."""
    assert [block for block in texts.blocks(texts.read(texts.README)) if "eve_meta/values/" in block] == [code_map()]


if __name__ == "__main__":
    print(textwrap.indent(code_map(), "    "))
