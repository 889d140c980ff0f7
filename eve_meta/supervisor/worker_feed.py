"""What a worker is still to be sent about taps: one domain in one turn of the reactor, no faster than the worker reads.

A reload may change every domain at once, and a domain may have 16 MiB: sent all in one go, they would keep the
supervisor from new taps for seconds, and all of them would lie in its memory as JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from twisted.internet.interfaces import IConsumer, IPushProducer, IReactorTime
from zope.interface import implementer

from eve_meta.runtime.timer import Timer
from eve_meta.wire.channel import Channel
from eve_meta.wire.messages import Begin, CountsRequest, PutNode, PutTap, RemoveTap

Content = Callable[[], tuple[PutTap | PutNode, bytes]]
"""Makes a message and its payload as they are when it is called: only just before they are sent."""

NODE = 0
"""The key of what belongs to the node and to no tap. No tap has this tag (:mod:`eve_meta.values.tag`)."""


@implementer(IPushProducer)
class WorkerFeed:
    """The messages for one worker, sent over *channel*, which is connected."""

    def __init__(self, reactor: IReactorTime, channel: Channel) -> None:
        self._channel = channel
        # By tag. A message without a tag is its own key: its turn comes when all before it has been sent.
        self._pending: dict[int | Begin | CountsRequest, Content | None] = {}
        self._paused = False
        self._timer = Timer(reactor, self._send_next)
        # As a producer it keeps at most one large frame, beside small ones, in the transport's buffer.
        cast(IConsumer, channel.transport).registerProducer(self, True)

    def send_now(self, message: PutTap | RemoveTap) -> None:
        """Send *message*, a small one, before all that is pending and instead of what is pending for its tag."""
        self._pending.pop(message.tag, None)
        self._channel.send(message)

    def put(self, tag: int, content: Content) -> None:
        """Send *content* of *tag*, or of :data:`NODE`, when its turn comes: once, however often it changes before."""
        self._pending[tag] = content
        self._go_on()

    def send_after_pending(self, message: Begin | CountsRequest) -> None:
        """Send *message* when all that is pending now has been sent."""
        self._pending[message] = None
        self._go_on()

    def pauseProducing(self) -> None:
        """Pause: the transport's buffer is full."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Go on: the transport's buffer is empty."""
        self._paused = False
        self._go_on()

    def stopProducing(self) -> None:
        """Drop what is pending: the transport is gone."""
        self._pending.clear()

    def _go_on(self) -> None:
        if not self._timer.is_pending:
            self._send_next()

    def _send_next(self) -> None:
        if self._paused or not self._pending:
            return
        self._timer.start()
        key = next(iter(self._pending))
        content = self._pending.pop(key)
        if content is not None:
            self._channel.send(*content())
        elif not isinstance(key, int):
            self._channel.send(key)
