"""What the filter costs a guest's ordinary traffic: nanoseconds a packet, throughput, and processor time.

Three bridges with two guests each are alike but for what is on the ingress of their links: the daemon's filter; in its
place a program that does nothing, which shows what the kernel takes for running any; and nothing at all.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import operator
import os
import statistics
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen
from pyroute2 import IPRoute

from benchmark.field import LOAD_CPU, NAME, SERVER_CPU, until
from eve_meta.steering.bpf.libbpf import open_pin
from eve_meta.steering.bpf.loader import import_bcc, kernel_headers
from eve_meta.steering.path import filters
from harness.daemon import Daemon
from harness.guests import BPFFS, Lab
from harness.namespace import Namespace, inside, ip_batch

TURNS = 8
"""In a round, each with two runs of iperf3 for each bridge. Many short ones, each of some tenths of a second: what else
the machine does meanwhile then meets all alike."""

PINNED = ("nice", "-n", "-20", "taskset", "-c")
"""How iperf3 runs: before whatever else the machine does, and on one core."""

START_TIME = 10.0
"""Seconds until the filters and iperf3 are there."""

BPF_STATS = Path("/proc/sys/kernel/bpf_stats_enabled")

FILTER, EMPTY, NOTHING = "vnet", "empty", "plain"
"""What is on the links of a bridge, by the links' names; only the first are a tap's."""

SIDES = (FILTER, EMPTY, NOTHING)


@frozen
class Traffic:
    """What a guest sends.

    :ivar options: iperf3's, among them for how many bytes it is to run.
    :ivar segments: how many TCP segments its kernel may hand over in one packet.
    """

    name: str
    options: Sequence[str]
    segments: int


TRAFFIC = (
    Traffic("TCP, 64 KB", ("-n", "200M"), 65535),
    Traffic("TCP, 1.5 KB", ("-n", "10M"), 1),
    Traffic("UDP, 64 B", ("-n", "1M", "-u", "-b", "0", "-l", "64"), 1),
)


@frozen
class Flow:
    """Traffic of a bridge's first guest to the *receiver*: ``host``, or ``guest`` for the second."""

    traffic: Traffic
    receiver: str
    version: int


FLOWS = [Flow(*each) for each in itertools.product(TRAFFIC, ("host", "guest"), (4, 6))]


@frozen
class Ran:
    """What one run of iperf3 came to: bits a second, and seconds of its processes' time for each bit."""

    rate: float
    cost: float


class Bridge:
    """A bridge of the host with two guests, both with its filters; *number* is in their addresses."""

    def __init__(self, lab: Lab, side: str, number: int) -> None:
        self.lab = lab
        self.side = side
        self.number = number
        self.links = (f"{side}0", f"{side}1")
        lab.bridge(f"br{number}", f"10.0.{number}.1/24")
        lab.host.ip(f"address add fd00:{number}::1/64 dev br{number} nodad")
        self.guests = [self._guest(guest, link) for guest, link in enumerate(self.links, 5)]

    def _guest(self, guest: int, link: str) -> Namespace:
        name = f"{self.lab.name}-{link}"
        ip_batch([f"netns add {name}"])
        self.lab.host.ip(
            f"link add {link} type veth peer name eth0 netns {name}",
            f"link set {link} master br{self.number} up",
        )
        ip_batch(
            [
                f"address add 10.0.{self.number}.{guest}/24 dev eth0",
                f"address add fd00:{self.number}::{guest}/64 dev eth0 nodad",
                "link set eth0 up",
            ],
            namespace=name,
        )
        return Namespace(name)

    def send(self, flow: Flow) -> Ran:
        """Let the first guest send."""
        last = 1 if flow.receiver == "host" else 6
        address = f"10.0.{self.number}.{last}" if flow.version == 4 else f"fd00:{self.number}::{last}"
        command = [*PINNED, str(LOAD_CPU), "iperf3", "-J", *flow.traffic.options, "-c", address]
        end = json.loads(self.guests[0].run(*command).stdout)["end"]
        # Of UDP what is sent counts: the filter is on the sender's way.
        total = end["sum_received"] if "sum_received" in end else end["sum"]
        percent = end["cpu_utilization_percent"]
        used = (percent["host_total"] + percent["remote_total"]) / 100 * total["seconds"]
        return Ran(total["bits_per_second"], used / (total["bytes"] * 8))

    def limit_segments(self, segments: int) -> None:
        """Both guests' kernels hand over that many TCP segments in one packet."""
        for guest in self.guests:
            guest.ip(f"link set eth0 gso_max_segs {segments}")


def measure(rounds: int) -> list[dict[str, Any]]:
    """A row for each kind of traffic, receiver and IP version, each guest's filter beside none."""
    with Lab(NAME) as lab, contextlib.ExitStack() as undo:
        bridges = {side: Bridge(lab, side, number) for number, side in enumerate(SIDES, 1)}
        undo.enter_context(Daemon(lab))
        programs = {FILTER: open_pin(BPFFS / lab.name / "tap_in"), EMPTY: undo.enter_context(_attached_empty(lab))}
        undo.callback(os.close, programs[FILTER])
        for link in bridges[FILTER].links:
            _until_says(lab, "tap_in", "tc", "filter", "show", "dev", link, "ingress")
        for place in (lab.host, *(bridge.guests[1] for bridge in bridges.values())):
            undo.enter_context(_server(place))
        return [_row(bridges, programs, flow, rounds) for flow in FLOWS]


