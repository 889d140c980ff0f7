"""Files as a source that stays up to date: the directory of domain files, or what EVE-OS's agents publish.

The reaction to any event of inotify is the same: wait a moment, then scan, which reads again only the files whose
stamps have changed. So it does not matter which events arrive, or in which order. After a few events the scan looks
only at the files that they name, and at those that may change without an event that names them; otherwise at all files,
which takes some 20 ms for 4,000 unchanged ones. A queue of the kernel that overflowed held more than a few events, and
everything behind the lost ones happened before the scan.
"""

from __future__ import annotations

import fcntl
import os
import termios
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from twisted.internet import inotify
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import CooperativeTask, TaskStopped, cooperate
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.filepath import FilePath

from eve_meta.inventory.files.reading import DEBOUNCE
from eve_meta.inventory.readers.reading import Reading
from eve_meta.inventory.source import InventoryProblem, Layer
from eve_meta.runtime.timer import Timer

_CONTENT = (
    inotify.IN_CLOSE_WRITE
    | inotify.IN_CREATE  # for links; a new file's content comes with IN_CLOSE_WRITE
    | inotify.IN_DELETE
    | inotify.IN_MOVED_FROM
    | inotify.IN_MOVED_TO
    | inotify.IN_ATTRIB  # a file may become readable
)
_SELF = inotify.IN_DELETE_SELF | inotify.IN_MOVE_SELF | inotify.IN_UNMOUNT

FEW = 100
"""Events after which all files are looked at: far fewer than the kernel's queue holds (fs.inotify.max_queued_events,
16,384), so that the kernel can lose only events after these."""

_log = Logger()


class Files(Protocol):
    """Files as they were at the last :meth:`scan`, and the domains that follow from them. They know no reactor."""

    @property
    def problems(self) -> tuple[InventoryProblem, ...]:
        """What is wrong."""

    def layers(self) -> Sequence[Layer]:
        """As :meth:`eve_meta.inventory.source.Source.layers`."""

    def scan(self, suspects: Collection[str] | None = None) -> Iterator[Reading[Any] | None]:
        """Read what has changed, a file at each step; at the last step, put the result in place.

        A reading among the steps must have its result before the next step is taken.

        :param suspects: the paths that events have named since the last scan began, below the directories of
            :meth:`watched`, without links; None where any file may have changed.
        """

    def retry_at(self) -> float | None:
        """Return when files that the reader did not read should be looked at again, None where there are none."""

    def watched(self) -> Mapping[str, float]:
        """Return the directories in which a change matters, each with the seconds that a change may wait for the scan.

        The directories may be missing, go and come back.
        """

    def content(self) -> object:
        """Return all that was made of the files, as one value. If it equals the last one, nothing has changed."""


