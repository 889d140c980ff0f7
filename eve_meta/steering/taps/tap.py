"""A tap, the rule that decides which links are taps, and the interface of the observer of taps."""

from __future__ import annotations

from typing import Protocol

from attrs import frozen

from eve_meta.config import SteeringConfig
from eve_meta.steering.path.names import host_link
from eve_meta.steering.taps.links import Link
from eve_meta.values.bypass import BYPASSES, bypass

NEVER_TAPS = frozenset({"bridge", "bond", "team", "vlan", "vxlan", "ifb", *BYPASSES})
"""Kinds of links that are never one domain's tap, whatever their name: they carry the traffic of many guests, or no
frame of their guest comes in through them."""


@frozen
class Tap:
    """A tap that is steered.

    :ivar since: when it got its tag, in seconds of the monotonic clock.
    :ivar losses: the value of :attr:`eve_meta.steering.taps.links.Link.losses` when its present carrier came.
    """

    name: str
    ifindex: int
    tag: int
    since: float
    carrier: bool
    losses: int = 0


class TapObserver(Protocol):
    """The observer of the taps, which steering calls when they come, change and go."""

    def tap_appeared(self, tap: Tap) -> None:
        """Note that *tap* has its tag; its first frame may follow as soon as this returns."""

    def taps_complete(self) -> None:
        """Note that all existing taps have appeared; called again after netlink messages were lost."""

    def tap_gone(self, tap: Tap) -> None:
        """Note that *tap* no longer exists, or no longer has this tag; none of its frames passes any longer."""

    def holder_may_have_changed(self, tap: Tap) -> None:
        """Note that *tap* got a carrier: the process that holds it may be another domain's."""

    def restored(self, piece: str, name: str) -> None:
        """Note that a piece of the path was missing and has been restored.

        :param piece: "filter" for the filter of one tap; "programs", "namespace", "rules" or "routes" for a part that
            all taps share.
        :param name: the tap's name, or the pieces of that part.
        """


def is_tap(link: Link, config: SteeringConfig) -> bool:
    """Return whether *link* is a tap by *config*."""
    return (
        link.ethernet
        and link.kind not in NEVER_TAPS
        and link.name != host_link(config.namespace)
        and config.matches(link.name)
    )


def unservable(link: Link, config: SteeringConfig) -> str | None:
    """Return why *link*, which is a tap by the patterns of *config*, cannot be one; None where nothing forbids it."""
    # The patterns come last: is_tap() compares them for links of other kinds, and each message about a link asks both.
    why = None if link.kind is None else bypass("it", link.kind)
    return why if why is not None and config.matches(link.name) else None
