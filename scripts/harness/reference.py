"""Write the reference into a directory: the manual pages, and the JSON Schema of domain files.

Run as ``python3 -m harness.reference DIRECTORY``, with scripts/ on ``PYTHONPATH``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from harness.filepages import config_page, domain_page
from harness.manpage import page
from harness.schema import domain_schema


def write(directory: Path) -> None:
    """Write all files of the reference into *directory*."""
    for name, text in (
        ("eve-meta.8", page()),
        ("eve-meta-domain.5", domain_page()),
        ("eve-meta.toml.5", config_page()),
        ("domain.schema.json", json.dumps(domain_schema(), indent=2) + "\n"),
    ):
        (directory / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
