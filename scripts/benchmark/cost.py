"""The price of the filter for a guest's ordinary traffic: nanoseconds a packet, throughput, and processor time.

Three bridges with two guests each differ only in the ingress of their links: one has the daemon's filter, one has a
program that does nothing, which shows what the kernel needs to run any program, and one has no filter at all.
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
"""Turns in a round, each with two runs of iperf3 for each bridge. The runs are many and take some tenths of a second
each, so that the other work of the machine disturbs all bridges alike."""

PINNED = ("nice", "-n", "-20", "taskset", "-c")
"""The command that runs iperf3 before all other work of the machine, and on one core."""

START_TIME = 10.0
"""Seconds within which the filters must be attached and iperf3 must listen."""

BPF_STATS = Path("/proc/sys/kernel/bpf_stats_enabled")

FILTER, EMPTY, NOTHING = "vnet", "empty", "plain"
"""The kinds of bridges, by the names of their links: with the daemon's filter, with an empty program, without either.
Only the name of the first is a tap's."""

SIDES = (FILTER, EMPTY, NOTHING)


@frozen
class Traffic:
    """A kind of traffic.

    :ivar options: the options of iperf3, among them the number of bytes to send.
    :ivar segments: the number of TCP segments that the guest's kernel may hand over in one packet.
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
    """Traffic from a bridge's first guest.

    :ivar receiver: ``host``, or ``guest`` for the bridge's second guest.
    :ivar version: the IP version.
    """

    traffic: Traffic
    receiver: str
    version: int


FLOWS = [Flow(*each) for each in itertools.product(TRAFFIC, ("host", "guest"), (4, 6))]


@frozen
class Run:
    """The result of one run of iperf3.

    :ivar rate: bits a second.
    :ivar cost: seconds of processor time of both iperf3 processes for each bit.
    """

    rate: float
    cost: float


class Bridge:
    """A bridge of the host with two guests, whose links have what its kind demands.

    :param side: the kind of bridge, one of :data:`SIDES`.
    :param number: a number that is part of the guests' addresses.
    """

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

    def send(self, flow: Flow) -> Run:
        """Let the first guest send *flow*."""
        last = 1 if flow.receiver == "host" else 6
        address = f"10.0.{self.number}.{last}" if flow.version == 4 else f"fd00:{self.number}::{last}"
        command = [*PINNED, str(LOAD_CPU), "iperf3", "-J", *flow.traffic.options, "-c", address]
        end = json.loads(self.guests[0].run(*command).stdout)["end"]
        # For UDP, what was sent counts: the filter is at the sender's end.
        total = end["sum_received"] if "sum_received" in end else end["sum"]
        percent = end["cpu_utilization_percent"]
        used = (percent["host_total"] + percent["remote_total"]) / 100 * total["seconds"]
        return Run(total["bits_per_second"], used / (total["bytes"] * 8))

    def limit_segments(self, segments: int) -> None:
        """Let both guests' kernels hand over at most *segments* TCP segments in one packet."""
        for guest in self.guests:
            guest.ip(f"link set eth0 gso_max_segs {segments}")


def measure(rounds: int) -> list[dict[str, Any]]:
    """Return a row for each kind of traffic, receiver and IP version: with the filter, and without."""
    with Lab(NAME) as lab, contextlib.ExitStack() as undo:
        bridges = {side: Bridge(lab, side, number) for number, side in enumerate(SIDES, 1)}
        undo.enter_context(Daemon(lab))
        programs = {FILTER: open_pin(BPFFS / lab.name / "tap_in"), EMPTY: undo.enter_context(_attached_empty(lab))}
        undo.callback(os.close, programs[FILTER])
        for link in bridges[FILTER].links:
            _until_prints(lab, "tap_in", "tc", "filter", "show", "dev", link, "ingress")
        for place in (lab.host, *(bridge.guests[1] for bridge in bridges.values())):
            undo.enter_context(_server(place))
        return [_row(bridges, programs, flow, rounds) for flow in FLOWS]


