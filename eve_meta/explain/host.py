"""The host's part of the way: the daemon, the domain, its taps, and what leads a packet from there to a worker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eve_meta.explain.facts import DomainFacts, Facts, TapFacts, WayFacts
from eve_meta.explain.steps import Step, Verdict, command, edit, listed, restart


def daemon(facts: Facts) -> Step:
    """Whether the daemon runs."""
    way = facts.host.way
    if way is None:
        text = "no eve-meta daemon runs: what follows is from files and processes alone"
        return Step(verdict=Verdict.DAEMON_NOT_RUNNING, text=text, mend=restart(facts))
    if way.problem:
        return Step(verdict=Verdict.DAEMON_NOT_READABLE, text=f"eve-meta runs, but cannot look: {way.problem}")
    return Step(verdict=Verdict.DAEMON_RUNNING, text=f"eve-meta runs, with the namespace {way.namespace}")


def domain(facts: Facts) -> Step:
    """Whether the domain is known, and from where; where it is not, what is missing."""
    host = facts.host
    known = host.domain
    problems = list(dict.fromkeys(problem for tap in host.taps for problem in tap.problems))
    if problems and not any(tap.domain for tap in host.taps):
        where = known.origins[0] if known is not None else ""
        mend = edit(where) if where.startswith("/") else "eve-meta check"
        return Step(verdict=Verdict.DOMAIN_REFUSED, text=listed(problems, 1), mend=mend)
    if known is not None:
        return Step(verdict=Verdict.DOMAIN_KNOWN, text=f"{known.name} ({known.uuid}) from {_origin(known, host.taps)}")
    if host.broken:
        return Step(verdict=Verdict.DOMAIN_BROKEN, text=listed(host.broken, 1), mend="eve-meta check")
    if host.taps:
        return _nobodys(host.taps[0])
    if host.near:
        text = f"nothing is called {host.asked_for}; did you mean {' or '.join(host.near)}?"
        return Step(verdict=Verdict.DOMAIN_MISTYPED, text=text, mend=command("eve-meta", "explain", host.near[0]))
    text = f"no domain, no tap and no QEMU process is called {host.asked_for}"
    return Step(verdict=Verdict.DOMAIN_NONE, text=text, mend=command("eve-meta", "new", host.asked_for))


def _origin(known: DomainFacts, taps: Sequence[TapFacts]) -> str:
    where = known.origins[0] if known.origins else "nowhere"
    more = f" and {listed(known.origins[1:])}" if len(known.origins) > 1 else ""
    named = [tap.name for tap in taps if tap.name in known.taps]
    if named:
        line = "" if known.line is None else f", line {known.line}"
        return f"{where}{line}{more}: it names {' and '.join(named)}"
    held = [f"QEMU process {tap.process.pid} behind {tap.name}" for tap in taps if tap.process is not None]
    return f"{where}{more}" + (f": it is {' and '.join(held)}" if held else "")


def _nobodys(tap: TapFacts) -> Step:
    process = tap.process
    if process is not None and (process.name or process.uuid):
        name = process.name or str(process.uuid)
        text = f"QEMU process {process.pid} ({name}) holds {tap.name}, but no domain is called so"
        return Step(verdict=Verdict.DOMAIN_NONE, text=text, mend=command("eve-meta", "new", name))
    text = f"nothing says whose {tap.name} is: no file has it as 'tap' in its nics, and no QEMU process holds it"
    return Step(verdict=Verdict.DOMAIN_NONE, text=text, mend=command("eve-meta", "new", tap.name))


def start(facts: Facts) -> str:
    """What starts the guest."""
    known = facts.host.domain
    return command("virsh", "start", known.name) if facts.libvirt and known is not None else "start the guest"


def no_tap(facts: Facts) -> Iterator[Step]:
    """What there is to say of taps where the domain has none."""
    known = facts.host.domain
    if known is None or facts.host.taps:
        return
    text = "its guest does not run, or nothing says which tap it has: no 'tap' in its nics, no QEMU process that it is"
    yield Step(verdict=Verdict.TAP_NONE, text=text, mend=start(facts))


def tap(facts: Facts, of: TapFacts) -> Step:
    """Whether a tap is there, up, and steered."""

    def step(verdict: Verdict, text: str, mend: str | None = None) -> Step:
        return Step(verdict=verdict, text=text, mend=mend, tap=of.name)

    if of.link is None:
        return step(Verdict.TAP_MISSING, f"there is no {of.name}: its guest does not run", start(facts))
    if not of.matched:
        patterns = " ".join(facts.host.patterns)
        text = f"{of.name} is none of the taps that eve-meta looks after: [steering] taps is {patterns}"
        return step(Verdict.TAP_UNMATCHED, text, edit(facts.config))
    if not of.link.up:
        return step(Verdict.TAP_DOWN, f"{of.name} is down", command("ip", "link", "set", of.name, "up"))
    if not of.link.carrier:
        return step(Verdict.TAP_NO_CARRIER, f"{of.name} has no carrier: no process holds its other end", start(facts))
    if of.tag is None and facts.host.way is not None:
        text = listed(of.problems, 1) or f"{of.name} has no tag: it is a bridge, a bond or the like, or no Ethernet"
        return step(Verdict.TAP_NOT_STEERED, text, restart(facts))
    bridge = {None: "", "": ", on no bridge"}.get(of.link.bridge, f", on bridge {of.link.bridge}")
    tag = "" if of.tag is None else f", tag {of.tag}"
    return step(Verdict.TAP_UP, f"{of.name} is up, with carrier{bridge}{tag}")


def process(facts: Facts, of: TapFacts) -> Iterator[Step]:
    """Which process holds a tap."""
    if of.link is None:
        return
    known = facts.host.domain
    named = known is not None and of.name in known.taps
    if of.process is None:
        text = f"no QEMU process is known to hold {of.name}" + ("; the file says whose it is" if named else "")
        yield Step(verdict=Verdict.PROCESS_UNKNOWN, text=text, tap=of.name)
        return
    who = f"QEMU process {of.process.pid} holds {of.name}"
    if not of.process.trusted and not named:
        text = f"{who}, but user {of.process.uid}, who started it, is not trusted to say whose it is: name the tap"
        path = known.origins[0] if known is not None and known.origins[0].startswith("/") else ""
        mend = edit(path) if path else command("eve-meta", "new", of.process.name or of.name)
        yield Step(verdict=Verdict.PROCESS_UNTRUSTED, text=text, mend=mend, tap=of.name)
        return
    yield Step(verdict=Verdict.PROCESS_KNOWN, text=who, tap=of.name)


def filters(facts: Facts, of: TapFacts) -> Iterator[Step]:
    """Whether the filter on a tap sees its frames."""
    if of.filters is None or of.tag is None:
        return

    def step(verdict: Verdict, text: str, mend: str | None = None) -> Step:
        return Step(verdict=verdict, text=text, mend=mend, tap=of.name)

    place = next((index for index, each in enumerate(of.filters) if each.ours), None)
    if place is None:
        text = f"the filter on {of.name} is gone" + (f": {listed(of.problems, 1)}" if of.problems else "")
        yield step(Verdict.FILTER_MISSING, text, restart(facts))
        return
    if place == 0:
        yield step(Verdict.FILTER_FIRST, f"eve-meta's filter is the first on {of.name}")
        return
    first = of.filters[0]
    name = f"{first.kind} {first.name}".rstrip()
    text = f"a filter of another ({name}, priority {first.priority}) comes before eve-meta's on {of.name}"
    if of.seen or of.frames_in or of.drops:
        yield step(Verdict.FILTER_BEHIND_BUT_SEES, f"{text}, and lets frames pass")
        return
    mend = command("tc", "filter", "delete", "dev", of.name, "ingress", "pref", str(first.priority))
    yield step(Verdict.FILTER_BEHIND, f"{text}, which has seen nothing", mend)


def way(facts: Facts, of: WayFacts) -> Iterator[Step]:
    """What all taps share."""
    if of.problem:
        return
    inside = f"in namespace {of.namespace}"
    for missing, there, good, gone in (
        (of.programs, Verdict.PROGRAMS_LOADED, "the programs are pinned and attached", Verdict.PROGRAMS_MISSING),
        (of.links, Verdict.NAMESPACE_THERE, f"{of.namespace} and its links are there", Verdict.NAMESPACE_MISSING),
        (of.rules, Verdict.RULES_THERE, f"all iptables rules are {inside}", Verdict.RULES_MISSING),
        (of.routes, Verdict.ROUTE_THERE, f"the way back is {inside}", Verdict.ROUTE_MISSING),
    ):
        if missing:
            yield Step(verdict=gone, text=f"missing: {listed(missing, 2)}", mend=restart(facts))
        elif gone not in (Verdict.RULES_MISSING, Verdict.ROUTE_MISSING) or not of.links:
            yield Step(verdict=there, text=good)  # of a namespace that is not there nobody knows its rules
    alive = [pid for pid in of.workers if pid is not None]
    again = f"; {of.restarts} times started again" if of.restarts else ""
    if not alive:
        yield Step(verdict=Verdict.WORKER_DEAD, text=f"no worker runs{again}: the log says why", mend=restart(facts))
        return
    text = f"{'process' if len(alive) == 1 else 'processes'} {', '.join(map(str, alive))}{again}"
    yield Step(verdict=Verdict.WORKER_ALIVE, text=text)
