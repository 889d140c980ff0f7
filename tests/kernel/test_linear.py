"""How much of a packet tap_in copies: the bytes by which it decides, and none that are linear already."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen
from bcc import BPF
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6ND_NA, IPv6, IPv6ExtHdrDestOpt, PadN
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from eve_meta.steering.bpf.loader import kernel_headers
from eve_meta.steering.path import filters
from eve_meta.steering.path.names import FILTER_PRIORITY
from tests.kernel.wires import GUEST_MAC, Wires, open_wires

LINK = Ether(src=GUEST_MAC, dst="52:54:00:00:00:06")
IPV4, IPV6 = IP(src="10.0.0.5", dst="10.0.0.6"), IPv6(src="fe80::5", dst="fe80::6", hlim=255)
LONG = IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(240))])
REST = bytes(6000)
"""More than a page: the kernel makes a shorter frame linear anyway (tun_alloc_skb())."""

NEXT = b"""
BPF_ARRAY(linear, u64, 1);
int next(struct __sk_buff *skb)
{
    int zero = 0;
    u64 *length = linear.lookup(&zero);
    if (length)
        *length = (long)skb->data_end - (long)skb->data;
    return -1;
}
"""


@frozen
class Next:
    """A tap, and the filter that sees its frames after tap_in."""

    wires: Wires
    module: BPF

    def linear(self, packet: Packet, header_length: int) -> int:
        """Return how many bytes of *packet* are linear after tap_in, when *header_length* bytes are before."""
        frame = bytes(LINK / packet / Raw(REST))
        self.wires.drain()
        self.wires.guest.send(frame, header_length=header_length)
        assert frame in self.wires.neighbour.drain()
        return int(self.module[b"linear"][0].value)


@pytest.fixture(scope="module")
def after(pins: Path) -> Iterator[Next]:
    with kernel_headers():
        module = BPF(text=NEXT)
    try:
        program = module.load_func(b"next", BPF.SCHED_CLS).fd
        with open_wires(pins, "emlin") as wires:
            wires.ipr.tc(
                "add-filter",
                "bpf",
                wires.guest.ifindex,
                handle=1,
                parent=filters.INGRESS,
                prio=FILTER_PRIORITY + 1,
                protocol=filters.ETH_P_ALL,
                fd=program,
                name="next",
                classid=0,
                direct_action=True,
            )
            yield Next(wires, module)
    finally:
        module.cleanup()


@pytest.mark.parametrize(
    "packet", [IPV4 / TCP(), IPV4 / UDP(), IPV6 / TCP(), IPV6 / UDP()], ids=["4t", "4u", "6t", "6u"]
)
def test_nothing_of_an_ordinary_packet_is_copied(after: Next, packet: Packet) -> None:
    # As guests' kernels send them: the headers are linear, and the rest is not.
    headers = len(LINK / packet)
    assert after.linear(packet, headers) == headers


ADVERTISEMENT = ICMPv6ND_NA(tgt="fe80::5")


@pytest.mark.parametrize(
    ("packet", "header_length", "decides"),
    [
        (IPV4 / UDP(), 14, 14 + 20),
        (IPV4 / UDP(), 33, 14 + 20),
        (IPV6 / UDP(), 14, 14 + 40),
        (ARP(psrc="10.0.0.5", pdst="10.0.0.6"), 14, 14 + 28),
        (Dot1Q(vlan=0) / Dot1Q(vlan=0) / IPV4 / UDP(), 14, 14 + 4 + 20),
        (Dot1Q(vlan=0) / Dot1Q(vlan=0, type=0x88B5), 14, 14 + 4),
        (IPV6 / ADVERTISEMENT, 14 + 40, 14 + 40 + 24),
        (IPV6 / LONG / LONG / ADVERTISEMENT, 14 + 40, 14 + 40 + 2 * len(LONG) + 24),
        (IPV6 / LONG / IPv6ExtHdrDestOpt(nh=59), 14 + 40, 14 + 40 + len(LONG) + 4),
    ],
    ids=["ipv4", "ipv4-in-part", "ipv6", "arp", "vlan", "vlan-of-another", "nd", "nd-behind-extensions", "extensions"],
)
def test_the_bytes_by_which_tap_in_decides_are_copied(
    after: Next, packet: Packet, header_length: int, decides: int
) -> None:
    """Bytes that are not linear may be the guest's own memory (vhost-net), which it can change after tap_in."""
    assert decides <= after.linear(packet, header_length) < 14 + len(packet) + len(REST)


def test_a_clone_is_copied_only_by_the_programs_that_write(pins: Path) -> None:
    """The copy is bpf_unclone_prologue()'s, before the first instruction; each packet of a TCP sender is a clone."""

    def begins(program: str) -> str:
        command = ["bpftool", "prog", "dump", "xlated", "pinned", str(pins / program)]
        shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return "".join(re.findall(r"^ *\d+: .*\n", shown, re.MULTILINE)[:6])

    # ns_out writes into each frame that it passes on: this is how the prologue looks.
    assert "call bpf_skb_pull_data" in begins("ns_out")
    assert "call" not in begins("tap_in")