def _row(bridges: Mapping[str, Bridge], programs: Mapping[str, int], flow: Flow, rounds: int) -> dict[str, Any]:
    for bridge in bridges.values():
        bridge.limit_segments(flow.traffic.segments)
    runs: dict[str, list[list[Run]]] = {side: [] for side in SIDES}
    nanoseconds: dict[str, list[float]] = {side: [] for side in programs}
    for _ in range(rounds):
        for number in range(TURNS):
            # Forwards and backwards, so that a steady drift of the machine disturbs all alike; a turn begins with
            # another bridge than the one before.
            order = [SIDES[(number + at) % len(SIDES)] for at in range(len(SIDES))]
            sent = [(side, bridges[side].send(flow)) for side in (*order, *reversed(order))]
            for side, turns in runs.items():
                turns.append([run for sender, run in sent if sender == side])
        # The kernel reads a clock twice for the statistics, so throughput is measured without them.
        for side, program in programs.items():
            with _bpf_stats():
                time, count = _statistics(program)
                bridges[side].send(flow)
                later_time, later_count = _statistics(program)
            nanoseconds[side].append((later_time - time) / (later_count - count))
    ratios = _ratios(runs, FILTER, "rate")
    return {
        "traffic": flow.traffic.name,
        "to": flow.receiver,
        "ip": flow.version,
        # The time of a program that does nothing is that of the two readings of the clock.
        "ns_added": round(statistics.median(map(operator.sub, nanoseconds[FILTER], nanoseconds[EMPTY])), 1),
        "ns_filter": round(statistics.median(nanoseconds[FILTER]), 1),
        "ns_empty": round(statistics.median(nanoseconds[EMPTY]), 1),
        "gbit_with": round(_median(runs[FILTER]) / 1e9, 3),
        "gbit_without": round(_median(runs[NOTHING]) / 1e9, 3),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_empty": round(statistics.median(_ratios(runs, EMPTY, "rate")), 3),
        "cpu_ratio": round(statistics.median(_ratios(runs, FILTER, "cost")), 3),
        "ratio_of_each_round": " ".join(
            f"{statistics.median(ratios[at : at + TURNS]):.3f}" for at in range(0, len(ratios), TURNS)
        ),
    }


def _ratios(runs: Mapping[str, Sequence[Sequence[Run]]], side: str, figure: str) -> list[float]:
    """Return the ratio of a figure of *side* to the same figure without a filter, for each turn."""
    return [
        sum(getattr(run, figure) for run in turn) / sum(getattr(run, figure) for run in plain)
        for turn, plain in zip(runs[side], runs[NOTHING], strict=True)
    ]


def _median(turns: Sequence[Sequence[Run]]) -> float:
    return statistics.median(run.rate for turn in turns for run in turn)


@contextmanager
def _attached_empty(lab: Lab) -> Iterator[int]:
    """Attach a program that does nothing to the links of the empty bridge, as the daemon attaches its own; yield it."""
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


def _until_prints(lab: Lab, text: str, *command: str) -> None:
    what = f"{text!r} in the output of {' '.join(command)!r}"
    until(lambda: text in lab.host.run(*command, check=False).stdout, START_TIME, what)


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
    """Let the kernel measure the time of all BPF programs of the machine (``kernel.bpf_stats_enabled``)."""
    before = BPF_STATS.read_text()
    BPF_STATS.write_text("1")
    try:
        yield
    finally:
        BPF_STATS.write_text(before)


def _statistics(program: int) -> tuple[int, int]:
    """Return how many nanoseconds the program *program*, a file descriptor, has run so far, and how often."""
    lines = Path(f"/proc/self/fdinfo/{program}").read_text().splitlines()
    fields = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(fields["run_time_ns"]), int(fields["run_cnt"])
