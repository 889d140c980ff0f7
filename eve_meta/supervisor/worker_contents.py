"""The contents that one process of a worker holds: sent before the first domain that names them, dropped with the last.

A small content is sent over the channel. A large one never is: its bytes move into sealed memory, once for all
processes, and each process gets a descriptor of its own.

The law: a process holds the contents of its own taps' domains alone.
"""

from __future__ import annotations

import enum
import socket
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import count

from eve_meta.runtime import sealed
from eve_meta.values.content import SMALL, Content
from eve_meta.wire.messages import DropContents, PutContents, PutSealedContent

FRAME = 256 * 1024
"""Bytes of small contents in one frame, roughly: a frame has at least one."""

MAX_NUMBERS = 4096
"""The most contents in one frame, so that their numbers and sizes take little beside a frame's bytes."""


class Progress(enum.Enum):
    """How far a process has got with the contents of a tap."""

    COMPLETE = enum.auto()
    """The process has all of them."""

    SENT = enum.auto()
    """Some were sent just now, and the process lacks others."""

    NO_ROOM = enum.auto()
    """The process must first receive the descriptors that were sent before."""


class WorkerContents:
    """The contents of one process.

    :param send: sends a message with its payload.
    :param descriptors: sends descriptors (:func:`eve_meta.runtime.sealed.descriptor_pair`); this object closes it.
    """

    def __init__(
        self, send: Callable[[PutContents | PutSealedContent | DropContents, bytes], None], descriptors: socket.socket
    ) -> None:
        self._send = send
        self._descriptors = descriptors
        self._closed = False
        self._next = count(1)
        self._numbers: dict[Content, int] = {}
        self._of_tag: dict[int, set[Content]] = {}
        self._users: Counter[Content] = Counter()

    def close(self) -> None:
        """Send no descriptor any more: the process has ended, or is to end."""
        self._closed = True
        self._descriptors.close()

    def number_of(self, content: Content) -> int:
        """Return the number by which the process knows *content*."""
        return self._numbers[content]

    def send_missing(self, tag: int, contents: Iterable[Content]) -> Progress:
        """Send the process one frame of those *contents* that the domain of *tag* needs and the process lacks.

        :raises OSError: where the kernel has no memory or no descriptor left.
        """
        used = self._of_tag.setdefault(tag, set())
        small: list[Content] = []
        size = 0
        stuck = False
        missing = [content for content in dict.fromkeys(contents) if content not in used]
        for content in missing:
            if content in self._numbers:
                self._use(used, content)
            elif len(content) > SMALL:
                if not small:
                    stuck = not self._send_sealed(content)
                    if not stuck:
                        self._use(used, content)
                break
            elif size + len(content) > FRAME or len(small) == MAX_NUMBERS:
                break
            else:
                small.append(content)
                size += len(content)
        if small:
            for content in small:
                self._numbers[content] = next(self._next)
                self._use(used, content)
            numbers, sizes = tuple(map(self.number_of, small)), tuple(map(len, small))
            self._send(PutContents(numbers=numbers, sizes=sizes), b"".join(map(bytes, small)))
        if used.issuperset(missing):
            return Progress.COMPLETE
        return Progress.NO_ROOM if stuck else Progress.SENT

    def keep(self, tag: int, contents: Iterable[Content]) -> None:
        """Have the process drop the contents that only *tag* used, except *contents*: its domain is another one now."""
        used = self._of_tag.get(tag)
        if used is None:
            return
        kept = set(contents)
        unused = []
        for content in used - kept:
            used.remove(content)
            self._users[content] -= 1
            if not self._users[content]:
                del self._users[content]
                unused.append(self._numbers.pop(content))
        if not used:
            del self._of_tag[tag]
        if unused:
            self._send(DropContents(numbers=tuple(sorted(unused))), b"")

    def _use(self, used: set[Content], content: Content) -> None:
        used.add(content)
        self._users[content] += 1

    def _send_sealed(self, content: Content) -> bool:
        memory = content.storage
        if not isinstance(memory, sealed.SealedMemory):
            memory = sealed.seal(bytes(content))
            content.move_to(memory)
        number = next(self._next)
        try:
            if self._closed or not sealed.send(self._descriptors, number, memory):
                return False
        except ConnectionError:
            return False  # the process is gone, as somebody is about to learn
        self._numbers[content] = number
        self._send(PutSealedContent(number=number, size=len(content), digest=content.digest), b"")
        return True
