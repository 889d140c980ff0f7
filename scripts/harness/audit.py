"""Look through what eve-meta brings along from PyPI for known vulnerabilities, for ``scripts/test audit``.

The status is 0 where everything was looked at and nothing is known, 1 where something is known, and
:data:`NOT_LOOKED_AT` where the vulnerability service did not answer. pip-audit itself tells the last two apart neither
by its status nor always by its output: what the service does not know counts for it as without vulnerabilities.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from harness import SCRIPTS

NOT_LOOKED_AT = 77
"""The status of a test that was skipped, as automake and meson have it."""

PINNED = sorted((SCRIPTS / "requirements").glob("*-*.txt"))
"""What each distribution's package brings along."""


def main(pip_audit: list[str]) -> int:
    """Run *pip_audit* over :data:`PINNED`, print what it finds, and return the status."""
    files = [option for path in PINNED for option in ("--requirement", str(path))]
    command = [*pip_audit, "--disable-pip", "--require-hashes", "--progress-spinner=off", "--format=json", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        dependencies = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        # The last line of a traceback says most.
        reason = (done.stderr.strip() or "pip-audit printed nothing").splitlines()[-1]
        return _not_looked_at("everything", reason)
    known = list(_known(dependencies))
    print("".join(f"{line}\n" for line in known), end="")
    skipped = {each["name"]: each["skip_reason"] for each in dependencies if "skip_reason" in each}
    if skipped and not known:
        return _not_looked_at(", ".join(sorted(skipped)), next(iter(skipped.values())))
    if not known:
        print(f"audit: {len(dependencies)} packages of PyPI, no known vulnerability")
    return 1 if known else 0


def _known(dependencies: list[dict[str, Any]]) -> Iterator[str]:
    for each in dependencies:
        for found in each.get("vulns", ()):
            fixed = ", ".join(found["fix_versions"]) or "no version"
            aliases = "".join(f", {alias}" for alias in found.get("aliases", ()))
            yield (
                f"audit: {each['name']} {each['version']} has {found['id']}{aliases}; fixed in {fixed}: "
                "run scripts/pin, or raise the floor in setup.cfg"
            )


def _not_looked_at(what: str, reason: str) -> int:
    print(f"audit: not looked at: {what}: the vulnerability service gave no answer ({reason})", file=sys.stderr)
    return NOT_LOOKED_AT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
