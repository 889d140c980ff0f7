"""The interface to the reader: documents go in, and come out as values or unread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from attrs import frozen

T = TypeVar("T")


@frozen
class Unread:
    """The result of a document that was not read.

    :ivar why: the reason, without the document's name: "it takes longer than 2 s".
    :ivar retry_at: when it may be handed over again, in seconds of the reader's clock. Until then it stays unread.
    """

    why: str
    retry_at: float

    def __str__(self) -> str:
        return f"is not read: {self.why}"


class Reading(Generic[T]):
    """The reading of one document.

    :param name: the place that the document is from, such as a file's path. One that took too long is not read again
        under the same name for some time.
    :param head: states what kind of document it is, see :mod:`eve_meta.wire.reading`.
    :param structure: makes the result of the head and parts of the answer, or raises an exception, of any kind, where
        no honest reader gives such an answer.
    :ivar result: None until the document is read.
    """

    def __init__(
        self, name: str, head: Mapping[str, Any], content: bytes, structure: Callable[[dict[str, Any], bytes], T]
    ) -> None:
        self.name = name
        self.head = head
        self.content = content
        self.structure = structure
        self.deaths = 0
        self.result: T | Unread | None = None
        self._done: Callable[[], None] | None = None

    def when_done(self, call: Callable[[], None]) -> None:
        """Call *call* when there is a result; at once where there is one."""
        if self.result is not None:
            call()
        else:
            self._done = call

    def finish(self, result: T | Unread) -> None:
        """Put *result* in place."""
        self.result = result
        self.content = b""
        done, self._done = self._done, None
        if done is not None:
            done()


class Reader(Protocol):
    """The reader: :class:`~eve_meta.inventory.readers.process.ReaderProcess`, a command's, or the tests' fake."""

    def read(self, reading: Reading[Any]) -> None:
        """Have a document read. The results come in the order of the calls, but for those that come at once."""
