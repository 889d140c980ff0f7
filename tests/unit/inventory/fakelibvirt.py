"""A libvirtd that is none, and a link to it; ``libvirtcontract.py`` holds them to what the real ones do."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID
from xml.sax.saxutils import escape

from attrs import define, field
from twisted.internet.task import Clock

from eve_meta.inventory.libvirt.connection import RETRY_TIME, LibvirtObserver
from eve_meta.inventory.libvirt.domain_xml import NAMESPACE, describe

MAC = "52:54:00:00:00:{:02x}"


@define
class FakeDomain:
    """A domain, which runs where *number* is said."""

    name: str
    uuid: str
    taps: list[str] = field(factory=list)
    number: int | None = None
    metadata: str | None = None
    persistent: bool = True

    def xml(self) -> str:
        """As libvirt writes it, without what nobody reads."""
        running = "" if self.number is None else f" id='{self.number}'"
        nics = "".join(
            f"<interface type='bridge'><mac address='{MAC.format(index)}'/><source bridge='br0'/>"
            f"<target dev='{tap}'/></interface>"
            for index, tap in enumerate(self.taps)
        )
        told = f"<domain xmlns='{NAMESPACE}'>{escape(self.metadata)}</domain>" if self.metadata is not None else ""
        return (
            f"<domain type='qemu'{running}><name>{self.name}</name><uuid>{self.uuid}</uuid>"
            f"<metadata>{told}</metadata><devices>{nics}</devices></domain>"
        )


class FakeLibvirt:
    """libvirtd and the link in one. Answers come with the next turn of the clock."""

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

    # -- what a person does --

    def define(self, name: str, uuid: str) -> FakeDomain:
        """Define a domain."""
        domain = self.domains[UUID(uuid)] = FakeDomain(name, uuid)
        self._event(UUID(uuid))
        return domain

    def begin(self, uuid: str, *taps: str) -> None:
        """Start a domain, which gets *taps*."""
        domain = self.domains[UUID(uuid)]
        domain.taps, domain.number = list(taps), next(self._numbers)
        self._event(UUID(uuid))

    def destroy(self, uuid: str) -> None:
        """End a domain."""
        domain = self.domains[UUID(uuid)]
        domain.taps, domain.number = [], None
        self._event(UUID(uuid))

    def undefine(self, uuid: str) -> None:
        """Let libvirt forget a domain."""
        del self.domains[UUID(uuid)]
        self._event(UUID(uuid))

    def plug(self, uuid: str, tap: str) -> None:
        """Plug in a NIC."""
        self.domains[UUID(uuid)].taps.append(tap)
        self._event(UUID(uuid))

    def set_metadata(self, uuid: str, text: str | None) -> None:
        """Set our metadata, or remove them."""
        self.domains[UUID(uuid)].metadata = text
        self._event(UUID(uuid))

    def stop_daemon(self) -> None:
        """libvirtd ends."""
        self.running = False
        if self._open:
            self._lose("libvirtd closed the connection")

    def start_daemon(self) -> None:
        """libvirtd starts."""
        self.running = True

    # -- the link --

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

    def _later(self, tell: Callable[[LibvirtObserver], None]) -> None:
        self.clock.callLater(0, lambda: None if self._observer is None else tell(self._observer))

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
