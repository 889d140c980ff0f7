"""The reports of LinkMonitor about links that come, change and go; read from the kernel, without a reactor."""

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
    """As much of a reactor as a monitor needs: the test itself calls doRead()."""

    def addReader(self, reader: object) -> None:
        pass

    removeReader = addReader


class Watch:
    """A monitor, and what it has reported."""

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
def watch(lab: Lab) -> Iterator[Watch]:
    watch = Watch(lab)
    yield watch
    watch.monitor.stop()


def test_existing_links_are_reported_first(watch: Watch) -> None:
    assert (watch.named("vnet0").kind, watch.named("br0").kind) == ("tun", "bridge")
    assert watch.synced == 1


def test_a_tap_that_leaves_its_bridge_is_not_gone(lab: Lab, watch: Watch) -> None:
    """The bridge reports that its port is gone, in a message that differs only in its family from that about a link."""
    lab.host.ip("link set vnet0 nomaster")
    watch.read()
    assert watch.gone == []
    lab.host.ip("link set vnet0 master br0")
    watch.read()
    assert watch.named("vnet0").kind == "tun"


def test_a_tap_that_is_deleted_is_gone(lab: Lab, watch: Watch) -> None:
    ifindex = watch.named("vnet0").ifindex
    lab.delete_tap("vnet0")
    watch.read()
    assert watch.gone == [ifindex]


def test_a_name_that_is_no_utf8_is_a_name_like_others(lab: Lab, watch: Watch) -> None:
    # Python hands the lone surrogate to ip as the byte 0xff.
    lab.host.run("ip", "link", "add", "vnet\udcff", "type", "bridge")
    watch.read()
    assert watch.named("vnet\udcff").kind == "bridge"


def test_a_change_whose_handling_fails_does_not_end_the_reading(lab: Lab, watch: Watch) -> None:
    good = watch.changed

    def failing(link: Link) -> None:
        raise RuntimeError(link.name)

    watch.changed = failing
    lab.make_tap("vnet1")
    watch.read()
    watch.changed = good
    lab.make_tap("vnet2")
    watch.read()
    assert watch.named("vnet2").kind == "tun"


def test_qdiscs_that_somebody_adds_or_deletes_are_reported(lab: Lab, watch: Watch) -> None:
    ifindex = watch.named("vnet0").ifindex
    lab.host.run("tc", "qdisc", "add", "dev", "vnet0", "ingress")
    watch.read()
    assert ifindex in watch.qdiscs
    lab.host.run("tc", "qdisc", "del", "dev", "vnet0", "ingress")
    watch.read()
    assert ifindex in watch.lost


def test_links_are_read_as_pyroute2_reads_them(lab: Lab, watch: Watch) -> None:
    lab.host.ip(
        "link add name überall type veth peer name peer.7@x",
        "link set überall alias x",
        "link set peer.7@x up",
        "link set br0 up",
        "link add link peer.7@x name upon0 type macvlan",
        "link add nobody type ifb",
    )
    watch.read()
    with inside(lab.host.name), IPRoute() as ipr:
        links = {link.ifindex: link for link in map(link_of, ipr.get_links())}
    assert watch.links == links
    assert {"lo", "überall", "peer.7@x", "br0", "vnet0"} <= {link.name for link in links.values()}


@pytest.fixture
def ours(lab: Lab, pins: Path) -> Iterator[TapFilter]:
    """The TapFilter of the lab's host."""
    with contextlib.ExitStack() as undo:
        program = open_pin(pins / "tap_in")
        undo.callback(os.close, program)
        with inside(lab.host.name):
            ours = undo.enter_context(contextlib.closing(TapFilter(program, "tap_in")))
        yield ours


def test_a_qdisc_of_ours_is_not_reported(lab: Lab, ours: TapFilter) -> None:
    """Otherwise each tap would be checked once more when it gets its filter."""
    watch = Watch(lab, ours.port)
    try:
        ours.attach(watch.named("vnet0").ifindex)
        watch.read()
        assert watch.qdiscs == []
    finally:
        watch.monitor.stop()


def test_an_answer_that_was_left_unread_is_not_taken_for_a_later_one(lab: Lab, ours: TapFilter) -> None:
    lab.host.ip("tuntap add vnet1 mode tap")
    with inside(lab.host.name):
        first, second = (socket.if_nametoindex(f"vnet{number}") for number in range(2))
    ours.attach(first)
    # The answer is left unread, as when there was no memory for it.
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


def test_a_kernel_without_memory_is_a_netlink_error(ours: TapFilter) -> None:
    ours._socket.close()  # EBADF, in place of ENOBUFS, which no test can cause
    for change in (ours.attach, ours.detach):
        with pytest.raises(NetlinkError):
            change(1)
