"""All steps of the way, in order, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import asdict

from eve_meta.explain import asking, guest, host
from eve_meta.explain.facts import Facts
from eve_meta.explain.steps import State, Step


def steps(facts: Facts) -> list[Step]:
    """The way from the guest to its metadata, step by step."""
    return list(_steps(facts))


def _steps(facts: Facts) -> Iterator[Step]:
    taps = facts.host.taps
    yield host.daemon(facts)
    yield host.domain(facts)
    if not taps and facts.host.domain is None:
        return  # what was asked for is nothing
    yield from host.no_tap(facts)
    for tap in taps:
        yield host.tap(facts, tap)
        yield from host.process(facts, tap)
        yield from host.filters(facts, tap)
    if facts.host.way is not None:
        yield from host.way(facts, facts.host.way)
        for tap in taps:
            if tap.tag is not None:
                yield asking.packets(facts, tap)
                yield asking.requests(facts, tap)
                if (step := asking.tokens(facts, tap)) is not None:
                    yield step
    yield from guest.machine(facts)


def plain(facts: Facts) -> dict[str, Any]:
    """The report as JSON can hold it; ``docs/explain.rst`` says what of it stays as it is."""
    known, found = facts.host.domain, guest.prediction(facts)
    return {
        "asked_for": facts.host.asked_for,
        "domain": None if known is None else {"name": known.name, "uuid": known.uuid, "origins": list(known.origins)},
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
            "predicted": None if found is None else found.predicted,
            "found": [] if found is None else list(found.found),
            "why": "" if found is None else found.why,
        },
    }


def any_wrong(facts: Facts) -> bool:
    """Whether a step is wrong."""
    return any(step.verdict.state is State.WRONG for step in steps(facts))
