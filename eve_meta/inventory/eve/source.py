"""EVE-OS as a source: its applications are domains, and it knows the application of each tap.

EVE's files are root's, but may be out of date: the number in ``nbu1x1`` belongs to an application, and another gets it
when that application is deleted. EVE removes the status of an application before it gives the number to another, and so
before the tap comes back. Hence the files count for a tap once they have been read after the tap appeared.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from eve_meta.inventory.eve.domain import Surroundings, domain
from eve_meta.inventory.eve.pubsub import Topic
from eve_meta.inventory.files.watch import FileSource
from eve_meta.inventory.readers.reading import Reader, Reading
from eve_meta.inventory.source import InventoryProblem, Layer
from eve_meta.inventory.vmm.process import Owner
from eve_meta.values.domain import Domain
from eve_meta.values.eve_node import UNKNOWN_NODE, Device, Node
from eve_meta.values.eve_published import GLOBAL, AppConfig, AppStatus, NetworkStatus

T = TypeVar("T")

NODE_DELAY = 5.0
"""Seconds for which a change of ports, modems or position may wait. EVE's agents publish each position that the modem
reports, possibly every second, which is not worth a scan and a message to the workers each time."""


class EveFiles:
    """What EVE's agents have published, as it was at the last :meth:`scan`.

    :param run: ``/run`` of the node.
    :param everything: whether all applications get a domain's documents, whatever their ``MetaDataType``.
    :param reader: reads them.

    :ivar problems: what is wrong.
    :ivar node: the metadata that all applications share.
    """

    def __init__(self, run: Path, everything: bool, reader: Reader) -> None:
        self.run = run
        self._everything = everything
        status = run / "zedrouter/AppNetworkStatus"
        self._status: Topic[AppStatus] = Topic(status, "app_status", AppStatus, reader)
        networks = run / "zedrouter/NetworkInstanceStatus"
        self._networks: Topic[NetworkStatus] = Topic(networks, "network_status", NetworkStatus, reader)
        # The first topic that has an application counts, as in EVE's own server: zedagent's holds what zedmanager has
        # not taken over yet, and DomainConfig has the same as both.
        of_config = ("zedmanager/AppNetworkConfig", "zedagent/AppNetworkConfig", "zedmanager/DomainConfig")
        self._configs: tuple[Topic[AppConfig], ...] = tuple(
            Topic(run / path, "app_config", AppConfig, reader) for path in of_config
        )
        # The second was its place before April 2026.
        of_device = (run / "zedagent/EdgeNodeInfo", run.parent / "persist/status/zedagent/EdgeNodeInfo")
        self._device: tuple[Topic[Device], ...] = tuple(Topic(path, "device", Device, reader) for path in of_device)
        ports = run / "nim/DeviceNetworkStatus"
        self._ports: Topic[Mapping[str, tuple[IPv4Address, ...]]] = Topic(
            ports, "device_ports", Mapping[str, tuple[IPv4Address, ...]], reader, NODE_DELAY
        )
        # The agent "wwan" publishes itself; before there was one, nim did it (pkg/wwan/mmagent/agent/agent.go and
        # pkg/pillar/cmd/nim/nim.go of lf-edge/eve, as pkg/pillar/cmd/msrv/msrv.go subscribes to them).
        agents = ("wwan", "nim")

        def of_node(name: str, topic: str) -> tuple[Topic[bytes], ...]:
            return tuple(Topic(run / agent / name, topic, bytes, reader, NODE_DELAY) for agent in agents)

        self._location = of_node("WwanLocationInfo", "as_published")
        self._wwan_status = of_node("WwanStatus", "wwan_status")
        self._wwan_metrics = of_node("WwanMetrics", "as_published")
        self._topics: tuple[Topic[Any], ...] = (
            self._status,
            *self._configs,
            self._networks,
            *self._device,
            self._ports,
            *self._location,
            *self._wwan_status,
            *self._wwan_metrics,
        )
        self._domains: Mapping[str, Domain] = {}
        self._owners: Mapping[str, Collection[str]] = {}
        self._answers: Mapping[str, Collection[str]] = {}
        self._taps: set[str] = set()
        self._unasked: set[str] = set()
        self._asking: set[str] = set()
        self.problems: tuple[InventoryProblem, ...] = ()
        self.node = UNKNOWN_NODE

    def __str__(self) -> str:
        return str(self.run)

    def scan(self, suspects: Collection[str] | None = None) -> Iterator[Reading[Any] | None]:
        """As :meth:`eve_meta.inventory.files.watch.Files.scan`; the files are few, and all looked at."""
        self._asking = set(self._unasked)
        for topic in self._topics:
            yield from topic.scan()
        domains, problems = self._read()
        # The same object where nothing changed: callers recognise that by it.
        self._domains = {
            origin: old if (old := self._domains.get(origin)) == new else new for origin, new in domains.items()
        }
        self._owners = self._owners_of_taps()
        self.problems = (*(problem for topic in self._topics for problem in topic.problems), *problems)
        self.node = Node(
            location=_global(self._location),
            wwan_status=_global(self._wwan_status),
            wwan_metrics=_global(self._wwan_metrics),
        )
        if self._status.readable:
            self._unasked -= self._asking
        self._asking = set()
        self._answer()

    def retry_at(self) -> float | None:
        """As :meth:`eve_meta.inventory.files.watch.Files.retry_at`."""
        return min((at for topic in self._topics if (at := topic.retry_at()) is not None), default=None)

    def watched(self) -> Mapping[str, float]:
        """As :meth:`eve_meta.inventory.files.watch.Files.watched`."""
        return {str(topic.path): topic.delay for topic in self._topics}

    def layers(self) -> Sequence[Layer]:
        """As :meth:`eve_meta.inventory.source.Source.layers`, by the paths of AppNetworkStatus."""
        return (Layer(domains=self._domains, written=False),)

    def content(self) -> object:
        """As :meth:`eve_meta.inventory.files.watch.Files.content`."""
        return self._domains, self.node, self.answers()

    # -- the application of each tap --

    def taps_changed(self, names: Iterable[str]) -> bool:
        """As :meth:`eve_meta.inventory.source.Hypervisor.taps_changed`; return whether the files must be read."""
        taps = set(names)
        self._forget(taps ^ self._taps)
        self._unasked &= taps
        self._taps = taps
        return bool(self._unasked)

    def holder_may_have_changed(self, tap: str) -> None:
        """As :meth:`eve_meta.inventory.source.Hypervisor.holder_may_have_changed`; the files must be read after it."""
        self._taps.add(tap)
        self._forget({tap})

    def answers(self) -> Mapping[str, Collection[str]]:
        """As :meth:`eve_meta.inventory.source.Hypervisor.answers`."""
        return self._answers

    def _answer(self) -> None:
        answers = {tap: self._owners.get(tap, ()) for tap in self._taps - self._unasked}
        # No answer names an application that is not known well enough to be served: it may become so.
        self._answers = {
            tap: origins for tap, origins in answers.items() if all(origin in self._domains for origin in origins)
        }

    def _forget(self, taps: set[str]) -> None:
        self._unasked |= taps
        self._asking -= taps
        self._answers = {tap: origins for tap, origins in self._answers.items() if tap not in taps}

    def _owners_of_taps(self) -> dict[str, list[str]]:
        owners: dict[str, list[str]] = {}
        for key, status in self._status.values.items():
            # The taps of an application that is not activated are gone, or belong to another.
            for tap in {tap for adapter in status.adapters for tap in adapter.taps if status.activated}:
                owners.setdefault(tap, []).append(self._status.file(key))
        return owners

    # -- domains --

    def _read(self) -> tuple[dict[str, Domain], list[InventoryProblem]]:
        problems: list[InventoryProblem] = []
        if not os.path.isdir(self._status.path):
            message = "no such directory; EVE's applications are read as soon as its zedrouter makes it"
            problems.append(InventoryProblem(file=str(self._status.path), message=message, warning=True))
        applications = tuple(self._status.values.values())
        surroundings = Surroundings(
            networks={UUID(key): network for key, network in self._networks.values.items()},
            device=_global(self._device),
            ports=self._ports.values.get(GLOBAL, {}),
            applications=applications,
        )
        names = Counter(status.name for status in applications)
        domains = {}
        for key, status in self._status.values.items():
            config, file = self._config(key)
            origin = self._status.file(key)
            if config is None:
                message = f"not served while there is no {self._configs[0].file(key)}"
                problems.append(InventoryProblem(file=origin, message=message, warning=True))
                continue
            name, why = _name(status, names)
            if why:
                problems.append(InventoryProblem(file=origin, field="DisplayName", message=why, warning=True))
            made = domain(status, config, surroundings, name=name, everything=self._everything)
            if config.encrypted and made.eve is not None and made.eve.openstack:
                message = "the user data is encrypted, only EVE itself can read it: the guest gets none (404)"
                problems.append(InventoryProblem(file=file, field="IsCipher", message=message, warning=True))
            domains[origin] = made
        return domains, problems

    def _config(self, key: str) -> tuple[AppConfig | None, str]:
        for topic in self._configs:
            if key in topic.values:
                return topic.values[key], topic.file(key)
        return None, ""


def _global(topics: Iterable[Topic[T]]) -> T | None:
    return next((topic.values[GLOBAL] for topic in topics if GLOBAL in topic.values), None)


def _name(status: AppStatus, names: Mapping[str | None, int]) -> tuple[str | None, str]:
    """Return the name of the domain, or None and the reason."""
    instead = "its guest gets the uuid in its place"
    if status.name is None:
        return None, f"expected a name of printable characters: {instead}"
    if names[status.name] > 1:
        return None, f"expected a name that no other application has, got {status.name!r}: {instead}"
    return status.name, ""


class EveSource(FileSource):
    """The applications of an EVE-OS node, as a :class:`~eve_meta.inventory.source.Hypervisor`.

    :param run: ``/run`` of the node.
    :param everything: see :class:`EveFiles`.
    :param reactor: needs IReactorTime and IReactorFDSet.
    :param reader: reads the files.
    """

    phase = None
    """The source can always be asked: its knowledge is in files."""

    def __init__(self, run: Path, everything: bool, reactor: Any, reader: Reader) -> None:
        self._eve = EveFiles(run, everything, reader)
        super().__init__(self._eve, reactor)

    def taps_changed(self, names: Iterable[str]) -> None:
        """As :meth:`eve_meta.inventory.source.Hypervisor.taps_changed`."""
        if self._eve.taps_changed(names):
            self.rescan()

    def holder_may_have_changed(self, tap: str) -> None:
        """As :meth:`eve_meta.inventory.source.Hypervisor.holder_may_have_changed`."""
        self._eve.holder_may_have_changed(tap)
        self.rescan()

    def answers(self) -> Mapping[str, Collection[str]]:
        """As :meth:`eve_meta.inventory.source.Hypervisor.answers`."""
        return self._eve.answers()

    def awaited(self, tap: str, owner: Owner | None) -> bool:
        """As :meth:`eve_meta.inventory.source.Hypervisor.awaited`: each tap is, until its answer."""
        return tap not in self.answers()

    def node(self) -> Node:
        """Return the metadata that all applications share."""
        return self._eve.node
