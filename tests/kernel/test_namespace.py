"""The private namespace is made, restored and removed, and never at the expense of others."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute

from eve_meta.steering.bpf.libbpf import open_pin
from eve_meta.steering.bpf.maps import PROGRAMS
from eve_meta.steering.path import namespace
from eve_meta.steering.path.iptables import missing
from eve_meta.steering.path.listening import Listening, WorkerSockets
from eve_meta.steering.path.namespace import PrivateNamespace
from eve_meta.steering.path.sysctls import CONNTRACK_SYSCTLS
from eve_meta.steering.taps.tags import QUARANTINE
from eve_meta.values.problem import Problem
from harness.guests import Lab
from harness.host_state import HostState
from harness.namespace import Namespace, inside
from tests import version_0_1

NAME = "emnsp"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("emns") as lab:
        yield lab


@pytest.fixture
def private(lab: Lab, pins: Path) -> Iterator[PrivateNamespace]:
    """The namespace that a test makes. For as long as the test runs, the calling thread is on the lab's host."""
    with inside(lab.host.name), contextlib.ExitStack() as undo:
        programs = {name: open_pin(pins / name) for name in PROGRAMS}
        for descriptor in programs.values():
            undo.callback(os.close, descriptor)
        private = PrivateNamespace(NAME, programs.__getitem__)
        private.workers = 1  # as if workers listened, so that the rules belong to what is ensured
        yield private
        private.remove()


def show(command: str) -> str:
    return Namespace(NAME).run(*command.split()).stdout


