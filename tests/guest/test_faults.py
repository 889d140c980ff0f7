"""Whatever somebody removes while the daemon runs is restored within five seconds, and no guest gets a wrong answer."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from itertools import cycle

import pytest
from attrs import field, frozen

from eve_meta.steering.bpf.maps import MAPS, PROGRAMS
from harness.guests import BPFFS, Guest
from harness.namespace import Namespace, ip_batch
from tests.guest.asking import in_background
from tests.guest.scene import META_DATA, Hosts, Identity, Iptables, KeepAlive, Scene, domain, eventually, scene

NAME = "emg-faults"
COUNT = 2
SOON = 5.0
"""Seconds within which a removed piece is restored and guests are answered."""

INSPECTION = 0.3
"""Seconds that an inspection of the path takes at most, with the time until it begins."""


@frozen
class Stage(Scene):
    """Two guests that are equal but for their taps; and the state of host and private namespace before any fault."""

    before: Hosts


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with scene(NAME, {f"vm{number}": domain(number, f"vnet{number}") for number in range(COUNT)}) as running:
        for number in range(COUNT):
            running.lab.guest(f"vm{number}", tap=f"vnet{number}", bridge="br0")
        running.wait_until_known(vnet0=0, vnet1=1)
        yield Stage(running.lab, running.daemon, Hosts.read(running.lab, private=running.private))


@frozen
class AskingGuests:
    """Guests that ask who they are, all the time and from the same ports; the answers, and the time of the last one."""

    received: dict[int, set[str]] = field(factory=lambda: {number: set() for number in range(COUNT)})
    last: dict[int, float] = field(factory=dict)

    def ask(self, number: int, guest: Guest, ended: threading.Event) -> None:
        for port in cycle(range(20_000, 20_200)):
            if ended.is_set():
                return
            began = time.monotonic()
            # No answer is not a wrong answer.
            with contextlib.suppress(OSError):
                answer = guest.get(META_DATA, source_port=port, timeout=0.3)
                self.received[number].add(f"{answer.status} {answer.body.decode()}")
                self.last[number] = began
            time.sleep(0.01)

    def running(self, stage: Scene) -> AbstractContextManager[None]:
        return in_background(*(partial(self.ask, number, stage.lab.guests[f"vm{number}"]) for number in range(COUNT)))

    def answered_since(self, moment: float) -> bool:
        return all(self.last.get(number, 0) > moment for number in range(COUNT))

    def wrong_answers(self) -> list[str]:
        return [
            answer
            for number, answers in self.received.items()
            for answer in answers
            if not (answer.startswith("200 ") and Identity.of(number).uuid in answer)
        ]


@frozen
class Fault:
    """*command*, in the private namespace or on the host, removes *piece*, which *shown* otherwise prints."""

    command: str
    shown: str
    piece: str
    part: str
    private: bool = True

    def cause(self, stage: Scene) -> None:
        self._where(stage).run(*self.command.split())

    def is_whole(self, stage: Scene) -> bool:
        return self.piece in self._where(stage).run(*self.shown.split(), check=False).stdout

    def _where(self, stage: Scene) -> Namespace:
        return stage.private if self.private else stage.lab.host


PINS = {*PROGRAMS, *MAPS}

RULES = 2 + 2 * 3
"""One for the zone of each IP version; and for each of the worker's two places one for each of the service's addresses.
"""

HOST_LINK = f"{NAME}0"
HOST_FILTER = f"tc filter show dev {HOST_LINK} ingress"
TAP_FILTER = "tc filter show dev vnet0 ingress"

FAULTS = [
    Fault("iptables -t nat -F", "iptables-save -t nat", "DNAT", "rules"),
    Fault("iptables -t raw -F", "iptables-save -t raw", "zone-orig", "rules"),
    Fault("ip6tables -t nat -F", "ip6tables-save -t nat", "DNAT", "rules"),
    Fault("ip6tables -t raw -F", "ip6tables-save -t raw", "zone-orig", "rules"),
    Fault("nft flush ruleset", "iptables-save -t nat", "DNAT", "rules"),
    Fault("ip rule del priority 169", "ip rule", "169:", "routes"),
    Fault("ip -6 rule del priority 169", "ip -6 rule", "169:", "routes"),
    Fault("ip route flush table 169", "ip route show table 169", "meta0", "routes"),
    Fault("ip -6 route flush table 169", "ip -6 route show table 169", "meta0", "routes"),
    Fault("ip -6 address flush dev meta0", "ip -6 address show dev meta0", "fd00:a9fe::1", "routes"),
    Fault(
        "sysctl -qw net.ipv4.tcp_fwmark_accept=0",
        "sysctl net.ipv4.tcp_fwmark_accept",
        "= 1",
        "namespace",
    ),
    Fault(
        "sysctl -qw net.ipv4.conf.meta0.route_localnet=0",
        "sysctl net.ipv4.conf.meta0.route_localnet",
        "= 1",
        "namespace",
    ),
    Fault("ip link set meta0 down", "ip -br link show meta0", "LOWER_UP", "namespace"),
    Fault("ip link set lo down", "ip -br link show lo", "LOWER_UP", "namespace"),
    Fault("tc filter del dev meta0 ingress", "tc filter show dev meta0 ingress", "ns_in", "programs"),
    Fault("tc filter del dev meta0 egress", "tc filter show dev meta0 egress", "ns_out", "programs"),
    Fault("tc qdisc del dev meta0 clsact", "tc filter show dev meta0 egress", "ns_out", "programs"),
    Fault(f"tc filter del dev {HOST_LINK} ingress", HOST_FILTER, "host_in", "programs", private=False),
    Fault(f"tc qdisc del dev {HOST_LINK} clsact", HOST_FILTER, "host_in", "programs", private=False),
    Fault(f"ip link set {HOST_LINK} down", f"ip -br link show {HOST_LINK}", "LOWER_UP", "namespace", private=False),
    Fault("tc qdisc del dev vnet0 ingress", TAP_FILTER, "tap_in", "filter", private=False),
    Fault("tc filter del dev vnet0 ingress", TAP_FILTER, "tap_in", "filter", private=False),
]


def assert_restored(stage: Scene, cause: Callable[[], None], is_whole: Callable[[], bool], part: str) -> None:
    """Assert that after *cause* removed a piece of *part*, nothing wrong is served, and the piece is soon restored."""
    daemon = stage.daemon
    # The fault before may have caused one more inspection. If that met the next fault halfway, it would restore the
    # piece, but count another one that is missing with it.
    time.sleep(INSPECTION)
    before = daemon.status()
    logged = len(daemon.log.read_text().splitlines())
    asking = AskingGuests()
    with asking.running(stage):
        eventually(lambda: asking.answered_since(0), SOON)
        cause()
        began = time.monotonic()
        assert not is_whole(), "nothing is missing"
        eventually(is_whole, SOON)
        took = time.monotonic() - began
        eventually(lambda: asking.answered_since(began + took), max(0.1, SOON - took))
        answered = time.monotonic() - began
        print(f"\nback after {took:.2f} s, guests answered after {answered:.2f} s")
    assert asking.wrong_answers() == []
    # The piece is counted, and is no problem any more, after everything else has been looked at. Other pieces may be
    # missing with it: a link that goes down takes its routes along.
    eventually(lambda: daemon.status()["heals"].get(part, 0) > before["heals"].get(part, 0), SOON)
    eventually(lambda: not daemon.status()["problems"], SOON)
    after = daemon.status()
    assert after["heals"][part] == before["heals"].get(part, 0) + 1
    assert [tap["tag"] for tap in after["taps"]] == [tap["tag"] for tap in before["taps"]]
    lines = [line for line in daemon.log.read_text().splitlines()[logged:] if "been restored" in line]
    assert len(lines) == 1


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.command)
def test_what_somebody_removes_is_restored(stage: Stage, fault: Fault) -> None:
    assert_restored(stage, lambda: fault.cause(stage), lambda: fault.is_whole(stage), fault.part)


def test_pins_that_somebody_removes_are_pinned_again(stage: Stage) -> None:
    """They are the same programs and maps: the next daemon takes over every tap with its tag."""
    pins = BPFFS / NAME

    def programs() -> str:
        shown = stage.lab.host.run("bpftool", "map", "show", "pinned", str(pins / "tags"), check=False).stdout
        return shown + stage.lab.host.run("bpftool", "prog", "show", "pinned", str(pins / "tap_in"), check=False).stdout

    before = programs()
    assert before
    assert_restored(
        stage, lambda: shutil.rmtree(pins), lambda: {pin.name for pin in pins.glob("*")} == PINS, "programs"
    )
    assert programs() == before


def test_a_namespace_whose_name_somebody_deletes_gets_its_name_back(stage: Stage) -> None:
    """Nothing has changed within it: an open connection goes on."""
    with KeepAlive(stage.lab.guests["vm0"]) as connection:
        assert connection.get(META_DATA).status == 200
        assert_restored(
            stage,
            lambda: ip_batch([f"netns delete {NAME}"]),
            lambda: stage.private.run("true", check=False).returncode == 0,
            "namespace",
        )
        assert connection.get(META_DATA).status == 200


def test_the_host_is_as_it_was_before_the_faults(stage: Stage) -> None:
    """After all the faults above, and their repair."""
    assert stage.before.changes() == []


def test_a_veth_pair_that_somebody_deletes_is_made_again(stage: Stage) -> None:
    heals = stage.daemon.status()["heals"]
    whole = Fault(f"ip link del {HOST_LINK}", HOST_FILTER, "host_in", "namespace", private=False)
    asking = AskingGuests()
    with asking.running(stage):
        whole.cause(stage)
        began = time.monotonic()
        assert not whole.is_whole(stage)
        eventually(lambda: asking.answered_since(began), SOON)
        print(f"\nguests answered after {time.monotonic() - began:.2f} s")
    assert asking.wrong_answers() == []
    now = stage.daemon.status()
    assert {part for part, number in now["heals"].items() if number != heals.get(part, 0)} == {"namespace", "routes"}
    assert now["problems"] == []


def test_a_name_that_another_namespace_took_is_reported_and_left_alone(stage: Stage) -> None:
    ip_batch([f"netns delete {NAME}", f"netns add {NAME}"])
    try:
        (problem,) = eventually(stage.daemon.problems, SOON)
        assert f"remove that one (ip netns delete {NAME})" in problem
        assert stage.private.run("ip", "-br", "link").stdout.split()[:2] == ["lo", "DOWN"]
        assert Identity.asked_by(stage.lab.guests["vm1"]) == Identity.of(1)  # the service does not need the name
    finally:
        ip_batch([f"netns delete {NAME}"])
    eventually(lambda: not stage.daemon.problems(), SOON)
    assert "meta0" in stage.private.run("ip", "-br", "link").stdout


def test_legacy_rules_are_restored_too_and_a_failure_is_a_problem(stage: Stage) -> None:
    """The kernel announces no change of these. This test is the last, because it leaves rules of both variants."""
    iptables = Iptables(stage.lab.directory / "legacy", "legacy")
    stage.daemon.stop()
    stage.daemon.start(iptables.prefix())
    stage.wait_until_known(vnet0=0, vnet1=1)

    def flush() -> None:
        stage.private.run("iptables-legacy", "-t", "nat", "-F")
        stage.private.run("ip6tables-legacy", "-t", "raw", "-F")

    def is_whole() -> bool:
        saved = stage.private.run("iptables-legacy-save").stdout + stage.private.run("ip6tables-legacy-save").stdout
        return saved.count("DNAT") + saved.count("zone-orig") == RULES

    assert is_whole()
    assert_restored(stage, flush, is_whole, "rules")
    with iptables.broken():
        flush()
        (problem,) = eventually(stage.daemon.problems, SOON)
        assert "out of order" in problem
        assert not is_whole()
    eventually(lambda: is_whole() and not stage.daemon.problems(), SOON)
    assert Identity.asked_by(stage.lab.guests["vm1"]) == Identity.of(1)
