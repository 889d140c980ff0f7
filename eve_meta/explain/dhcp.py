"""How a guest got its address: by its tap's answers to DHCP, by a server's on the network, or by neither."""

from __future__ import annotations

from eve_meta.explain.facts import DhcpFacts, Facts, TapFacts
from eve_meta.explain.steps import Step, Verdict, ago, configure, listed

BOOT_TIME = 30.0
"""Seconds that a guest may take from its DHCP, or its ARP for the service, to the next step: cloud-init asks within two
seconds of having an address, but later on a slow host."""

_ANSWERS = {"dhcp_offer": "offer", "dhcp_ack": "ack", "dhcp_nak": "nak"}
_OTHER_SERVER, _SERVER, _DECLINE = "dhcp_other_server", "dhcp_server", "dhcp_decline"


def dhcp(facts: Facts, tap: TapFacts) -> Step | None:
    """Judge whether the guest gets an address by DHCP; None where its tap has nothing to do with that."""
    if tap.dhcp is not None and tap.dhcp.address:
        return _answered(facts, tap, tap.dhcp, tap.dhcp.address)
    asked = tap.seen.get("dhcp")
    asks_service = tap.frames_in or {"arp", "nd", "connection"} & tap.seen.keys()
    if asked is not None and not asks_service and facts.host.now - asked.first >= BOOT_TIME:
        text = f"off; the guest asked for an address {ago(asked.last, facts.host.now)}, and for no metadata since then"
        return Step(verdict=Verdict.DHCP_OFF, text=text, mend=_switch_on(facts), tap=tap.name)
    if number := tap.drops.get(_SERVER):
        text = (
            f"the guest poses as a DHCP server: {number} of its frames were dropped (dhcp_server: allow lets them pass)"
        )
        return Step(verdict=Verdict.DHCP_SERVER_DENIED, text=text, tap=tap.name)
    return None


def _answered(facts: Facts, tap: TapFacts, dhcp: DhcpFacts, address: str) -> Step:
    now = facts.host.now

    def step(verdict: Verdict, text: str, mend: str | None = None) -> Step:
        return Step(verdict=verdict, text=text, mend=mend, tap=tap.name)

    what = f"{address}, a link-local address" if dhcp.link_local else address
    notes = list(dhcp.missing)
    if number := tap.drops.get(_SERVER):
        notes.append(f"{number} frames by which it poses as a DHCP server were dropped")
    more = f"; {listed(notes, 2)}" if notes else ""
    given = tap.seen.get("dhcp_ack")
    declined = tap.drops.get(_DECLINE, 0)
    if given is not None and declined >= given.count:
        text = (
            f"the guest declined {what} as often as it was given ({declined} ×): it finds another machine on its "
            "network that has this address"
        )
        return step(Verdict.DHCP_DECLINED, f"{text}{more}", f"{_place(facts)}: another address for this NIC")
    if given is not None and dhcp.before and given.last < dhcp.since:
        left = max(0.0, given.last + dhcp.renewal_time - now)
        text = (
            f"DHCP gave {dhcp.before} {ago(given.last, now)}; since {ago(dhcp.since, now)} it is {what}: the guest has "
            f"it after its next renewal, within {_minutes(left)}{more}"
        )
        return step(Verdict.DHCP_RENEWAL_DUE, text)
    if given is not None:
        return step(Verdict.DHCP_ANSWERED, f"the tap gives {what}: {_counted(tap, now)}{more}")
    if number := tap.drops.get(_OTHER_SERVER):
        text = (
            f"the tap offers {what}, but the guest asked for another server's lease {number} times, which was dropped"
        )
        return step(Verdict.DHCP_OTHER_SERVER, f"{text}{more}", "in the guest: end its DHCP client and start it again")
    asked = tap.seen.get("dhcp")
    if asked is not None and now - asked.first >= BOOT_TIME:
        text = f"the tap offers {what}, but the guest does not take it: {_counted(tap, now) or 'nothing was answered'}"
        drops = {reason: count for reason, count in tap.drops.items() if reason.startswith("dhcp_")}
        dropped = listed(f"{count} × {reason}" for reason, count in drops.items())
        dropped = f"; dropped: {dropped} (bpf/shared.h explains each)" if dropped else ""
        return step(Verdict.DHCP_NOT_TAKEN, f"{text}{dropped}", "in the guest: read what its DHCP client logs")
    if asked is not None:
        return step(Verdict.DHCP_BOOTING, f"the tap offers {what}, and the guest has just asked{more}")
    if tap.frames_in or tap.seen:
        text = f"the tap offers {what}, but the guest never asked: its image has an address of its own"
        return step(Verdict.DHCP_STATIC, f"{text}{more}")
    return step(Verdict.DHCP_NONE, f"the tap offers {what}; the guest has not asked yet{more}")


def _counted(tap: TapFacts, now: float) -> str:
    """Return how often the tap gave each answer, and when it did so last, as text for people; "" for never."""
    answers = {shown: tap.seen[kind] for kind, shown in _ANSWERS.items() if kind in tap.seen}
    if not answers:
        return ""
    counts = listed(f"{each.count} × {shown}" for shown, each in answers.items())
    return f"{counts}, the last {ago(max(each.last for each in answers.values()), now)}"


def _minutes(seconds: float) -> str:
    minutes = -int(-seconds // 60)
    return f"{minutes} min" if minutes > 1 else "a minute"


def _switch_on(facts: Facts) -> str:
    """Return where to write that taps answer DHCP."""
    file = _file(facts)
    return f"in {file}: dhcp: on" if file else configure(facts, "steering", 'dhcp = "on"')


def _place(facts: Facts) -> str:
    """Return where the domain's addresses are written, or may be."""
    file = _file(facts)
    return f"in {file}" if file else "in the domain's file or metadata"


def _file(facts: Facts) -> str | None:
    domain = facts.host.domain
    origins = () if domain is None else domain.origins
    return next((origin for origin in origins if origin.startswith("/")), None)