def _row(bridges: Mapping[str, Bridge], programs: Mapping[str, int], flow: Flow, rounds: int) -> dict[str, Any]:
    for bridge in bridges.values():
        bridge.limit_segments(flow.traffic.segments)
    ran: dict[str, list[list[Ran]]] = {side: [] for side in SIDES}
    nanoseconds: dict[str, list[float]] = {side: [] for side in programs}
    for _ in range(rounds):
        for number in range(TURNS):
            # There and back again, so that what changes steadily meets all alike; each is first in its turn.
            order = [SIDES[(number + at) % len(SIDES)] for at in range(len(SIDES))]
            sent = [(side, bridges[side].send(flow)) for side in (*order, *reversed(order))]
            for side, runs_of in ran.items():
                runs_of.append([one for of, one in sent if of == side])
        # The statistics themselves cost two looks at a clock, so throughput is measured without them.
        for side, program in programs.items():
            with _bpf_stats():
                time, runs = _statistics(program)
                bridges[side].send(flow)
                more_time, more_runs = _statistics(program)
            nanoseconds[side].append((more_time - time) / (more_runs - runs))
    ratios = _ratios(ran, FILTER, "rate")
    return {
        "traffic": flow.traffic.name,
        "to": flow.receiver,
        "ip": flow.version,
        # What is counted for a program that does nothing are the two looks at the clock.
        "ns_added": round(statistics.median(map(operator.sub, nanoseconds[FILTER], nanoseconds[EMPTY])), 1),
        "ns_filter": round(statistics.median(nanoseconds[FILTER]), 1),
        "ns_empty": round(statistics.median(nanoseconds[EMPTY]), 1),
        "gbit_with": round(_median(ran[FILTER]) / 1e9, 3),
        "gbit_without": round(_median(ran[NOTHING]) / 1e9, 3),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_empty": round(statistics.median(_ratios(ran, EMPTY, "rate")), 3),
        "cpu_ratio": round(statistics.median(_ratios(ran, FILTER, "cost")), 3),
        "ratio_of_each_round": " ".join(
            f"{statistics.median(ratios[at : at + TURNS]):.3f}" for at in range(0, len(ratios), TURNS)
        ),
    }


def _ratios(ran: Mapping[str, Sequence[Sequence[Ran]]], side: str, figure: str) -> list[float]:
    """A figure of *side* as a part of what it is without a filter, turn by turn."""
    return [
        sum(getattr(one, figure) for one in those) / sum(getattr(one, figure) for one in plain)
        for those, plain in zip(ran[side], ran[NOTHING], strict=True)
    ]


def _median(rounds: Sequence[Sequence[Ran]]) -> float:
    return statistics.median(one.rate for those in rounds for one in those)


@contextmanager
def _attached_empty(lab: Lab) -> Iterator[int]:
    """A program that does nothing, attached to the empty links as the daemon attaches its own."""
    BPF, _ = import_bcc()
    with kernel_headers():
        module = BPF(text=b"int nothing(struct __sk_buff *skb) { return -1; }")
    try:
        program: int = module.load_func(b"nothing", BPF.SCHED_CLS).fd
        with inside(lab.host.name), IPRoute() as ipr:
            for link in (f"{EMPTY}0", f"{EMPTY}1"):
                (ifindex,) = ipr.link_lookup(ifname=link)
                filters.add_qdisc(ipr, "ingress", ifindex)
                filters.attach(ipr, ifindex, program, "nothing")
        yield program
    finally:
        module.cleanup()


def _until_says(lab: Lab, text: str, *command: str) -> None:
    says = " ".join(command)
    until(lambda: text in lab.host.run(*command, check=False).stdout, START_TIME, f"{text!r} in what {says!r} says")


@contextmanager
def _server(place: Namespace) -> Iterator[None]:
    command = [*PINNED, str(SERVER_CPU), "iperf3", "-s"]
    process = place.popen(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: ":5201" in place.run("ss", "-Hltn").stdout, START_TIME, "iperf3")
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _bpf_stats() -> Iterator[None]:
    """The kernel counts programs' time meanwhile (``kernel.bpf_stats_enabled``), the whole machine's."""
    before = BPF_STATS.read_text()
    BPF_STATS.write_text("1")
    try:
        yield
    finally:
        BPF_STATS.write_text(before)


def _statistics(program: int) -> tuple[int, int]:
    """Nanoseconds and runs of the program with that file descriptor so far."""
    lines = Path(f"/proc/self/fdinfo/{program}").read_text().splitlines()
    says = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(says["run_time_ns"]), int(says["run_cnt"])
