"""The field: a lab whose guests are on veth pairs, and the load that they make.

A program carries the frames of the lab's own taps, and the benchmark would measure that program. A veth pair costs
little, and steering takes it for a tap because of its name. Each guest has one namespace, one link and one address.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

from harness import SCRIPTS
from harness.daemon import Daemon
from harness.guests import Lab
from harness.namespace import RUN_NETNS, Namespace, ip_batch

NAME = "embench"
SERVICE = "169.254.169.254"
SERVER_CPU, LOAD_CPU = 0, 1

READY_TIME = 60.0
"""Seconds within which the daemon must know the domain of every guest."""

META_DATA = "/openstack/latest/meta_data.json"
MARKER = "vm%u.example.org"
"""The text that only the meta_data.json of one guest contains; %u is the guest's number."""

POLL = 0.001

ENDLESS = 10_000_000
"""More requests, and more seconds, than a measurement takes."""

SLOTS = 64
"""The number of guests that ask at the same time, unless a benchmark has another."""


@frozen
class Load:
    """The result of a load.

    :ivar done: connections that have ended.
    :ivar stuck: connections that have not ended in time.
    :ivar unconnected: connections that were not established.
    :ivar broken: connections that ended without an answer.
    :ivar not_200: answers with another status than 200.
    :ivar wrong: answers without the guest's marker.
    :ivar p50_ms: the median time from the first SYN to the last byte, in milliseconds; the next two count alike.
    """

    seconds: float
    done: int
    stuck: int
    unconnected: int
    broken: int
    not_200: int
    wrong: int
    p50_ms: float
    p99_ms: float
    max_ms: float

    @property
    def rate(self) -> float:
        """The answers a second."""
        return self.done / self.seconds

    @property
    def failures(self) -> int:
        """The number of requests without the right answer."""
        return self.stuck + self.unconnected + self.broken + self.not_200 + self.wrong


class Field:
    """A running lab with its daemon and its guests.

    :param load: the program that makes the load (``load.c``).
    """

    def __init__(self, lab: Lab, daemon: Daemon, load: Path) -> None:
        self.lab = lab
        self.daemon = daemon
        self.private = Namespace(lab.name)
        self._load = load
        self.guests: list[str] = []

    def add_guests(self, count: int) -> None:
        """Add *count* guests; guest N has the tap vnetN and the domain vmN (:func:`domain`)."""
        numbers = range(len(self.guests), len(self.guests) + count)
        for number in numbers:
            self.daemon.write_domain(f"vm{number}", domain(number))
        names = {number: f"{self.lab.name}-g{number}" for number in numbers}
        ip_batch([f"netns add {name}" for name in names.values()])
        self.lab.host.ip(
            *(f"link add vnet{number} type veth peer name eth0 netns {name}" for number, name in names.items()),
            *(f"link set vnet{number} up" for number in names),
        )
        for number, name in names.items():
            ip_batch(
                [
                    f"address add 10.{number // 250}.{number % 250}.5/24 dev eth0",
                    "link set eth0 up",
                    "route add 169.254.0.0/16 dev eth0 scope link",
                ],
                namespace=name,
            )
        self.guests += names.values()

    def load(
        self,
        requests: bytes,
        *,
        slots: int,
        total: int,
        seconds: int,
        marker: str = "",
        guests: Sequence[str] | None = None,
    ) -> Load:
        """Let all guests send *requests*, each on a new connection, *slots* at a time and *total* altogether.

        :param requests: the requests, one after the other; each asks the server to close the connection.
        :param seconds: the seconds after which requests without an answer have failed.
        :param marker: the text that the answer to a guest's first request must contain, with %u for the guest's number.
        :param guests: some of :attr:`guests`, if not all of them are to send requests.
        """
        with self._load_command(
            requests, slots=slots, total=total, seconds=seconds, marker=marker, guests=guests
        ) as command:
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return Load(**json.loads(done.stdout))

    @contextmanager
    def endless_load(self, requests: bytes, *, slots: int, guests: Sequence[str]) -> Iterator[None]:
        """Let *guests* send *requests* as :meth:`load` does, for as long as the context lasts."""
        with self._load_command(
            requests, slots=slots, total=ENDLESS, seconds=ENDLESS, marker="", guests=guests
        ) as command:
            load = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            try:
                yield
            finally:
                load.kill()
                load.wait()

    @contextmanager
    def _load_command(
        self, requests: bytes, *, slots: int, total: int, seconds: int, marker: str, guests: Sequence[str] | None
    ) -> Iterator[list[str]]:
        with tempfile.NamedTemporaryFile() as file:
            file.write(requests)
            file.flush()
            paths = [str(RUN_NETNS / name) for name in (self.guests if guests is None else guests)]
            arguments = (SERVICE, str(slots), str(total), str(seconds), file.name, marker, *paths)
            yield ["taskset", "-c", str(LOAD_CPU), str(self._load), *arguments]

    def restart(self, admin: str) -> None:
        """Restart the daemon, with *admin* as further lines of the table ``[admin]`` of its configuration."""
        self.daemon.stop()
        self.daemon.set_admin(admin)
        self.daemon.start()
        self.pin_workers()
        self.settle()

    def settle(self) -> None:
        """Wait until every guest gets its own answer.

        :raises TimeoutError: when a guest does not get it within :data:`READY_TIME`.
        """
        taps = {f"vnet{number}" for number in range(len(self.guests))}
        # A tap that gains its carrier may have another guest from then on, so earlier answers prove nothing.
        until(
            lambda: taps <= {tap["tap"] for tap in self.daemon.status()["taps"] if tap["carrier"] and tap["domain"]},
            READY_TIME,
            "each guest's tap to have a carrier and a domain",
        )
        until(lambda: not self._ask_all().failures, READY_TIME, "each guest to get its own answer")

    def _ask_all(self) -> Load:
        total, seconds = len(self.guests), int(READY_TIME)
        return self.load(request(META_DATA), slots=SLOTS, total=total, seconds=seconds, marker=MARKER)

    def workers(self) -> list[int]:
        """Return the pids of the workers."""
        return [worker["pid"] for worker in self.daemon.status()["workers"]]

    def pin_workers(self) -> None:
        """Pin the workers to the core that all servers use."""
        for pid in self.workers():
            os.sched_setaffinity(pid, {SERVER_CPU})


