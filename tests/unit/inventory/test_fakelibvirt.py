"""The tests' fake of libvirtd does what the real one does, see ``tests/guest/test_libvirt_link.py``."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.task import Clock

from tests.unit.inventory.fakelibvirt import FakeLibvirt
from tests.unit.inventory.libvirtcontract import LinkContract


class Fake:
    """A :class:`~tests.unit.inventory.libvirtcontract.Hypervisor`."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.link = FakeLibvirt(self.clock)
        self.define = self.link.define
        self.destroy = self.link.destroy
        self.undefine = self.link.undefine
        self.set_metadata = self.link.set_metadata
        self.stop_daemon = self.link.stop_daemon
        self.start_daemon = self.link.start_daemon

    def until(self, what: Callable[[], object]) -> None:
        for _ in range(100):
            if what():
                return
            self.clock.advance(0.1)
        raise AssertionError("it does not happen")

    def rest(self) -> None:
        self.clock.pump([0.1] * 10)

    def begin(self, uuid: str) -> list[str]:
        self.link.begin(uuid, "vnet0")
        return ["vnet0"]

    def plug(self, uuid: str) -> None:
        self.link.plug(uuid, "vnet1")


class TestFake(LinkContract):
    """All of the contract."""

    @pytest.fixture
    def virt(self) -> Fake:
        return Fake()
