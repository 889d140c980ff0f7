"""Which socket a command asks on, and what it says where this user may ask on neither."""

from __future__ import annotations

import grp
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eve_meta.admin.client import NotPermitted, NotRunning, ask
from eve_meta.admin.questions import EVENTS, PASSWORD, STATUS
from eve_meta.config import read_only_socket
from tests.fake_daemon import answering_on


class Denying(socket.socket):
    """A socket that may not connect to some paths, as that of a user who is not root."""

    denied: tuple[str, ...] = ()

    def connect(self, address: Any) -> None:
        if address in self.denied:
            raise PermissionError(13, "Permission denied")
        super().connect(address)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Root's socket, which this user may not open. The operators' socket answers with the name of the question."""
    path = tmp_path / "admin.sock"
    path.touch()
    with answering_on(read_only_socket(path), lambda asked: {"answer": [{"asked": asked["question"]}]}):
        monkeypatch.setattr(Denying, "denied", (str(path),))
        monkeypatch.setattr(socket, "socket", Denying)
        yield path
        monkeypatch.undo()


def test_whoever_may_not_ask_as_root_asks_as_an_operator(path: Path) -> None:
    assert ask(path, EVENTS) == [{"asked": "events"}]


def test_what_is_for_root_alone_is_not_asked_as_an_operator(path: Path) -> None:
    with pytest.raises(NotPermitted) as caught:
        ask(path, PASSWORD, name="web1")
    assert str(caught.value) == f"only root may ask the daemon on {path} for that: run the command with sudo"


def test_whoever_is_not_in_the_group_is_told_how_to_get_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_only = read_only_socket(path)
    monkeypatch.setattr(Denying, "denied", (str(path), str(read_only)))
    group = grp.getgrgid(os.stat(read_only).st_gid).gr_name
    with pytest.raises(NotPermitted, match=rf"only root and the group {group} may ask .*: 'sudo usermod -aG {group} "):
        ask(path, STATUS)
    read_only.unlink()
    monkeypatch.setattr(Denying, "denied", (str(path),))
    with pytest.raises(NotPermitted, match=r"only root may ask .*, or have \[admin\] operators name a group"):
        ask(path, STATUS)


def test_a_daemon_that_died_is_not_running_for_operators_either(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with pytest.raises(NotRunning, match="start it with 'eve-meta serve'"):
        ask(path, STATUS)
