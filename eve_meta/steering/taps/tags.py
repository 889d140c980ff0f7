"""Tags are never reused while anything could still hold the old one.

They count up through all 65,535 and only then begin again. Even so, a tag whose tap goes away stays in quarantine for
:data:`QUARANTINE` first. These can outlive a tap: frames on their way (microseconds), entries of conntrack (a minute at
most, see ``CONNTRACK_SYSCTLS`` in ``path/sysctls.py``), and connections, until the worker learns that the tap is gone
and closes them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from eve_meta.values.problem import Problem
from eve_meta.values.tag import MAX_TAG, MIN_TAG

QUARANTINE = 600.0
"""Seconds for which a released tag is not given to another tap: longer than any conntrack timeout of the private
namespace."""


class TagAllocator:
    """Assigns tags.

    :param clock: returns monotonic seconds.
    :param following: the tag to begin with; where that is no tag, counting begins at :data:`MIN_TAG`.
    :ivar following: the tag at which counting goes on.
    """

    def __init__(self, clock: Callable[[], float], following: int = MIN_TAG) -> None:
        self._clock = clock
        self._taken: set[int] = set()
        self._quarantine: deque[tuple[float, int]] = deque()
        self.following = following if MIN_TAG <= following <= MAX_TAG else MIN_TAG

    def take(self) -> int:
        """Return a tag that is free, and mark it as taken.

        :raises Problem: when all are taken or in quarantine.
        """
        now = self._clock()
        while self._quarantine and self._quarantine[0][0] <= now:
            self._taken.discard(self._quarantine.popleft()[1])
        if len(self._taken) > MAX_TAG - MIN_TAG:
            raise Problem(
                f"no tag is free: {MAX_TAG} taps exist or went away within the last {QUARANTINE:.0f} s; "
                "this tap gets no metadata until a tag is free"
            )
        tag = self.following
        while tag in self._taken:
            tag = self._after(tag)
        self._taken.add(tag)
        self.following = self._after(tag)
        return tag

    def adopt(self, tag: int) -> None:
        """Mark *tag* as taken: a tap has it already."""
        self._taken.add(tag)

    def release(self, tag: int) -> None:
        """Put *tag*, whose tap is gone, into quarantine."""
        self._quarantine.append((self._clock() + QUARANTINE, tag))

    @staticmethod
    def _after(tag: int) -> int:
        return tag + 1 if tag < MAX_TAG else MIN_TAG
