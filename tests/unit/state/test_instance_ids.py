"""The instance ids that domains were given: stored as a whole, and there again after a restart."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from eve_meta.state.instance_ids import FILE, InstanceIds
from eve_meta.values.problem import Problem

WEB, DB, ID1, ID2 = (UUID(int=number) for number in range(1, 5))


def at_once(function: Callable[[], None]) -> Deferred[None]:
    function()
    return succeed(None)


def failed(result: Deferred[None]) -> str:
    messages: list[str] = []

    def note(failure: Failure) -> None:
        failure.trap(Problem)
        messages.append(str(failure.value))

    result.addErrback(note)
    (message,) = messages
    return message


def test_an_id_outlives_a_restart_until_it_is_taken_back(tmp_path: Path) -> None:
    ids = InstanceIds(tmp_path, at_once)
    assert ids.get(WEB) is None
    ids.give([WEB, DB], ID1)
    ids.give([WEB], ID2)
    again = InstanceIds(tmp_path, at_once)
    assert (again.get(WEB), again.get(DB)) == (ID2, ID1)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    again.give([WEB], None)
    assert InstanceIds(tmp_path, at_once).get(WEB) is None


def test_an_id_that_is_not_stored_does_not_count(tmp_path: Path) -> None:
    ids = InstanceIds(tmp_path, lambda _: fail(OSError(28, "No space left on device")))
    assert failed(ids.give([WEB], ID1)) == f"cannot write {tmp_path}/{FILE}: [Errno 28] No space left on device"
    assert ids.get(WEB) is None


def test_one_change_at_a_time(tmp_path: Path) -> None:
    pending: Deferred[None] = Deferred()
    ids = InstanceIds(tmp_path, lambda _: pending)
    ids.give([WEB], ID1)
    with pytest.raises(Problem, match="try again"):
        ids.give([DB], ID1)
    pending.callback(None)
    assert ids.get(WEB) == ID1


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": "b"}', '{"00000000-0000-0000-0000-000000000001": 5}'])
def test_a_broken_file_stops_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    assert InstanceIds(tmp_path, at_once).get(WEB) is None


def test_a_file_that_others_may_write_does_not_count(tmp_path: Path) -> None:
    InstanceIds(tmp_path, at_once).give([WEB], ID1)
    os.chmod(tmp_path / FILE, 0o666)
    assert InstanceIds(tmp_path, at_once).get(WEB) is None
