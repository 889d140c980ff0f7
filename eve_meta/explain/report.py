"""The report: all steps of the path in order, and the report as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import asdict

from eve_meta.explain import dhcp, guest_machine, host_path, traffic
from eve_meta.explain.ds_identify import RELEASES
from eve_meta.explain.facts import Facts
from eve_meta.explain.steps import State, Step


def steps(facts: Facts) -> list[Step]:
    """Judge the path from the guest to its metadata, step by step."""
    return list(_steps(facts))


def _steps(facts: Facts) -> Iterator[Step]:
    taps = facts.host.taps
    yield host_path.daemon(facts)
    yield host_path.domain(facts)
    if not taps and facts.host.domain is None:
        return  # the NAME means nothing
    yield from host_path.no_tap(facts)
    for tap in taps:
        yield host_path.tap(facts, tap)
        yield from host_path.process(facts, tap)
        yield from host_path.filters(facts, tap)
    if facts.host.path is not None:
        yield from host_path.path(facts, facts.host.path)
        for tap in taps:
            if tap.tag is not None:
                if (address := dhcp.dhcp(facts, tap)) is not None:
                    yield address
                yield traffic.packets(facts, tap)
                yield traffic.requests(facts, tap)
                if (step := traffic.tokens(facts, tap)) is not None:
                    yield step
    yield from guest_machine.hardware(facts)


def plain(facts: Facts) -> dict[str, Any]:
    """Return the report as JSON can hold it; ``docs/explain.rst`` says which fields are stable."""
    domain, machine = facts.host.domain, facts.machine
    if machine is not None and machine.untold:
        machine = None  # what decides is unknown
    found = {} if machine is None else guest_machine.predictions(machine)
    imds = None if machine is None else guest_machine.imds_prediction(machine)
    first = found.get(RELEASES[0])
    return {
        "asked_for": facts.host.asked_for,
        "domain": None
        if domain is None
        else {"name": domain.name, "uuid": domain.uuid, "origins": list(domain.origins)},
        "taps": [tap.name for tap in facts.host.taps],
        "steps": [
            {
                "step": step.verdict.step,
                "state": step.verdict.state.value,
                "verdict": step.verdict.label,
                "tap": step.tap,
                "text": step.text,
                "mend": step.mend,
            }
            for step in steps(facts)
        ],
        "requests": {tap.name: [asdict(kind) for kind in tap.asked] for tap in facts.host.taps},
        "datasource": {
            "predicted": None if first is None else first.predicted,
            "found": [] if first is None else list(first.found),
            "why": "" if first is None else first.why,
            "releases": [
                {"cloud_init": release.version, "predicted": each.predicted, "found": list(each.found), "why": each.why}
                for release, each in found.items()
            ],
        },
        "imds": {
            "predicted": None if imds is None else imds.predicted.value,
            "why": "" if imds is None else imds.why,
        },
    }


def any_wrong(facts: Facts) -> bool:
    """Return whether a step is wrong."""
    return any(step.verdict.state is State.WRONG for step in steps(facts))
