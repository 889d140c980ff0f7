"""The contents that the domains of a worker's taps name by numbers: small ones as bytes, large ones in sealed memory.

The supervisor decides what is here (:mod:`eve_meta.supervisor.worker_contents`). An answer that is under way keeps its
content, even one that is dropped before the answer ends.
"""

from __future__ import annotations

import socket

from eve_meta.runtime.sealed import receive
from eve_meta.values.content import Content, content_of
from eve_meta.wire.messages import DropContents, PutContents, PutSealedContent


class Contents:
    """The contents by number.

    :ivar descriptors: receives the descriptors of sealed memory. Set it before the first :class:`PutSealedContent`.
    """

    descriptors: socket.socket

    def __init__(self) -> None:
        self._contents: dict[int, Content] = {}

    def get(self, number: int) -> Content:
        """Return the content of *number*, which the supervisor has sent."""
        return self._contents[number]

    def apply(self, message: PutContents | PutSealedContent | DropContents, payload: bytes) -> None:
        """Carry out *message* of the supervisor.

        :raises ValueError: where a content is not what *message* announces. Then no number can be relied on.
        """
        match message:
            case PutContents():
                begin = 0
                for number, size in zip(message.numbers, message.sizes, strict=True):
                    self._contents[number] = content_of(payload[begin : begin + size])
                    begin += size
            case PutSealedContent():
                memory = receive(self.descriptors, message.number, message.size)
                self._contents[message.number] = Content(message.size, message.digest, memory)
            case DropContents():
                for number in message.numbers:
                    del self._contents[number]
