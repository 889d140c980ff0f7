"""A guest's boot, as the host saw it and as the guest's cloud-init reported it."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import asdict

from eve_meta.admin.domain import known_names
from eve_meta.admin.questions import Timeline
from eve_meta.admin.resolve import Meaning
from eve_meta.admin.status import since_epoch
from eve_meta.inventory.inventory import Inventory
from eve_meta.runtime.clock import Clock
from eve_meta.steering.steering import Steering
from eve_meta.supervisor.events import rfc3339
from eve_meta.supervisor.supervisor import Supervisor
from eve_meta.supervisor.tap_state import TapState
from eve_meta.values.problem import Problem
from eve_meta.values.request_kind import RequestKind

SEEN = {
    "dhcp": "first DHCP",
    "dhcp_offer": "first DHCP offer",
    "dhcp_ack": "first DHCP ack",
    "dhcp_nak": "first DHCP nak",
    "dhcp6": "first DHCPv6",
    "arp": "first ARP",
    "nd": "first ND",
    "connection": "first SYN",
}

DOCUMENTS = {
    "meta_data": (RequestKind.META_DATA, RequestKind.EC2_META_DATA, RequestKind.NOCLOUD_META_DATA),
    "user_data": (RequestKind.USER_DATA, RequestKind.EC2_USER_DATA, RequestKind.NOCLOUD_USER_DATA),
}


def timeline(
    clock: Clock, supervisor: Supervisor, steering: Steering, inventory: Inventory, name: str
) -> list[Timeline]:
    """Answer :data:`~eve_meta.admin.questions.TIMELINE`: the tap *name*, or each tap that is served for a domain.

    :raises Problem: where *name* means nothing, or nothing with a tap.
    """
    meaning = known_names(supervisor, inventory).meaning(name)
    states = [state for state in supervisor.taps if _is_meant(state, meaning)]
    if not states:
        what = f"tap {meaning.tap} is not steered" if meaning.tap is not None else f"{name} has no tap that is served"
        raise Problem(f"{what}: 'eve-meta explain {name}' says why")
    return [_timeline(clock, state, steering) for state in states]


def _is_meant(state: TapState, meaning: Meaning) -> bool:
    if meaning.tap is not None:
        return state.tap.name == meaning.tap
    # By the domain that is served, not by the domain's taps: the domain has no timeline on a tap that its file names
    # but another domain's process holds.
    domain = state.domain
    return domain is not None and meaning.domain is not None and domain.instance_uuid == meaning.domain.uuid


def _timeline(clock: Clock, state: TapState, steering: Steering) -> Timeline:
    domain, since = state.domain, state.tap.since
    return {
        "tap": state.tap.name,
        "uuid": None if domain is None else str(domain.instance_uuid),
        "name": None if domain is None else domain.display_name,
        "since": rfc3339(since_epoch(clock, since)),
        # In the order of their times; sorted() keeps the order of equal times.
        "moments": [
            {"what": what, "after": round(at - since, 3)}
            for what, at in sorted(_moments(clock, state, steering), key=lambda moment: moment[1])
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


def _moments(clock: Clock, state: TapState, steering: Steering) -> Iterator[tuple[str, float]]:
    """Yield the moments of the boot and their times, in seconds of ``CLOCK_MONOTONIC``."""
    yield "tap up", state.tap.since
    boot = clock.monotonic_of_boot(0.0)  # the programs' clock counts from the boot
    for kind, frames in asdict(steering.sightings(state.tap.tag), recurse=False).items():
        if frames is not None:
            yield SEEN[kind], boot + frames.first
    kinds = state.asked.kinds
    if not kinds:
        return
    yield "first request", min(seen.first for _, _, seen in kinds)
    for document, kinds_of_document in DOCUMENTS.items():
        if times := [seen.first for kind, status, seen in kinds if kind in kinds_of_document and status == 200]:
            yield document, min(times)
    yield "last request", max(seen.last for _, _, seen in kinds)
