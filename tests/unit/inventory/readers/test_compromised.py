"""A command's reader that a document has compromised, or that is no reader at all."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from eve_meta.inventory.readers.command import CommandReader
from eve_meta.inventory.readers.launch import NONSENSE
from eve_meta.inventory.readers.reading import Reading, Unread
from eve_meta.values.problem import Problem
from eve_meta.wire.reading import CHANNEL_FD, READY, pack

ANSWER = pack({"answered": True}, ())


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes, bytes], CommandReader]]:
    """A function that makes a reader which sends the one text at its start, the other after each document."""
    readers: list[CommandReader] = []

    def make(first: bytes, then: bytes) -> CommandReader:
        code = (
            f"import socket; s = socket.socket(fileno={CHANNEL_FD}); s.sendall({first!r})\n"
            f"while s.recv(65536): s.sendall({then!r})"
        )
        monkeypatch.setattr(
            "eve_meta.inventory.readers.command.arguments", lambda identity, schema=None: [sys.executable, "-Ic", code]
        )
        readers.append(CommandReader())
        return readers[-1]

    yield make
    for each in readers:
        each.close()


def document() -> Reading[dict[str, Any]]:
    return Reading("/etc/web1.yaml", {"kind": "domain"}, b"name: web1\n", lambda plain, parts: plain)


def test_an_answer_without_a_document_costs_the_reader_its_life_and_the_command_nothing(
    reader: Callable[[bytes, bytes], CommandReader],
) -> None:
    compromised = reader(READY, 2 * ANSWER)
    for _ in range(2):
        reading = document()
        compromised.read(reading)
        compromised.wait(reading)
        assert reading.result == {"answered": True}


def test_an_answer_that_is_none_leaves_the_document_unread(reader: Callable[[bytes, bytes], CommandReader]) -> None:
    compromised = reader(READY, pack([], ()))  # type: ignore[arg-type]
    reading = document()
    compromised.read(reading)
    compromised.wait(reading)
    assert isinstance(reading.result, Unread)
    assert reading.result.why == NONSENSE


def test_a_reader_that_sends_something_else_at_its_start_does_not_start(
    reader: Callable[[bytes, bytes], CommandReader],
) -> None:
    broken = reader(b"hello", b"")
    reading = document()
    broken.read(reading)
    with pytest.raises(Problem, match="does not start"):
        broken.wait(reading)
