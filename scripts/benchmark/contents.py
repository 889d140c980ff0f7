"""The cost of guests with large user data for their neighbours, and of one content that many domains have."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmark.field import META_DATA, SERVICE, Field, Load, domain, field, request, until
from harness.namespace import inside

MIB = 1024 * 1024

HEAVY = 4
LARGE = 16 * MIB

CONNECTIONS = 32
"""The connections of each slow reader: as many as a tap may hold."""

NEIGHBOURS = 20
TOTAL = 4_000
"""Requests of the neighbours in a round, one at a time: each asks 200 times, which its own limit allows at once."""

SECONDS = 60
READ_BYTES, READ_INTERVAL = 4096, 0.05
"""The bytes that a slow reader reads from each of its connections at a time, and the seconds in between: 80 KB/s for
each connection."""

DOMAINS = 1000

PATIENCE = 300.0

USER_DATA = "/openstack/latest/user_data"


def measure(rounds: int) -> list[dict[str, Any]]:
    """Return a row for the neighbours alone and beside each load, and one for a content that many domains have."""
    with field() as here:
        here.add_guests(HEAVY + NEIGHBOURS)
        for number in range(HEAVY):
            _give(here, number, f"blob{number}", LARGE)
        here.pin_workers()
        here.settle()
        loads: dict[str, Callable[[Field], contextlib.AbstractContextManager[None]]] = {
            "none": _quiet,
            "4 guests loop": _looping,
            "128 slow readers": _reading_slowly,
        }
        results: dict[str, list[tuple[Load, float]]] = {name: [] for name in loads}
        _round(here)  # warm
        for _ in range(rounds):
            for name, load in loads.items():
                with load(here):
                    results[name].append((_round(here), _resident(here.workers()[0])))
        rows = [
            {
                "load": name,
                "p50_ms": round(median(each.p50_ms for each, _ in runs), 2),
                "p99_ms": round(median(each.p99_ms for each, _ in runs), 2),
                "ratio": round(
                    median(
                        each.p99_ms / quiet.p99_ms for (each, _), (quiet, _) in zip(runs, results["none"], strict=True)
                    ),
                    2,
                ),
                "failures": sum(each.failures for each, _ in runs),
                "worker_mb": round(max(resident for _, resident in runs), 1),
            }
            for name, runs in results.items()
        ]
        return [*rows, _many_domains(here)]


def _give(here: Field, number: int, file: str, size: int) -> None:
    """Give the domain of *number* user data of *size* bytes, which are in *file*."""
    path = here.daemon.domains / file
    if not path.exists():
        path.write_bytes(os.urandom(size))
        path.chmod(0o600)
    plain = domain(number)
    del plain["user_data"]
    here.daemon.write_domain(f"vm{number}", {**plain, "user_data_file": file})


def _round(here: Field) -> Load:
    return here.load(request(META_DATA), slots=1, total=TOTAL, seconds=SECONDS, guests=here.guests[HEAVY:])


@contextlib.contextmanager
def _quiet(_: Field) -> Iterator[None]:
    yield


@contextlib.contextmanager
def _looping(here: Field) -> Iterator[None]:
    """Let the heavy guests ask for a small document again and again."""
    with here.endless_load(request(META_DATA), slots=HEAVY, guests=here.guests[:HEAVY]):
        yield


@contextlib.contextmanager
def _reading_slowly(here: Field) -> Iterator[None]:
    """Let the heavy guests read their user data slowly on all the connections that they may hold."""
    ended = threading.Event()
    with contextlib.ExitStack() as stack:
        connections = []
        for _ in range(CONNECTIONS):
            for guest in here.guests[:HEAVY]:  # in turn, so that no two requests in a row are of one guest
                with inside(guest):
                    connection = stack.enter_context(socket.socket())
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, READ_BYTES)
                connection.connect((SERVICE, 80))
                connection.sendall(request(USER_DATA))
                connection.setblocking(False)
                connections.append(connection)

        def read() -> None:
            while not ended.wait(READ_INTERVAL):
                for connection in connections:
                    with contextlib.suppress(OSError):
                        connection.recv(READ_BYTES)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield
        finally:
            ended.set()
            reader.join()


def _many_domains(here: Field) -> dict[str, Any]:
    """Return the memory of supervisor and worker when 1,000 domains have one and the same MiB of user data."""
    for number in range(HEAVY):
        here.daemon.write_domain(f"vm{number}", domain(number))
    numbers = range(1000, 1000 + DOMAINS)
    for number in numbers:
        _give(here, number, "shared", MIB)
    here.lab.host.ip(*(f"tuntap add vnet{number} mode tap" for number in numbers))

    def known() -> bool:
        taps = here.daemon.status()["taps"]
        return len(taps) >= DOMAINS and all(tap["domain"] for tap in taps)

    until(known, PATIENCE, "the daemon to know all domains")
    here.settle()  # a worker answers its guests only after everything that was sent before has arrived
    supervisor = here.daemon.process
    assert supervisor is not None
    return {
        "load": f"{DOMAINS} x 1 MiB",
        "supervisor_mb": round(_resident(supervisor.pid), 1),
        "worker_mb": round(_resident(here.workers()[0]), 1),
        "shared_mb": round(_shared(here.workers()[0]), 1),
    }


def _resident(pid: int) -> float:
    """Return the resident memory of a process in MB. Shared contents do not count: they are read, never mapped."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) * 1024 / 1e6


def _shared(pid: int) -> float:
    """Return the size of all sealed memory of which the process holds a descriptor, in MB."""
    descriptors = Path(f"/proc/{pid}/fd").iterdir()
    return sum(fd.stat().st_size for fd in descriptors if "memfd:" in str(fd.readlink())) / 1e6
