"""Tags are never reused while anything could still hold the old one.

They count up through all 65,535 and only then begin again; a tag whose tap went away rests for :data:`QUARANTINE` all
the same. What can outlive a tap: frames on their way (microseconds), conntrack entries (a minute, see
path/sysctls.py) and connections that the worker closes when it hears of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from eve_meta.values.problem import Problem
from eve_meta.values.tag import MAX_TAG, MIN_TAG

QUARANTINE = 600.0
"""Seconds that a tag rests: longer than any conntrack timeout of the private namespace."""


class TagAllocator:
    """Hands out tags.

    :param clock: seconds, monotonic.
    :param following: where to begin to count.
    """

    def __init__(self, clock: Callable[[], float], following: int = MIN_TAG) -> None:
        self._clock = clock
        self._taken: set[int] = set()
        self._resting: deque[tuple[float, int]] = deque()
        self.following = following if MIN_TAG <= following <= MAX_TAG else MIN_TAG

    def take(self) -> int:
        """A tag that nobody holds.

        :raises Problem: when all are taken or resting.
        """
        now = self._clock()
        while self._resting and self._resting[0][0] <= now:
            self._taken.discard(self._resting.popleft()[1])
        if len(self._taken) > MAX_TAG - MIN_TAG:
            raise Problem(
                f"no tag is free: {MAX_TAG} taps live or went away within the last {QUARANTINE:.0f} s; "
                "this tap gets no metadata until one is"
            )
        tag = self.following
        while tag in self._taken:
            tag = self._after(tag)
        self._taken.add(tag)
        self.following = self._after(tag)
        return tag

    def adopt(self, tag: int) -> None:
        """Takes note that *tag* is in use already."""
        self._taken.add(tag)

    def release(self, tag: int) -> None:
        """The tap of *tag* is gone: the tag rests from now on."""
        self._resting.append((self._clock() + QUARANTINE, tag))

    @staticmethod
    def _after(tag: int) -> int:
        return tag + 1 if tag < MAX_TAG else MIN_TAG
