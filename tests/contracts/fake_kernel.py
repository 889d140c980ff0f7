"""A host in memory: its links, their filters, the pieces of the path, and netlink sockets that report changes.

``steering_contract.py`` holds it to what a real kernel does.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl.ifinfmsg import IFF_LOWER_UP
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from eve_meta.config import SteeringConfig
from eve_meta.steering.bpf.maps import Maps, Settings
from eve_meta.steering.kernel import Kernel
from eve_meta.steering.path.inspection import Inspection
from eve_meta.steering.path.iptables import places_of
from eve_meta.steering.path.listening import Listening, WorkerSockets
from eve_meta.steering.path.names import host_link
from eve_meta.steering.steering import Steering
from eve_meta.steering.taps import links, rtnetlink
from eve_meta.values.problem import Problem
from eve_meta.values.tag import MIN_TAG
from tests.contracts.steering_contract import DAMAGES, Recorder

NAME = "fake"
OTHER = "another program"
"""The owner of what is not ours."""


@define
class FakeLink:
    """A link of the host.

    :ivar filters: "ours" or "foreign"; None while the link has no ingress qdisc.
    """

    name: str
    kind: str = "tun"
    carrier: bool = False
    losses: int = 0
    filters: list[str] | None = None

    def message(self, kind: int, ifindex: int) -> bytes:
        """Return an rtnetlink message of type *kind* about this link."""
        flags = IFF_LOWER_UP if self.carrier else 0
        body = links.LINK.pack(0, links.ARPHRD_ETHER, ifindex, flags)
        body += _attribute(links.IFLA_IFNAME, self.name.encode() + b"\0")
        body += _attribute(links.IFLA_LINKINFO, _attribute(links.IFLA_INFO_KIND, self.kind.encode()))
        body += _attribute(links.IFLA_CARRIER_DOWN_COUNT, struct.pack("=I", self.losses))
        return _message(kind, body)


def _attribute(kind: int, value: bytes) -> bytes:
    attribute = links.ATTRIBUTE.pack(links.ATTRIBUTE.size + len(value), kind) + value
    return attribute.ljust((len(attribute) + 3) & ~3, b"\0")


def _message(kind: int, body: bytes, sequence: int = 0, port: int = 0) -> bytes:
    return rtnetlink.MESSAGE.pack(rtnetlink.MESSAGE.size + len(body), kind, 0, sequence, port) + body


class FakeSocket:
    """A netlink socket.

    :param dump: returns the messages that answer a request for all links.
    :ivar full: whether the kernel has to drop messages.
    """

    def __init__(self, number: int, dump: Callable[[], list[bytes]]) -> None:
        self._number = number
        self._dump = dump
        self._messages: deque[bytes] = deque()
        self._overrun = False
        self._closed = False
        self.full = False

    def fileno(self) -> int:
        return self._number

    @property
    def readable(self) -> bool:
        return bool(self._messages) or self._overrun

    def deliver(self, message: bytes) -> None:
        """Queue *message*, or drop it when the buffer is full."""
        if self._closed:
            return
        if self.full:
            self._overrun = True
        else:
            self._messages.append(message)

    def send(self, request: bytes) -> int:
        _, kind, _, sequence, _ = rtnetlink.MESSAGE.unpack_from(request)
        if kind == rtnetlink.NLMSG_NOOP:
            self._messages.append(_message(rtnetlink.NLMSG_ERROR, bytes(4), sequence))
            return len(request)
        assert kind == rtnetlink.RTM_GETLINK
        self._messages.extend([*self._dump(), _message(rtnetlink.NLMSG_DONE, bytes(4), sequence)])
        return len(request)

    def recv(self, size: int) -> bytes:
        if self._overrun:
            self._overrun = False
            raise OSError(errno.ENOBUFS, "No buffer space available")
        if not self._messages:
            raise BlockingIOError
        return self._messages.popleft()

    def close(self) -> None:
        self._closed = True


class FakeMap:
    """A BPF map; *content* outlives whoever has opened it."""

    def __init__(self, content: dict[bytes, bytes]) -> None:
        self._content = content

    def get(self, key: bytes) -> bytes | None:
        return self._content.get(key)

    def set(self, key: bytes, value: bytes) -> None:
        self._content[key] = value

    def delete(self, key: bytes) -> None:
        self._content.pop(key, None)

    def __iter__(self) -> Iterator[bytes]:
        return iter(list(self._content))

    def close(self) -> None:
        """Do nothing: the map has no descriptor."""


class FakeThreads:
    """A pool whose threads end as soon as they are started."""

    def callInThreadWithCallback(
        self, done: Callable[[bool, object], None], function: Callable[..., object], *arguments: object
    ) -> None:
        try:
            result = function(*arguments)
        except Exception:
            done(False, Failure())
        else:
            done(True, result)


class FakeReactor(Clock):
    """A reactor whose time the tests let pass."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []
        self._threads = FakeThreads()

    def addReader(self, reader: object) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: object) -> None:
        self.readers.remove(reader)

    def getThreadPool(self) -> FakeThreads:
        return self._threads

    def callFromThread(self, function: Callable[..., object], *arguments: object) -> None:
        function(*arguments)


