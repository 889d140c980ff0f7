"""A fake libvirtd and the connection to it; ``libvirt_contract.py`` holds both to what the real ones do."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID
from xml.sax.saxutils import escape

from attrs import define, field
from twisted.internet.task import Clock

from eve_meta.inventory.libvirt.connection import RETRY_TIME, LibvirtObserver
from eve_meta.values.domain import METADATA_NAMESPACE
from tests.contracts.fake_reader import describe

MAC = "52:54:00:00:00:{:02x}"


@define
class FakeDomain:
    """A domain. It runs while *number*, libvirt's id of a running domain, is set."""

    name: str
    uuid: str
    taps: list[str] = field(factory=list)
    number: int | None = None
    metadata: str | None = None
    persistent: bool = True

    def xml(self) -> str:
        """Return the domain's XML as libvirt writes it, without the parts that eve-meta does not read."""
        running = "" if self.number is None else f" id='{self.number}'"
        nics = "".join(
            f"<interface type='bridge'><mac address='{MAC.format(index)}'/><source bridge='br0'/>"
            f"<target dev='{tap}'/></interface>"
            for index, tap in enumerate(self.taps)
        )
        metadata = (
            f"<domain xmlns='{METADATA_NAMESPACE}'>{escape(self.metadata)}</domain>"
            if self.metadata is not None
            else ""
        )
        return (
            f"<domain type='qemu'{running}><name>{self.name}</name><uuid>{self.uuid}</uuid>"
            f"<metadata>{metadata}</metadata><devices>{nics}</devices></domain>"
        )


class FakeLibvirt:
    """libvirtd, and the :class:`~eve_meta.inventory.libvirt.connection.LibvirtConnection` to it.

    Answers come with the next turn of the clock.

    :ivar running: whether libvirtd accepts connections.
    :ivar hanging: whether libvirtd accepts a connection and then answers nothing.
    :ivar broken: the domains that libvirtd fails to describe.
    :ivar asked: every question, in order: "all", or the uuid of a domain.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.domains: dict[UUID, FakeDomain] = {}
        self.running = True
        self.hanging = False
        self.broken: set[UUID] = set()
        self.asked: list[str] = []
        self._observer: LibvirtObserver | None = None
        self._open = False
        self._questions: dict[UUID | None, int] = {}
        self._numbers = iter(range(1, 1000))

    # -- what a person does to libvirtd --

    def define(self, name: str, uuid: str) -> FakeDomain:
        """Define a domain."""
        domain = self.domains[UUID(uuid)] = FakeDomain(name, uuid)
        self._event(UUID(uuid))
        return domain

    def begin(self, uuid: str, *taps: str) -> None:
        """Start a domain; its NICs get *taps*."""
        domain = self.domains[UUID(uuid)]
        domain.taps, domain.number = list(taps), next(self._numbers)
        self._event(UUID(uuid))

    def destroy(self, uuid: str) -> None:
        """Stop a domain."""
        domain = self.domains[UUID(uuid)]
        domain.taps, domain.number = [], None
        self._event(UUID(uuid))

    def undefine(self, uuid: str) -> None:
        """Remove the definition of a domain."""
        del self.domains[UUID(uuid)]
        self._event(UUID(uuid))

    def plug(self, uuid: str, tap: str) -> None:
        """Plug a NIC with this tap into a running domain."""
        self.domains[UUID(uuid)].taps.append(tap)
        self._event(UUID(uuid))

    def set_metadata(self, uuid: str, text: str | None) -> None:
        """Set eve-meta's metadata of a domain, or remove them with None."""
        self.domains[UUID(uuid)].metadata = text
        self._event(UUID(uuid))

    def stop_daemon(self) -> None:
        """Stop libvirtd."""
        self.running = False
        if self._open:
            self._lose("libvirtd closed the connection")

    def start_daemon(self) -> None:
        """Start libvirtd."""
        self.running = True

    # -- the connection --

    def start(self, observer: LibvirtObserver) -> None:
        self._observer = observer
        self.clock.callLater(0, self._connect)

    def stop(self) -> None:
        self._observer = None

    def list_domains(self, number: int) -> None:
        self._ask(None, number)

    def look(self, uuid: UUID, number: int) -> None:
        self._ask(uuid, number)

    def _connect(self) -> None:
        if self._observer is None or self.hanging:
            return
        self._questions.clear()
        if self.running:
            self._open = True
            self._observer.connected()
        else:
            self._lose("cannot connect")

    def _lose(self, why: str) -> None:
        self._open = False
        self._later(lambda observer: observer.lost(why))
        self.clock.callLater(RETRY_TIME, self._connect)

    def _later(self, notify: Callable[[LibvirtObserver], None]) -> None:
        self.clock.callLater(0, lambda: None if self._observer is None else notify(self._observer))

    def _event(self, uuid: UUID) -> None:
        if self._open and not self.hanging:
            self._later(lambda observer: observer.changed(uuid))

    def _ask(self, uuid: UUID | None, number: int) -> None:
        self.asked.append("all" if uuid is None else str(uuid))
        self._questions[uuid] = number
        self.clock.callLater(0, self._answer)

    def _answer(self) -> None:
        if not self._open or self.hanging or not self._questions:
            return
        uuid = None if None in self._questions else next(iter(self._questions))
        number = self._questions.pop(uuid)
        if uuid is None:
            uuids = frozenset(self.domains)
            self._later(lambda observer: observer.listed(number, uuids))
        elif uuid in self.broken:
            self._later(lambda observer: observer.failed(uuid, "no"))
        else:
            domain = self.domains.get(uuid)
            described = None if domain is None else describe(domain.xml(), lambda _: None)
            self._later(lambda observer: observer.described(uuid, number, described))
