"""``eve-meta serve`` on a lab's host, with its own configuration and domain files."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from eve_meta.admin.client import ask
from eve_meta.admin.questions import STATUS
from eve_meta.values.problem import Problem
from harness import ROOT
from harness.guests import Lab, LabError

EVE_META = ROOT / ".venv/bin/eve-meta"

START_TIME = 60.0
"""Seconds until the daemon answers; compiling the BPF programs takes two, many times that on a busy machine."""

STOP_TIME = 20.0
"""Seconds until the daemon has removed everything."""

POLL = 0.05


class Daemon:
    """The daemon of *lab*; a context manager that starts and ends the daemon.

    The daemon's namespace has the lab's name, its files are below :attr:`directory`. After :attr:`process` was killed,
    :meth:`start` may be called again.
    """

    def __init__(
        self,
        lab: Lab,
        *,
        taps: Iterable[str] = ("vnet*",),
        inventory: str = "",
        settings: str = "",
        serve: Sequence[str] = (str(EVE_META), "serve"),
    ) -> None:
        """Write the configuration.

        :param inventory: further lines of the table ``[inventory]``. Without ``libvirt`` among them, the machine's own
            is not asked.
        :param settings: further TOML, whole tables.
        :param serve: the daemon's command, to which its ``--config`` is added.
        """
        self.lab = lab
        self._serve = serve
        self.directory = lab.directory / "eve-meta"
        self.domains = self.directory / "domains.d"
        self.config = self.directory / "eve-meta.toml"
        self.socket = self.directory / "admin.sock"
        self.log = self.directory / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self.domains.mkdir(parents=True, mode=0o700)
        if "libvirt" not in inventory:
            inventory += 'libvirt = ""\n'
        self._config = (
            f"[inventory]\ndirectory = {json.dumps(str(self.domains))}\n{inventory}"
            f"[steering]\nnamespace = {json.dumps(lab.name)}\ntaps = {json.dumps(list(taps))}\n"
            f"[admin]\nsocket = {json.dumps(str(self.socket))}\n"
            f"[paths]\nrun = {json.dumps(str(self.directory / 'run'))}\n"
            f"state = {json.dumps(str(self.directory / 'state'))}\n{settings}"
        )
        self.set_admin("")

    def __enter__(self) -> Daemon:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, prefix: Sequence[str | Path] = (), pass_fds: Sequence[int] = ()) -> None:
        """Start the daemon and wait until it answers.

        :param prefix: a program, with its arguments, that executes the daemon.
        :param pass_fds: file descriptors that the program inherits.
        :raises LabError: when the daemon does not answer within :data:`START_TIME`.
        """
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C in a terminal interrupts the lab, which then ends the daemon.
            self.process = self.lab.host.popen(
                *prefix,
                *(*self._serve, "--config", str(self.config)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=pass_fds,
            )
        deadline = time.monotonic() + START_TIME
        while self.process.poll() is None and time.monotonic() < deadline:
            if self._ask() is not None:
                return
            time.sleep(POLL)
        raise LabError(f"eve-meta serve did not start; the end of its log:\n{self.log_tail()}")

    def stop(self) -> None:
        """End the daemon as a service manager does, and wait until it has removed everything.

        :raises LabError: when it does not end within :data:`STOP_TIME`.
        """
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_TIME)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise LabError(f"eve-meta serve did not end; the end of its log:\n{self.log_tail()}") from None
        finally:
            self.process = None

    def hand_over(self) -> None:
        """Make the daemon leave everything to its successor, as a service manager does for a restart."""
        assert self.process is not None
        self.process.send_signal(signal.SIGUSR1)
        self.process.wait(STOP_TIME)

    def set_admin(self, lines: str) -> None:
        """Add *lines* to the table ``[admin]``, beside the socket, from the next start on."""
        self.config.write_text(self._config.replace("[admin]\n", f"[admin]\n{lines}"))

    def command(self, *arguments: str) -> list[str]:
        """Return the command ``eve-meta ARGUMENTS`` with this daemon's configuration."""
        return [str(EVE_META), *arguments, "--config", str(self.config)]

    def status(self) -> dict[str, Any]:
        """Return what ``eve-meta status --json`` prints, without the start of a Python for each look.

        :raises LabError: when the daemon does not answer.
        """
        if (status := self._ask()) is None:
            raise LabError(f"eve-meta does not answer; the end of its log:\n{self.log_tail()}")
        return status

    def problems(self) -> list[str]:
        """Return the problems that ``status`` shows, as people read them."""
        return [problem["text"] for problem in self.status()["problems"]]

    def _ask(self) -> dict[str, Any] | None:
        try:
            return dict(ask(self.socket, STATUS))
        except Problem:
            return None

    def write_domain(self, name: str, domain: Mapping[str, Any]) -> Path:
        """Write a domain file; YAML reads JSON."""
        return self.write_domain_file(name, json.dumps(domain, indent=1))

    def write_domain_file(self, name: str, text: str) -> Path:
        """Write a domain file."""
        path = self.domains / f"{name}.yaml"
        # A new file, renamed when it is whole, so that the daemon never reads half of it.
        whole = path.with_suffix(".new")
        whole.write_text(text)
        whole.rename(path)
        return path

    def log_tail(self, lines: int = 30) -> str:
        """Return the last *lines* lines of the daemon's log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])
