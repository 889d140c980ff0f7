"""The guest's part of the way: what it was seen sending, what it asked for, and whether it has tokens where it must."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from eve_meta.explain.facts import AskedFacts, DomainFacts, Facts, SeenFacts, TapFacts
from eve_meta.explain.host import start
from eve_meta.explain.steps import Step, Verdict, ago, command, edit, listed, restart
from eve_meta.values.domain import TokenPolicy

BOOT_TIME = 30.0
"""Seconds that a guest may take from its DHCP, or its ARP for the service, to the next sign of life: cloud-init asks
within two seconds of having an address, on a slow host later."""

DOCUMENTS = ("openstack/meta_data.json", "ec2/meta-data", "nocloud/meta-data", "openstack/user_data")
"""What is shown first of many requests: one of these is the answer that the guest came for."""

_ROUTE = "in the guest: ip route add 169.254.169.254 dev eth0"

_NAMES = {"arp": "ARP", "nd": "neighbour discovery", "connection": "a connection", "dhcp": "DHCP", "dhcp6": "DHCPv6"}


def _step(of: TapFacts) -> Callable[..., Step]:
    def step(verdict: Verdict, text: str, mend: str | None = None) -> Step:
        return Step(verdict=verdict, text=text, mend=mend, tap=of.name)

    return step


# -- packets --


def packets(facts: Facts, of: TapFacts) -> Step:
    """What was seen of the guest, from its DHCP to answers that it got."""
    step, now = _step(of), facts.host.now
    looked_up = [of.seen[kind] for kind in ("arp", "nd") if kind in of.seen]
    addressed = [of.seen[kind] for kind in ("dhcp", "dhcp6") if kind in of.seen]
    text = _sightings(of, now)
    frames = f"{of.frames_in} frames came to the service, {of.frames_out or 'none'} went back"
    frames = f"{text}; {frames}" if text else frames
    if of.frames_out:
        return step(Verdict.PACKETS_BOTH_WAYS, frames)
    if of.frames_in or "connection" in of.seen:
        text = frames
        return step(Verdict.PACKETS_UNANSWERED, text, restart(facts))
    if of.drops:
        reasons = listed(f"{number} × {reason}" for reason, number in of.drops.items())
        text = f"nothing came but what is dropped: {reasons} (bpf/shared.h explains each)"
        return step(Verdict.PACKETS_DROPPED, text, "mend what sends such frames in the guest")
    if looked_up:
        if _fresh(looked_up, now):
            return step(Verdict.PACKETS_BOOTING, f"{text}; no connection yet")
        text = f"{text}; it knows the way, but opened no connection: its firewall, or nothing in it that asks"
        return step(Verdict.PACKETS_ARP_ALONE, text, "in the guest: curl -v http://169.254.169.254/openstack")
    if addressed:
        if _fresh(addressed, now):
            return step(Verdict.PACKETS_BOOTING, f"{text}; nothing else yet")
        text = f"{text}, but neither ARP nor a connection: the guest has no route that covers 169.254.169.254"
        return step(Verdict.PACKETS_NO_ROUTE, text, _ROUTE)
    return step(Verdict.PACKETS_NONE, "nothing seen of this guest yet")


def _fresh(sightings: list[SeenFacts], now: float) -> bool:
    return now - min(each.first for each in sightings) < BOOT_TIME


def _sightings(of: TapFacts, now: float) -> str:
    shown = [f"{name} {ago(of.seen[kind].last, now)}" for kind, name in _NAMES.items() if kind in of.seen]
    return ", ".join(shown)


# -- requests --


def requests(facts: Facts, of: TapFacts) -> Step:
    """What the guest asked for, and what came of it."""
    step, now = _step(of), facts.host.now
    statuses: Counter[int] = Counter()
    for kind in of.asked:
        statuses[kind.status] += kind.count
    shown = listed(_asked(kind, now) for kind in _by_importance(of.asked))
    if any(status < 400 for status in statuses):
        whole = f"{statuses.total()} in all: {listed(f'{n} × {status}' for status, n in statuses.most_common())}"
        return step(Verdict.REQUESTS_ANSWERED, f"{shown}; {whole}")
    if not statuses:
        if of.frames_out:
            text = "connections came, but no request on them"
            return step(Verdict.REQUESTS_SILENT, text, "in the guest: curl -v http://169.254.169.254/openstack")
        return step(Verdict.REQUESTS_NONE, "none yet")
    known = facts.host.domain
    if 401 in statuses:
        text = f"{shown}: without a session token, which this domain requires"
        return step(Verdict.REQUESTS_REFUSED, text, _optional_tokens(facts))
    if of.notes.get("wrong_host"):
        text = f"{shown}: to a name that is not ours; [web] hosts has those that are"
        return step(Verdict.REQUESTS_WRONG_HOST, text, edit(facts.config))
    if 429 in statuses:
        text = f"{shown}: more than 200 requests a second"
        return step(Verdict.REQUESTS_TOO_MANY, text, "mend what in the guest asks without end")
    if 404 in statuses:
        if known is None:
            return step(Verdict.REQUESTS_NOT_FOUND, f"{shown}: the domain was unknown for too long", _new(of))
        text = f"{shown}: the domain was not known yet, or has nothing there; cloud-init asks again when it boots"
        mend = command("virsh", "reset", known.name) if facts.libvirt else "restart the guest"
        return step(Verdict.REQUESTS_NOT_FOUND, text, mend)
    if 503 in statuses:
        mend = _new(of) if known is None else start(facts)
        return step(Verdict.REQUESTS_WAITING, f"{shown}: told to come back, because its domain is not known yet", mend)
    text = f"{shown}: nothing that we take for a request"
    return step(Verdict.REQUESTS_MALFORMED, text, "in the guest: curl -v http://169.254.169.254/openstack")


def _by_importance(asked: tuple[AskedFacts, ...]) -> list[AskedFacts]:
    return sorted(asked, key=lambda kind: (kind.what not in DOCUMENTS, kind.status >= 400, kind.first))


def _asked(kind: AskedFacts, now: float) -> str:
    return f"{kind.what} {kind.status} {ago(kind.last, now)}"


def _new(of: TapFacts) -> str:
    name = of.process.name if of.process is not None and of.process.name else of.name
    return command("eve-meta", "new", name)


# -- tokens --


def tokens(facts: Facts, of: TapFacts) -> Step | None:
    """Whether the guest's client has session tokens where they are required; None where nobody knows its domain."""
    step = _step(of)
    without, invalid = of.notes.get("no_token", 0), of.notes.get("invalid_token", 0)
    took = any(kind.what == "token" and kind.status == 200 for kind in of.asked)
    bad = f"; {invalid} requests showed one that has ended or never was one" if invalid else ""
    match of.tokens:
        case None:
            return None
        case TokenPolicy.REQUIRED if without and not took:
            text = f"required, but {without} requests came without and none asked for one: this client has no IMDSv2"
            return step(Verdict.TOKENS_CLIENT_CANNOT, text, _optional_tokens(facts))
        case TokenPolicy.REQUIRED if not took:
            return step(Verdict.TOKENS_NOT_TRIED, f"required; the guest has not asked for one yet{bad}")
        case TokenPolicy.OFF:
            return step(Verdict.TOKENS_NOT_NEEDED, "off")
    if took:
        return step(Verdict.TOKENS_USED, f"{of.tokens.value}; the guest asked for one and got it{bad}")
    return step(Verdict.TOKENS_NOT_NEEDED, f"optional; the guest asks without{bad}" if without else "optional")


def _optional_tokens(facts: Facts) -> str:
    """Where ``tokens: optional`` belongs."""
    known: DomainFacts | None = facts.host.domain
    files = [origin for origin in (known.origins if known is not None else ()) if origin.startswith("/")]
    return f"{edit(files[0] if files else facts.config)}   # tokens: optional"
