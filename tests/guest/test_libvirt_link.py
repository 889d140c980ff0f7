"""The link to a real libvirtd does what ``tests/unit/inventory/libvirtcontract.py`` says."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from eve_meta.inventory.libvirt.connection import LibvirtLink
from harness.guests import Lab
from tests.guest.libvirtd import Libvirtd, interface
from tests.unit.inventory.libvirtcontract import LinkContract

PATIENCE = 10.0


class Real:
    """A :class:`~tests.unit.inventory.libvirtcontract.Hypervisor`; the test's thread is the reactor's."""

    def __init__(self, libvirtd: Libvirtd) -> None:
        self.libvirtd = libvirtd
        self.calls: queue.SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]]] = queue.SimpleQueue()
        self.link = LibvirtLink(libvirtd.uri, lambda call, *arguments: self.calls.put((call, arguments)))
        self.names: dict[str, str] = {}
        self.stopped = False

    def close(self) -> None:
        self.link.stop()
        if self.stopped:
            self.start_daemon()
        self.libvirtd.clear()

    def _turn(self, seconds: float) -> None:
        with contextlib.suppress(queue.Empty):
            call, arguments = self.calls.get(timeout=seconds)
            call(*arguments)

    def until(self, what: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not what():
            assert time.monotonic() < deadline, "it does not happen"
            self._turn(0.05)

    def rest(self) -> None:
        end = time.monotonic() + 0.3
        while (left := end - time.monotonic()) > 0:
            self._turn(left)

    def define(self, name: str, uuid: str) -> None:
        self.names[uuid] = name
        self.libvirtd.define(name, uuid, interface("52:54:00:00:00:01"))

    def begin(self, uuid: str) -> list[str]:
        return self.libvirtd.begin_domain(self.names[uuid])

    def plug(self, uuid: str) -> None:
        self.libvirtd.virsh("attach-interface", self.names[uuid], "bridge", "br0", "--model", "e1000", "--live")

    def set_metadata(self, uuid: str, text: str) -> None:
        self.libvirtd.set_metadata(self.names[uuid], text)

    def destroy(self, uuid: str) -> None:
        self.libvirtd.virsh("destroy", self.names[uuid])

    def undefine(self, uuid: str) -> None:
        self.libvirtd.virsh("undefine", self.names[uuid])

    def stop_daemon(self) -> None:
        self.stopped = True
        self.libvirtd.stop()

    def start_daemon(self) -> None:
        self.libvirtd.start()
        self.stopped = False


@pytest.fixture(scope="module")
def libvirtd() -> Iterator[Libvirtd]:
    with Lab("emg-link") as lab:
        lab.bridge("br0")
        with Libvirtd(lab) as daemon:
            yield daemon


class TestReal(LinkContract):
    """All of the contract."""

    @pytest.fixture
    def virt(self, libvirtd: Libvirtd) -> Iterator[Real]:
        real = Real(libvirtd)
        yield real
        real.close()
