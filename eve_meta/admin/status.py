"""The answer to ``eve-meta status``, and what other answers and the metrics share with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from attrs import asdict
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from eve_meta import __version__
from eve_meta.admin.questions import Status, WorkerStatus
from eve_meta.inventory.inventory import Inventory
from eve_meta.inventory.source import InventoryProblem
from eve_meta.runtime.clock import Clock
from eve_meta.runtime.sandbox.inspection import inspect
from eve_meta.runtime.turns import in_turns
from eve_meta.steering.bpf.maps import Reason
from eve_meta.steering.steering import Steering
from eve_meta.supervisor.dhcp import DhcpAnswers, DhcpDecision
from eve_meta.supervisor.supervisor import Supervisor
from eve_meta.supervisor.tap_state import TapState
from eve_meta.supervisor.worker_process import WorkerProcess
from eve_meta.wire.counts import Drop, Note


def status(
    reactor: IReactorTime, clock: Clock, supervisor: Supervisor, steering: Steering, inventory: Inventory
) -> Deferred[Status]:
    """Answer :data:`~eve_meta.admin.questions.STATUS`; the result comes later."""
    tap = partial(_tap, clock=clock, steering=steering, answers=supervisor.dhcp)
    taps = in_turns(reactor, tap, supervisor.taps)
    return taps.addCallback(
        lambda taps: {
            "version": __version__,
            "namespace": steering.namespace.name,
            "taps": taps,
            "workers": [_worker(worker) for worker in supervisor.workers],
            "lapses": supervisor.heartbeat.lapses,
            "domains": len(list(inventory.domains())),
            "unsteered": {
                "requests": dict(supervisor.tallies.unsteered),
                "drops": drops(steering.counters(0)),
            },
            "overruns": steering.overruns,
            "heals": dict(supervisor.restorations),
            "problems": list(_problems(steering, inventory)),
        }
    )


def _problems(steering: Steering, inventory: Inventory) -> Iterator[dict[str, Any]]:
    if steering.path_problem is not None:
        yield {**InventoryProblem(file="", message=steering.path_problem).plain, "tap": None}
    for tap, message in sorted(steering.problems.items()):
        yield {**InventoryProblem(file="", message=f"tap {tap}: {message}").plain, "tap": tap}
    for problem in inventory.problems():
        yield {**problem.plain, "tap": None}


def _worker(worker: WorkerProcess) -> WorkerStatus:
    return {
        "pid": worker.pid,
        "restarts": worker.restarts,
        "hangs": worker.hangs,
        "forbidden_calls": worker.forbidden_calls,
        "confinement": _confinement(worker),
    }


def _confinement(worker: WorkerProcess) -> dict[str, bool] | None:
    """Return what is in force for *worker*, by the kernel's account; None before the worker has confined itself."""
    if worker.pid is None or not worker.accepts:
        return None
    try:
        return inspect(worker.pid, worker.uid).plain
    except OSError:  # it has just ended
        return None


def _tap(state: TapState, clock: Clock, steering: Steering, answers: DhcpAnswers) -> dict[str, Any]:
    domain = state.domain
    counters = steering.counters(state.tap.tag)
    return {
        "tap": state.tap.name,
        "ifindex": state.tap.ifindex,
        "tag": state.tap.tag,
        "carrier": state.tap.carrier,
        "domain": None if domain is None else {"name": domain.display_name, "uuid": str(domain.instance_uuid)},
        "requests": dict(sorted({**state.asked.statuses, **_counts(state, Drop)}.items())),
        "notes": _counts(state, Note),
        "asked": asked(clock, state),
        "answered_arp": counters.get(Reason.ANSWERED_ARP, 0),
        "frames_in": counters.get(Reason.PASSED_REQUEST, 0),
        "frames_out": counters.get(Reason.PASSED_ANSWER, 0),
        "drops": drops(counters),
        "dhcp": _dhcp(answers.of(state.tap.tag), counters),
        "seen": seen(clock, steering, state),
    }


DHCP_ANSWERS = {
    "offer": Reason.ANSWERED_DHCP_OFFER,
    "ack": Reason.ANSWERED_DHCP_ACK,
    "nak": Reason.ANSWERED_DHCP_NAK,
}
"""What a tap answers to its guest's DHCP, and the reason that counts it."""


def _dhcp(does: DhcpDecision | None, counters: Mapping[Reason, int]) -> dict[str, Any] | None:
    """Return what a tap does with DHCP, None where that is not decided yet."""
    if does is None:
        return None
    return {
        "address": None if does.address is None else str(does.address),
        "link_local": does.lease is not None and does.lease.is_link_local,
        "deny_servers": does.deny_servers,
        "answers": {name: counters.get(reason, 0) for name, reason in DHCP_ANSWERS.items()},
    }


def asked(clock: Clock, state: TapState) -> list[dict[str, Any]]:
    """Return the requests of a tap's guest in the order of their first times, which are seconds since the epoch."""
    return [
        {
            "what": kind.value,
            "status": status,
            "count": seen.count,
            "first": since_epoch(clock, seen.first),
            "last": since_epoch(clock, seen.last),
        }
        for kind, status, seen in state.asked.kinds
    ]


def seen(clock: Clock, steering: Steering, state: TapState) -> dict[str, dict[str, Any] | None]:
    """Return the frames of a tap's guest by kind, as :class:`eve_meta.steering.bpf.maps.Sightings` has them.

    The times are seconds since the epoch; None stands for a kind that was never seen.
    """
    boot = clock.wall_of_boot(0.0)  # the programs' clock counts from the boot
    return {
        name: None
        if one is None
        else {"count": one.frames, "first": round(boot + one.first, 3), "last": round(boot + one.last, 3)}
        for name, one in asdict(steering.sightings(state.tap.tag), recurse=False).items()
    }


def since_epoch(clock: Clock, monotonic: float) -> float:
    """Return a time of ``CLOCK_MONOTONIC`` as seconds since the epoch, to the millisecond."""
    return round(clock.wall_of_monotonic(monotonic), 3)


def _counts(state: TapState, kind: type[Drop] | type[Note]) -> dict[str, int]:
    return {name.value: state.counts[name.value] for name in kind if state.counts[name.value]}


def drops(counters: Mapping[Reason, int]) -> dict[str, int]:
    """Return the numbers of frames that were dropped, by reason."""
    return {
        reason.label.removeprefix("drop_"): number
        for reason, number in counters.items()
        if number and reason.label.startswith("drop_")
    }
