"""A tap, which links are taps, and what whoever serves them hears of them."""

from __future__ import annotations

from typing import Protocol

from attrs import frozen

from eve_meta.config import SteeringConfig
from eve_meta.steering.path.namespace import host_link
from eve_meta.steering.taps.links import Link

NEVER_TAPS = frozenset({"bridge", "bond", "team", "vlan", "vxlan", "ifb"})
"""Kinds of links that are no domain's end, whatever their name: what they carry is many guests' traffic."""


@frozen
class Tap:
    """A tap that is steered.

    :ivar since: when it was seen first, in seconds of the monotonic clock.
    :ivar losses: :attr:`eve_meta.steering.taps.links.Link.losses` when the carrier that it has came.
    """

    name: str
    ifindex: int
    tag: int
    since: float
    carrier: bool
    losses: int = 0


class TapObserver(Protocol):
    """Who serves the taps."""

    def tap_appeared(self, tap: Tap) -> None:
        """*tap* has its tag; its first frame may follow as soon as this returns."""

    def taps_complete(self) -> None:
        """All taps that there are have appeared; called again where messages were lost."""

    def tap_gone(self, tap: Tap) -> None:
        """*tap* is no more, and nothing that came from it is on its way any longer."""

    def holder_may_have_changed(self, tap: Tap) -> None:
        """What is at the other end of *tap* went or came: perhaps it is another domain now."""

    def healed(self, piece: str, name: str) -> None:
        """A *piece* of the way was gone and is back: the "filter" of the tap *name*; or of the "programs", the
        "namespace", the "rules" or the "routes" that all taps share what *name* says.
        """


def is_tap(link: Link, config: SteeringConfig) -> bool:
    """Whether *config* says that *link* is a tap."""
    return (
        link.ethernet
        and link.kind not in NEVER_TAPS
        and link.name != host_link(config.namespace)
        and config.matches(link.name)
    )
