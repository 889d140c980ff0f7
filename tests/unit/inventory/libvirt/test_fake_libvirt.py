"""The fake libvirtd honours the contract that the real one honours in ``tests/guest/test_libvirt_connection.py``."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.task import Clock

from tests.contracts.fake_libvirt import FakeLibvirt
from tests.contracts.libvirt_contract import LibvirtContract


class Fake:
    """The fake as a :class:`~tests.contracts.libvirt_contract.Libvirtd`."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.connection = FakeLibvirt(self.clock)
        self.define = self.connection.define
        self.destroy = self.connection.destroy
        self.undefine = self.connection.undefine
        self.set_metadata = self.connection.set_metadata
        self.stop_daemon = self.connection.stop_daemon
        self.start_daemon = self.connection.start_daemon

    def until(self, condition: Callable[[], object]) -> None:
        for _ in range(100):
            if condition():
                return
            self.clock.advance(0.1)
        raise AssertionError("the condition did not come to hold within 10 s")

    def rest(self) -> None:
        self.clock.pump([0.1] * 10)

    def begin(self, uuid: str) -> list[str]:
        self.connection.begin(uuid, "vnet0")
        return ["vnet0"]

    def plug(self, uuid: str) -> None:
        self.connection.plug(uuid, "vnet1")


class TestFakeLibvirt(LibvirtContract):
    """The whole contract, on the fake."""

    @pytest.fixture
    def libvirtd(self) -> Fake:
        return Fake()
