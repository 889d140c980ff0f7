"""What a NAME means: the one rule of every command, and of every question on the admin socket, that takes a NAME.

A NAME is the first of these that it matches:

1. the name of a domain, letter by letter: libvirt lets ``web1`` and ``WEB1`` be two domains;
2. the uuid of a domain, in upper or lower case;
3. a tap, letter by letter;
4. the name of a domain, or else a tap, whatever its case, provided that only one matches;
5. the name or uuid of a VMM process that holds a tap, where the caller knows of processes.

Does no input or output and imports no Twisted: a command should start at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate
from typing import Protocol
from uuid import UUID

from attrs import frozen

from eve_meta.values.problem import Problem

MAX_NEAR = 3
"""Similar names that an error suggests."""

MAX_COMPARED = 200_000
"""How many pairs of characters are compared to find similar names, which takes some 50 ms at the most: whoever asks may
write any name, and names of domains may be such that comparing them takes long."""

MAX_LISTED = 20
"""Names of domains that an error lists where none is similar: what fits on a screen."""


@frozen(kw_only=True)
class NamedDomain:
    """A domain as far as a NAME can mean it.

    :ivar taps: the taps that people wrote into the domain's file or metadata.
    """

    name: str
    uuid: UUID
    taps: tuple[str, ...] = ()


class NamedProcess(Protocol):
    """A VMM process: its name and its uuid, as its command line has them."""

    @property
    def name(self) -> str | None: ...

    @property
    def uuid(self) -> UUID | None: ...


@frozen(kw_only=True)
class Meaning:
    """What a NAME means: a domain, taps, or both.

    :ivar domain: the domain; None for a tap or a process whose domain is unknown.
    :ivar taps: all taps of the domain or process; of a tap, only the tap itself.
    :ivar tap: the tap, where the NAME is a tap.
    """

    domain: NamedDomain | None
    taps: tuple[str, ...]
    tap: str | None = None


@frozen(kw_only=True)
class Names:
    """Everything that a NAME can mean.

    :ivar domains: the domains; where two have the same name or tap, a NAME means the first.
    :ivar taps: the taps, and any other network device that a NAME can mean; the taps that people wrote into a domain's
        file need not be among them.
    :ivar served: the uuid of the domain that is served behind a tap, by the tap.
    :ivar processes: the process that holds a tap, by the tap; empty where processes identify no domain.
    :ivar broken: the number of files that would define further domains but cannot be used.
    """

    domains: Sequence[NamedDomain]
    taps: Collection[str] = ()
    served: Mapping[str, UUID] = {}
    processes: Mapping[str, NamedProcess] = {}
    broken: int = 0

    def resolve(self, name: str) -> Meaning | None:
        """Return what *name* means, None where it means nothing."""
        for domain in (self._named(name), self._with_uuid(_uuid(name))):
            if domain is not None:
                return Meaning(domain=domain, taps=self.taps_of(domain))
        taps = self._all_taps()
        if name in taps:
            return self._tap(name)
        folded = name.casefold()
        names = {domain.name for domain in self.domains if domain.name.casefold() == folded}
        if len(names) == 1:
            return self.resolve(names.pop())
        same_taps = [tap for tap in taps if tap.casefold() == folded]
        if not names and len(same_taps) == 1:
            return self._tap(same_taps[0])
        uuid = _uuid(name)
        held = [
            tap
            for tap, process in self.processes.items()
            if process.name == name or (uuid is not None and process.uuid == uuid)
        ]
        return Meaning(domain=None, taps=tuple(sorted(held))) if held else None

    def meaning(self, name: str) -> Meaning:
        """Return what *name* means.

        :raises Problem: where it means nothing; the text suggests similar names, or lists the names of all domains.
        """
        meaning = self.resolve(name)
        if meaning is None:
            raise Problem(f"no domain or tap {name!r}: {self._others(name)}{self._hint()}")
        return meaning

    def domain(self, name: str) -> NamedDomain:
        """Return the domain that *name* means.

        :raises Problem: as :meth:`meaning`, and where *name* is a tap whose domain is unknown.
        """
        meaning = self.meaning(name)
        if meaning.domain is None:
            taps = " and ".join(meaning.taps)
            raise Problem(f"the domain behind {taps} is unknown: 'eve-meta explain {meaning.taps[0]}' says why")
        return meaning.domain

    def taps_of(self, domain: NamedDomain) -> tuple[str, ...]:
        """Return, sorted, all taps of *domain*: those that people wrote, those served, and those its processes hold."""
        taps = set(domain.taps)
        taps.update(tap for tap, uuid in self.served.items() if uuid == domain.uuid)
        taps.update(tap for tap, process in self.processes.items() if _is(process, domain))
        return tuple(sorted(taps))

    def taps_by_domain(self) -> Mapping[UUID, Collection[str]]:
        """Return what :meth:`taps_of` does, for all domains in one pass: there may be thousands of each."""
        taps: dict[UUID | None, set[str]] = {domain.uuid: set(domain.taps) for domain in self.domains}
        by_name = {domain.name: domain.uuid for domain in self.domains}
        for tap, served in self.served.items():
            taps.setdefault(served, set()).add(tap)
        for tap, process in self.processes.items():
            for uuid in (process.uuid, by_name.get(process.name or "")):
                if uuid in taps:
                    taps[uuid].add(tap)
        return {domain.uuid: tuple(sorted(taps[domain.uuid])) for domain in self.domains}

    def near(self, name: str) -> tuple[str, ...]:
        """Return the domains and taps that *name* resembles in any case, the nearest first."""
        by_folded: dict[str, list[str]] = {}
        for other in sorted({*(domain.name for domain in self.domains), *self._all_taps()}):
            by_folded.setdefault(other.casefold(), []).append(other)
        similar = difflib.get_close_matches(name.casefold(), _comparable(name.casefold(), by_folded), n=MAX_NEAR)
        return tuple(other for folded in similar for other in by_folded[folded])[:MAX_NEAR]

    def completions(self, start: str) -> list[str]:
        """Return, sorted, what a shell offers in place of *start*: names and taps that begin so, or else uuids."""
        names = {*(domain.name for domain in self.domains), *self._all_taps()}
        uuids = {str(domain.uuid) for domain in self.domains}
        return _beginning(names, start) or _beginning(uuids, start)

    def _named(self, name: str) -> NamedDomain | None:
        return next((domain for domain in self.domains if domain.name == name), None)

    def _with_uuid(self, uuid: UUID | None) -> NamedDomain | None:
        return next((domain for domain in self.domains if domain.uuid == uuid), None)

    def _all_taps(self) -> set[str]:
        return {*self.taps, *self.served, *(tap for domain in self.domains for tap in domain.taps)}

    def _tap(self, tap: str) -> Meaning:
        """Return what *tap* means: the domain served behind it, else the one that names it, else its process's one."""
        domain = self._with_uuid(self.served.get(tap)) or next((d for d in self.domains if tap in d.taps), None)
        process = self.processes.get(tap)
        if domain is None and process is not None:
            domain = next((each for each in self.domains if _is(process, each)), None)
        return Meaning(domain=domain, taps=(tap,), tap=tap)

    def _others(self, name: str) -> str:
        if near := self.near(name):
            return f"did you mean {' or '.join(near)}?"
        names = sorted({domain.name for domain in self.domains})
        if not names:
            return "no domain is known"
        return f"the domains are {', '.join(names[:MAX_LISTED])}" + (", …" if len(names) > MAX_LISTED else "")

    def _hint(self) -> str:
        if not self.broken:
            return ""
        return f" ({self.broken} {'files are' if self.broken > 1 else 'file is'} broken: see 'eve-meta check')"


def _comparable(name: str, others: Collection[str]) -> list[str]:
    """Return as many of *others* as can be compared with *name*: first those of its first letter and its length."""
    ranked = sorted(others, key=lambda other: (other[:1] != name[:1], abs(len(other) - len(name))))
    costs = accumulate(len(name) * len(other) for other in ranked)
    return [other for other, cost in zip(ranked, costs, strict=True) if cost <= MAX_COMPARED]


def _uuid(text: str) -> UUID | None:
    # UUID() also reads braces, a URN and no dashes, which mean the same uuid when somebody pastes them.
    try:
        return UUID(text)
    except ValueError:
        return None


def _is(process: NamedProcess, domain: NamedDomain) -> bool:
    return process.uuid == domain.uuid or process.name == domain.name


def _beginning(names: Collection[str], start: str) -> list[str]:
    folded = start.casefold()
    exactly = sorted(name for name in names if name.startswith(start))
    return exactly or sorted(name for name in names if name.casefold().startswith(folded))
