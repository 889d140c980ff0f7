"""The reader of a command, which has no reactor and waits for each result."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from eve_meta.inventory.readers.launch import NONSENSE, START_TIME, TOO_LONG, arguments, reason
from eve_meta.inventory.readers.queue import Nonsense, ReadingQueue
from eve_meta.inventory.readers.reading import Reading
from eve_meta.runtime.sandbox.identities import find_ids
from eve_meta.runtime.sandbox.policy import Identity
from eve_meta.values.problem import Problem
from eve_meta.values.text import escape_unprintable
from eve_meta.wire.reading import CHANNEL_FD, READY, Frames

NOBODY = 65534
"""The user as whom root's commands run the reader where no id is free (Linux' overflow uid): in most containers."""

_CHUNK = 256 * 1024
_OUTPUT = 4096


class CommandReader:
    """A :class:`~eve_meta.inventory.readers.reading.Reader` that works while somebody waits (:meth:`wait`).

    :param schema: cloud-init's schema, for a reader that gives advice, too; it may be missing.
    """

    def __init__(self, schema: Path | None = None) -> None:
        self._schema = schema
        self._queue = ReadingQueue()
        self._process: _Process | None = None

    def read(self, reading: Reading[Any]) -> None:
        """As :meth:`eve_meta.inventory.readers.reading.Reader.read`."""
        if self._process is None:
            self._process = _Process(self._schema)
        self._queue.add(reading, time.monotonic())

    def run(self, steps: Iterable[Reading[Any] | None]) -> None:
        """Take all *steps*, and wait for the result of each reading among them.

        :raises Problem: when no reader starts.
        """
        for reading in steps:
            if reading is not None:
                self.wait(reading)

    def wait(self, reading: Reading[Any]) -> None:
        """Wait until *reading* has a result.

        :raises Problem: when no reader starts.
        """
        while reading.result is None:
            if self._process is None:
                self._process = _Process(self._schema)
            self._turn(self._process)

    def close(self) -> None:
        """End the reader."""
        if self._process is not None:
            self._process.end()
            self._process = None

    def _turn(self, process: _Process) -> None:
        if process.ready:
            process.send(self._queue.to_send(time.monotonic()))
        overdue = self._queue.overdue_at() or process.started + START_TIME
        data = process.receive(max(0.0, overdue - time.monotonic()))
        try:
            if data is None:
                if process.ready:
                    self.close()
                    self._queue.failed(TOO_LONG, time.monotonic())
                else:
                    self.close()
                    raise Problem(f"the reader of domain files does not start within {START_TIME:g} s")
            elif not data:
                self._process = None
                status = process.end()
                if not process.ready:
                    raise Problem(f"the reader of domain files does not start: {process.output()}")
                self._queue.died(reason(status), time.monotonic())
            else:
                process.take(data, self._queue)
        except Nonsense:
            self.close()
            if not process.ready:
                raise Problem(f"the reader of domain files does not start: {NONSENSE}") from None
            self._queue.failed(NONSENSE, time.monotonic())


class _Process:
    """One process of the reader.

    :ivar ready: whether it has reported that it is confined.
    :ivar started: when it was started.
    """

    def __init__(self, schema: Path | None) -> None:
        self.ready = False
        self.started = time.monotonic()
        self._unsent: deque[memoryview] = deque()
        self._frames = Frames(lambda head, parts: False)
        self._root: Path | None = None
        self._text = b""
        identity = None
        if os.geteuid() == 0:
            self._root = Path(tempfile.mkdtemp(prefix="eve-meta-"))
            self._root.chmod(0o755)  # it is root's, so nobody else can write there
            number = _free_id()
            identity = Identity(uid=number, gid=number, root=self._root)
        self._channel, theirs = socket.socketpair()
        self._output, output = os.pipe()
        command = arguments(identity, schema)
        files: list[Any] = [
            # Not this command's terminal, into which whoever compromised the reader could write.
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0),
            (os.POSIX_SPAWN_DUP2, 0, 1),
            (os.POSIX_SPAWN_DUP2, output, 2),
            (os.POSIX_SPAWN_DUP2, theirs.fileno(), CHANNEL_FD),
        ]
        self._pid = os.posix_spawn(command[0], command, {}, file_actions=files)
        theirs.close()
        os.close(output)
        self._channel.setblocking(False)

    def send(self, frames: Iterator[bytes]) -> None:
        """Send *frames*, as far as there is room now; the rest goes while :meth:`receive` waits."""
        self._unsent.extend(map(memoryview, frames))
        while self._unsent:
            try:
                sent = self._channel.send(self._unsent[0])
            except BlockingIOError:
                return
            except ConnectionError:
                self._unsent.clear()  # its end is the next that is received
                return
            if sent < len(self._unsent[0]):
                self._unsent[0] = self._unsent[0][sent:]
            else:
                self._unsent.popleft()

    def receive(self, timeout: float) -> bytes | None:
        """Return the data that arrive within *timeout* seconds: b"" at the end of the stream, None for no data."""
        end = time.monotonic() + timeout
        while True:
            writing = [self._channel] if self._unsent else []
            readable, _, _ = select.select([self._channel], writing, [], max(0.0, end - time.monotonic()))
            if readable:
                break
            if time.monotonic() >= end:
                return None
            self.send(iter(()))
        try:
            return self._channel.recv(_CHUNK)
        except ConnectionError:
            return b""

    def take(self, data: bytes, queue: ReadingQueue) -> None:
        """Hand *data* over to *queue*.

        :raises Nonsense: when no honest reader sends it.
        """
        if not self.ready:
            if not data.startswith(READY):
                raise Nonsense
            data = data[len(READY) :]
            self.ready = True
            self._frames = Frames(queue.may_be)
            self._remove_root()
        try:
            for head, parts in self._frames.feed(data):
                queue.answered(head, parts, time.monotonic())
        except ValueError:
            raise Nonsense from None

    def output(self) -> str:
        """Return what the process, which has ended, wrote to its standard error."""
        return escape_unprintable(self._text.decode(errors="replace").strip()) or "it ended without a reason"

    def end(self) -> int:
        """End the process; return its wait status."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        status = os.waitpid(self._pid, 0)[1]
        self._text = os.read(self._output, _OUTPUT)
        os.close(self._output)
        self._channel.close()
        self._remove_root()
        return status

    def _remove_root(self) -> None:
        if self._root is not None:
            with contextlib.suppress(OSError):
                self._root.rmdir()
            self._root = None


def _free_id() -> int:
    with contextlib.suppress(Problem):
        return find_ids(1)[0]
    return NOBODY
