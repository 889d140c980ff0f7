"""How the daemon begins to listen for operators."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
from twisted.internet.task import Clock as TaskClock
from twisted.logger import capturedLogs

from eve_meta.admin.access import Access
from eve_meta.admin.server import AdminFactory
from eve_meta.config import OPERATORS_GROUP, Config, read_only_socket
from eve_meta.daemon import main
from eve_meta.runtime.clock import Clock
from eve_meta.supervisor.events import Events


class Reactor:
    """Binds sockets, as Twisted's reactor does."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []

    def listenUNIX(self, address: str, _factory: object, *, mode: int) -> None:
        self.sockets.append(socket.socket(socket.AF_UNIX))
        self.sockets[-1].bind(address)
        os.chmod(address, mode)
        self.sockets[-1].listen()


def factory(access: Access) -> AdminFactory:
    return AdminFactory(TaskClock(), {}, Events(Clock()), access)


ABSENT = (
    "only root may ask this daemon: there is no group 'no-such-group', which [admin] operators names; make it with "
    "'groupadd --system no-such-group', then restart the daemon"
)


@pytest.mark.parametrize(("group", "lines"), [("", []), (OPERATORS_GROUP, []), ("no-such-group", [ABSENT])])
def test_without_the_operators_group_the_daemon_starts_for_root_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, lines: list[str]
) -> None:
    reactor = Reactor()
    monkeypatch.setattr(main, "reactor", cast(Any, reactor))
    monkeypatch.setattr(main, "group_id", lambda name: None)
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(read_only_socket(path)))  # by a daemon that had operators, and died
    config = attrs.evolve(Config(), admin=attrs.evolve(Config().admin, socket=path, operators=group))
    with contextlib.ExitStack() as undo, capturedLogs() as logged:
        main._listen_admin(config, factory, undo)
        assert os.listdir(tmp_path) == ["admin.sock"]
        assert [event["log_format"].format(**event) for event in logged] == lines
    assert os.listdir(tmp_path) == []
    for each in reactor.sockets:
        each.close()
