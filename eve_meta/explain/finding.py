"""What a name, a uuid or a tap means: which domain, and which taps."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence

from eve_meta.explain.facts import DomainFacts, ProcessFacts


def find(
    asked_for: str,
    domains: Sequence[DomainFacts],
    links: Collection[str],
    processes: Mapping[str, ProcessFacts],
    served: Mapping[str, str],
) -> tuple[DomainFacts | None, tuple[str, ...]]:
    """The domain and the taps that are meant; a domain of that name or uuid before a tap of that name.

    :param links: names of links that there are.
    :param processes: those that hold a tap, by tap.
    :param served: the uuid of the domain behind each tap that has one.
    """
    for domain in domains:
        if asked_for == domain.name or asked_for.lower() == domain.uuid:
            taps = {tap for tap, uuid in served.items() if uuid == domain.uuid}
            taps.update(domain.taps)
            taps.update(tap for tap, process in processes.items() if _is(process, domain))
            return domain, tuple(sorted(taps))
    if asked_for in links:
        return _behind(asked_for, domains, processes.get(asked_for), served.get(asked_for)), (asked_for,)
    held = (tap for tap, process in processes.items() if asked_for in (process.name, process.uuid))
    return None, tuple(sorted(held))


def near(asked_for: str, names: Iterable[str]) -> tuple[str, ...]:
    """The *names* that *asked_for* may be mistyped for."""
    return tuple(difflib.get_close_matches(asked_for, sorted(set(names)), n=3))


def _behind(
    tap: str, domains: Sequence[DomainFacts], process: ProcessFacts | None, uuid: str | None
) -> DomainFacts | None:
    candidates = [
        *(each for each in domains if each.uuid == uuid),
        *(each for each in domains if tap in each.taps),
        *(each for each in domains if process is not None and _is(process, each)),
    ]
    return candidates[0] if candidates else None


def _is(process: ProcessFacts, domain: DomainFacts) -> bool:
    return process.uuid == domain.uuid or process.name == domain.name
