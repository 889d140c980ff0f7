"""The connection to libvirtd: asks what it is told to ask, tells what happens, and comes back when it is lost.

libvirt's calls block, for ever when libvirtd hangs, and its events need a loop of their own. So two threads do that:
one runs libvirt's event loop, the other opens the connection and calls. What they learn comes to the observer in the
reactor's thread. Nobody ever waits for them, also not when the daemon ends: they are daemon threads, and a call that
does not return ends with the process.

The import of libvirt is late: the package python3-libvirt is the distribution's, and needed only by who configures it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Protocol
from uuid import UUID

from eve_meta.inventory.libvirt.domain_xml import Description, describe
from eve_meta.values.problem import Problem

RETRY_TIME = 0.5
"""Seconds from the loss of the connection to the first attempt to open it anew; each time twice as many to the next."""

MAX_RETRY_TIME = 5.0
"""Seconds between attempts at most. One takes a millisecond where no libvirtd listens."""

KEEPALIVE = (5, 3)
"""Seconds of silence after which libvirtd is asked for a sign of life, and how many of those may stay unanswered: one
that hangs counts as away after 20 s."""

MAX_NETWORKS = 1024
"""Names of libvirt networks whose uuid is remembered for as long as a connection lasts."""


class LibvirtObserver(Protocol):
    """Who is told, in the reactor's thread."""

    def connected(self) -> None:
        """The connection is open, and events come; what happened before was missed."""

    def lost(self, why: str) -> None:
        """The connection is lost or could not be opened. What was asked is forgotten."""

    def changed(self, uuid: UUID) -> None:
        """Something about this domain is, or may be, another."""

    def listed(self, number: int, uuids: frozenset[UUID]) -> None:
        """These are all domains."""

    def described(self, uuid: UUID, number: int, description: Description | None) -> None:
        """This is the domain now; None where it is no more."""

    def failed(self, uuid: UUID, why: str) -> None:
        """libvirtd did not describe the domain."""


class LibvirtConnection(Protocol):
    """What :class:`LibvirtLink` is, and the tests' fake."""

    def start(self, observer: LibvirtObserver) -> None:
        """Open the connection, and open it anew whenever it is lost."""

    def stop(self) -> None:
        """Close it, without waiting for that. The observer is told nothing any more."""

    def list_domains(self, number: int) -> None:
        """Ask for all domains, running or not."""

    def look(self, uuid: UUID, number: int) -> None:
        """Ask for a description. One that has not been asked for yet is asked for once, with the last *number*."""


def load() -> Any:
    """The module libvirt.

    :raises Problem: where it is missing.
    """
    try:
        import libvirt  # noqa: PLC0415  # only where it is configured
    except ImportError as error:
        raise Problem(
            f"[inventory] libvirt needs libvirt's Python module ({error}): install the package python3-libvirt (on "
            "Arch libvirt-python), and make the virtual environment with --system-site-packages"
        ) from None
    return libvirt


@lru_cache(maxsize=1)
def _event_loop(libvirt: Any) -> threading.Thread:
    """libvirt's own event loop, one for the process; before the first connection is opened."""
    # Otherwise libvirt prints each error, which we tell ourselves.
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    libvirt.virEventRegisterDefaultImpl()

    def run() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    thread = threading.Thread(target=run, name="libvirt events", daemon=True)
    thread.start()
    return thread


