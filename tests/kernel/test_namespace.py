"""The private namespace is made, restored and removed, and never at the expense of others."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute

from eve_meta.steering.path import namespace
from eve_meta.steering.path.namespace import PrivateNamespace
from eve_meta.steering.path.sysctls import CONNTRACK_SYSCTLS
from eve_meta.steering.taps.tags import QUARANTINE
from eve_meta.values.problem import Problem
from eve_meta.values.tag import mark_of_tag, worker_of_tag
from harness.guests import Lab
from harness.host_state import HostState
from harness.namespace import Namespace, inside

NAME = "emnsp"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("emns") as lab:
        yield lab


@pytest.fixture
def private(lab: Lab, pins: Path) -> Iterator[PrivateNamespace]:
    """The namespace that a test makes. For as long as the test runs, the calling thread is on the lab's host."""
    with inside(lab.host.name):
        private = PrivateNamespace(NAME, pins)
        yield private
        private.remove()


def show(command: str) -> str:
    return Namespace(NAME).run(*command.split()).stdout


@pytest.fixture(params=["nft", "legacy"])
def iptables(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both variants of iptables, whichever the machine prefers."""
    for tool in ("iptables-restore", "iptables-save", "ip6tables-restore", "ip6tables-save"):
        target = shutil.which(f"xtables-{request.param}-multi")
        assert target, f"install the package iptables: it has xtables-{request.param}-multi"
        (tmp_path / tool).symlink_to(target)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return str(request.param)


def test_the_path_is_complete_with_either_variant_of_iptables(private: PrivateNamespace, iptables: str) -> None:
    private.ensure()
    rules = [line for line in show("iptables-save").splitlines() if line.startswith("-A")]
    assert len(rules) == 2
    assert all('--comment "eve-meta: ' in rule for rule in rules)
    assert any("-j CT --zone-orig mark" in rule for rule in rules)
    assert any("-j DNAT --to-destination 127.0.0.1:8775" in rule for rule in rules)
    rules = [line for line in show("ip6tables-save").splitlines() if line.startswith("-A")]
    assert len(rules) == 3
    assert all('--comment "eve-meta: ' in rule for rule in rules)
    assert sum("-j DNAT --to-destination [fd00:a9fe::1]:8775" in rule for rule in rules) == 2
    for family in ("-4", "-6"):
        assert "169:\tfrom all fwmark 0x10000/0x10000 lookup 169" in show(f"ip {family} rule")
        assert " dev meta0 " in show(f"ip {family} route show table 169")
    # A guest may have any address but the worker's.
    assert "fe80" not in show("ip -6 address show")
    filters = show("tc filter show dev meta0 ingress") + show("tc filter show dev meta0 egress")
    assert "eve-meta:ns_in direct-action" in filters
    assert "eve-meta:ns_out direct-action" in filters
    assert "NOARP" in show("ip link show meta0")
    for name, value in {
        "net.ipv4.tcp_fwmark_accept": "1",
        "net.ipv4.conf.meta0.route_localnet": "1",
        "net.ipv4.conf.lo.route_localnet": "0",
        "net.ipv4.ip_forward": "0",
    }.items():
        assert show(f"sysctl -n {name}").strip() == value


def test_no_state_of_a_connection_outlives_the_quarantine_of_its_tag(private: PrivateNamespace) -> None:
    """We set each timeout that this kernel's conntrack has for TCP."""
    private.ensure()
    shown = show("sysctl -a -r net.netfilter.nf_conntrack_tcp_timeout_").splitlines()
    timeouts = dict(line.split(" = ") for line in shown)
    chosen = {name.replace("/", "."): value for name, value in CONNTRACK_SYSCTLS.items() if "_tcp_timeout_" in name}
    assert timeouts == chosen
    assert max(map(int, timeouts.values())) < QUARANTINE


def test_making_the_namespace_twice_changes_nothing(private: PrivateNamespace) -> None:
    first = private.ensure()
    before = HostState.read(Namespace(NAME))
    assert private.ensure() == first
    assert [str(change) for change in before.changes()] == []


@pytest.mark.parametrize(
    "damage",
    [
        "iptables -t nat -F",
        "iptables -t raw -F",
        "ip6tables -t nat -F",
        "ip -6 rule del priority 169",
        "ip -6 route flush table 169",
        "ip -6 address flush dev meta0",
        "sysctl -qw net.ipv6.conf.meta0.disable_ipv6=1",
        "iptables -t nat -I PREROUTING -j ACCEPT",
        "ip rule del priority 169",
        "ip route flush table 169",
        "tc qdisc del dev meta0 clsact",
        "ip link set meta0 down",
        "ip link set meta0 arp on",
        "ip link del meta0",
        "sysctl -qw net.ipv4.tcp_fwmark_accept=0",
        "sysctl -qw net.ipv4.conf.meta0.route_localnet=0",
        "sysctl -qw net.ipv4.ip_forward=1",
    ],
)
def test_a_piece_that_somebody_removed_is_restored(private: PrivateNamespace, damage: str) -> None:
    private.ensure()
    before = HostState.read(Namespace(NAME))
    show(damage)
    assert before.changes(), f"{damage!r} changes nothing that could be restored"
    private.ensure()
    # A link that was made again has another ifindex, which tc and the kernel show.
    changes = [str(change) for change in before.changes() if "link del" not in damage]
    assert changes == []


class _Racing:
    """Calls of a module's IPRoute, before the *moment*-th of which somebody removes something by *command*."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, moment: int, *command: str) -> None:
        self.calls = 0
        racing = self

        class Racing(IPRoute):  # type: ignore[misc]
            def __getattribute__(self, name: str) -> Any:
                try:
                    method = super().__getattribute__(name)
                except AttributeError:
                    method = super().__getattr__(name)  # IPRoute hands most calls on to another object
                if name not in ("addr", "get_links", "link", "link_lookup", "route", "rule", "tc"):
                    return method

                def call(*arguments: Any, **options: Any) -> Any:
                    racing.calls += 1
                    if racing.calls == moment:
                        subprocess.run(command, check=False, stderr=subprocess.DEVNULL)
                    return method(*arguments, **options)

                return call

        monkeypatch.setattr(namespace, "IPRoute", Racing)


@pytest.mark.parametrize(
    "command",
    [("ip", "link", "del", f"{NAME}0"), ("ip", "netns", "del", NAME)],
    ids=["the veth pair", "the namespace's name"],
)
def test_what_somebody_deletes_at_any_moment_is_one_clear_line(
    private: PrivateNamespace, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    private.ensure()
    moment, calls, lines = 0, 1, set()
    while moment < calls:
        moment += 1
        with monkeypatch.context() as patch:
            racing = _Racing(patch, moment, *command)
            try:
                private.ensure()
            except Problem as problem:
                lines.add(str(problem))
            calls = max(calls, racing.calls)
        private.ensure()
    assert moment > 20
    assert all("\n" not in line and "(19," not in line for line in lines)
    assert all("vanished" in line or "eve-meta" in line or "emnsp" in line for line in lines)


@pytest.mark.parametrize("command", [("ip", "link", "del", f"{NAME}0"), ("ip", "netns", "del", NAME)])
def test_what_somebody_deletes_while_it_is_removed_is_removed(
    private: PrivateNamespace, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    for moment in range(1, 6):
        private.ensure()
        with monkeypatch.context() as patch:
            _Racing(patch, moment, *command)
            private.remove()
        assert not private.path.exists()
        assert private.host_link not in os.listdir("/sys/class/net")


def test_removing_leaves_the_host_as_it_was(lab: Lab, private: PrivateNamespace) -> None:
    before = HostState.read(lab.host)
    root = HostState.read(Namespace(NAME)) if NAME in os.listdir("/run/netns") else None
    assert root is None
    private.ensure()
    assert before.changes()
    private.remove()
    assert [str(change) for change in before.changes(patience=5)] == []
    assert NAME not in os.listdir("/run/netns")
    private.remove()  # there is nothing left to remove, and that is no error


def test_a_namespace_of_others_is_left_alone(private: PrivateNamespace) -> None:
    subprocess.run(["ip", "netns", "add", NAME], check=True)
    try:
        Namespace(NAME).ip("link set lo up", "link add br0 type bridge", "link set br0 up")
        before = HostState.read(Namespace(NAME))
        with pytest.raises(Problem, match=f"namespace '{NAME}' is in use and not eve-meta's: remove it"):
            private.ensure()
        assert [str(change) for change in before.changes()] == []
    finally:
        subprocess.run(["ip", "netns", "delete", NAME], check=True)


def test_a_link_of_others_is_left_alone(lab: Lab, private: PrivateNamespace) -> None:
    lab.host.ip(f"link add {NAME}0 type bridge")
    before = HostState.read(lab.host)
    with pytest.raises(Problem, match=f"the link '{NAME}0' is not eve-meta's"):
        private.ensure()
    assert [str(change) for change in before.changes()] == []
    assert NAME not in os.listdir("/run/netns")
    lab.host.ip(f"link del {NAME}0")


def test_a_namespace_left_half_made_by_a_crash_is_taken_over(private: PrivateNamespace) -> None:
    # Nothing in it is up yet, or there is only a file on which no namespace is mounted.
    subprocess.run(["ip", "netns", "add", NAME], check=True)
    private.ensure()
    private.remove()
    Path("/run/netns", NAME).touch()
    private.ensure()
    assert "meta0" in show("ip link show meta0")


def test_a_failure_of_iptables_is_one_line_and_leaves_nothing(
    lab: Lab, private: PrivateNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "iptables-restore"
    broken.write_text("#!/bin/sh\necho 'iptables-restore: line 3 failed' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    before = HostState.read(lab.host)
    with pytest.raises(Problem) as caught:
        private.ensure()
    assert (
        str(caught.value)
        == f"iptables-restore refused the rules of namespace '{NAME}': iptables-restore: line 3 failed"
    )
    assert [str(change) for change in before.changes(patience=5)] == []
    assert NAME not in os.listdir("/run/netns")


def test_missing_iptables_names_the_package(private: PrivateNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    nsenter = Path(shutil.which("nsenter") or "").parent
    tools = Path("/run/emns/tools")
    tools.mkdir()
    (tools / "nsenter").symlink_to(nsenter / "nsenter")
    monkeypatch.setenv("PATH", str(tools))
    with pytest.raises(Problem, match="iptables is not installed: install the package iptables"):
        private.ensure()


def test_a_port_that_is_taken_is_an_error(private: PrivateNamespace) -> None:
    private.ensure()
    with Namespace(NAME).open_socket(socket.AF_INET, socket.SOCK_STREAM) as other:
        other.bind(("127.0.0.1", 8775))
        other.listen()
        with pytest.raises(Problem, match=rf"cannot listen on 127\.0\.0\.1 port 8775 in namespace '{NAME}'"):
            private.listen()
    listeners = private.listen()
    assert [listener.family for listener in listeners] == [socket.AF_INET, socket.AF_INET6]
    for listener in listeners:
        listener.close()


def in_order(listeners: tuple[socket.socket, ...]) -> list[int]:
    return [os.fstat(listener.fileno()).st_ino for listener in listeners]


def test_listeners_of_an_earlier_daemon_are_taken_over(private: PrivateNamespace) -> None:
    private.ensure()
    first = private.listen()
    inodes = in_order(first)
    for listener in first:
        listener.setblocking(True)
        listener.listen(0)  # as a compromised worker may do
    # In any order, and also when only one of them is left.
    again = private.listen(1, first[::-1])
    assert in_order(again) == inodes
    assert [os.get_blocking(listener.fileno()) for listener in again] == [False, False]
    assert {line.split()[2] for line in show("ss -Htln").splitlines()} == {"4096"}
    again[0].close()
    third = private.listen(1, again[1:])
    assert in_order(third)[0] != inodes[0]
    assert in_order(third)[1] == inodes[1]
    for listener in third:
        listener.close()


def test_each_worker_has_the_connections_of_its_own_tags(private: PrivateNamespace) -> None:
    private.ensure()
    workers = 3
    listeners = private.listen(workers)
    assert [listener.family for listener in listeners] == [socket.AF_INET] * workers + [socket.AF_INET6] * workers
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "fd00:a9fe::1")):
        group = [listener for listener in listeners if listener.family == family]
        # Also for the greatest tag; a connection without a tag, and so without a tap, goes to the first worker.
        for tag in (1, 2, 3, 4, 5, 6, 0xFFFF, 0):
            with Namespace(NAME).open_socket(family, socket.SOCK_STREAM) as guest:
                # Through lo a packet keeps the mark that its sender gave it.
                guest.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark_of_tag(tag) if tag else 0)
                guest.connect((address, 8775))
                assert [number for number in range(workers) if _has_connection(group[number])] == [
                    worker_of_tag(tag, workers)
                ]
    for listener in listeners:
        listener.close()


def _has_connection(listener: socket.socket) -> bool:
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def test_listeners_of_as_many_workers_are_taken_over_in_their_order(private: PrivateNamespace) -> None:
    private.ensure()
    first = private.listen(2)
    again = private.listen(2, first)
    assert in_order(again) == in_order(first)
    # One is missing, so the others no longer have their worker's number. The sockets for IPv6 are complete.
    again[0].close()
    third = private.listen(2, again[1:])
    assert not set(in_order(third[:2])) & set(in_order(again[2:]))
    assert in_order(third[2:]) == in_order(again[2:])
    inodes = in_order(third)
    fewer = private.listen(1, third)
    assert not set(in_order(fewer)) & set(inodes)
    for listener in fewer:
        listener.close()


def test_a_socket_that_is_not_such_a_listener_is_closed_and_replaced(private: PrivateNamespace) -> None:
    private.ensure()
    inside_it = Namespace(NAME)
    mptcp = 262  # IPPROTO_MPTCP
    wrong = [
        (socket.AF_INET, socket.SOCK_STREAM, 0, ("127.0.0.1", 8776)),
        (socket.AF_INET, socket.SOCK_STREAM, 0, ("127.0.0.2", 8775)),
        (socket.AF_INET, socket.SOCK_STREAM, mptcp, ("127.0.0.1", 8775)),
        (socket.AF_INET6, socket.SOCK_STREAM, 0, ("::ffff:127.0.0.1", 8775)),
    ]
    for family, kind, protocol, address in wrong:
        kept = inside_it.open_socket(family, kind, protocol)
        kept.bind(address)
        kept.listen()
        for listener in private.listen(1, (kept,)):
            listener.close()
        assert kept.fileno() == -1
    # One that does not listen, one that is not TCP, and one of another namespace, this test's own.
    bound = inside_it.open_socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.bind(("127.0.0.1", 8775))
    datagram = inside_it.open_socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagram.bind(("127.0.0.1", 8775))
    elsewhere = socket.create_server(("127.0.0.1", 8775))
    pair = socket.socketpair()
    for listener in private.listen(1, (bound, datagram, elsewhere, *pair)):
        listener.close()
    assert {each.fileno() for each in (bound, datagram, elsewhere, *pair)} == {-1}


def test_a_listener_of_a_namespace_that_is_gone_is_not_taken_over(private: PrivateNamespace) -> None:
    private.ensure()
    first = private.listen()
    kept = tuple(listener.dup() for listener in first)  # as the service manager keeps them
    for listener in first:
        listener.close()
    private.remove()
    private.ensure()
    second = private.listen(1, kept)
    assert [listener.fileno() for listener in kept] == [-1, -1]
    with Namespace(NAME).connect("127.0.0.1", 8775):
        pass
    for listener in second:
        listener.close()
