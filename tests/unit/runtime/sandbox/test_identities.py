"""The ids that confined processes run as are never anybody else's."""

from __future__ import annotations

import grp
import pwd
from pathlib import Path

import pytest

from eve_meta.config import MAX_WORKERS
from eve_meta.runtime.sandbox import identities
from eve_meta.runtime.sandbox.identities import BLOCK, BLOCKS, FIRST, find_ids
from eve_meta.values.problem import Problem

WHOLE = "         0          0 4294967295\n"


class Host:
    """A host whose ids are in use as a test has it."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._proc = tmp_path / "proc"
        self._subordinate = (tmp_path / "subuid", tmp_path / "subgid")
        self.named_users: set[int] = set()
        self.named_groups: set[int] = set()
        self.map_ids(WHOLE)
        self.run(1, 0)
        monkeypatch.setattr(identities, "_PROC", self._proc)
        monkeypatch.setattr(identities, "_SUBORDINATE", self._subordinate)
        monkeypatch.setattr(pwd, "getpwuid", lambda number: self._look_up(number, self.named_users))
        monkeypatch.setattr(grp, "getgrgid", lambda number: self._look_up(number, self.named_groups))

    @staticmethod
    def _look_up(number: int, known: set[int]) -> None:
        if number not in known:
            raise KeyError(number)

    def map_ids(self, text: str) -> None:
        (self._proc / "self").mkdir(parents=True, exist_ok=True)
        for name in ("uid_map", "gid_map"):
            (self._proc / "self" / name).write_text(text)

    def run(self, pid: int, uid: int, state: str = "S (sleeping)") -> None:
        (self._proc / str(pid)).mkdir()
        status = f"State:\t{state}\nUid:\t0\t0\t0\t{uid}\nGid:\t0\t0\t0\t0\n"
        (self._proc / str(pid) / "status").write_bytes(b"Name:\t\xff\x85Uid: x\n" + status.encode())

    def delegate(self, text: str) -> None:
        self._subordinate[0].write_text(text)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_the_first_block_is_free_on_most_hosts(host: Host) -> None:
    assert find_ids(3) == range(FIRST, FIRST + 3)
    assert MAX_WORKERS < BLOCK


def test_a_block_of_which_a_process_has_an_id_is_another_daemons(host: Host) -> None:
    host.run(2, FIRST + 5)
    assert find_ids(2).start == FIRST + BLOCK


def test_a_process_that_has_ended_has_no_ids(host: Host) -> None:
    host.run(2, FIRST, "Z (zombie)")
    assert find_ids(1).start == FIRST


def test_an_id_with_a_name_is_somebodys(host: Host) -> None:
    host.named_users.add(FIRST)
    host.named_groups.add(FIRST + BLOCK + 1)
    assert find_ids(2).start == FIRST + 2 * BLOCK


@pytest.mark.parametrize("line", [f"alice:{FIRST - 9}:10", f"alice:{FIRST + BLOCK - 1}:1", "alice:100000:2099900001"])
def test_a_subordinate_range_is_somebodys(host: Host, line: str) -> None:
    host.delegate(f"# comment\nbroken\nbob:100000:65536\n{line}\n")
    assert find_ids(1).start != FIRST


def test_where_all_are_in_use_the_problem_says_so(host: Host) -> None:
    host.delegate(f"alice:{FIRST}:{BLOCKS * BLOCK}\n")
    with pytest.raises(Problem, match="ids that nobody else has; all from 2100000000 on are in use"):
        find_ids(1)


def test_a_container_without_these_ids_is_a_problem(host: Host) -> None:
    host.map_ids("         0     100000      65536\n")
    with pytest.raises(Problem, match="which this container's user namespace lacks"):
        find_ids(1)