@pytest.fixture(params=["nft", "legacy"])
def iptables(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both variants of iptables, whichever the machine prefers."""
    for tool in (f"{tool}{what}" for tool in ("iptables", "ip6tables") for what in ("", "-restore", "-save")):
        target = shutil.which(f"xtables-{request.param}-multi")
        assert target, f"install the package iptables: it has xtables-{request.param}-multi"
        (tmp_path / tool).symlink_to(target)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return str(request.param)


def test_the_path_is_complete_with_either_variant_of_iptables(private: PrivateNamespace, iptables: str) -> None:
    private.ensure()
    rules = [line for line in show("iptables-save").splitlines() if line.startswith("-A")]
    assert len(rules) == 3
    assert all('--comment "eve-meta: ' in rule for rule in rules)
    assert any("-j CT --zone-orig mark" in rule for rule in rules)
    for place, port in ((0x20000, 8776), (0x40000, 8777)):
        (rule,) = [rule for rule in rules if f"-j DNAT --to-destination 127.0.0.1:{port}" in rule]
        assert f"-m mark --mark {place:#x}/0x1fe0000" in rule
    rules = [line for line in show("ip6tables-save").splitlines() if line.startswith("-A")]
    assert len(rules) == 5
    assert all('--comment "eve-meta: ' in rule for rule in rules)
    for place, port in ((0x20000, 8776), (0x40000, 8777)):
        found = [rule for rule in rules if f"-j DNAT --to-destination [fd00:a9fe::1]:{port}" in rule]
        assert ["/0x1fe0000" in rule and f" {place:#x}/" in rule for rule in found] == [True, True]
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
    # The kernel adds the local route of an IPv6 address a moment after the address.
    before = HostState.read(Namespace(NAME))
    while before.changes():
        before = HostState.read(Namespace(NAME))
    show(damage)
    assert before.changes(), f"{damage!r} changes nothing that could be restored"
    private.ensure()
    # A link that was made again has another ifindex, which tc and the kernel show.
    if "link del" not in damage:
        assert [str(change) for change in before.changes(patience=5.0)] == []


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


def in_order(workers: Iterable[WorkerSockets]) -> list[tuple[int, ...]]:
    """Return the inodes of each worker's sockets."""
    return [tuple(os.fstat(each.fileno()).st_ino for each in worker.sockets) for worker in workers]


@pytest.fixture
def opened() -> Iterator[Callable[[Listening], tuple[WorkerSockets, ...]]]:
    """Return the workers' sockets of what it is called with, which are closed when the test ends."""
    with contextlib.ExitStack() as undo:

        def keep(listening: Listening) -> tuple[WorkerSockets, ...]:
            for worker in listening.workers:
                undo.callback(worker.close)
            for each in listening.discarded:
                undo.callback(each.close)
            return listening.workers

        yield keep


def sockets_of(workers: Iterable[WorkerSockets]) -> list[socket.socket]:
    return [each for worker in workers for each in worker.sockets]


def places_of(workers: Iterable[WorkerSockets]) -> list[int]:
    return [worker.place for worker in workers]


Open = Callable[[Listening], tuple[WorkerSockets, ...]]


def test_no_rule_leads_anywhere_until_workers_listen(private: PrivateNamespace, opened: Open) -> None:
    """Otherwise a guest that connects meanwhile would be refused."""
    private.workers = 0
    private.ensure()
    assert "DNAT" not in show("iptables-save")
    opened(private.listen(2))
    assert "DNAT" not in show("iptables-save")
    private.lead_to_workers()
    assert show("iptables-save").count("DNAT") == 4
    assert show("ip6tables-save").count("DNAT") == 8


def test_the_rules_of_all_workers_are_looked_for(private: PrivateNamespace, iptables: str) -> None:
    private.workers = 3
    private.ensure()
    assert list(missing(private.path, 3, ipv6=True)) == []
    show("ip6tables -t nat -D PREROUTING 12")
    show("iptables -t raw -F")
    assert [rule.partition(" -A ")[0] for rule in missing(private.path, 3, ipv6=True)] == [
        "iptables --table raw",
        "ip6tables --table nat",
    ]


def test_each_worker_listens_at_a_place_of_its_own(private: PrivateNamespace, opened: Open) -> None:
    private.ensure()
    workers = opened(private.listen(3))
    assert places_of(workers) == [1, 3, 5]
    for worker in workers:
        assert [each.family for each in worker.sockets] == [socket.AF_INET, socket.AF_INET6]
        assert [each.getsockname()[:2] for each in worker.sockets] == [
            ("127.0.0.1", 8775 + worker.place),
            ("fd00:a9fe::1", 8775 + worker.place),
        ]
    assert {line.split()[2] for line in show("ss -Htln").splitlines()} == {"4096"}


def test_a_port_that_is_taken_is_avoided_and_two_are_an_error(private: PrivateNamespace, opened: Open) -> None:
    private.ensure()
    with contextlib.ExitStack() as undo:
        for port in (8776, 8777):
            stranger = undo.enter_context(Namespace(NAME).open_socket(socket.AF_INET, socket.SOCK_STREAM))
            stranger.bind(("127.0.0.1", port))
            stranger.listen()
            if port == 8776:
                (worker,) = private.listen(1).workers
                assert worker.place == 2
                worker.close()
        with pytest.raises(Problem, match=rf"cannot listen on 127\.0\.0\.1 port 8777: .* in namespace '{NAME}'"):
            private.listen(1)
    assert places_of(opened(private.listen(1))) == [1]


def test_sockets_of_an_earlier_daemon_are_taken_over(private: PrivateNamespace, opened: Open) -> None:
    private.ensure()
    first = opened(private.listen(2))
    kept = sockets_of(first)
    for listener in kept:
        listener.setblocking(True)
        listener.listen(0)  # as a compromised worker may do
    listening = private.listen(2, kept[::-1], places_of(first))  # in any order
    assert listening.discarded == ()
    assert in_order(opened(listening)) == in_order(first)
    assert {os.get_blocking(listener.fileno()) for listener in kept} == {False}
    assert {line.split()[2] for line in show("ss -Htln").splitlines()} == {"4096"}


def test_copies_of_sockets_are_closed_and_the_sockets_go_on(private: PrivateNamespace, opened: Open) -> None:
    private.ensure()
    first = opened(private.listen(1))
    copies = [each.dup() for each in sockets_of(first)]
    listening = private.listen(1, (*sockets_of(first), *copies), (1,))
    assert (listening.discarded, in_order(listening.workers)) == ((), in_order(first))
    assert {each.fileno() for each in copies} == {-1}
    assert private.are_sound(listening.workers[0])


def test_where_one_of_a_workers_sockets_is_missing_it_listens_at_its_other_place(
    private: PrivateNamespace, opened: Open
) -> None:
    private.ensure()
    first = opened(private.listen(2))
    kept, inodes = sockets_of(first), in_order(first)
    kept.pop(0).close()
    listening = private.listen(2, kept, places_of(first))
    again = opened(listening)
    assert places_of(again) == [2, 3]
    assert in_order(again)[1] == inodes[1]
    assert listening.discarded == (kept[0],)


@pytest.mark.parametrize("workers", [1, 3])
def test_sockets_of_another_number_of_workers_are_not_taken_over(
    private: PrivateNamespace, opened: Open, workers: int
) -> None:
    """The connections in the queue of each are of several workers' guests now."""
    private.ensure()
    first = opened(private.listen(2))
    listening = private.listen(workers, sockets_of(first), places_of(first))
    assert places_of(opened(listening)) == [2, 4, 5][:workers]
    assert listening.discarded == tuple(sockets_of(first))


@pytest.mark.parametrize("workers", [1, 2])
def test_each_worker_takes_the_connections_that_wait_for_it_in_version_0_1(
    private: PrivateNamespace, opened: Open, workers: int
) -> None:
    private.ensure()
    old = version_0_1.sockets(Namespace(NAME), workers)
    with contextlib.ExitStack() as undo:
        for each in old:
            undo.callback(each.close)
        listening = private.listen(workers, old)
        assert listening.discarded == ()
        for number, worker in enumerate(opened(listening)):
            assert (worker.place, worker.retired) == (1 + 2 * number, (old[number], old[workers + number]))
        # One is missing, or they are of fewer workers: the others are no longer of one worker each.
        for listener in sockets_of(listening.workers):
            listener.close()
        fewer = private.listen(workers, old[1:])
        for listener in sockets_of(fewer.workers):
            listener.close()
        assert [worker.retired for worker in fewer.workers] == [(each,) for each in old[workers:]]
        more = private.listen(workers + 1, old)
        assert more.discarded == tuple(old)
        opened(more)


def _listen_elsewhere(listener: socket.socket) -> None:
    listener.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):  # it keeps its port
        listener.bind(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    listener.listen()


DAMAGES: dict[str, Callable[[socket.socket], None]] = {
    "shut down": lambda listener: listener.shutdown(socket.SHUT_RDWR),
    "shut down and listening elsewhere": _listen_elsewhere,
    "deaf to all that was routed": lambda listener: listener.setsockopt(socket.IPPROTO_IP, 21, 255),  # IP_MINTTL
    "short of memory": lambda listener: listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1),
    "with a short reach": lambda listener: listener.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1),
    "slow": lambda listener: listener.setsockopt(socket.SOL_SOCKET, 47, 1),  # SO_MAX_PACING_RATE
    "with small segments": lambda listener: listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 88),
    "ending connections early": lambda listener: listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1),
    "resetting what it closes": lambda listener: listener.setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, b"\1" + bytes(7)
    ),
    "only for an interface": lambda listener: listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo"),
}
"""What a compromised worker may do to a socket that outlives it."""


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_socket_that_a_worker_damaged_is_not_sound_and_is_replaced(
    private: PrivateNamespace, opened: Open, damage: str
) -> None:
    private.ensure()
    (first,) = opened(private.listen(1))
    # Every worker does so.
    for option, value in ((socket.TCP_NODELAY, 1), (socket.TCP_DEFER_ACCEPT, 1)):
        first.sockets[0].setsockopt(socket.IPPROTO_TCP, option, value)
    first.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    assert private.are_sound(first)
    DAMAGES[damage](first.sockets[0])
    assert not private.are_sound(first)
    second = private.listen_again(0, first)
    assert (second.place, private.are_sound(second)) == (2, True)
    first.end()
    third = private.listen_again(0, second)
    assert (third.place, private.are_sound(third)) == (1, True)
    second.end()
    # The next daemon, too, looks at what it is handed.
    DAMAGES[damage](third.sockets[0])
    listening = private.listen(1, third.sockets, (1,))
    assert (places_of(opened(listening)), set(listening.discarded)) == ([2], set(third.sockets))


