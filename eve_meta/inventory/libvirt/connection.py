"""The connection to libvirtd: it asks on request, reports events, and reopens itself when it is lost.

libvirt's calls block, for ever when libvirtd hangs, and its events need a loop of their own. So two threads do the
work: one runs libvirt's event loop, the other opens the connection and makes the calls. Neither looks into the XML that
libvirtd answers: tenants wrote parts of it, and the reader reads it. The observer is called in the reactor's thread.
Nothing ever waits for the two threads, not even the end of the daemon: they are daemon threads, and a call that does
not return ends with the process.

libvirt is imported late: the package python3-libvirt comes from the distribution, and only hosts with a libvirt need
it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Protocol
from uuid import UUID

from eve_meta.inventory.libvirt.description import Description, ReadXml, xml_reading
from eve_meta.inventory.readers.reading import Reader, Reading, Unread
from eve_meta.values.problem import Problem

RETRY_TIME = 0.5
"""Seconds from the loss of the connection to the first attempt to reopen it. Each further one waits twice as long."""

MAX_RETRY_TIME = 5.0
"""The most seconds between two attempts. An attempt takes a millisecond where no libvirtd listens."""

KEEPALIVE = (5, 3)
"""Seconds of silence after which libvirt sends a keepalive message, and how many of these may stay unanswered: a
libvirtd that hangs counts as away after 20 s."""

MAX_NETWORKS = 1024
"""The most libvirt networks whose uuid is remembered, by name, for as long as one connection lasts."""


MAX_UNREAD = 32
"""The most XML texts that wait for the reader. While there are so many, libvirtd is not asked for more; it limits each
to 4 MiB (``REMOTE_STRING_MAX``)."""


MISSING = (
    "Python finds no module libvirt: install the package python3-libvirt (on Arch libvirt-python), and make the "
    "virtual environment with --system-site-packages"
)
"""The problem of a host that has libvirt, but not its Python module."""


class LibvirtObserver(Protocol):
    """The receiver of a connection's news. Its methods are called in the reactor's thread."""

    def connected(self) -> None:
        """Note that the connection is open, and that events arrive from now on. Earlier events were missed."""

    def lost(self, why: str) -> None:
        """Note that the connection is lost or could not be opened. Pending questions are dropped."""

    def changed(self, uuid: UUID) -> None:
        """Note that something about the domain *uuid* has changed, or may have."""

    def listed(self, number: int, uuids: frozenset[UUID]) -> None:
        """Take *uuids*, those of all domains: the answer to :meth:`LibvirtConnection.list_domains` with *number*."""

    def described(self, uuid: UUID, number: int, description: Description | None) -> None:
        """Take the description of the domain *uuid*: the answer to :meth:`LibvirtConnection.look` with *number*.

        :param description: None where the domain no longer exists.
        """

    def failed(self, uuid: UUID, why: str, retry_at: float | None = None) -> None:
        """Note that libvirtd failed to describe the domain, or that the reader did not read libvirtd's answer.

        :param retry_at: when the reader may be handed the answer again, in seconds of the reactor's clock; None where
            libvirtd failed.
        """


class LibvirtConnection(Protocol):
    """A connection to libvirtd: :class:`ThreadedLibvirtConnection`, or the tests' fake."""

    def start(self, observer: LibvirtObserver) -> None:
        """Open the connection, and reopen it whenever it is lost."""

    def stop(self) -> None:
        """Begin to close the connection, without waiting until it is closed. The observer is not called any more."""

    def list_domains(self, number: int) -> None:
        """Ask which domains there are, running or not. The observer's ``listed`` gets the answer with *number*."""

    def look(self, uuid: UUID, number: int) -> None:
        """Ask for a description. The observer's ``described`` or ``failed`` gets the answer.

        While a request for the same domain waits for its turn, both become one, with the later *number*.
        """


def load() -> Any:
    """Import and return the module libvirt.

    :raises Problem: when the module is missing.
    """
    # Only on hosts with a libvirt.
    try:
        import libvirt
    except ModuleNotFoundError:
        raise Problem(MISSING) from None
    except ImportError as error:
        raise Problem(f"libvirt's Python module cannot be imported: {error}") from None
    return libvirt


@lru_cache(maxsize=1)
def _event_loop(libvirt: Any) -> threading.Thread:
    """Start libvirt's own event loop, one for the process. It must run before the first connection is opened."""
    # Otherwise libvirt prints each error to stderr. eve-meta reports errors itself.
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    libvirt.virEventRegisterDefaultImpl()

    def run() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    thread = threading.Thread(target=run, name="libvirt events", daemon=True)
    thread.start()
    return thread