class FileSource:
    """The domains of *files*.

    :ivar scanned: the number of the last scan that has ended, counted from 1.
    """

    def __init__(self, files: Files, reactor: IReactorTime) -> None:
        self._files = files
        self._reactor = reactor
        self._changed: Callable[[], None] | None = None
        self._notifier: Any = None
        self._delays: Mapping[str, float] = {}
        # Watched directory → the names in it that matter, or None for all of them.
        self._watched: dict[str, set[str] | None] = {}
        self._unwatched: tuple[InventoryProblem, ...] = ()
        self._timer: IDelayedCall | None = None
        self._due = 0.0
        # While files are unread that the reader may be handed again later. Nothing waits for that scan.
        self._retry = Timer(reactor, self._schedule)
        self._scanning: CooperativeTask[Iterator[Deferred[None] | None]] | None = None
        self._again = False
        self._begun = 0
        self._awaited: set[int] = set()
        # The paths that events have named since the last scan began, None for any path; and the number of events.
        self._suspects: set[str] | None = None
        self._events = 0
        self._last_content: object = None
        self.scanned = 0

    def start(self, changed: Callable[[], None]) -> None:
        """As :meth:`eve_meta.inventory.source.Source.start`."""
        self._changed = changed
        self._scan()

    def stop(self) -> None:
        """As :meth:`eve_meta.inventory.source.Source.stop`."""
        self._changed = None
        self._unwatch()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._retry.cancel()
        if self._scanning is not None:
            self._scanning.stop()

    def layers(self) -> Sequence[Layer]:
        """As :meth:`eve_meta.inventory.source.Source.layers`."""
        return self._files.layers()

    def problems(self) -> tuple[InventoryProblem, ...]:
        """As :meth:`eve_meta.inventory.source.Source.problems`."""
        return self._unwatched + self._files.problems

    # -- scanning --

    def due(self) -> int:
        """Return the number of the scan after which every change until now has been read.

        Where it is later than :attr:`scanned`, *changed* is called when that scan has ended, whatever it found.
        """
        # Unread events are not examined: whatever they name, one scan too many does no harm.
        if self._timer is None and self._has_unread_events():
            self._schedule()
        number = self._begun + (self._timer is not None or self._again)
        if number > self.scanned:
            self._awaited.add(number)
        return number

    def rescan(self) -> None:
        """Scan all files soon. *changed* is called when that scan has ended, whatever it found."""
        self._suspects = None
        self._schedule(0.0)
        self.due()

    def _schedule(self, delay: float = DEBOUNCE) -> None:
        due = self._reactor.seconds() + delay
        if self._timer is not None and due < self._due:
            self._timer.cancel()
            self._timer = None
        if self._timer is None and self._changed is not None:
            self._due = due
            self._timer = self._reactor.callLater(delay, self._scan)

    def _scan(self) -> None:
        self._timer = None
        if self._scanning is not None:
            self._again = True
            return
        self._again = False
        self._begun += 1
        # The watches are set before the first look, so that whatever changes after it causes an event.
        suspects = None if self._watch() or self._unwatched or self._has_unread_events() else self._suspects
        self._suspects, self._events = set(), 0
        self._scanning = cooperate(map(_deferred, self._files.scan(suspects)))
        done: Deferred[Any] = self._scanning.whenDone()
        done.addCallbacks(self._scanned, self._failed)

    def _scanned(self, _steps: object) -> None:
        self._scanning = None
        self.scanned = self._begun
        awaited = self.scanned in self._awaited
        self._awaited.discard(self.scanned)
        content = (self._files.content(), self.problems())
        # A directory that was not watched while its files were read may have changed in between.
        if self._watch():
            self._suspects = None
            self._again = True
        self._retry.cancel()
        if (retry_at := self._files.retry_at()) is not None and self._changed is not None:
            self._retry.start_at(retry_at)
        if self._again:
            self._scan()
        if (content != self._last_content or awaited) and self._changed is not None:
            self._last_content = content
            self._changed()

    def _failed(self, failure: Failure) -> None:
        self._scanning = None
        self._suspects = None
        if not isinstance(failure.value, TaskStopped):
            # A defect. The domains stay as they were, and the next change causes the next scan.
            _log.failure("reading {what} failed", failure, what=self._files)
            self.scanned = self._begun
            if self._again:
                self._schedule()

    # -- watching --

    def _watch(self) -> bool:
        """Watch the directories that matter now; return whether any of them was not watched before."""
        before = set(self._watched)
        self._delays = {os.path.abspath(directory): delay for directory, delay in self._files.watched().items()}
        wanted = self._delays.keys()
        unwatched = []
        try:
            if self._notifier is None:
                self._notifier = inotify.INotify(self._reactor)  # type: ignore[no-untyped-call]
                self._notifier.startReading()
            # The parents of a directory come first, or its creation could be missed. And where a symbolic link makes
            # one directory of two, the later watch counts, which must be the one for all names.
            for directory in sorted(wanted):
                for child in (*reversed(Path(directory).parents[:-1]), Path(directory)):
                    self._add(str(child.parent), child.name)
            unwatched = [directory for directory in sorted(wanted) if not self._add(directory, None)]
        except inotify.INotifyError:
            unwatched = sorted(wanted)
        message = "cannot watch this directory, so changes are not seen: raise the sysctls fs.inotify.max_user_*"
        self._unwatched = tuple(
            InventoryProblem(file=directory, message=message, warning=True)
            for directory in unwatched
            if os.path.isdir(directory)
        )
        return not set(self._watched) <= before

    def _add(self, directory: str, name: str | None) -> bool:
        """Watch *directory* for changes of *name* in it, None for all names; return whether that is possible."""
        if directory not in self._watched:
            try:
                callbacks = [partial(self._event, directory)]
                self._notifier.watch(
                    FilePath(directory), mask=_CONTENT | _SELF | inotify.IN_ONLYDIR, callbacks=callbacks
                )
            except inotify.INotifyError:
                return False
            self._watched[directory] = set()
        names = self._watched[directory]
        if name is None:
            self._watched[directory] = None
        elif names is not None:
            names.add(name)
        return True

    def _unwatch(self) -> None:
        self._watched.clear()
        if self._notifier is not None:
            self._notifier.loseConnection()
            self._notifier = None

    def _event(self, directory: str, _handle: object, path: FilePath[bytes], mask: int) -> None:
        self._suspect(os.fsdecode(path.path))
        if mask & _SELF:
            # When a directory is deleted, Twisted ends the whole notifier; when one is moved, its watch moves along.
            self._unwatch()
            self._suspects = None
            self._schedule()
            return
        names = self._watched.get(directory, set())
        if names is None:
            self._schedule(self._delays.get(directory, DEBOUNCE))
        elif os.fsdecode(path.basename()) in names:
            self._schedule()

    def _suspect(self, path: str) -> None:
        self._events += 1
        if self._events > FEW:
            self._suspects = None
        elif self._suspects is not None:
            self._suspects.add(path)

    def _has_unread_events(self) -> bool:
        # FIONREAD gives the number of bytes of unread events (inotify(7)).
        return self._notifier is not None and any(fcntl.ioctl(self._notifier.fileno(), termios.FIONREAD, bytes(4)))


def _deferred(reading: Reading[Any] | None) -> Deferred[None] | None:
    """Return a Deferred that fires when *reading* has its result, None where there is nothing to wait for."""
    if reading is None or reading.result is not None:
        return None
    done: Deferred[None] = Deferred()
    reading.when_done(lambda: done.callback(None))
    return done
