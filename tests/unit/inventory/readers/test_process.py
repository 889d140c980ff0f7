"""A reader that is killed, hangs, spins, runs out of memory, answers nonsense or never starts: everything goes on."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from twisted.internet.process import reapAllProcesses

from eve_meta.inventory.files.domain_file import DomainFile, FileReading
from eve_meta.inventory.libvirt.description import ReadXml, xml_reading
from eve_meta.inventory.readers import process as module
from eve_meta.inventory.readers.process import ReaderProcess
from eve_meta.inventory.readers.reading import Reading, Unread
from eve_meta.values.domain import METADATA_NAMESPACE
from eve_meta.wire.reading import DOCUMENT_TIME

HONEST = """
import json, socket, struct, sys, time, os, signal
sys.path.insert(0, {root!r})
from eve_meta.reader.answers import answer
from eve_meta.wire.reading import READY, Frames, pack
channel = socket.socket(fileno=3)
{begin}
channel.sendall(READY)
frames = Frames(lambda head, parts: True)
while data := channel.recv(65536):
    for head, content in frames.feed(data):
        if b"monster" in content:
            {act}
        head, parts = answer(json.loads(head), content)
        channel.sendall(pack(head, parts))
"""
"""A reader that acts otherwise at a document with the word "monster" in it."""

ROOT = str(Path(__file__).parents[4])


@pytest.fixture
def start(reactor: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], ReaderProcess]]:
    readers: list[ReaderProcess] = []

    def begin(act: str, at_start: str = "") -> ReaderProcess:
        program = HONEST.format(root=ROOT, act=act, begin=at_start)
        monkeypatch.setattr(module, "arguments", lambda _: [sys.executable, "-c", program])
        readers.append(ReaderProcess(reactor, None))
        readers[-1].start()
        return readers[-1]

    yield begin
    for reader in readers:
        reader.stop()
        wait(reactor, lambda reader=reader: reader.pid is None)  # type: ignore[misc]


def wait(reactor: Any, condition: Callable[[], bool]) -> float:
    """Turn the reactor until *condition* holds; return the longest turn in CPU seconds."""
    end, longest = time.monotonic() + 30, 0.0
    while not condition():
        assert time.monotonic() < end
        began = time.thread_time()
        reactor.iterate(0.01)
        reapAllProcesses()  # only a reactor that runs does so by itself
        longest = max(longest, time.thread_time() - began)
    return longest


def read(reactor: Any, reader: ReaderProcess, folder: Path, *texts: str) -> tuple[list[DomainFile], float]:
    """Have files with *texts* read; return them, and the longest turn of the reactor."""
    readings = []
    for number, text in enumerate(texts):
        path = folder / f"{number}.yaml"
        path.write_text(text)
        path.chmod(0o600)
        readings.append(FileReading(str(path), reader))
    longest = wait(reactor, lambda: all(each.reading is None or each.reading.result is not None for each in readings))
    return [each.finish() for each in readings], longest


NONSENSE = "the reader gave an answer that no sound reader gives"
SPIN = "while True: pass"
HANG = "time.sleep(1000)"
STOP = "os.kill(os.getpid(), signal.SIGSTOP)"
SEND = "channel.sendall({}); time.sleep(1000)"


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (SPIN, "it takes longer than 2 s, which no domain needs"),
        (HANG, "it takes longer than 2 s, which no domain needs"),
        (STOP, "it takes longer than 2 s, which no domain needs"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "the reader ended at it twice, by SIGSEGV"),
        ("os._exit(77)", "it takes more than 768 MiB of memory, which no domain needs"),
        ("os._exit(3)", "the reader ended at it twice, with status 3"),
        (SEND.format("b'x' * 1000"), NONSENSE),
        (SEND.format("struct.pack('!II', 2**32 - 1, 0)"), NONSENSE),
        (SEND.format("struct.pack('!II', 0, 2**32 - 1)"), NONSENSE),
        (SEND.format("pack({'domain': {'name': 5}}, ())"), NONSENSE),
        (SEND.format("pack({'domain': None}, ())"), NONSENSE),
        (SEND.format("pack({'domain': {'eve': {}}}, ())"), NONSENSE),
        (
            SEND.format("b'\\0\\0\\0\\xff' + bytes(4) + b'[' * 255"),
            NONSENSE,
        ),
    ],
)
def test_a_document_at_which_the_reader_goes_wrong_is_a_problem_of_its_file_alone(
    reactor: Any, start: Callable[..., ReaderProcess], tmp_path: Path, act: str, why: str
) -> None:
    reader = start(act)
    files, longest = read(reactor, reader, tmp_path, "name: a\n", "name: monster\n", "name: b\n", "name: c\n")
    assert [file.domain and file.domain.name for file in files] == ["a", None, "b", "c"]
    assert [str(each) for each in files[1].problems] == [f"{tmp_path}/1.yaml: is not read: {why}"]
    assert files[1].retry_at is not None
    assert longest < 0.5
    # The same name again: unread at once.
    (again,), _ = read(reactor, reader, tmp_path, "name: a\n")
    assert again.domain is not None


def test_the_first_document_of_a_reader_has_no_more_time_than_others(
    reactor: Any, start: Callable[..., ReaderProcess], tmp_path: Path
) -> None:
    reader = start(SPIN)
    wait(reactor, lambda: reader._process is not None and reader._process.ready)
    began = time.monotonic()
    (file,), _ = read(reactor, reader, tmp_path, "name: monster\n")
    assert file.domain is None
    assert time.monotonic() - began < DOCUMENT_TIME + 2


def test_a_reader_that_somebody_kills_costs_no_document(
    reactor: Any, start: Callable[..., ReaderProcess], tmp_path: Path
) -> None:
    reader = start("pass")
    read(reactor, reader, tmp_path, "name: a\n")
    assert reader.pid is not None
    os.kill(reader.pid, signal.SIGKILL)
    files, _ = read(reactor, reader, tmp_path, "name: a\n", "name: b\n")
    assert [file.problems for file in files] == [(), ()]


def test_a_reader_that_never_starts_leaves_nothing_waiting(
    reactor: Any, start: Callable[..., ReaderProcess], tmp_path: Path
) -> None:
    reader = start("pass", "sys.exit(1)")
    (file,), _ = read(reactor, reader, tmp_path, "name: a\n")
    assert [str(each) for each in file.problems] == [
        f"{tmp_path}/0.yaml: is not read: the reader does not start, see the log"
    ]


def test_what_a_compromised_reader_may_do_is_to_read_wrongly(
    reactor: Any, start: Callable[..., ReaderProcess], tmp_path: Path
) -> None:
    """Its values are bounded, and are values: nothing in them runs, and no message of its breaks the log."""
    fault = r"{'line': 1, 'field': 'a\nb', 'message': '\x1b[2J' + 'x' * 5000}"
    reader = start(f"channel.sendall(pack({{'faults': [{fault}] * 30, 'more': 10**9}}, ())); continue")
    (file,), _ = read(reactor, reader, tmp_path, "name: monster" + " " * 20_000 + "\n")
    assert len(file.problems) == 21
    assert all(str(problem).isprintable() and len(str(problem)) < 1500 for problem in file.problems)


def test_the_real_reader_ends_with_monsters_in_bounded_time_and_memory(reactor: Any, tmp_path: Path) -> None:
    monsters = [
        "name: a\nlaunch_index: " + "1:" * 200_000 + "1\n",
        "name: a\nmeta:\n" + "".join(f"  {1 + number * (2**61 - 1)}: x\n" for number in range(20_000)),
        "name: a\n" + "".join(f"key{number}: x\n" for number in range(20_000)),
        "name: a\nnics: [" + "{tap: a}, " * 10_000 + "]\n",
        "name: a\nvendor_data: " + "[" * 100_000,
        "name: a\nvendor_data: {a: &a [" + "x, " * 10_000 + "], b: [" + "*a, " * 10_000 + "]}\n",
        "name: a\nlaunch_index: " + "9" * 1_000_000 + "\n",
        "name: a\nuser_data_base64: " + "=" * 1_000_000 + "\n",
        "? " * 100_000,
        "&a " * 100_000,
        "name: a\nmeta: {" + "? a : b, " * 20_000 + "}\n",
        "name: a\n" * 20_000,
    ]
    reader = ReaderProcess(reactor, None)
    reader.start()
    try:
        began = time.monotonic()
        files, longest = read(reactor, reader, tmp_path, *monsters, "name: b\n")
        assert [file.domain and file.domain.name for file in files] == [None] * len(monsters) + ["b"]
        assert all(0 < len(file.problems) <= 21 for file in files[:-1])
        assert sum(len(str(problem)) for file in files for problem in file.problems) < 100_000
        assert longest < 0.5
        assert time.monotonic() - began < 2.5 * len(monsters)
    finally:
        reader.stop()
        wait(reactor, lambda: reader.pid is None)


def test_monsters_of_libvirt_and_eve_end_in_bounded_time_and_memory(reactor: Any) -> None:
    uuid = UUID("1a831fa7-c50b-4693-a16e-fb8171f1b69e")

    def domain(inner: str, begin: str = "") -> str:
        return f"{begin}<domain><name>a</name><uuid>{uuid}</uuid>{inner}</domain>"

    def metadata(text: str) -> str:
        return domain(f"<metadata><x:domain xmlns:x='{METADATA_NAMESPACE}'>{text}</x:domain></metadata>")

    laughs = "".join(f"<!ENTITY l{n} '{f'&l{n - 1};' * 10}'>" for n in range(1, 10))
    xml = [
        metadata("launch_index: " + "1:" * 200_000 + "1"),
        metadata("meta:\n" + "".join(f"  {1 + number * (2**61 - 1)}: x\n" for number in range(20_000))),
        metadata("".join(f"key{number}: x\n" for number in range(20_000))),
        domain("&l9;", f"<!DOCTYPE domain [<!ENTITY l0 'ha'>{laughs}]>"),
        domain("<a>" * 500_000),
        domain("<devices>" + "<interface type='bridge'><target dev='a'/></interface>" * 50_000 + "</devices>"),
    ]
    eve = [
        b"[" * 1_000_000,
        b'{"UUIDandVersion": ' * 100_000,
        b"9" * 1_000_000,
        b'{"AppNetAdapterList": [' + b"{}, " * 500_000 + b"{}]}",
        b"{" + b", ".join(b'"%d": 1' % number for number in range(500_000)) + b"}",
    ]
    reader = ReaderProcess(reactor, None)
    reader.start()
    try:
        readings: list[Reading[Any]] = [xml_reading(text, uuid) for text in xml]
        for number, content in enumerate(eve):
            head = {"kind": "eve", "topic": "app_status", "key": "a"}
            readings.append(Reading(f"eve {number}", head, content, lambda plain, _: plain["message"]))
        for reading in readings:
            reader.read(reading)
        longest = wait(reactor, lambda: all(reading.result is not None for reading in readings))
        assert longest < 0.5
        for reading in readings[: len(xml)]:
            read = reading.result
            assert isinstance(read, (ReadXml, Unread))
            assert isinstance(read, Unread) or read.description is None or len(read.description.problems) <= 21
        assert all(isinstance(reading.result, Unread) or reading.result for reading in readings[len(xml) :])
    finally:
        reader.stop()
        wait(reactor, lambda: reader.pid is None)