class ThreadedLibvirtConnection:
    """A :class:`LibvirtConnection` to *uri* whose blocking calls run in a thread of their own.

    :param call: calls a function in the reactor's thread, from any thread (``reactor.callFromThread``).
    :param reader: reads the XML; it is called in the reactor's thread.
    """

    def __init__(self, uri: str, call: Callable[..., object], reader: Reader) -> None:
        self._libvirt: Any = None  # the module, once it is imported
        self._uri = uri
        self._call = call
        self._reader = reader
        self._observer: LibvirtObserver | None = None
        # Used by the reactor's thread only: the looks whose XML is being read, by domain; the XML that has been read
        # and waits for the uuid of a network, in its order; and the uuids of networks.
        self._reading: dict[UUID, set[int]] = {}
        self._read: deque[tuple[UUID, int, ReadXml]] = deque()
        self._networks: dict[str, UUID | None] = {}
        # Guards what follows, which the threads share; notified when any of it changes.
        self._condition = threading.Condition()
        self._stopped = False
        self._broken: str | None = None
        self._list: int | None = None
        self._looks: dict[UUID, int] = {}
        self._unread = 0
        self._unknown_networks: set[str] = set()
        self._changed: set[UUID] = set()

    def start(self, observer: LibvirtObserver) -> None:
        """As :meth:`LibvirtConnection.start`."""
        self._observer = observer
        threading.Thread(target=self._work, name="libvirt", daemon=True).start()

    def stop(self) -> None:
        """As :meth:`LibvirtConnection.stop`."""
        self._observer = None
        with self._condition:
            self._stopped = True
            self._condition.notify()

    def list_domains(self, number: int) -> None:
        """As :meth:`LibvirtConnection.list_domains`."""
        with self._condition:
            self._list = number
            self._condition.notify()

    def look(self, uuid: UUID, number: int) -> None:
        """As :meth:`LibvirtConnection.look`."""
        with self._condition:
            self._looks[uuid] = number
            self._condition.notify()

    # -- calls of the observer --

    def _notify(self, method: str, *arguments: object) -> None:
        self._call(self._notify_now, method, arguments)

    def _notify_now(self, method: str, arguments: Sequence[Any]) -> None:
        if method in ("connected", "lost"):
            self._reading.clear()
            self._read.clear()
            self._networks.clear()
        elif method in ("described", "failed"):
            # Earlier answers of libvirtd are out of date, wherever they are by now.
            self._drop(arguments[0], arguments[1])
            arguments = (arguments[0], *arguments[2:]) if method == "failed" else arguments
        if self._observer is not None:
            getattr(self._observer, method)(*arguments)

    # -- reading XML, in the reactor's thread --

    def _have_xml(self, uuid: UUID, number: int, xml: str) -> None:
        reading = xml_reading(xml, uuid)
        self._reading.setdefault(uuid, set()).add(number)
        reading.when_done(partial(self._have_read, uuid, number, reading))
        self._reader.read(reading)

    def _have_read(self, uuid: UUID, number: int, reading: Reading[ReadXml]) -> None:
        with self._condition:
            self._unread -= 1
            self._condition.notify()
        result = reading.result
        if number not in self._reading.get(uuid, ()) or result is None:
            return
        if isinstance(result, Unread):
            self._notify_now("failed", (uuid, number, result.why, result.retry_at))
            return
        self._read.append((uuid, number, result))
        self._describe()

    def _describe(self) -> None:
        """Pass on what has been read, until the uuid of a network is missing."""
        while self._read:
            uuid, number, read = self._read[0]
            missing = {name for name in read.networks if name is not None and name not in self._networks}
            if missing and len(self._networks) < MAX_NETWORKS:
                with self._condition:
                    self._unknown_networks |= missing
                    self._condition.notify()
                return
            self._read.popleft()
            if number in self._reading.get(uuid, ()):
                try:
                    described = read.described(self._networks)
                except ValueError as error:
                    self._notify_now("failed", (uuid, number, str(error)))
                else:
                    self._notify_now("described", (uuid, number, described))

    def _have_networks(self, uuids: Mapping[str, UUID | None]) -> None:
        self._networks |= uuids
        self._describe()

    def _drop(self, uuid: UUID, number: int) -> None:
        """Forget what is being read about the domain *uuid* and was asked for with *number* at the latest."""
        numbers = {each for each in self._reading.pop(uuid, ()) if each > number}
        if numbers:
            self._reading[uuid] = numbers

    # -- the thread that calls libvirt --

    def _work(self) -> None:
        wait = RETRY_TIME
        while not self._stopped:
            try:
                self._libvirt = load()
            except Problem as problem:
                why = str(problem)
            else:
                _event_loop(self._libvirt)
                connected, why = self._connect()
                wait = RETRY_TIME if connected else wait
            self._notify("lost", why)
            with self._condition:
                self._condition.wait_for(lambda: self._stopped, wait)
            wait = min(2 * wait, MAX_RETRY_TIME)

    def _connect(self) -> tuple[bool, str]:
        """Open the connection and serve until it breaks; return whether it was open, and why it is not any more."""
        connection = None
        try:
            connection = self._open()
            self._notify("connected")
            why = self._serve(connection)
        except self._libvirt.libvirtError as error:
            why = _text(error)
        self._close(connection)
        return connection is not None, why

    def _open(self) -> Any:
        libvirt = self._libvirt
        with self._condition:
            self._broken, self._list = None, None
            self._looks.clear()
            self._unknown_networks.clear()
        # Read-only, because eve-meta changes nothing.
        connection = libvirt.openReadOnly(self._uri)
        connection.registerCloseCallback(self._on_close, None)
        connection.setKeepAlive(*KEEPALIVE)
        for event in (
            libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE,
            libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED,
            libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED,
            libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE,
        ):
            connection.domainEventRegisterAny(None, event, self._on_event, None)
        return connection

    def _serve(self, connection: Any) -> str:
        """Put the pending questions to libvirtd until the connection breaks or is stopped; return why it broke."""
        while True:
            with self._condition:
                self._condition.wait_for(self._has_work)
                if self._stopped or self._broken:
                    return self._broken or ""
                names, self._unknown_networks = self._unknown_networks, set()
                number, self._list = self._list, None
                uuid = None if names or number is not None or not self._may_look() else next(iter(self._looks))
                look_number = 0 if uuid is None else self._looks.pop(uuid)
            if names:
                self._call(self._have_networks, {name: self._network(connection, name) for name in names})
            if number is not None:
                uuids = frozenset(UUID(bytes=domain.UUID()) for domain in connection.listAllDomains())
                self._notify("listed", number, uuids)
            elif uuid is not None:
                self._look(connection, uuid, look_number)

    def _has_work(self) -> object:
        return self._stopped or self._broken or self._unknown_networks or self._list is not None or self._may_look()

    def _may_look(self) -> bool:
        return bool(self._looks) and self._unread < MAX_UNREAD

    def _network(self, connection: Any, name: str) -> UUID | None:
        try:
            return UUID(bytes=connection.networkLookupByName(name).UUID())
        except self._libvirt.libvirtError:
            return None

    def _look(self, connection: Any, uuid: UUID, number: int) -> None:
        try:
            xml = connection.lookupByUUID(uuid.bytes).XMLDesc()
        except self._libvirt.libvirtError as error:
            if not connection.isAlive():
                raise
            if error.get_error_code() == self._libvirt.VIR_ERR_NO_DOMAIN:
                self._notify("described", uuid, number, None)
            else:
                self._notify("failed", uuid, number, _text(error))
        else:
            with self._condition:
                self._unread += 1
            self._call(self._have_xml, uuid, number, xml)

    def _close(self, connection: Any) -> None:
        if connection is not None:
            try:
                connection.unregisterCloseCallback()
                connection.close()
            except self._libvirt.libvirtError:
                pass  # the connection is broken, which is why it is closed

    # -- the thread of libvirt's event loop --

    def _on_close(self, _connection: Any, reason: int, _opaque: object) -> None:
        libvirt = self._libvirt
        reasons = {
            libvirt.VIR_CONNECT_CLOSE_REASON_EOF: "libvirtd closed the connection",
            libvirt.VIR_CONNECT_CLOSE_REASON_KEEPALIVE: "libvirtd does not answer",
        }
        with self._condition:
            self._broken = reasons.get(reason, "the connection to libvirtd broke")
            self._condition.notify()

    def _on_event(self, _connection: Any, domain: Any, *_details: object) -> None:
        # A guest can cause events by suspending itself again and again: however many, one call is under way at a time.
        with self._condition:
            under_way = bool(self._changed)
            self._changed.add(UUID(bytes=domain.UUID()))
        if not under_way:
            self._call(self._notify_changed)

    def _notify_changed(self) -> None:
        with self._condition:
            changed, self._changed = self._changed, set()
        for uuid in changed:
            self._notify_now("changed", (uuid,))


def _text(error: Any) -> str:
    return " ".join(str(error).split())
