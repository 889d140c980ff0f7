"""A token bucket: a limit on a rate that lets a burst through.

A bucket holds up to *burst* tokens, gains *rate* of them a second, and gives some for each event that it admits. It is
full when it is made. It has no clock: each call hands in the time, in seconds of one monotonic clock.
"""

from __future__ import annotations


class TokenBucket:
    """A bucket that gains *rate* tokens a second and holds *burst* of them at most.

    :param now: the time at which the bucket is made.
    """

    __slots__ = ("_burst", "_filled_at", "_rate", "_tokens")

    def __init__(self, *, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._filled_at = now

    def take(self, now: float, tokens: float = 1) -> bool:
        """Take *tokens* out of the bucket; return False, and take none, where it holds fewer."""
        held = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if held < tokens:
            self._tokens = held
            return False
        self._tokens = held - tokens
        return True

    def is_full(self, now: float) -> bool:
        """Return whether a bucket that is made *now* would behave alike."""
        return self._tokens + (now - self._filled_at) * self._rate >= self._burst
