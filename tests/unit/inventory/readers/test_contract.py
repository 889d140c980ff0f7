"""The fake reader, a command's and a daemon's honour one contract."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.process import reapAllProcesses

from eve_meta.inventory.readers.command import CommandReader
from eve_meta.inventory.readers.process import ReaderProcess
from eve_meta.inventory.readers.reading import Reading
from tests.contracts.fake_reader import FakeReader
from tests.contracts.reader_contract import ReaderContract, World
from tests.unit.inventory.conftest import Until


class Fake:
    def __init__(self) -> None:
        self.reader = FakeReader()

    def wait(self, *readings: Reading[Any] | None) -> None:
        assert all(reading is None or reading.result is not None for reading in readings)


class Command:
    def __init__(self) -> None:
        self.reader = CommandReader()

    def wait(self, *readings: Reading[Any] | None) -> None:
        self.reader.run(readings)


class Process:
    def __init__(self, reactor: Any, until: Until) -> None:
        self.reader = ReaderProcess(reactor, None)
        self._until = until

    def wait(self, *readings: Reading[Any] | None) -> None:
        self._until(lambda: all(reading is None or reading.result is not None for reading in readings))


class TestFakeReader(ReaderContract):
    @pytest.fixture
    def world(self) -> World:
        return Fake()


class TestCommandReader(ReaderContract):
    @pytest.fixture
    def world(self) -> Iterator[World]:
        world = Command()
        yield world
        world.reader.close()


class TestReaderProcess(ReaderContract):
    @pytest.fixture
    def world(self, reactor: Any, until: Until) -> Iterator[World]:
        world = Process(reactor, until)
        world.reader.start()
        yield world
        world.reader.stop()

        def gone() -> bool:
            reapAllProcesses()  # only a reactor that runs does so by itself
            return world.reader.pid is None

        until(gone)