@define
class FakeHost:
    """A host; the steering on it works on the pieces that :meth:`kernel` returns.

    :ivar refused: the kernel's error number for attaching a filter to the link with an ifindex.
    :ivar iptables_fail: whether no rules can be loaded.
    :ivar out_of_sockets: whether no more netlink sockets can be opened for links.
    :ivar damaged: the pieces of the path that are missing, while there is a path.
    """

    patterns: tuple[str, ...] = ("vnet*",)
    links: dict[int, FakeLink] = field(factory=lambda: {1: FakeLink("lo", "loopback", carrier=True)})
    maps: dict[str, dict[bytes, bytes]] = field(factory=dict)
    refused: dict[int, int] = field(factory=dict)
    iptables_fail: bool = False
    out_of_sockets: bool = False
    damaged: set[str] = field(factory=set)
    reactor: FakeReactor = field(factory=FakeReactor)
    now: float = 1000.0
    has_path: bool = False
    locked: bool = False
    name_owner: str = ""
    sockets: list[FakeSocket] = field(factory=list)
    path_sockets: list[FakeSocket] = field(factory=list)
    next_ifindex: int = 2

    # -- the contract's host --

    def start(self) -> tuple[Steering, Recorder]:
        recorder = Recorder(self)
        config = SteeringConfig(namespace=NAME, taps=self.patterns)
        steering = Steering(self.reactor, config, recorder, self.kernel())  # type: ignore[arg-type]
        steering.start(lambda: None, 1, ())
        self.until(lambda: recorder.of("taps_complete"))
        return steering, recorder

    def crash(self) -> None:
        self.reactor = FakeReactor()
        self.sockets.clear()
        self.path_sockets.clear()
        self.locked = False

    def run(self, seconds: float) -> None:
        """Let *seconds* pass."""
        for _ in range(max(1, round(seconds / 0.05))):
            self.now += 0.05
            self.reactor.advance(0.05)
            for reader in list(self.reactor.readers):
                while reader in self.reactor.readers and self._readable(reader.fileno()):
                    reader.doRead()

    def _readable(self, number: int) -> bool:
        return any(each.readable for each in (*self.sockets, *self.path_sockets) if each.fileno() == number)

    def until(self, condition: Callable[[], object]) -> None:
        for _ in range(200):
            if condition():
                return
            self.run(0.05)
        pytest.fail("the condition did not hold within ten seconds")

    def rest(self) -> None:
        self.run(1)

    @contextlib.contextmanager
    def lost_messages(self) -> Iterator[None]:
        for each in self.sockets:
            each.full = True
        yield
        for each in self.sockets:
            each.full = False

    def add_tap(self, name: str) -> None:
        self.add(FakeLink(name))

    def add_bridge(self, name: str) -> None:
        self.add(FakeLink(name, kind="bridge"))

    def add(self, link: FakeLink) -> int:
        ifindex = self.next_ifindex
        self.next_ifindex += 1
        self.links[ifindex] = link
        self._changed(ifindex)
        return ifindex

    def rename(self, name: str, new: str) -> None:
        ifindex = self.ifindex(name)
        self.links[ifindex].name = new
        self._changed(ifindex)

    def delete(self, name: str) -> None:
        ifindex = self.ifindex(name)
        self._report(self.links.pop(ifindex).message(rtnetlink.RTM_DELLINK, ifindex))

    def hold(self, name: str) -> None:
        ifindex = self.ifindex(name)
        self.links[ifindex].carrier = True
        self._changed(ifindex)

    def release(self, name: str) -> None:
        ifindex = self.ifindex(name)
        link = self.links[ifindex]
        link.carrier, link.losses = False, link.losses + 1
        self._changed(ifindex)

    def delete_filter(self, name: str) -> None:
        (self.link(name).filters or []).remove("ours")
        self.report_tc(rtnetlink.RTM_DELTFILTER, self.ifindex(name))

    def delete_qdisc(self, name: str) -> None:
        self.link(name).filters = None
        self.report_tc(rtnetlink.RTM_DELQDISC, self.ifindex(name))

    def add_qdisc(self, name: str) -> None:
        assert self.link(name).filters is None, "the qdisc exists"
        self.link(name).filters = []
        self.report_tc(rtnetlink.RTM_NEWQDISC, self.ifindex(name))

    def add_foreign_filter(self, name: str) -> None:
        filters = self.link(name).filters
        assert filters is not None, "a filter needs a qdisc"
        filters.append("foreign")

    def filters(self, name: str) -> Sequence[str]:
        return list(self.link(name).filters or [])

    def qdiscs(self, name: str) -> Sequence[str]:
        return [] if self.link(name).filters is None else ["ingress"]

    def tags(self) -> Mapping[str, int]:
        if not self.maps:
            return {}
        tags = self.open_maps().tags()
        return {self.links[each].name if each in self.links else f"link {each}": tag for each, tag in tags.items()}

    def damage(self, piece: str) -> None:
        self.damaged.add(piece)
        if piece == "name":
            self.name_owner = ""
        elif piece == "host filter":
            self.report_tc(rtnetlink.RTM_DELTFILTER, self.ifindex(host_link(NAME)))
        elif piece == "host end":
            self.release(host_link(NAME))
        elif piece == "meta0":
            self.delete(host_link(NAME))
        elif piece not in ("sysctl", "pin"):
            self.report_path()

    def missing(self) -> Mapping[str, Sequence[str]]:
        return self.inspect(()).missing()

    def give_the_name_away(self) -> None:
        self.damaged.add("name")
        self.name_owner = OTHER

    def take_the_name_back(self) -> None:
        self.name_owner = ""

    def leftovers(self) -> Sequence[str]:
        left = [link.name for link in self.links.values() if link.name == host_link(NAME)]
        left += self.maps
        left += ["the lock"] * self.locked + ["the path"] * self.has_path
        return left

    # -- the pieces of the kernel --

    def kernel(self) -> Kernel:
        """Return the pieces of this host."""
        return Kernel(
            pins=FakePins(self),
            namespace=FakeNamespace(self),
            filter=lambda program, name: FakeFilter(self),
            link_socket=self.link_socket,
            link_name=self.link_name,
            inspect=self.inspect,
            clock=lambda: self.now,
        )

    def link_socket(self) -> FakeSocket:
        if self.out_of_sockets:
            raise OSError(errno.EMFILE, "Too many open files")
        opened = FakeSocket(
            100 + len(self.sockets),
            lambda: [link.message(rtnetlink.RTM_NEWLINK, ifindex) for ifindex, link in self.links.items()],
        )
        self.sockets.append(opened)
        return opened

    def link_name(self, ifindex: int) -> str:
        if ifindex not in self.links:
            raise OSError(errno.ENXIO, "No such device or address")
        return self.links[ifindex].name

    def inspect(self, names: Collection[str]) -> Inspection:
        parts: dict[str, tuple[str, ...]] = dict.fromkeys(DAMAGES.values(), ())
        for piece in sorted(self.damaged):
            parts[DAMAGES[piece]] += (f"the {piece}",)
        return Inspection(links={}, filters={}, **parts)

    def open_map(self, path: Path, key_size: int, value_size: int, *, per_cpu: bool = False) -> FakeMap:
        """Return the map that is pinned at *path*."""
        return FakeMap(self.maps.setdefault(path.name, {}))

    def open_maps(self) -> Maps:
        return Maps(Path(NAME), self.open_map)

    def link(self, name: str) -> FakeLink:
        return self.links[self.ifindex(name)]

    def ifindex(self, name: str) -> int:
        return next(ifindex for ifindex, link in self.links.items() if link.name == name)

    def _changed(self, ifindex: int) -> None:
        self._report(self.links[ifindex].message(rtnetlink.RTM_NEWLINK, ifindex))

    def report_tc(self, kind: int, ifindex: int, port: int = 0) -> None:
        self._report(_message(kind, struct.pack("=4xi12x", ifindex), port=port))

    def _report(self, message: bytes) -> None:
        for each in self.sockets:
            each.deliver(message)

    def report_path(self) -> None:
        for each in self.path_sockets:
            each.deliver(b"changed")


