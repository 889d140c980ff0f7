"""A step of the path, and every verdict on one; ``docs/explain.rst`` explains each verdict."""

from __future__ import annotations

import enum
import shlex
from collections.abc import Iterable

from attrs import frozen

from eve_meta.explain.facts import Facts


class State(str, enum.Enum):
    """Whether a step is right."""

    OK = "ok"
    WRONG = "wrong"
    UNKNOWN = "unknown"


class Verdict(enum.Enum):
    """A verdict on a step: the name of the step, the name of the verdict, and the state that the step then has."""

    DAEMON_RUNNING = ("daemon", "running", State.OK)
    DAEMON_NOT_RUNNING = ("daemon", "not-running", State.WRONG)
    DAEMON_NOT_READABLE = ("daemon", "not-readable", State.UNKNOWN)

    DOMAIN_KNOWN = ("domain", "known", State.OK)
    DOMAIN_OUTDATED = ("domain", "outdated", State.WRONG)
    DOMAIN_BROKEN = ("domain", "broken", State.WRONG)
    DOMAIN_MISTYPED = ("domain", "mistyped", State.WRONG)
    DOMAIN_NONE = ("domain", "none", State.WRONG)
    DOMAIN_REFUSED = ("domain", "refused", State.WRONG)

    TAP_UP = ("tap", "up", State.OK)
    TAP_NONE = ("tap", "none", State.WRONG)
    TAP_MISSING = ("tap", "missing", State.WRONG)
    TAP_BYPASSED = ("tap", "bypassed", State.WRONG)
    TAP_UNMATCHED = ("tap", "unmatched", State.WRONG)
    TAP_DOWN = ("tap", "down", State.WRONG)
    TAP_NO_CARRIER = ("tap", "no-carrier", State.WRONG)
    TAP_NOT_STEERED = ("tap", "not-steered", State.WRONG)

    PROCESS_KNOWN = ("process", "known", State.OK)
    PROCESS_UNTRUSTED = ("process", "untrusted", State.WRONG)
    PROCESS_UNKNOWN = ("process", "unknown", State.UNKNOWN)

    FILTER_FIRST = ("filter", "first", State.OK)
    FILTER_BEHIND = ("filter", "behind", State.WRONG)
    FILTER_BEHIND_BUT_SEES = ("filter", "behind-but-sees", State.OK)
    FILTER_MISSING = ("filter", "missing", State.WRONG)

    PROGRAMS_LOADED = ("programs", "loaded", State.OK)
    PROGRAMS_MISSING = ("programs", "missing", State.WRONG)
    NAMESPACE_THERE = ("namespace", "there", State.OK)
    NAMESPACE_MISSING = ("namespace", "missing", State.WRONG)
    RULES_THERE = ("rules", "there", State.OK)
    RULES_MISSING = ("rules", "missing", State.WRONG)
    ROUTE_THERE = ("route", "there", State.OK)
    ROUTE_MISSING = ("route", "missing", State.WRONG)
    WORKER_ALIVE = ("worker", "alive", State.OK)
    WORKER_DEAD = ("worker", "dead", State.WRONG)

    DHCP_ANSWERED = ("dhcp", "answered", State.OK)
    DHCP_RENEWAL_DUE = ("dhcp", "renewal-due", State.UNKNOWN)
    DHCP_NONE = ("dhcp", "none", State.UNKNOWN)
    DHCP_BOOTING = ("dhcp", "booting", State.UNKNOWN)
    DHCP_STATIC = ("dhcp", "static", State.OK)
    DHCP_NOT_TAKEN = ("dhcp", "not-taken", State.WRONG)
    DHCP_DECLINED = ("dhcp", "declined", State.WRONG)
    DHCP_OTHER_SERVER = ("dhcp", "other-server", State.WRONG)
    DHCP_OFF = ("dhcp", "off", State.WRONG)
    DHCP_SERVER_DENIED = ("dhcp", "server-denied", State.OK)

    PACKETS_BOTH_WAYS = ("packets", "both-ways", State.OK)
    PACKETS_NONE = ("packets", "none", State.UNKNOWN)
    PACKETS_BOOTING = ("packets", "booting", State.UNKNOWN)
    PACKETS_NO_ROUTE = ("packets", "no-route", State.WRONG)
    PACKETS_ARP_ALONE = ("packets", "arp-alone", State.WRONG)
    PACKETS_DROPPED = ("packets", "dropped", State.WRONG)
    PACKETS_UNANSWERED = ("packets", "unanswered", State.WRONG)

    REQUESTS_ANSWERED = ("requests", "answered", State.OK)
    REQUESTS_NONE = ("requests", "none", State.UNKNOWN)
    REQUESTS_SILENT = ("requests", "silent", State.WRONG)
    REQUESTS_WAITING = ("requests", "waiting", State.WRONG)
    REQUESTS_NOT_FOUND = ("requests", "not-found", State.WRONG)
    REQUESTS_REFUSED = ("requests", "refused", State.WRONG)
    REQUESTS_WRONG_HOST = ("requests", "wrong-host", State.WRONG)
    REQUESTS_TOO_MANY = ("requests", "too-many", State.WRONG)
    REQUESTS_MALFORMED = ("requests", "malformed", State.WRONG)

    TOKENS_NOT_NEEDED = ("tokens", "not-needed", State.OK)
    TOKENS_USED = ("tokens", "used", State.OK)
    TOKENS_NOT_TRIED = ("tokens", "not-tried", State.UNKNOWN)
    TOKENS_CLIENT_CANNOT = ("tokens", "client-cannot", State.WRONG)

    SMBIOS_OPENSTACK = ("smbios", "openstack", State.OK)
    SMBIOS_NOCLOUD = ("smbios", "nocloud", State.OK)
    SMBIOS_NOT_NEEDED = ("smbios", "not-needed", State.OK)
    SMBIOS_MISSING = ("smbios", "missing", State.WRONG)
    SMBIOS_ELSEWHERE = ("smbios", "elsewhere", State.WRONG)
    SMBIOS_UNKNOWN = ("smbios", "unknown", State.UNKNOWN)

    DISKS_NO_SEED = ("disks", "no-seed", State.OK)
    DISKS_SEED = ("disks", "seed", State.WRONG)
    DISKS_UNREAD = ("disks", "unread", State.UNKNOWN)
    DISKS_UNKNOWN = ("disks", "unknown", State.UNKNOWN)

    IMDS_OURS = ("imds", "ours", State.OK)
    IMDS_OFF = ("imds", "off", State.OK)
    IMDS_ELSEWHERE = ("imds", "elsewhere", State.WRONG)

    DATASOURCE_OURS = ("datasource", "ours", State.OK)
    DATASOURCE_OTHER = ("datasource", "other", State.WRONG)
    DATASOURCE_NONE = ("datasource", "none", State.WRONG)
    DATASOURCE_UNKNOWN = ("datasource", "unknown", State.UNKNOWN)

    @property
    def step(self) -> str:
        """The step that the verdict is about."""
        return self.value[0]

    @property
    def state(self) -> State:
        """The state of a step with this verdict."""
        return self.value[2]

    @property
    def label(self) -> str:
        """The verdict's name for people and programs: ``tap-no-carrier``."""
        return f"{self.value[0]}-{self.value[1]}"


