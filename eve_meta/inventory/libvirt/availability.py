"""Whether libvirt can be asked, and which taps wait for its answer.

The law: a tap that has got its domain without libvirt does not lose it because libvirt can be asked from now on. It
keeps the domain until libvirt's answer, which mostly is the same domain.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable


class Presence(enum.Enum):
    """Whether libvirt can be asked."""

    ABSENT = "no tap waits for it: as far as is known, this host has none"
    EXPECTED = "each tap waits: it is being connected to for the first time"
    THERE = "each tap waits: it answers"
    AWAY = "a tap waits unless a trusted process holds it: libvirt knows taps, but cannot be asked at present"


class Availability:
    """Whether libvirt can be asked.

    :param named: whether the configuration names libvirt. Otherwise it may be absent, and counts as absent until it was
        connected to for the first time.
    """

    def __init__(self, *, named: bool) -> None:
        self._named = named
        self.presence = Presence.EXPECTED if named else Presence.ABSENT
        self._why = ""
        # What libvirt was when the tap's domain could be decided without it, by tap.
        self._undelayed: dict[str, Presence] = {}

    @property
    def away(self) -> bool:
        """Whether libvirt cannot be asked at present, though not because it is only being connected to."""
        return self.presence in (Presence.ABSENT, Presence.AWAY)

    @property
    def problem(self) -> str:
        """Why libvirt cannot be asked, and what follows; "" for nothing."""
        if not self._why or not self.away:
            return ""
        if self.presence is Presence.ABSENT:
            return f"{self._why}: files and processes alone decide which domain a tap has"
        return f"{self._why}: known domains are served as before"

    def expect(self, taps: Iterable[str]) -> None:
        """Note that libvirt is being connected to for the first time. Up to now, *taps* did without it."""
        self._change(Presence.EXPECTED, "", taps)

    def connected(self, taps: Iterable[str]) -> None:
        """Note that libvirt answers from now on. It has not been asked about *taps* yet."""
        self._named = True
        self._change(Presence.THERE, "", taps)

    def lost(self, why: str) -> None:
        """Note that libvirt cannot be asked, and *why*."""
        self._change(Presence.AWAY if self._named else Presence.ABSENT, why, ())

    def forget(self, tap: str) -> None:
        """Note that *tap* is gone, or may have another domain than before."""
        self._undelayed.pop(tap, None)

    def awaited(self, tap: str, *, trusted: bool) -> bool:
        """Return whether *tap*, about which libvirt has not answered yet, has to wait for that answer.

        :param trusted: whether a trusted process holds the tap.
        """
        presence = self._undelayed.get(tap, self.presence)
        return presence is not Presence.ABSENT and not (presence is Presence.AWAY and trusted)

    def _change(self, presence: Presence, why: str, taps: Iterable[str]) -> None:
        if self.away:
            for tap in taps:
                self._undelayed.setdefault(tap, self.presence)
        self.presence, self._why = presence, why
