"""The connection to a real libvirtd honours ``tests/contracts/libvirt_contract.py``, as the unit tests' fake does."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from eve_meta.inventory.libvirt.connection import ThreadedLibvirtConnection
from harness.guests import Lab
from tests.contracts.fake_reader import FakeReader
from tests.contracts.libvirt_contract import LibvirtContract
from tests.guest.libvirtd import Libvirtd, interface

PATIENCE = 10.0


class Real:
    """libvirtd as a :class:`~tests.contracts.libvirt_contract.Libvirtd`. The test's thread stands for the reactor's."""

    def __init__(self, libvirtd: Libvirtd) -> None:
        self.libvirtd = libvirtd
        self.calls: queue.SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]]] = queue.SimpleQueue()
        self.connection = ThreadedLibvirtConnection(
            libvirtd.uri, lambda call, *arguments: self.calls.put((call, arguments)), FakeReader()
        )
        self.names: dict[str, str] = {}
        self.stopped = False

    def close(self) -> None:
        self.connection.stop()
        if self.stopped:
            self.start_daemon()
        self.libvirtd.clear()

    def _turn(self, seconds: float) -> None:
        with contextlib.suppress(queue.Empty):
            call, arguments = self.calls.get(timeout=seconds)
            call(*arguments)

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"the condition did not come to hold within {PATIENCE:g} s"
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
def daemon() -> Iterator[Libvirtd]:
    with Lab("emg-conn") as lab:
        lab.bridge("br0")
        with Libvirtd(lab) as libvirtd:
            yield libvirtd


class TestRealLibvirt(LibvirtContract):
    """The whole contract, on a real libvirtd."""

    @pytest.fixture
    def libvirtd(self, daemon: Libvirtd) -> Iterator[Real]:
        real = Real(daemon)
        yield real
        real.close()
