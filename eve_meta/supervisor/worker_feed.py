"""What a worker is still to be told of taps: one domain in one turn of the reactor, no faster than the worker reads.

A reload may change every domain at once, and one may have 16 MiB: told all in one go, they would keep the supervisor
from new taps for seconds, and all lie in its memory as JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from twisted.internet.interfaces import IConsumer, IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

from eve_meta.wire.channel import Channel
from eve_meta.wire.messages import Begin, CountsRequest, PutNode, PutTap, RemoveTap

Content = Callable[[], tuple[PutTap | PutNode, bytes]]
"""Makes what there is to be said of a tap and its payload, as it is then: called only when it is about to be sent."""

NODE = 0
"""In place of a tag: what is said of no tap, but of the node. No tap has this one (:mod:`eve_meta.values.tag`)."""


@implementer(IPushProducer)
class WorkerFeed:
    """What goes to one worker, over *channel*, which is connected."""

    def __init__(self, reactor: IReactorTime, channel: Channel) -> None:
        self._reactor = reactor
        self._channel = channel
        # By tag; a message in its own place, which comes when all before it was told.
        self._pending: dict[int | Begin | CountsRequest, Content | None] = {}
        self._paused = False
        self._next: IDelayedCall | None = None
        # At its word at most one frame lies in the transport's buffer beside small ones.
        cast(IConsumer, channel.transport).registerProducer(self, True)

    def at_once(self, message: PutTap | RemoveTap) -> None:
        """Tells *message*, a small one, before all that is pending and in place of what is pending of its tag."""
        self._pending.pop(message.tag, None)
        self._channel.send(message)

    def put(self, tag: int, content: Content) -> None:
        """Tells *content* of *tag*, or of :data:`NODE`, when its turn comes: once, whatever changes until then."""
        self._pending[tag] = content
        self._go_on()

    def afterwards(self, message: Begin | CountsRequest) -> None:
        """Tells *message* when all is told that is pending now."""
        self._pending[message] = None
        self._go_on()

    def pauseProducing(self) -> None:
        """The transport's buffer is full."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The transport's buffer is empty."""
        self._paused = False
        self._go_on()

    def stopProducing(self) -> None:
        """The transport is gone."""
        self._pending.clear()

    def _go_on(self) -> None:
        if self._next is None:
            self._tell()

    def _tell(self) -> None:
        self._next = None
        if self._paused or not self._pending:
            return
        self._next = self._reactor.callLater(0, self._tell)
        key = next(iter(self._pending))
        content = self._pending.pop(key)
        if content is not None:
            self._channel.send(*content())
        elif not isinstance(key, int):
            self._channel.send(key)
