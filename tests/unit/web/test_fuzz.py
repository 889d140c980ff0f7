"""A short run of ``scripts/fuzz http``, and the proof that it notices defects."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from eve_meta.documents import path
from eve_meta.web import request
from eve_meta.web.connection import Connection
from eve_meta.web.guests import Guests
from eve_meta.web.table import Entry, Table
from tests import fuzzing
from tests.unit.web.fuzz import CLOSED_SET, Bench

INPUTS = 2000
SEED = 0


def test_no_input_gets_anything_but_its_own_answers() -> None:
    seen = fuzzing.run(Bench().try_one, SEED, INPUTS)
    # The inputs got far enough for the test to prove something.
    assert {"200", "400", "401", "403", "404", "405", "408", "503"} <= set(seen)
    assert {int(first) for first in seen if first != "cut off"} <= CLOSED_SET


def _neighbours_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Table.get

    def get(table: Table, tag: int) -> Entry | None:
        return own(table, 1 if tag == 2 else tag)

    monkeypatch.setattr(Table, "get", get)


def _old_connections_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Guests, "_revoke", lambda *_: None)


def _nothing_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "expire", lambda _: None)


def _a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eve_meta.web.answering.answer", lambda *_: 1 / 0)


def _reads_on_while_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "pauseProducing", lambda _: None)


def _two_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request, "_keep_alive", lambda *_: True)


def _a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path, "BadPath", LookupError)


@pytest.mark.parametrize(
    "defect",
    [
        _neighbours_entry,
        _old_connections_stay,
        _nothing_expires,
        _a_defect,
        _reads_on_while_blocked,
        _two_readings,
        _a_traceback,
    ],
)
def test_the_fuzzer_finds_a_defect_and_names_the_seed_that_shows_it_again(
    defect: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    defect(monkeypatch)
    with pytest.raises(AssertionError, match=r"the input of --seed \d+ --inputs 1 failed"):
        fuzzing.run(Bench().try_one, SEED, INPUTS)
