"""The systemd unit's settings, for tests of what it grants."""

from __future__ import annotations

from collections import defaultdict

from harness import SCRIPTS

UNIT = SCRIPTS / "host/eve-meta.service"


def settings() -> dict[str, list[str]]:
    """Return the words of each key in the section [Service]; those of a repeated key follow one another."""
    found: dict[str, list[str]] = defaultdict(list)
    section = ""
    for line in UNIT.read_text().splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found[key] += value.split()
    return dict(found)


def capabilities() -> set[str]:
    """Return the capabilities that the unit grants, by names like ``CAP_KILL``."""
    return set(settings()["CapabilityBoundingSet"])


def bounded(without: str | None = None) -> list[str]:
    """Return the prefix that limits a command to the unit's capabilities for good.

    :param without: a capability that the command must not have, either.
    """
    kept = sorted(name.removeprefix("CAP_").lower() for name in capabilities() - {without})
    bounding = ",".join(["-all", *(f"+{name}" for name in kept)])
    return ["setpriv", f"--bounding-set={bounding}", "--inh-caps=-all", "--no-new-privs", "--"]
