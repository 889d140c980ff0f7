"""Look through what eve-meta brings along from PyPI for known vulnerabilities, for ``scripts/test audit``.

The status is 0 where everything was looked at and nothing is known, 1 where something is known, and
:data:`NOT_LOOKED_AT` where the vulnerability service did not answer. pip-audit itself tells the last two apart neither
by its status nor always by its output: what the service does not know counts for it as without vulnerabilities.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness import SCRIPTS

NOT_LOOKED_AT = 77
"""The status of a test that was skipped, as automake and meson have it."""

MAX_REASON = 200
"""Characters of a reason that are shown; pip-audit quotes whole files in some."""

PINNED = sorted((SCRIPTS / "requirements").glob("*-*.txt"))
"""What each distribution's package brings along."""


def main(pip_audit: list[str], pinned: Sequence[Path] = PINNED) -> int:
    """Run *pip_audit* over each of the files *pinned*, print what it finds, and return the status."""
    known: dict[str, None] = {}
    looked_at: set[tuple[str, str]] = set()
    skipped: dict[str, str] = {}
    for path in pinned:
        command = [*pip_audit, "--disable-pip", "--require-hashes", "--progress-spinner=off", "--format=json"]
        done = subprocess.run([*command, "--requirement", path], capture_output=True, text=True, check=False)
        try:
            for each in json.loads(done.stdout)["dependencies"]:
                if "skip_reason" in each:
                    skipped[each["name"]] = each["skip_reason"]
                else:
                    looked_at.add((each["name"], each["version"]))
                    known.update(dict.fromkeys(_known(each)))
        except (ValueError, KeyError, TypeError):
            # The last line of a traceback says most.
            skipped[path.name] = (done.stderr.strip() or "pip-audit printed nothing").splitlines()[-1]
    for line in known:
        print(line)
    if known:
        return 1
    if skipped:
        first, *others = sorted(skipped)
        more = f" and {len(others)} more" if others else ""
        print(f"audit: not looked at: {first}{more} ({skipped[first][:MAX_REASON]})", file=sys.stderr)
        return NOT_LOOKED_AT
    print(f"audit: no vulnerability is known of {len(looked_at)} packages")
    return 0


def _known(dependency: dict[str, Any]) -> Iterator[str]:
    for found in dependency["vulns"]:
        fixed = ", ".join(found["fix_versions"]) or "no version"
        aliases = "".join(f", {alias}" for alias in found.get("aliases", ()))
        yield (
            f"audit: {dependency['name']} {dependency['version']} has {found['id']}{aliases}; fixed in {fixed}: "
            "run scripts/pin, or raise the floor in setup.cfg"
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