def test_sockets_that_are_no_such_listeners_are_not_taken_over(private: PrivateNamespace, opened: Open) -> None:
    private.ensure()
    opened(private.listen(1))
    with contextlib.ExitStack() as undo:

        def make(family: int, kind: int, protocol: int, address: tuple[str, int]) -> socket.socket:
            made = undo.enter_context(Namespace(NAME).open_socket(family, kind, protocol))
            made.bind(address)
            if kind == socket.SOCK_STREAM:
                made.listen()
            return made

        bound = undo.enter_context(Namespace(NAME).open_socket(socket.AF_INET, socket.SOCK_STREAM))
        bound.bind(("127.0.0.1", 8780))
        kept = [
            make(socket.AF_INET, socket.SOCK_STREAM, 0, ("127.0.0.1", 8774)),
            make(socket.AF_INET, socket.SOCK_STREAM, 0, ("127.0.0.2", 8778)),
            make(socket.AF_INET, socket.SOCK_STREAM, 262, ("127.0.0.1", 8779)),  # IPPROTO_MPTCP
            make(socket.AF_INET6, socket.SOCK_STREAM, 0, ("::ffff:127.0.0.1", 8781)),
            make(socket.AF_INET, socket.SOCK_DGRAM, 0, ("127.0.0.1", 8782)),
            bound,
            undo.enter_context(socket.create_server(("127.0.0.1", 8783))),  # of another namespace, this test's own
            *map(undo.enter_context, socket.socketpair()),
        ]
        listening = private.listen(1, kept, (1,))
        assert set(listening.discarded) == set(kept)
        for worker in listening.workers:
            worker.close()


def test_a_listener_of_a_namespace_that_is_gone_is_not_taken_over(private: PrivateNamespace, opened: Open) -> None:
    private.ensure()
    first = opened(private.listen(1))
    private.remove()
    private.ensure()
    listening = private.listen(1, sockets_of(first), places_of(first))
    assert listening.discarded == tuple(sockets_of(first))
    opened(listening)
    with Namespace(NAME).connect("127.0.0.1", 8777):
        pass
