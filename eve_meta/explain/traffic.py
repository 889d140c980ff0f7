"""The guest's part of the path: the frames it sent, the requests it made, and the session tokens it used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from eve_meta.explain.dhcp import BOOT_TIME
from eve_meta.explain.facts import AskedFacts, Facts, SeenFacts, TapFacts
from eve_meta.explain.host_path import start
from eve_meta.explain.steps import Step, Verdict, ago, command, configure, listed, own, restart
from eve_meta.values.domain import TokenPolicy

DOCUMENTS = ("openstack/meta_data.json", "ec2/meta-data", "nocloud/meta-data", "openstack/user_data")
"""Kinds of requests that are shown before others: one of these is what the guest asks for in the end."""

_ROUTE = "in the guest: ip route add 169.254.169.254 dev eth0"

_NAMES = {"arp": "ARP", "nd": "neighbour discovery", "connection": "a connection", "dhcp": "DHCP", "dhcp6": "DHCPv6"}


def _step(tap: TapFacts) -> Callable[..., Step]:
    def step(verdict: Verdict, text: str, mend: str | None = None) -> Step:
        return Step(verdict=verdict, text=text, mend=mend, tap=tap.name)

    return step


# -- packets --


def packets(facts: Facts, tap: TapFacts) -> Step:
    """Judge the frames that the guest sent and got, from its DHCP to the answers."""
    step, now = _step(tap), facts.host.now
    looked_up = [tap.seen[kind] for kind in ("arp", "nd") if kind in tap.seen]
    addressed = [tap.seen[kind] for kind in ("dhcp", "dhcp6") if kind in tap.seen]
    text = _sightings(tap, now)
    frames = f"{tap.frames_in} frames came for the service, {tap.frames_out or 'none'} went back"
    frames = f"{text}; {frames}" if text else frames
    if tap.frames_out:
        return step(Verdict.PACKETS_BOTH_WAYS, frames)
    if tap.frames_in or "connection" in tap.seen:
        return step(Verdict.PACKETS_UNANSWERED, frames, restart(facts))
    drops = {reason: number for reason, number in tap.drops.items() if not reason.startswith("dhcp_")}
    if drops:
        reasons = listed(f"{number} × {reason}" for reason, number in drops.items())
        text = f"every frame that came was dropped: {reasons} (bpf/shared.h explains each)"
        return step(Verdict.PACKETS_DROPPED, text, "in the guest: find and fix what sends such frames")
    if looked_up:
        if _fresh(looked_up, now):
            return step(Verdict.PACKETS_BOOTING, f"{text}; no connection yet")
        text = f"{text}; it has a route, but opens no connection: its firewall forbids it, or nothing in it asks"
        return step(Verdict.PACKETS_ARP_ALONE, text, "in the guest: curl -v http://169.254.169.254/openstack")
    if addressed:
        if _fresh(addressed, now):
            return step(Verdict.PACKETS_BOOTING, f"{text}; nothing else yet")
        text = f"{text}, but no ARP and no connection: the guest has no route that covers 169.254.169.254"
        return step(Verdict.PACKETS_NO_ROUTE, text, _ROUTE)
    return step(Verdict.PACKETS_NONE, "no frame of this guest was seen yet")


def _fresh(sightings: list[SeenFacts], now: float) -> bool:
    return now - min(each.first for each in sightings) < BOOT_TIME


def _sightings(tap: TapFacts, now: float) -> str:
    shown = [f"{name} {ago(tap.seen[kind].last, now)}" for kind, name in _NAMES.items() if kind in tap.seen]
    return ", ".join(shown)


# -- requests --


def requests(facts: Facts, tap: TapFacts) -> Step:
    """Judge the guest's requests by what they were answered."""
    step, now = _step(tap), facts.host.now
    statuses: Counter[int] = Counter()
    for kind in tap.asked:
        statuses[kind.status] += kind.count
    shown = listed(_asked(kind, now) for kind in _by_importance(tap.asked))
    if any(status < 400 for status in statuses):
        whole = f"{statuses.total()} altogether: {listed(f'{n} × {status}' for status, n in statuses.most_common())}"
        return step(Verdict.REQUESTS_ANSWERED, f"{shown}; {whole}")
    if not statuses:
        if tap.frames_out:
            text = "connections were opened, but no request came on them"
            return step(Verdict.REQUESTS_SILENT, text, "in the guest: curl -v http://169.254.169.254/openstack")
        return step(Verdict.REQUESTS_NONE, "none yet")
    domain = facts.host.domain
    if 401 in statuses:
        text = f"{shown}: requests without a session token, which this domain requires"
        return step(Verdict.REQUESTS_REFUSED, text, _optional_tokens(facts))
    if tap.notes.get("wrong_host"):
        text = f"{shown}: requests to a host name that is not eve-meta's; [web] hosts lists those that are"
        line = 'hosts = ["the name that the guest uses"]'
        return step(Verdict.REQUESTS_WRONG_HOST, text, configure(facts, "web", line))
    if 429 in statuses:
        text = f"{shown}: more than 200 requests a second"
        return step(Verdict.REQUESTS_TOO_MANY, text, "in the guest: stop what asks without end")
    if 404 in statuses:
        if domain is None:
            return step(
                Verdict.REQUESTS_NOT_FOUND, f"{shown}: the domain has been unknown for too long", _new(facts, tap)
            )
        text = f"{shown}: the domain was unknown then, or has no such document; cloud-init asks again at the next boot"
        mend = command("virsh", "reset", domain.name) if facts.libvirt else "restart the guest"
        return step(Verdict.REQUESTS_NOT_FOUND, text, mend)
    if 503 in statuses:
        mend = _new(facts, tap) if domain is None else start(facts)
        return step(
            Verdict.REQUESTS_WAITING,
            f"{shown}: the guest is asked to come back, because its domain is still unknown",
            mend,
        )
    text = f"{shown}: what came is not a request that eve-meta accepts"
    return step(Verdict.REQUESTS_MALFORMED, text, "in the guest: curl -v http://169.254.169.254/openstack")


