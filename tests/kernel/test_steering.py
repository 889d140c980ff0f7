"""Steering on this kernel: the contract that the fake fulfils, too."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from attrs import evolve
from pyroute2 import IPRoute
from twisted.internet.epollreactor import EPollReactor

from eve_meta.config import SteeringConfig
from eve_meta.steering.bpf import libbpf
from eve_meta.steering.bpf.loader import build_id, source_directory, unpin
from eve_meta.steering.bpf.maps import MAPS, PROGRAMS, Maps, Settings
from eve_meta.steering.bpf.pins import Pins
from eve_meta.steering.kernel import Kernel
from eve_meta.steering.path import filters
from eve_meta.steering.path.inspection import inspect
from eve_meta.steering.path.names import host_link
from eve_meta.steering.path.namespace import PrivateNamespace
from eve_meta.steering.steering import Steering
from eve_meta.steering.taps.links import RECEIVE_BUFFER, link_socket
from eve_meta.steering.taps.rtnetlink import SO_RCVBUFFORCE
from eve_meta.values.tag import MIN_TAG
from harness.guests import Lab
from harness.namespace import inside, ip_batch, names
from tests.contracts.steering_contract import Recorder, SteeringContract

NAME = "emste"
TUNSETIFF = 0x400454CA  # linux/if_tun.h
IFF_TAP, IFF_NO_PI = 0x2, 0x1000

IN_NAMESPACE = {
    "rules": "iptables --table nat --flush",
    "route": "ip route flush table 169",
    "policy rule": "ip rule del priority 169",
    "sysctl": "sysctl -qw net.ipv4.ip_forward=1",
    "meta0": "ip link del meta0",
    "namespace filter": "tc filter del dev meta0 ingress",
}


class DaemonPins(Pins):
    """Pins that know whether their daemon has closed them."""

    closed = True

    def open(self, raise_if_terminated: Callable[[], None] = lambda: None) -> Maps:
        maps = super().open(raise_if_terminated)
        self.closed = False
        return maps

    def close(self) -> None:
        super().close()
        self.closed = True

    def release(self) -> None:
        """Let go of the lock, as the kernel does for a process that ended."""
        if not self.closed:
            self.close()


class RealHost:
    """The lab's host, whose network namespace the calling thread is in."""

    def __init__(self, pins: Path) -> None:
        self.patterns: tuple[str, ...] = ("vnet*",)
        self._loaded = pins
        self._directory = Pins(NAME).directory
        self._holders: dict[str, int] = {}
        self._daemon = contextlib.ExitStack()
        self._pin()

    def _pin(self) -> None:
        """Pin the loaded programs and maps, with the maps empty, as an earlier daemon of this build leaves them.

        So no daemon of these tests has to compile them.
        """
        directory = self._directory
        directory.mkdir(mode=0o700)
        for name in (*PROGRAMS, *MAPS):
            descriptor = libbpf.open_pin(self._loaded / name)
            try:
                libbpf.pin(descriptor, directory / name)
            finally:
                os.close(descriptor)
        with contextlib.closing(Maps(directory)) as maps:
            for ifindex, tag in maps.tags().items():
                maps.remove_tap(tag, ifindex)
            maps.write_settings(Settings(host_ifindex=0, next_tag=MIN_TAG, build=build_id(source_directory())))

    def close(self) -> None:
        """Remove whatever the test has left behind."""
        self.crash()
        for descriptor in self._holders.values():
            os.close(descriptor)
        PrivateNamespace(NAME, Pins(NAME).program).remove()
        unpin(self._directory)
        with contextlib.suppress(FileNotFoundError):
            self._directory.rmdir()
        for _, name in socket.if_nameindex():
            if name.startswith(("vnet", "other")):
                self.delete(name)

    # -- the contract's host --

    def start(self) -> tuple[Steering, Recorder]:
        recorder = Recorder(self)
        with contextlib.ExitStack() as daemon:
            reactor = self._reactor = EPollReactor()
            reactor.startRunning(installSignalHandlers=False)
            daemon.callback(self._end_reactor, reactor)
            pins = DaemonPins(NAME)
            namespace = PrivateNamespace(NAME, pins.program)
            daemon.callback(namespace._release)
            daemon.callback(pins.release)
            kernel = self._kernel = evolve(
                Kernel.of_host(NAME),
                pins=pins,
                namespace=namespace,
                link_socket=self._link_socket,
                inspect=lambda names: inspect(namespace, pins, names),
            )
            config = SteeringConfig(namespace=NAME, taps=self.patterns)
            steering = Steering(reactor, config, recorder, kernel)  # type: ignore[arg-type]  # its interfaces are declared
            for listener in steering.start(lambda: None, 1, ()):
                daemon.callback(listener.close)
            self._daemon = daemon.pop_all()
        self.until(lambda: recorder.of("taps_complete"))
        return steering, recorder

    def _link_socket(self) -> socket.socket:
        self._links = link_socket()
        return self._links

    @staticmethod
    def _end_reactor(reactor: EPollReactor) -> None:
        reactor.removeAll()
        reactor.stop()
        while reactor.running:
            reactor.iterate(0)

    def crash(self) -> None:
        self._daemon.close()

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, "the condition did not hold within ten seconds"
            self._reactor.iterate(0.05)

    def rest(self) -> None:
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            self._reactor.iterate(0.05)

    @contextlib.contextmanager
    def lost_messages(self) -> Iterator[None]:
        # A buffer that is as small as may be, and full already.
        self._links.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        ip_batch([f"link set lo alias {number}" for number in range(20)])
        yield
        self._links.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)

    def add_tap(self, name: str) -> None:
        ip_batch([f"tuntap add {name} mode tap", f"link set {name} up"])

    def add_bridge(self, name: str) -> None:
        ip_batch([f"link add {name} type bridge", f"link set {name} up"])

    def rename(self, name: str, new: str) -> None:
        ip_batch([f"link set {name} down", f"link set {name} name {new}", f"link set {new} up"])

    def delete(self, name: str) -> None:
        ip_batch([f"link del {name}"])

    def hold(self, name: str) -> None:
        self._holders[name] = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(self._holders[name], TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))

    def release(self, name: str) -> None:
        os.close(self._holders.pop(name))

    def delete_filter(self, name: str) -> None:
        _run(f"tc filter del dev {name} ingress")

    def delete_qdisc(self, name: str) -> None:
        _run(f"tc qdisc del dev {name} ingress")

    def add_qdisc(self, name: str) -> None:
        _run(f"tc qdisc add dev {name} ingress")

    def add_foreign_filter(self, name: str) -> None:
        _run(f"tc filter add dev {name} parent ffff: protocol all u32 match u32 0 0 flowid :1")

    def filters(self, name: str) -> Sequence[str]:
        with IPRoute() as ipr:
            on_link = filters.on_link(ipr, ipr.link_lookup(ifname=name)[0])
        # A dump has a u32 filter twice: its hash table, and the filter in it.
        return ["ours" if ours else "foreign" for _, ours in sorted({(each.priority, each.ours) for each in on_link})]

    def qdiscs(self, name: str) -> Sequence[str]:
        shown = _run(f"tc qdisc show dev {name}").splitlines()
        return [line.split()[1] for line in shown if line.split()[1] in ("ingress", "clsact")]

    def tags(self) -> Mapping[str, int]:
        links = dict(socket.if_nameindex())
        with contextlib.closing(Maps(self._directory)) as maps:
            return {links.get(ifindex, f"link {ifindex}"): tag for ifindex, tag in maps.tags().items()}

    def damage(self, piece: str) -> None:
        if piece == "pin":
            (self._directory / "host_in").unlink()
        elif piece == "name":
            ip_batch([f"netns delete {NAME}"])
        elif piece == "host end":
            ip_batch([f"link set {host_link(NAME)} down"])
        elif piece == "host filter":
            _run(f"tc filter del dev {host_link(NAME)} ingress")
        else:
            _run(f"nsenter --net=/run/netns/{NAME} {IN_NAMESPACE[piece]}")

    def missing(self) -> Mapping[str, Sequence[str]]:
        return self._kernel.inspect(()).missing()

    def give_the_name_away(self) -> None:
        ip_batch([f"netns delete {NAME}", f"netns add {NAME}"])

    def take_the_name_back(self) -> None:
        ip_batch([f"netns delete {NAME}"])

    def leftovers(self) -> Sequence[str]:
        left = [name for _, name in socket.if_nameindex() if name == host_link(NAME)]
        left += [name for name in names() if name == NAME]
        return left + [str(path) for path in self._directory.glob("*")]


def _run(command: str) -> str:
    return subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(NAME) as lab:
        yield lab


@pytest.fixture
def host(lab: Lab, pins: Path) -> Iterator[RealHost]:
    with inside(lab.host.name), contextlib.closing(RealHost(pins)) as host:
        yield host


class TestOnThisKernel(SteeringContract):
    """The contract, on this kernel."""
