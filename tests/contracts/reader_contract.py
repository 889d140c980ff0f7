"""What a reader does: the contract of the fake and of the real ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import pytest

from eve_meta.inventory.files.domain_file import FileReading, LinesReading
from eve_meta.inventory.libvirt.description import ReadXml, xml_reading
from eve_meta.inventory.readers.reading import Reader, Reading
from eve_meta.values.domain import METADATA_NAMESPACE

UUID1 = "1a831fa7-c50b-4693-a16e-fb8171f1b69e"


class World(Protocol):
    """A reader, and how a test waits for what it reads."""

    @property
    def reader(self) -> Reader:
        """The reader."""

    def wait(self, *readings: Reading[Any] | None) -> None:
        """Wait until all *readings* have a result."""


class ReaderContract:
    """The tests. A subclass has the fixture ``world``."""

    @pytest.fixture
    def file(self, world: World, tmp_path: Path) -> Callable[[str | bytes], FileReading]:
        def begin(text: str | bytes) -> FileReading:
            path = tmp_path / "web1.yaml"
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
            path.chmod(0o600)
            return FileReading(str(path), world.reader)

        return begin

    def test_a_domain_file(self, world: World, file: Callable[[str], FileReading]) -> None:
        reading = file("name: a\nuser_data: é\nfiles: [{path: /a, content: b}, {path: /b}]\nnics: [{tap: t}]\n")
        world.wait(reading.reading)
        read = reading.finish()
        assert read.problems == ()
        assert read.domain is not None
        assert bytes(read.domain.user_data or b"") == "é".encode()
        assert [bytes(each.content) for each in read.domain.files] == [b"b", b""]
        assert read.lines == {"uuid": 1, "name": 1, "user_data": 2, "nics[0].tap": 4}

    def test_a_broken_domain_file(self, world: World, file: Callable[[str], FileReading]) -> None:
        reading = file("name: a\ntapp: b\n")
        world.wait(reading.reading)
        (problem,) = reading.finish().problems
        assert (problem.line, problem.field) == (2, "tapp")

    def test_16_mib_of_user_data(self, world: World, file: Callable[[bytes], FileReading]) -> None:
        reading = file(b"name: a\nuser_data: " + b"x" * 16 * 1024 * 1024 + b"\n")
        world.wait(reading.reading)
        read = reading.finish()
        assert read.problems == ()
        assert read.domain is not None
        assert bytes(read.domain.user_data or b"") == b"x" * 16 * 1024 * 1024

    def test_many_domain_files_come_in_their_order(self, world: World, tmp_path: Path) -> None:
        readings = []
        done: list[int] = []
        for number in range(300):
            path = tmp_path / f"{number}.yaml"
            path.write_text(f"name: n{number}\n")
            path.chmod(0o600)
            reading = FileReading(str(path), world.reader)
            assert reading.reading is not None
            reading.reading.when_done(lambda number=number: done.append(number))  # type: ignore[misc]
            readings.append(reading)
        world.wait(*(each.reading for each in readings))
        names = [read.domain and read.domain.name for read in (each.finish() for each in readings)]
        assert names == [f"n{number}" for number in range(300)]
        assert done == list(range(300))

    def test_lines(self, world: World, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text("name: a\n\nuser_data_base64: YQ==\n")
        reading = LinesReading(str(tmp_path / "a.yaml"), ["name", "user_data", "hostname"], world.reader)
        world.wait(reading.reading)
        assert reading.finish() == {"name": 1, "user_data": 3}

    def test_the_xml_of_libvirt(self, world: World) -> None:
        metadata = f"<x:domain xmlns:x='{METADATA_NAMESPACE}'>user_data: b</x:domain>"
        nic = "<interface type='network'><source network='default'/><target dev='vnet0'/></interface>"
        reading = xml_reading(
            f"<domain id='1'><name>a</name><uuid>{UUID1}</uuid><metadata>{metadata}</metadata>"
            f"<devices>{nic}</devices></domain>",
            UUID(UUID1),
        )
        world.reader.read(reading)
        world.wait(reading)
        assert isinstance(reading.result, ReadXml)
        described = reading.result.described({"default": UUID(int=1)})
        assert (described.domain.taps, described.domain.nics[0].network_id) == (("vnet0",), UUID(int=1))
        assert described.metadata is not None
        assert bytes(described.metadata.user_data or b"") == b"b"

    def test_a_file_of_eve(self, world: World) -> None:
        content = json.dumps({"DeviceName": "a"}).encode()
        reading = Reading("a", {"kind": "eve", "topic": "device", "key": "global"}, content, lambda plain, _: plain)
        world.reader.read(reading)
        world.wait(reading)
        assert isinstance(reading.result, dict)
        assert reading.result["value"]["name"] == "a"