class LibvirtLink:
    """A :class:`LibvirtConnection` to *uri*.

    :param call: calls a function in the reactor's thread, from any thread (``reactor.callFromThread``).
    :raises Problem: where the module libvirt is missing.
    """

    def __init__(self, uri: str, call: Callable[..., object]) -> None:
        self._libvirt = load()
        self._uri = uri
        self._call = call
        self._observer: LibvirtObserver | None = None
        # Shared by the threads, and guarded by this.
        self._news = threading.Condition()
        self._stopped = False
        self._broken: str | None = None
        self._list: int | None = None
        self._looks: dict[UUID, int] = {}
        self._changed: set[UUID] = set()

    def start(self, observer: LibvirtObserver) -> None:
        """As :meth:`LibvirtConnection.start`."""
        self._observer = observer
        _event_loop(self._libvirt)
        threading.Thread(target=self._work, name="libvirt", daemon=True).start()

    def stop(self) -> None:
        """As :meth:`LibvirtConnection.stop`."""
        self._observer = None
        with self._news:
            self._stopped = True
            self._news.notify()

    def list_domains(self, number: int) -> None:
        """As :meth:`LibvirtConnection.list_domains`."""
        with self._news:
            self._list = number
            self._news.notify()

    def look(self, uuid: UUID, number: int) -> None:
        """As :meth:`LibvirtConnection.look`."""
        with self._news:
            self._looks[uuid] = number
            self._news.notify()

    # -- to the observer --

    def _tell(self, what: str, *arguments: object) -> None:
        self._call(self._told, what, arguments)

    def _told(self, what: str, arguments: Iterable[object]) -> None:
        if self._observer is not None:
            getattr(self._observer, what)(*arguments)

    # -- the thread that calls --

    def _work(self) -> None:
        wait = RETRY_TIME
        while not self._stopped:
            connection = None
            try:
                connection = self._open()
                self._tell("connected")
                wait = RETRY_TIME
                why = self._serve(connection)
            except self._libvirt.libvirtError as error:
                why = _text(error)
            self._close(connection)
            self._tell("lost", why)
            with self._news:
                self._news.wait_for(lambda: self._stopped, wait)
            wait = min(2 * wait, MAX_RETRY_TIME)

    def _open(self) -> Any:
        libvirt = self._libvirt
        with self._news:
            self._broken, self._list = None, None
            self._looks.clear()
        # We change nothing, and so ask for no more.
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
        """Ask what is to be asked, until the connection breaks or is no longer wanted; why."""
        networks: dict[str, UUID | None] = {}
        while True:
            with self._news:
                self._news.wait_for(lambda: self._stopped or self._broken or self._list is not None or self._looks)
                if self._stopped or self._broken:
                    return self._broken or ""
                number, self._list = self._list, None
                uuid = None if number is not None else next(iter(self._looks))
                asked = 0 if uuid is None else self._looks.pop(uuid)
            if number is not None:
                found = frozenset(UUID(bytes=domain.UUID()) for domain in connection.listAllDomains())
                self._tell("listed", number, found)
            elif uuid is not None:
                self._look(connection, uuid, asked, networks)

    def _look(self, connection: Any, uuid: UUID, number: int, networks: dict[str, UUID | None]) -> None:
        def network(name: str) -> UUID | None:
            if name not in networks and len(networks) < MAX_NETWORKS:
                try:
                    networks[name] = UUID(bytes=connection.networkLookupByName(name).UUID())
                except self._libvirt.libvirtError:
                    networks[name] = None
            return networks.get(name)

        try:
            description = describe(connection.lookupByUUID(uuid.bytes).XMLDesc(), network)
        except self._libvirt.libvirtError as error:
            if not connection.isAlive():
                raise
            if error.get_error_code() == self._libvirt.VIR_ERR_NO_DOMAIN:
                self._tell("described", uuid, number, None)
            else:
                self._tell("failed", uuid, _text(error))
        except ValueError as error:
            self._tell("failed", uuid, str(error))
        else:
            self._tell("described", uuid, number, description)

    def _close(self, connection: Any) -> None:
        if connection is not None:
            try:
                connection.unregisterCloseCallback()
                connection.close()
            except self._libvirt.libvirtError:
                pass  # it is broken, which is why it is closed

    # -- the thread of libvirt's event loop --

    def _on_close(self, _connection: Any, reason: int, _opaque: object) -> None:
        libvirt = self._libvirt
        reasons = {
            libvirt.VIR_CONNECT_CLOSE_REASON_EOF: "libvirtd closed the connection",
            libvirt.VIR_CONNECT_CLOSE_REASON_KEEPALIVE: "libvirtd does not answer",
        }
        with self._news:
            self._broken = reasons.get(reason, "the connection to libvirtd broke")
            self._news.notify()

    def _on_event(self, _connection: Any, domain: Any, *_details: object) -> None:
        # A guest can cause events, by suspending itself again and again: however many, there is one call underway.
        with self._news:
            told = bool(self._changed)
            self._changed.add(UUID(bytes=domain.UUID()))
        if not told:
            self._call(self._tell_changed)

    def _tell_changed(self) -> None:
        with self._news:
            changed, self._changed = self._changed, set()
        for uuid in changed:
            self._told("changed", (uuid,))


def _text(error: Any) -> str:
    return " ".join(str(error).split())