def _by_importance(asked: tuple[AskedFacts, ...]) -> list[AskedFacts]:
    return sorted(asked, key=lambda kind: (kind.what not in DOCUMENTS, kind.status >= 400, kind.first))


def _asked(kind: AskedFacts, now: float) -> str:
    return f"{kind.what} {kind.status} {ago(kind.last, now)}"


def _new(facts: Facts, tap: TapFacts) -> str:
    name = tap.process.name if tap.process is not None and tap.process.name else tap.name
    return own(facts, "new", name)


# -- tokens --


def tokens(facts: Facts, tap: TapFacts) -> Step | None:
    """Judge whether the guest's client uses session tokens where it must; None where the domain is unknown."""
    step = _step(tap)
    without, invalid = tap.notes.get("no_token", 0), tap.notes.get("invalid_token", 0)
    took = any(kind.what == "token" and kind.status == 200 for kind in tap.asked)
    bad = f"; {invalid} requests had a token that has expired or never was valid" if invalid else ""
    match tap.tokens:
        case None:
            return None
        case TokenPolicy.REQUIRED if without and not took:
            text = (
                f"required, but {without} requests came without one, and none asked for one: this client has no IMDSv2"
            )
            return step(Verdict.TOKENS_CLIENT_CANNOT, text, _optional_tokens(facts))
        case TokenPolicy.REQUIRED if not took:
            return step(Verdict.TOKENS_NOT_TRIED, f"required; the guest has not asked for one yet{bad}")
        case TokenPolicy.OFF:
            return step(Verdict.TOKENS_NOT_NEEDED, "off")
    if took:
        return step(Verdict.TOKENS_USED, f"{tap.tokens.value}; the guest asked for one and got it{bad}")
    return step(Verdict.TOKENS_NOT_NEEDED, f"optional; the guest asks without{bad}" if without else "optional")


def _optional_tokens(facts: Facts) -> str:
    """Return where to write that tokens are optional."""
    domain = facts.host.domain
    files = [origin for origin in (domain.origins if domain is not None else ()) if origin.startswith("/")]
    return f"in {files[0]}: tokens: optional" if files else configure(facts, "web", 'tokens = "optional"')