@frozen(kw_only=True)
class Step:
    """A step of the path.

    :ivar text: what was found, in one line for people.
    :ivar mend: the command that fixes it, or what to do where no command does; None unless the step is wrong.
    :ivar tap: the tap that the step is about; None for a step that all taps share.
    """

    verdict: Verdict
    text: str
    mend: str | None = None
    tap: str | None = None


def command(*words: str) -> str:
    """Return *words* as one command, quoted for a shell."""
    return shlex.join(words)


def own(facts: Facts, *words: str) -> str:
    """Return the command of eve-meta of these *words*, with the configuration that the report is about."""
    return command("eve-meta", *words, *(["--config", facts.config] if facts.config_named else []))


def configure(facts: Facts, table: str, line: str) -> str:
    """Return what to write into the configuration so that *line* holds, which the daemon reads when it starts."""
    return f"in {facts.config}, below [{table}]: {line}; then: {restart(facts)}"


def edit(path: str) -> str:
    """Return the command that opens a file; ``editor`` is what Debian and Ubuntu call whichever is installed."""
    return command("editor", path)


def restart(facts: Facts) -> str:
    """Return the command that starts the daemon, or restarts it where it runs: starting restores the whole path."""
    runs = facts.host.path is not None
    if facts.service and not facts.config_named:
        return "systemctl restart eve-meta" if runs else "systemctl start eve-meta"
    serve = own(facts, "serve")
    return f"end the daemon, then: {serve}" if runs else serve


def listed(words: Iterable[str], most: int = 4) -> str:
    """Return the first *most* of *words* as a list for people, with the number of the rest."""
    all_words = list(words)
    more = len(all_words) - most
    return ", ".join(all_words[:most]) + (f" and {more} more" if more > 0 else "")


def ago(then: float, now: float) -> str:
    """Return how long *then* is before *now*, both in seconds, as text for people."""
    seconds = max(0, round(now - then))
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"
