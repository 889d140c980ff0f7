"""The host's part of the path: the daemon, the domain, its taps, and what a packet passes from there to a worker."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from eve_meta.explain.facts import DomainFacts, Facts, PathFacts, TapFacts
from eve_meta.explain.nics import bypassing, use_a_tap
from eve_meta.explain.steps import Step, Verdict, command, configure, edit, listed, own, restart
from eve_meta.explain.vmms import ADVICE
from eve_meta.values.bypass import bypass
from eve_meta.values.domain import METADATA_NAMESPACE


def daemon(facts: Facts) -> Step:
    """Judge whether the daemon runs."""
    path = facts.host.path
    if path is None:
        text = "no eve-meta daemon runs: the steps below are from files and processes alone"
        return Step(verdict=Verdict.DAEMON_NOT_RUNNING, text=text, mend=restart(facts))
    if path.problem:
        text = f"eve-meta runs, but cannot inspect its rules: {path.problem}"
        return Step(verdict=Verdict.DAEMON_NOT_READABLE, text=text)
    return Step(verdict=Verdict.DAEMON_RUNNING, text=f"eve-meta runs, with the namespace {path.namespace}")


def domain(facts: Facts) -> Step:
    """Judge whether the domain is known, and from where; where it is unknown, what is missing."""
    host = facts.host
    known = host.domain
    refusals = list(dict.fromkeys(problem for tap in host.taps if tap.domain is None for problem in tap.problems))
    if refusals:
        where = known.origins[0] if known is not None and known.origins else ""
        mend = next((tap.mend for tap in host.taps if tap.domain is None and tap.mend), "")
        mend = mend or (edit(where) if where.startswith("/") else own(facts, "check"))
        return Step(verdict=Verdict.DOMAIN_REFUSED, text=listed(refusals, 1), mend=mend)
    if known is not None and known.faults:
        return _outdated(facts, known)
    if known is not None and not host.broken:
        renewed = f"; 'eve-meta rerun' gave it the instance id {known.instance_id}" if known.instance_id else ""
        text = f"{known.name} ({known.uuid}) from {_origin(known, host.taps)}{renewed}"
        return Step(verdict=Verdict.DOMAIN_KNOWN, text=text)
    if known is not None:
        text = f"{listed(host.broken, 1)}; nothing of this is served, only what {_origin(known, host.taps)} has"
        return Step(verdict=Verdict.DOMAIN_BROKEN, text=text, mend=own(facts, "check"))
    if host.broken:
        return Step(verdict=Verdict.DOMAIN_BROKEN, text=listed(host.broken, 1), mend=own(facts, "check"))
    if host.taps:
        return _unknown(facts, host.taps[0])
    if host.near:
        text = f"no domain or tap is called {host.asked_for}: did you mean {' or '.join(host.near)}?"
        return Step(verdict=Verdict.DOMAIN_MISTYPED, text=text, mend=own(facts, "explain", host.near[0]))
    text = f"no domain, tap or VMM process is called {host.asked_for}"
    return Step(verdict=Verdict.DOMAIN_NONE, text=text, mend=own(facts, "new", host.asked_for))


def _outdated(facts: Facts, known: DomainFacts) -> Step:
    """Judge a domain one of whose files was good, and has a mistake now."""
    faults = listed((fault.text for fault in known.faults), 1)
    hostname = f" (hostname {known.hostname})" if known.hostname else ""
    text = f"{faults}; meanwhile {known.name} is served as it was before that{hostname}"
    file = known.faults[0].file
    mend = own(facts, "check")  # the whole folder cannot be read
    if file.startswith("/") and file in known.origins:
        mend = edit(file)
    elif file in known.origins:
        options = ("--key", "eve", "--edit", "--live", "--config")
        mend = command("virsh", "metadata", known.name, METADATA_NAMESPACE, *options)
    return Step(verdict=Verdict.DOMAIN_OUTDATED, text=text, mend=mend)


def _origin(known: DomainFacts, taps: Sequence[TapFacts]) -> str:
    where = known.origins[0] if known.origins else "nowhere"
    more = f" and {listed(known.origins[1:])}" if len(known.origins) > 1 else ""
    named = [tap.name for tap in taps if tap.name in known.taps]
    if named:
        line = "" if known.line is None else f", line {known.line}"
        return f"{where}{line}{more}, which names {' and '.join(named)}"
    held = [f"{tap.process} behind {tap.name}" for tap in taps if tap.process is not None]
    return f"{where}{more}" + (f"; it is {' and '.join(held)}" if held else "")


def _unknown(facts: Facts, tap: TapFacts) -> Step:
    process = tap.process
    if process is not None and (process.name or process.uuid):
        name = process.name or str(process.uuid)
        text = f"{process} ({name}) holds {tap.name}, but no domain has that name or uuid"
        return Step(verdict=Verdict.DOMAIN_NONE, text=text, mend=own(facts, "new", name))
    holder = "no VMM process holds it" if tap.unidentified is None else f"{tap.unidentified} has no uuid or name"
    text = f"the domain behind {tap.name} is unknown: no file names the tap in its nics, and {holder}"
    return Step(verdict=Verdict.DOMAIN_NONE, text=text, mend=own(facts, "new", tap.name))


def start(facts: Facts) -> str:
    """Return the command that starts the guest, or what to do where eve-meta knows no command."""
    known = facts.host.domain
    return command("virsh", "start", known.name) if facts.libvirt and known is not None else "start the guest"


def no_tap(facts: Facts) -> Iterator[Step]:
    """Judge a domain that has no tap."""
    known, machine = facts.host.domain, facts.machine
    if known is None or facts.host.taps:
        return
    if machine is not None and (why := bypassing(machine.nics)):
        text = f"its guest has no tap ({machine.source}): {why}"
        yield Step(verdict=Verdict.TAP_BYPASSED, text=text, mend=use_a_tap(facts))
        return
    if machine is not None and machine.runs:
        text = f"its guest runs ({machine.source}), but its tap is unknown: name the tap in its nics"
        file = next((origin for origin in known.origins if origin.startswith("/")), "")
        mend = f"in {file}: nics: [{{tap: …}}]" if file else own(facts, "new", known.name)
        yield Step(verdict=Verdict.TAP_NONE, text=text, mend=mend)
        return
    text = "its guest does not run, or its tap is unknown: its nics name none, and no VMM process is this domain"
    yield Step(verdict=Verdict.TAP_NONE, text=text, mend=start(facts))


def tap(facts: Facts, tap: TapFacts) -> Step:
    """Judge whether a tap exists, is up, and is steered."""

    def step(verdict: Verdict, text: str, mend: str | None = None) -> Step:
        return Step(verdict=verdict, text=text, mend=mend, tap=tap.name)

    machine = facts.machine
    if tap.link is None and machine is not None and machine.runs and (why := bypassing(machine.nics)):
        text = f"there is no {tap.name}, but its guest runs ({machine.source}): {why}"
        return step(Verdict.TAP_BYPASSED, text, use_a_tap(facts))
    if tap.link is None and machine is not None and machine.runs:
        text = f"there is no {tap.name}, but its guest runs ({machine.source}): its nics name another tap than it has"
        known = facts.host.domain
        files = [origin for origin in (() if known is None else known.origins) if origin.startswith("/")]
        return step(Verdict.TAP_MISSING, text, edit(files[0]) if files else own(facts, "check"))
    if tap.link is None:
        return step(Verdict.TAP_MISSING, f"there is no {tap.name}: its guest does not run", start(facts))
    if bypassed := bypass(tap.name, tap.link.kind):
        return step(Verdict.TAP_BYPASSED, bypassed, use_a_tap(facts))
    if not tap.matched:
        patterns = " ".join(facts.host.patterns)
        text = f"{tap.name} is not a tap that eve-meta steers: [steering] taps is {patterns}"
        taps = json.dumps([*facts.host.patterns, tap.name])
        return step(Verdict.TAP_UNMATCHED, text, configure(facts, "steering", f"taps = {taps}"))
    if not tap.link.up:
        return step(Verdict.TAP_DOWN, f"{tap.name} is down", command("ip", "link", "set", tap.name, "up"))
    if not tap.link.carrier:
        return step(Verdict.TAP_NO_CARRIER, f"{tap.name} has no carrier: no process holds its other end", start(facts))
    if tap.tag is None and facts.host.path is not None:
        text = tap.unsteered or f"{tap.name} has no tag: it is a bridge, a bond or the like, or not Ethernet"
        return step(Verdict.TAP_NOT_STEERED, text, restart(facts))
    bridge = {None: "", "": ", on no bridge"}.get(tap.link.bridge, f", on bridge {tap.link.bridge}")
    tag = "" if tap.tag is None else f", tag {tap.tag}"
    return step(Verdict.TAP_UP, f"{tap.name} is up, with carrier{bridge}{tag}")


def process(facts: Facts, tap: TapFacts) -> Iterator[Step]:
    """Judge which process holds a tap."""
    if tap.link is None:
        return
    known = facts.host.domain
    named = known is not None and tap.name in known.taps
    if tap.process is None:
        text = f"no VMM process is known to hold {tap.name}"
        if tap.unidentified is not None:
            options = ADVICE[tap.unidentified.vmm].identity
            text = f"{tap.unidentified} holds {tap.name}, but has neither uuid nor name ({options})"
        text += "; the file names the tap" if named else ""
        yield Step(verdict=Verdict.PROCESS_UNKNOWN, text=text, tap=tap.name)
        return
    holder = f"{tap.process} holds {tap.name}"
    if not tap.process.trusted and not named:
        text = (
            f"{holder}, but runs as user {tap.process.uid}, whose processes are not trusted: name the tap in a file, "
            "or the user in [inventory] process_users if it runs nothing but VMs"
        )
        file = known.origins[0] if known is not None and known.origins[0].startswith("/") else ""
        line = f"in {file}: nics: [{{tap: {tap.name}}}]"
        mend = line if file else own(facts, "new", tap.process.name or tap.name)
        yield Step(verdict=Verdict.PROCESS_UNTRUSTED, text=text, mend=mend, tap=tap.name)
        return
    yield Step(verdict=Verdict.PROCESS_KNOWN, text=holder, tap=tap.name)


def filters(facts: Facts, tap: TapFacts) -> Iterator[Step]:
    """Judge whether eve-meta's filter on a tap sees the tap's frames."""
    if tap.filters is None or tap.tag is None:
        return

    def step(verdict: Verdict, text: str, mend: str | None = None) -> Step:
        return Step(verdict=verdict, text=text, mend=mend, tap=tap.name)

    place = next((index for index, each in enumerate(tap.filters) if each.ours), None)
    if place is None:
        text = f"eve-meta's filter on {tap.name} is gone" + (f": {tap.unsteered}" if tap.unsteered else "")
        yield step(Verdict.FILTER_MISSING, text, restart(facts))
        return
    if place == 0:
        yield step(Verdict.FILTER_FIRST, f"eve-meta's filter is the first on {tap.name}")
        return
    first = tap.filters[0]
    name = f"{first.kind} {first.name}".rstrip()
    text = f"another program's filter ({name}, priority {first.priority}) comes before eve-meta's on {tap.name}"
    if tap.seen or tap.frames_in or tap.drops:
        yield step(Verdict.FILTER_BEHIND_BUT_SEES, f"{text}, and lets frames pass")
        return
    mend = command("tc", "filter", "delete", "dev", tap.name, "ingress", "pref", str(first.priority))
    yield step(Verdict.FILTER_BEHIND, f"{text}, which has seen no frame", mend)


def path(facts: Facts, path: PathFacts) -> Iterator[Step]:
    """Judge the part of the path that all taps share."""
    if path.problem:
        return
    inside = f"in namespace {path.namespace}"
    why = f"; eve-meta cannot restore it: {path.unrestored}" if path.unrestored else ""
    for missing, there, good, gone in (
        (path.programs, Verdict.PROGRAMS_LOADED, "the programs are pinned and attached", Verdict.PROGRAMS_MISSING),
        (path.links, Verdict.NAMESPACE_THERE, f"{path.namespace} and its links are there", Verdict.NAMESPACE_MISSING),
        (path.rules, Verdict.RULES_THERE, f"all iptables rules are {inside}", Verdict.RULES_MISSING),
        (path.routes, Verdict.ROUTE_THERE, f"the routes back to the guests are {inside}", Verdict.ROUTE_MISSING),
    ):
        if missing:
            yield Step(verdict=gone, text=f"missing: {listed(missing, 2)}{why}", mend=restart(facts))
        elif gone not in (Verdict.RULES_MISSING, Verdict.ROUTE_MISSING) or not path.links:
            yield Step(verdict=there, text=good)  # rules and routes of a missing namespace are unknown
    alive = [pid for pid in path.workers if pid is not None]
    again = f"; restarted {path.restarts} times" if path.restarts else ""
    if not alive:
        yield Step(verdict=Verdict.WORKER_DEAD, text=f"no worker runs{again}: the log says why", mend=restart(facts))
        return
    text = f"{'process' if len(alive) == 1 else 'processes'} {', '.join(map(str, alive))}{again}"
    yield Step(verdict=Verdict.WORKER_ALIVE, text=text)