class FakePins:
    """The pins: Maps of a host's memory."""

    def __init__(self, host: FakeHost) -> None:
        self._host = host

    def open(self, raise_if_terminated: Callable[[], None]) -> Maps:
        if self._host.locked:
            raise Problem("another eve-meta runs")
        self._host.locked = True
        fresh = not self._host.maps
        maps = self._host.open_maps()
        if fresh:
            maps.count_untagged()
            maps.write_settings(Settings(host_ifindex=0, next_tag=MIN_TAG, build=1))
        return maps

    def program(self, name: str) -> int:
        return 0

    def forget_old(self, maps: Maps) -> None:
        """Do nothing: a fake has one build."""

    def missing(self) -> Sequence[Path]:
        return [Path("pin")] if "pin" in self._host.damaged else []

    def restore(self) -> None:
        self._host.damaged.discard("pin")

    def remove(self) -> None:
        self._host.maps.clear()
        self._host.locked = False


class FakeNamespace:
    """The private namespace and the veth pair that leads into it."""

    def __init__(self, host: FakeHost) -> None:
        self._host = host
        self.name = NAME
        self.host_link = host_link(NAME)

    def entered(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def ensure(self) -> int:
        if self._host.iptables_fail:
            raise Problem("iptables-restore refused the rules")
        if self._host.name_owner == OTHER:
            raise Problem(f"somebody deleted the name of network namespace {NAME!r} and gave it to another namespace")
        self._host.has_path = True
        self._host.name_owner = NAME
        self._host.damaged &= {"pin"}
        self._host.report_path()
        if not any(link.name == self.host_link for link in self._host.links.values()):
            self._host.add(FakeLink(self.host_link, kind="veth", carrier=True))
        self._host.hold(self.host_link)
        return self._host.ifindex(self.host_link)

    def remove(self) -> None:
        self._host.has_path = False
        self._host.delete(self.host_link)

    def listen(self, workers: int, kept: Sequence[socket.socket], places: Sequence[int]) -> Listening:
        return Listening(tuple(WorkerSockets(places_of(number)[0], ()) for number in range(workers)), ())

    def listen_again(self, number: int, old: WorkerSockets) -> WorkerSockets:
        (place,) = set(places_of(number)) - {old.place}
        return WorkerSockets(place, ())

    def are_sound(self, sockets: WorkerSockets) -> bool:
        return True

    def lead_to_workers(self) -> None:
        if self._host.iptables_fail:
            raise Problem("iptables-restore refused the rules")

    def is_named(self) -> bool:
        return self._host.name_owner == NAME

    def changed_sysctls(self) -> Sequence[str]:
        return ["net.ipv4.ip_forward=0"] if "sysctl" in self._host.damaged else []

    def notification_sockets(self) -> Sequence[FakeSocket]:
        opened = FakeSocket(200 + len(self._host.path_sockets), list)
        self._host.path_sockets.append(opened)
        return [opened]

    def legacy_rules(self) -> FakeLegacyRules:
        return FakeLegacyRules()


class FakeLegacyRules:
    """Legacy iptables' rules, of which there are none."""

    def shape(self) -> tuple[bytes, ...]:
        return ()

    def close(self) -> None:
        """Do nothing."""


class FakeFilter:
    """The filter of taps."""

    port = 7

    def __init__(self, host: FakeHost) -> None:
        self._host = host

    def attach(self, ifindex: int) -> None:
        if ifindex in self._host.refused:
            raise NetlinkError(self._host.refused[ifindex])
        if ifindex not in self._host.links:
            raise NetlinkError(errno.ENODEV)
        link = self._host.links[ifindex]
        if link.filters is None:
            link.filters = []
            self._host.report_tc(rtnetlink.RTM_NEWQDISC, ifindex, self.port)
        if "ours" not in link.filters:
            link.filters.append("ours")

    def detach(self, ifindex: int) -> None:
        link = self._host.links.get(ifindex)
        if link is None or link.filters is None:
            return
        link.filters = [each for each in link.filters if each != "ours"] or None

    def is_attached(self, ifindex: int) -> bool:
        link = self._host.links.get(ifindex)
        return link is not None and "ours" in (link.filters or [])

    def close(self) -> None:
        """Do nothing: the fake has no socket."""