def mac(number: int) -> str:
    """Return the MAC address of guest *number*, as its domain file has it."""
    return f"fa:16:3e:00:{number >> 8:02x}:{number & 255:02x}"


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until *condition* returns true.

    :param what: what is waited for, for the error.
    :raises TimeoutError: when *condition* returns false for longer than *seconds*.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(POLL)


def request(path: str) -> bytes:
    """Return the request for *path* on a connection of its own."""
    return f"GET {path} HTTP/1.1\r\nHost: {SERVICE}\r\nUser-Agent: bench\r\nConnection: close\r\n\r\n".encode()


def domain(number: int) -> dict[str, Any]:
    """Return the content of guest *number*'s domain file. Its meta_data.json has 1.5 KB, half of it random_seed."""
    return {
        "uuid": f"1a831fa7-c50b-4693-a16e-{number:012x}",
        "name": f"vm{number}",
        "hostname": f"vm{number}.example.org",
        "public_keys": {name: f"ssh-ed25519 {'A' * 68} {name}@example.org" for name in ("alice", "bob")},
        "user_data": f"#!/bin/sh\necho this is vm{number}\n",
        "meta": {"role": "web"},
        "files": [{"path": "/etc/motd", "content": "hello"}, {"path": "/etc/issue", "content": "hello"}],
        "ec2": {
            "block_device_mapping": {"ami": "vda", "root": "/dev/vda", "ebs0": "/dev/vdb", "swap": "/dev/vdc"},
            "kernel_id": "aki-1",
            "ramdisk_id": "ari-1",
        },
        "nics": [{"tap": f"vnet{number}", "mac": mac(number), "subnets": [{"type": "ipv4_dhcp"}]}],
    }


def cpu_seconds(pid: int) -> float:
    """Return the seconds that the process *pid* and its threads have run so far."""
    # The first of three numbers: nanoseconds on a CPU (Documentation/scheduler/sched-stats.rst).
    schedules = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(schedule.read_text().split()[0]) for schedule in schedules) / 1e9


@contextmanager
def field(*, name: str = NAME, settings: str = "", **options: Any) -> Iterator[Field]:
    """Run a field without guests.

    :param settings: further lines of the daemon's configuration.
    :param options: further ones of :class:`harness.daemon.Daemon`.
    """
    with Lab(name) as lab:
        load = lab.directory / "load"
        subprocess.run(["gcc", "-O2", "-o", load, SCRIPTS / "benchmark/load.c"], check=True)
        daemon = Daemon(lab, settings=settings, **options)
        with daemon:
            yield Field(lab, daemon, load)
