"""What ``eve-meta timeline`` asks: a guest's boot, as the host saw it and as its cloud-init told it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from attrs import asdict

from eve_meta.admin.status import since_epoch
from eve_meta.steering.steering import Steering
from eve_meta.supervisor.events import rfc3339
from eve_meta.supervisor.supervisor import Supervisor
from eve_meta.supervisor.tap_state import TapState
from eve_meta.values.problem import Problem
from eve_meta.values.request_kind import RequestKind

SEEN = {"dhcp": "first DHCP", "dhcp6": "first DHCPv6", "arp": "first ARP", "nd": "first ND", "connection": "first SYN"}

DOCUMENTS = {
    "meta_data": (RequestKind.META_DATA, RequestKind.EC2_META_DATA, RequestKind.NOCLOUD_META_DATA),
    "user_data": (RequestKind.USER_DATA, RequestKind.EC2_USER_DATA, RequestKind.NOCLOUD_USER_DATA),
}


def timeline(supervisor: Supervisor, steering: Steering, name: str) -> list[dict[str, Any]]:
    """The timeline of each tap of what *name* means: a domain's name or uuid, or a tap.

    :raises Problem: when it means none.
    """
    found = [state for state in supervisor.taps if name in _names(state) or name.lower() in _names(state)]
    if not found:
        raise Problem(f"no domain with a tap, and no tap, is called {name!r}: 'eve-meta status' shows those there are")
    return [_of(state, steering) for state in found]


def _names(state: TapState) -> set[str | None]:
    domain = state.domain
    return {state.tap.name} | ({domain.name, str(domain.instance_uuid)} if domain is not None else set())


def _of(state: TapState, steering: Steering) -> dict[str, Any]:
    domain, since = state.domain, state.tap.since
    return {
        "tap": state.tap.name,
        "uuid": None if domain is None else str(domain.instance_uuid),
        "name": None if domain is None else domain.display_name,
        "since": rfc3339(since_epoch(since)),
        # In the order of their times; sorted() keeps that of equal ones.
        "moments": [
            {"what": what, "after": round(at - since, 3)}
            for what, at in sorted(_moments(state, steering), key=lambda moment: moment[1])
        ],
        "reports": [
            {
                "what": report.what.value,
                "after": round(report.at - since, 3),
                "name": report.name,
                "description": report.description,
                "result": None if report.result is None else report.result.value,
            }
            for report in state.reports
        ],
        "phone_home": None
        if state.phone_home is None
        else {"after": round(state.phone_home.at - since, 3), **state.phone_home.fields},
    }


def _moments(state: TapState, steering: Steering) -> Iterator[tuple[str, float]]:
    """What was seen first, and when, in seconds of ``CLOCK_MONOTONIC``."""
    yield "tap up", state.tap.since
    # The programs' clock goes on while the host sleeps.
    slept = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
    for kind, one in asdict(steering.sightings(state.tap.tag), recurse=False).items():
        if one is not None:
            yield SEEN[kind], one.first - slept
    kinds = state.asked.kinds
    if not kinds:
        return
    yield "first request", min(seen.first for _, _, seen in kinds)
    for document, its_kinds in DOCUMENTS.items():
        if times := [seen.first for kind, status, seen in kinds if kind in its_kinds and status == 200]:
            yield document, min(times)
    yield "last request", max(seen.last for _, _, seen in kinds)
