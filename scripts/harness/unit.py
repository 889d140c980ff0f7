"""The systemd unit, for those who try what it grants."""

from __future__ import annotations

from collections import defaultdict

from harness import SCRIPTS

UNIT = SCRIPTS / "host/eve-meta.service"


def settings() -> dict[str, list[str]]:
    """The words of each key of its section [Service]; those of a key that repeats follow one another."""
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
    """The capabilities that it grants, as ``CAP_KILL``."""
    return set(settings()["CapabilityBoundingSet"])


def bounded(without: str | None = None) -> list[str]:
    """The prefix that gives a command the capabilities of the unit, but for *without*, and no way to others."""
    kept = sorted(name.removeprefix("CAP_").lower() for name in capabilities() - {without})
    bounding = ",".join(["-all", *(f"+{name}" for name in kept)])
    return ["setpriv", f"--bounding-set={bounding}", "--inh-caps=-all", "--no-new-privs", "--"]
