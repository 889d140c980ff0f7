"""Messages about taps that wait for a worker: one frame in one turn of the reactor, no faster than the worker reads.

A reload may change every domain at once, and a domain may have files of 16 MiB: sent all in one go, they would keep the
supervisor from new taps for seconds, and all of them would lie in its memory twice. What is pending here are references
alone; a message is made just before it is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from twisted.internet.interfaces import IConsumer, IPushProducer, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from eve_meta.runtime.timer import Timer
from eve_meta.supervisor.worker_contents import Progress, WorkerContents
from eve_meta.supervisor.worker_entry import WorkerEntry
from eve_meta.wire.channel import Channel
from eve_meta.wire.domain import MAX_DESCRIPTION
from eve_meta.wire.messages import Begin, CountsRequest, PutTap, RemoveTap

MakeEntry = Callable[[], WorkerEntry]
"""Makes a message that is current when the function is called: only just before the message is sent."""

NO_ROOM_REST = 0.01
"""Seconds until another try where the worker has to receive the descriptors that it was sent before."""

STARVED_REST = 1.0
"""Seconds until another try where the kernel has no memory or no descriptor left for a content."""

NODE = 0
"""The key of the message about the node, which belongs to no tap. No tap has this tag (:mod:`eve_meta.values.tag`)."""


@implementer(IPushProducer)
class WorkerFeed:
    """The messages for one worker, sent over *channel*, which is connected.

    :param contents: the contents that the worker holds.
    """

    _log = Logger()

    def __init__(self, reactor: IReactorTime, channel: Channel, contents: WorkerContents) -> None:
        self._channel = channel
        self._contents = contents
        # Tags whose contents the kernel had no memory or no descriptor for.
        self._starved: set[int | Begin | CountsRequest] = set()
        self._starvation_logged = False
        # By tag. A message without a tag is its own key: its turn comes when all before it has been sent.
        self._pending: dict[int | Begin | CountsRequest, MakeEntry | None] = {}
        self._paused = False
        self._timer = Timer(reactor, self._send_next)
        # As a producer it keeps at most one large frame, beside small ones, in the transport's buffer.
        cast(IConsumer, channel.transport).registerProducer(self, True)

    def send_now(self, message: PutTap | RemoveTap) -> None:
        """Send *message*, a small one, before all that is pending and instead of what is pending for its tag."""
        self._pending.pop(message.tag, None)
        self._channel.send(message)
        self._contents.keep(message.tag, ())

    def put(self, tag: int, make: MakeEntry) -> None:
        """Send the message that *make* makes for *tag*, or for :data:`NODE`, when its turn comes.

        It is sent once, however often this method is called for *tag* before.
        """
        self._pending[tag] = make
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
        key = next((key for key in self._pending if key not in self._starved), None)
        if key is None:
            self._starved.clear()
            self._rest(STARVED_REST)
            return
        make = self._pending[key]
        if make is not None and isinstance(key, int):
            self._send_entry(key, make)
        elif not isinstance(key, int):
            del self._pending[key]
            self._channel.send(key)

    def _send_entry(self, tag: int, make: MakeEntry) -> None:
        """Send the entry of *tag*, or first some of the contents that the worker lacks for it."""
        entry = make()
        try:
            progress = self._contents.send_missing(tag, entry.contents)
        except OSError as error:
            self._starve(tag, error)
            return
        if progress is Progress.NO_ROOM:
            self._rest(NO_ROOM_REST)
        if progress is not Progress.COMPLETE:
            return
        del self._pending[tag]
        payload = b"" if entry.write is None else entry.write(self._contents.number_of)
        if len(payload) > MAX_DESCRIPTION:
            # Sources of the inventory refuse far smaller domains; a frame that is too long would end the worker.
            self._log.error("tag {tag}: its domain has {size} bytes and is not served", tag=tag, size=len(payload))
            return
        self._channel.send(entry.message, payload)
        self._contents.keep(tag, entry.contents)

    def _starve(self, tag: int, error: OSError) -> None:
        """Let *tag* wait until all others have had their turn: the kernel has nothing left for its contents."""
        if not self._starvation_logged:
            self._starvation_logged = True
            self._log.error("tag {tag}: its domain is not served for now: {error}", tag=tag, error=error)
        self._starved.add(tag)

    def _rest(self, seconds: float) -> None:
        self._timer.cancel()
        self._timer.start(seconds)
