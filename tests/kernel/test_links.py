"""What is told of links as they come, change and go; read from the kernel, without a reactor."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from eve_meta.steering.bpf.libbpf import open_pin
from eve_meta.steering.taps.links import Link, LinkMonitor, link_of, link_socket
from eve_meta.steering.taps.tapfilter import TapFilter
from harness.guests import Lab
from harness.namespace import inside


class Reactor:
    """As much of one as a monitor needs: the test reads itself."""

    def addReader(self, reader: object) -> None:
        pass

    removeReader = addReader


class Told:
    """What a monitor told."""

    def __init__(self, lab: Lab, own_port: int = 0) -> None:
        self.links: dict[int, Link] = {}
        self.gone: list[int] = []
        self.qdiscs: list[int] = []
        self.lost: list[int] = []
        self.synced = 0
        self.changed: Callable[[Link], None] = lambda link: self.links.update({link.ifindex: link})
        with inside(lab.host.name):
            self.monitor = LinkMonitor(
                Reactor(),  # type: ignore[arg-type]  # as much as it needs
                link_socket(),
                changed=self._changed,
                gone=self.gone.append,
                filter_lost=self.lost.append,
                qdisc_added=self.qdiscs.append,
                synced=self._synced,
                own_port=own_port,
            )
        self.monitor.start()
        self.read()

    def _changed(self, link: Link) -> None:
        self.changed(link)  # which a test may replace

    def _synced(self) -> None:
        self.synced += 1

    def read(self) -> None:
        """Read until nothing comes for a moment."""
        while select.select([self.monitor], [], [], 0.2)[0]:
            self.monitor.doRead()

    def named(self, name: str) -> Link:
        return next(link for link in self.links.values() if link.name == name)


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("emlnk") as lab:
        lab.bridge("br0")
        lab.make_tap("vnet0", bridge="br0")
        yield lab


@pytest.fixture
def told(lab: Lab) -> Iterator[Told]:
    told = Told(lab)
    yield told
    told.monitor.stop()


def test_links_that_are_there_are_told_first(told: Told) -> None:
    assert (told.named("vnet0").kind, told.named("br0").kind) == ("tun", "bridge")
    assert told.synced == 1


def test_a_tap_that_leaves_its_bridge_is_not_gone(lab: Lab, told: Told) -> None:
    """The bridge says of its port that it is gone, in a message that only its family tells from the link's end."""
    lab.host.ip("link set vnet0 nomaster")
    told.read()
    assert told.gone == []
    lab.host.ip("link set vnet0 master br0")
    told.read()
    assert told.named("vnet0").kind == "tun"


def test_a_tap_that_is_deleted_is_gone(lab: Lab, told: Told) -> None:
    ifindex = told.named("vnet0").ifindex
    lab.delete_tap("vnet0")
    told.read()
    assert told.gone == [ifindex]


def test_a_name_that_is_no_utf8_is_a_name_like_any_other(lab: Lab, told: Told) -> None:
    # Python hands the lone surrogate to ip as the byte 0xff.
    lab.host.run("ip", "link", "add", "vnet\udcff", "type", "bridge")
    told.read()
    assert told.named("vnet\udcff").kind == "bridge"


def test_a_change_that_cannot_be_dealt_with_does_not_end_the_reading(lab: Lab, told: Told) -> None:
    good = told.changed

    def failing(link: Link) -> None:
        raise RuntimeError(link.name)

    told.changed = failing
    lab.make_tap("vnet1")
    told.read()
    told.changed = good
    lab.make_tap("vnet2")
    told.read()
    assert told.named("vnet2").kind == "tun"


def test_qdiscs_that_somebody_adds_or_takes_are_told(lab: Lab, told: Told) -> None:
    ifindex = told.named("vnet0").ifindex
    lab.host.run("tc", "qdisc", "add", "dev", "vnet0", "ingress")
    told.read()
    assert ifindex in told.qdiscs
    lab.host.run("tc", "qdisc", "del", "dev", "vnet0", "ingress")
    told.read()
    assert ifindex in told.lost


def test_what_is_read_by_hand_is_what_pyroute2_reads(lab: Lab, told: Told) -> None:
    lab.host.ip(
        "link add name überall type veth peer name peer.7@x",
        "link set überall alias x",
        "link set peer.7@x up",
        "link set br0 up",
        "link add link peer.7@x name upon0 type macvlan",
        "link add nobody type ifb",
    )
    told.read()
    with inside(lab.host.name), IPRoute() as ipr:
        links = {link.ifindex: link for link in map(link_of, ipr.get_links())}
    assert told.links == links
    assert {"lo", "überall", "peer.7@x", "br0", "vnet0"} <= {link.name for link in links.values()}


@pytest.fixture
def ours(lab: Lab, pins: Path) -> Iterator[TapFilter]:
    """What attaches our filter on the lab's host."""
    with contextlib.ExitStack() as undo:
        program = open_pin(pins / "tap_in")
        undo.callback(os.close, program)
        with inside(lab.host.name):
            ours = undo.enter_context(contextlib.closing(TapFilter(program, "tap_in")))
        yield ours


def test_a_qdisc_of_ours_is_no_news(lab: Lab, ours: TapFilter) -> None:
    """Or each tap that gets its filter would be looked at once more."""
    told = Told(lab, ours.port)
    try:
        ours.attach(told.named("vnet0").ifindex)
        told.read()
        assert told.qdiscs == []
    finally:
        told.monitor.stop()


def test_what_the_kernel_said_and_nobody_read_is_not_taken_for_another_answer(lab: Lab, ours: TapFilter) -> None:
    lab.host.ip("tuntap add vnet1 mode tap")
    with inside(lab.host.name):
        first, second = (socket.if_nametoindex(f"vnet{number}") for number in range(2))
    ours.attach(first)
    # As when there was no memory for reading it.
    ours._socket.send(bytes(ours._delete))
    with pytest.raises(NetlinkError) as refused:
        ours.attach(999_999)
    assert refused.value.code == errno.ENODEV
    ours._socket.send(bytes(ours._add_qdisc))
    ours.attach(second)
    assert "tap_in" in lab.host.run("tc", "filter", "show", "dev", "vnet1", "ingress").stdout
    ours._socket.send(bytes(ours._add_qdisc))
    ours.detach(second)
    assert "ingress" not in lab.host.run("tc", "qdisc", "show", "dev", "vnet1").stdout


def test_a_kernel_without_memory_is_an_answer(ours: TapFilter) -> None:
    ours._socket.close()  # EBADF, in place of an ENOBUFS that no test can bring about
    for change in (ours.attach, ours.detach):
        with pytest.raises(NetlinkError):
            change(1)
