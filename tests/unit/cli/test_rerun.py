"""``eve-meta rerun``: what it says before it does something, and what it asks the daemon."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from tests.unit.cli.conftest import Run

UUID1 = "1a831fa7-c50b-4693-a16e-fb8171f1b69e"
UUID2 = "2a831fa7-c50b-4693-a16e-fb8171f1b69e"


@define
class FakeDaemon:
    """A daemon that knows web1; *asked* has the questions that change something."""

    domain: dict[str, Any] = field(factory=lambda: {"uuid": UUID1, "name": "web1"})
    asked: list[Any] = field(factory=list)

    def answer(self, question: dict[str, Any]) -> Any:
        if question["question"] == "show_domain":
            return {"domain": self.domain, "sources": {}}
        self.asked.append((question["question"], question["arguments"]["name"]))
        return {"uuid": UUID1, "name": "web1", "instance_id": UUID2 if question["question"] == "rerun" else UUID1}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    (tmp_path / "c.toml").write_text(f'[admin]\nsocket = "{tmp_path}/s"\n')
    fake = FakeDaemon()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            answer = {"answer": fake.answer(json.loads(self.rfile.readline()))}
            self.wfile.write(json.dumps(answer).encode() + b"\n")

    with socketserver.UnixStreamServer(str(tmp_path / "s"), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield fake
        server.shutdown()


def test_it_says_what_the_guest_will_do_again_and_asks_first(run: Run, daemon: FakeDaemon) -> None:
    done = run("rerun", "--config", "c.toml", "web1")
    assert done.returncode != 0  # nobody answers on the standard input
    assert done.stdout.startswith(f"web1 ({UUID1}) gets a new instance id.\n")
    for told in ("runcmd", "SSH host keys", "overwrite: true", "cloudbase-init", "Ignition", "cloud-init clean"):
        assert told in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert daemon.asked == []


def test_with_yes_it_asks_the_daemon_for_the_domain_and_says_how_to_undo_it(run: Run, daemon: FakeDaemon) -> None:
    done = run("rerun", "--config", "c.toml", "vnet0", "--yes")
    assert done.returncode == 0
    assert daemon.asked == [("rerun", UUID1)]
    assert done.stdout.endswith(f"web1 has the instance id {UUID2}\n  eve-meta rerun vnet0 --undo   # takes it back\n")


def test_a_guest_whose_id_is_not_its_uuid_any_more_needs_no_command_in_it(run: Run, daemon: FakeDaemon) -> None:
    daemon.domain["instance_id"] = UUID2
    assert "cloud-init clean" not in run("rerun", "--config", "c.toml", "web1", "--yes").stdout


def test_undo(run: Run, daemon: FakeDaemon) -> None:
    done = run("rerun", "--config", "c.toml", "web1", "--undo")
    assert (done.stdout, daemon.asked) == (
        f"web1 has its own instance id again: {UUID1}\n",
        [("undo_rerun", "web1")],
    )
