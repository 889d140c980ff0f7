"""A reader in the test's own process; ``reader_contract.py`` holds it and the real ones to one contract."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

from eve_meta.inventory.files.directory import Directory
from eve_meta.inventory.files.domain_file import DomainFile, FileReading
from eve_meta.inventory.libvirt.description import Description, ReadXml, xml_reading
from eve_meta.inventory.readers.reading import Reading, Unread
from eve_meta.reader.answers import answer
from eve_meta.wire.reading import Frames, pack


class FakeReader:
    """Reads a document while it is handed over.

    :ivar read_names: the names of all that it has read.
    :ivar unread: the results of documents that it does not read, by name.
    """

    def __init__(self) -> None:
        self.read_names: list[str] = []
        self.unread: dict[str, Unread] = {}

    def read(self, reading: Reading[Any]) -> None:
        self.read_names.append(reading.name)
        if reading.name in self.unread:
            reading.finish(self.unread[reading.name])
            return
        head, parts = answer(json.loads(json.dumps(reading.head)), reading.content)
        ((packed_head, packed_parts),) = Frames(lambda head, parts: True).feed(pack(head, parts))
        reading.finish(reading.structure(json.loads(packed_head), packed_parts))


class SlowReader(FakeReader):
    """A reader that reads only when a test calls :meth:`go_on`.

    :ivar waiting: the documents that it has not read.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Reading[Any]] = []

    def read(self, reading: Reading[Any]) -> None:
        self.waiting.append(reading)

    def go_on(self) -> None:
        """Read the documents that wait."""
        waiting, self.waiting = self.waiting, []
        for reading in waiting:
            super().read(reading)


def read_domain_file(path: str) -> DomainFile:
    """Read the domain file at *path*."""
    return FileReading(path, FakeReader()).finish()


def make_directory(path: Any) -> Directory:
    """Return the directory of domain files at *path*."""
    return Directory(path, FakeReader())


def describe(xml: str, network: Callable[[str], UUID | None]) -> Description:
    """Read a domain's XML.

    :param network: returns the uuid of the libvirt network with a name, None where there is none.
    :raises ValueError: when *xml* is not the XML of a domain.
    """
    text = xml.partition("<uuid>")[2].partition("</uuid>")[0]
    try:
        uuid = UUID(text)
    except ValueError:
        uuid = UUID(int=0)
    reading = xml_reading(xml, uuid)
    FakeReader().read(reading)
    read = reading.result
    assert isinstance(read, ReadXml)
    return read.described({name: network(name) for name in read.networks if name is not None})
