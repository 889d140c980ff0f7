"""What the filter costs a guest's ordinary traffic: nanoseconds a packet, and throughput."""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmark.field import LOAD_CPU, NAME, SERVER_CPU, until
from daemon import Daemon
from guests import Lab
from namespace import Namespace, ip_batch

SECONDS = 3
"""Of iperf3 in each direction's round."""

START_TIME = 10.0
"""Seconds until the filter and iperf3 are there."""

BPF_STATS = Path("/proc/sys/kernel/bpf_stats_enabled")

STEERED, PLAIN = "vnet0", "plain0"
"""Links of two guests; the second has no tap's name."""


def measure(rounds: int) -> list[dict[str, Any]]:
    """A row for each IP version: ns a packet, and the throughput with the filter as a part of that without."""
    with Lab(NAME) as lab:
        guests = {link: _guest(lab, number, link) for number, link in enumerate((STEERED, PLAIN), 1)}
        with Daemon(lab), _server(lab):
            _wait_for_filter(lab)
            return [_row(lab, guests, version, rounds) for version in (4, 6)]


def _row(lab: Lab, guests: dict[str, Namespace], version: int, rounds: int) -> dict[str, Any]:
    rates: dict[str, list[float]] = {STEERED: [], PLAIN: []}
    nanoseconds = []
    for number in range(rounds):
        # The statistics themselves cost two looks at a clock, so throughput is measured without them.
        for link in (STEERED, PLAIN) if number % 2 else (PLAIN, STEERED):
            rates[link].append(_iperf(guests[link], _address(link, version)))
        with _bpf_stats():
            before = _run(lab)
            _iperf(guests[STEERED], _address(STEERED, version))
            after = _run(lab)
        nanoseconds.append((after[0] - before[0]) / (after[1] - before[1]))
    with_it, without = (statistics.median(rates[link]) for link in (STEERED, PLAIN))
    return {
        "ip": version,
        "ns_a_packet": round(statistics.median(nanoseconds), 1),
        "gbit_with": round(with_it / 1e9, 2),
        "gbit_without": round(without / 1e9, 2),
        "ratio": round(with_it / without, 3),
    }


def _guest(lab: Lab, number: int, link: str) -> Namespace:
    name = f"{lab.name}-g{number}"
    ip_batch([f"netns add {name}"])
    lab.host.ip(
        f"link add {link} type veth peer name eth0 netns {name}",
        f"address add 10.0.{number}.1/24 dev {link}",
        f"address add fd00:{number}::1/64 dev {link} nodad",
        f"link set {link} up",
    )
    ip_batch(
        [
            f"address add 10.0.{number}.5/24 dev eth0",
            f"address add fd00:{number}::5/64 dev eth0 nodad",
            "link set eth0 up",
        ],
        namespace=name,
    )
    return Namespace(name)


def _address(link: str, version: int) -> str:
    number = 1 if link == STEERED else 2
    return f"10.0.{number}.1" if version == 4 else f"fd00:{number}::1"


def _wait_for_filter(lab: Lab) -> None:
    _until_says(lab, "tap_in", "tc", "filter", "show", "dev", STEERED, "ingress")


def _until_says(lab: Lab, text: str, *command: str) -> None:
    says = " ".join(command)
    until(lambda: text in lab.host.run(*command, check=False).stdout, START_TIME, f"{text!r} in what {says!r} says")


@contextmanager
def _server(lab: Lab) -> Iterator[None]:
    command = ["taskset", "-c", str(SERVER_CPU), "iperf3", "-s"]
    process = lab.host.popen(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _until_says(lab, ":5201", "ss", "-Hltn")
        yield
    finally:
        process.terminate()
        process.wait()


def _iperf(guest: Namespace, address: str) -> float:
    """Bits a second from *guest* to the host."""
    command = ["taskset", "-c", str(LOAD_CPU), "iperf3", "-J", "-t", str(SECONDS), "-c", address]
    return float(json.loads(guest.run(*command).stdout)["end"]["sum_received"]["bits_per_second"])


@contextmanager
def _bpf_stats() -> Iterator[None]:
    """The kernel counts programs' time meanwhile (``kernel.bpf_stats_enabled``), the whole machine's."""
    before = BPF_STATS.read_text()
    BPF_STATS.write_text("1")
    try:
        yield
    finally:
        BPF_STATS.write_text(before)


def _run(lab: Lab) -> tuple[int, int]:
    """Nanoseconds and runs of tap_in so far."""
    pinned = f"/sys/fs/bpf/{lab.name}/tap_in"
    shown = json.loads(lab.host.run("bpftool", "-j", "prog", "show", "pinned", pinned).stdout)
    return int(shown.get("run_time_ns", 0)), int(shown.get("run_cnt", 0))
