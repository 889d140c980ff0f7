"""What ``eve-meta status`` shows, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from eve_meta.inventory.inventory import Inventory
from eve_meta.steering.maps import Reason
from eve_meta.steering.steering import Steering
from eve_meta.supervisor import Supervisor, TapState
from eve_meta.web.counts import Note

NOTES = frozenset(note.value for note in Note)
"""Kept apart from what requests came to, or each request would be there twice."""


def status(supervisor: Supervisor, steering: Steering, inventory: Inventory) -> dict[str, Any]:
    """The state of the daemon; every value is what JSON can hold."""
    return {
        "version": version("eve-meta"),
        "namespace": steering.namespace.name,
        "taps": [_tap(state, steering.counters(state.tap.tag)) for state in supervisor.taps],
        "workers": [{"pid": worker.pid, "restarts": worker.restarts} for worker in supervisor.workers],
        "domains": len(list(inventory.domains())),
        "unsteered": {
            "requests": dict(supervisor.unsteered),
            "drops": _drops(steering.counters(0)),
        },
        "overruns": steering.overruns,
        "problems": [
            *(f"tap {tap}: {problem}" for tap, problem in sorted(steering.problems.items())),
            *(str(problem) for problem in inventory.problems()),
        ],
    }


def _tap(state: TapState, counters: Mapping[Reason, int]) -> dict[str, Any]:
    domain = state.domain
    return {
        "tap": state.tap.name,
        "ifindex": state.tap.ifindex,
        "tag": state.tap.tag,
        "carrier": state.tap.carrier,
        "domain": None if domain is None else {"name": domain.display_name, "uuid": str(domain.instance_uuid)},
        "requests": {name: number for name, number in sorted(state.requests.items()) if name not in NOTES},
        "notes": {name: number for name, number in sorted(state.requests.items()) if name in NOTES},
        "answered_arp": counters.get(Reason.ANSWERED_ARP, 0),
        "frames_in": counters.get(Reason.PASSED_REQUEST, 0),
        "frames_out": counters.get(Reason.PASSED_ANSWER, 0),
        "drops": _drops(counters),
    }


def _drops(counters: Mapping[Reason, int]) -> dict[str, int]:
    return {
        reason.label.removeprefix("drop_"): number
        for reason, number in counters.items()
        if number and reason.label.startswith("drop_")
    }
