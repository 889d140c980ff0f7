"""Fifty guests that all have the same IP address, and add no rule or route to the host."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from attrs import frozen

from harness.guests import Guest
from harness.namespace import Namespace
from tests.guest.scene import META_DATA, ROUTER, USER_DATA, Hosts, Identity, KeepAlive, Scene, domain, eventually, scene

NAME = "emg-crowd"
COUNT = 50
SOURCE_PORT = 40000


@frozen
class Crowd:
    """The guests, and the state of the hosts before the daemon started."""

    scene: Scene
    guests: list[Guest]
    before: Hosts

    def all_known(self) -> None:
        def known() -> bool:
            taps = self.scene.daemon.status()["taps"]
            plugged = sum(guest.tap is not None for guest in self.guests)
            return len(taps) == plugged and all(tap["carrier"] and tap["domain"] for tap in taps)

        eventually(known, 10)


@pytest.fixture(scope="module")
def crowd() -> Iterator[Crowd]:
    domains = {f"vm{number}": domain(number, f"vnet{number}") for number in range(COUNT)}
    with scene(NAME, domains, started=False) as stage:
        # Every third is on a routed tap; of the others, some have a gateway and some an on-link route.
        guests = [
            stage.lab.guest(
                f"vm{number}",
                tap=f"vnet{number}",
                bridge=None if number % 3 == 0 else "br0",
                gateway=ROUTER if number % 3 == 1 else None,
            )
            for number in range(COUNT)
        ]
        before = Hosts.read(stage.lab)
        stage.daemon.start()
        crowd = Crowd(stage, guests, before)
        crowd.all_known()
        yield crowd


def test_equal_guests_with_one_source_port_each_get_their_own_at_the_same_time(crowd: Crowd) -> None:
    with contextlib.ExitStack() as undo:
        connections = [undo.enter_context(KeepAlive(guest, source_port=SOURCE_PORT)) for guest in crowd.guests]
        sources = {connection.socket.getsockname() for connection in connections}
        assert sources == {("10.0.0.5", SOURCE_PORT)}
        for _ in range(2):  # again on the same connections, in another order
            answers = []
            for path in (META_DATA, USER_DATA):
                for connection in connections:
                    connection.ask(path)
                answers.append([connection.answer() for connection in reversed(connections)][::-1])
            found = [Identity.read(*pair) for pair in zip(*answers, strict=True)]
            assert found == [Identity.of(number) for number in range(COUNT)]


def test_each_answer_is_counted_for_the_guest_that_asked(crowd: Crowd) -> None:
    def counts() -> dict[str, int]:
        return {tap["tap"]: tap["requests"].get("200", 0) for tap in crowd.scene.daemon.status()["taps"]}

    before = counts()
    for number in range(0, COUNT, 7):
        for _ in range(number % 5 + 1):
            crowd.guests[number].get(META_DATA)
    after = counts()
    expected = {f"vnet{number}": number % 5 + 1 if number % 7 == 0 else 0 for number in range(COUNT)}
    assert {tap: after[tap] - before[tap] for tap in after} == expected


def test_the_host_is_the_same_before_during_and_after(crowd: Crowd) -> None:
    ours = f"{NAME}0"
    taps = {guest.tap for guest in crowd.guests}
    for guest in crowd.guests[:5]:
        guest.get(META_DATA)

    def allowed(change: str) -> bool:
        where, _, rest = change.partition(": ")
        sign, line = rest.split(" ", 1)
        match where:
            case "lab ip link" | "lab ip address":
                return sign == "+" and line.startswith(f"{ours} ")
            case "lab sysctl net":
                return sign == "+" and f".{ours}." in line
            case "lab tc qdisc":
                return sign == "+" and any(f'"dev": "{name}"' in line for name in (ours, *taps))
            case "lab tc filter":
                return sign == "+" and '"pref": 169' in line and line.split()[0] in (ours, *taps)
            case "lab network namespaces" | "machine network namespaces":
                return sign == "+" and line == NAME
            case "lab pins in /sys/fs/bpf" | "machine pins in /sys/fs/bpf":
                return sign == "+" and line.startswith(f"/sys/fs/bpf/{NAME}")
        return False

    during = crowd.before.changes(patience=0)
    assert any(ours in change for change in during), "the comparison does not even see our own link"
    assert [change for change in during if not allowed(change)] == []
    crowd.scene.daemon.stop()
    try:
        assert crowd.before.changes() == []
    finally:
        crowd.scene.daemon.start()
        crowd.all_known()


def rules(namespace: Namespace) -> list[str]:
    """Return whatever could grow with the number of guests."""
    commands = ("iptables-save", "ip6tables-save", "nft --stateless list ruleset", "ip rule", "ip -6 rule")
    routes = ("ip route show table all", "ip -6 route show table all")
    lines = [line for command in (*commands, *routes) for line in namespace.run(*command.split()).stdout.splitlines()]
    # Not the dates and counters of iptables-save, nor the kernel's own routes of a tap (fe80::/64), which go with it.
    return [line for line in lines if not line.startswith(("#", ":")) and " dev vnet" not in line]


def test_no_rule_or_route_for_a_guest(crowd: Crowd) -> None:
    stage = crowd.scene
    with_all = rules(stage.private)
    on_host = rules(stage.lab.host)
    assert any("DNAT" in line for line in with_all)
    assert any("fwmark" in line for line in with_all)
    one = crowd.guests[1]  # one on the bridge, which must keep a port
    others = [(guest, str(guest.tap)) for guest in crowd.guests if guest is not one]
    for guest, _ in others:
        guest.unplug()
    try:
        crowd.all_known()
        assert rules(stage.private) == with_all
        assert rules(stage.lab.host) == on_host
        assert Identity.asked_by(one) == Identity.of(1)
    finally:
        for guest, tap in others:
            guest.plug(tap)
        crowd.all_known()
