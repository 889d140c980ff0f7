"""The pinned maps of ``bpf/steer.c``, as values. ``bpf/shared.h`` defines the structs; a test compares the two."""

from __future__ import annotations

import contextlib
import enum
import struct
from collections.abc import Callable, Collection, Iterator, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Protocol

from attrs import astuple, evolve, fields, frozen

from eve_meta.config import MAX_WORKERS
from eve_meta.steering.bpf.libbpf import BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_PERCPU_HASH, Map
from eve_meta.values.dhcp import MAX_OPTIONS, DhcpTemplate

PROGRAMS = ("tap_in", "ns_in", "ns_out", "host_in")
MAPS = {
    "tags": BPF_MAP_TYPE_HASH,
    "taps": BPF_MAP_TYPE_ARRAY,
    "counters": BPF_MAP_TYPE_PERCPU_HASH,
    "guests": BPF_MAP_TYPE_HASH,
    "settings": BPF_MAP_TYPE_ARRAY,
    "workers": BPF_MAP_TYPE_ARRAY,
    "dhcp": BPF_MAP_TYPE_HASH,
    "deniers": BPF_MAP_TYPE_ARRAY,
}
"""The maps, and the type of each."""


class Reason(enum.IntEnum):
    """The reason of a program's verdict on a frame: ``enum reason`` of ``bpf/shared.h``, which explains each."""

    PASSED_REQUEST = 0
    ANSWERED_ARP = 1
    PASSED_ANSWER = 2
    DROP_SPOOFED_ARP = 3
    DROP_SPOOFED_IP = 4
    DROP_ARP = 5
    DROP_VLAN = 6
    DROP_SOURCE = 7
    DROP_FRAGMENT = 8
    DROP_NOT_HTTP = 9
    DROP_MALFORMED = 10
    DROP_NO_TAG = 11
    DROP_NO_TAP = 12
    DROP_UNTAGGED = 13
    DROP_UNMARKED = 14
    ANSWERED_ND = 15
    DROP_SPOOFED_ND = 16
    DROP_ND = 17
    DROP_EXTENSION = 18
    DROP_REWRITTEN = 19
    DROP_CONNECTION_RATE = 20
    DROP_PACKET_RATE = 21
    ANSWERED_DHCP_OFFER = 22
    ANSWERED_DHCP_ACK = 23
    ANSWERED_DHCP_NAK = 24
    DROP_DHCP_DECLINE = 25
    DROP_DHCP_RELEASE = 26
    DROP_DHCP_OTHER_SERVER = 27
    DROP_DHCP_RELAY = 28
    DROP_DHCP_OVERLOAD = 29
    DROP_DHCP_MALFORMED = 30
    DROP_DHCP_VLAN = 31
    DROP_DHCP_FRAGMENT = 32
    DROP_DHCP_IP_OPTIONS = 33
    DROP_DHCP_SERVER = 34

    @property
    def label(self) -> str:
        """The name for people and programs, for example ``drop_spoofed_arp``."""
        return self.name.lower()


U32 = struct.Struct("=I")
TAP = struct.Struct("=I6sH")
COUNTERS = struct.Struct(f"={len(Reason)}Q")
SETTINGS = struct.Struct("=IIQ")
WORKERS = struct.Struct(f"=I{MAX_WORKERS}B")
BUCKETS = struct.Struct("=QQ")
SIGHTING = struct.Struct("=QQQ")
DHCP_TIMES = struct.Struct("!BBIBBIBBI")
DHCP = struct.Struct(f"=IBBH4s{DHCP_TIMES.size}s{MAX_OPTIONS}s2x")

LEASE_TIME, RENEWAL_TIME, REBINDING_TIME = 51, 58, 59
"""The options of :data:`DHCP_TIMES`, in this order (RFC 2132 section 9)."""

DENIERS = struct.Struct("=Q")
DENIERS_WORDS = 1024

SECOND = 1_000_000_000

MAX_LOSSES = 0xFFFF
"""The mask of the bits that are kept of a count of carrier losses; the kernel counts in 32 bits."""


@frozen
class ReturnPath:
    """Where answers with a tag go: the tap, and the guest's MAC, all zero until a frame of the guest has shown it.

    :ivar losses: the argument of :meth:`Maps.add_tap`, modulo 65536.
    """

    ifindex: int
    mac: bytes
    losses: int = 0


@frozen
class Settings:
    """The values that the programs and a restarted daemon need.

    :ivar host_ifindex: the ifindex of the veth pair's end on the host, to which tap_in redirects.
    :ivar next_tag: the tag at which a restarted daemon goes on counting.
    :ivar build: :func:`eve_meta.steering.bpf.loader.build_id` of the sources of these pins.
    """

    host_ifindex: int
    next_tag: int
    build: int


@frozen
class Sighting:
    """How often a guest did something, and when it did so first and last, in seconds of ``CLOCK_BOOTTIME``."""

    frames: int
    first: float
    last: float


@frozen(kw_only=True)
class Sightings:
    """What the programs saw a guest do since its tap got its tag; None means never.

    :ivar arp: ARP requests for the service that were answered.
    :ivar nd: neighbour solicitations for the service that were answered.
    :ivar connection: SYNs to the service, including those over the limit.
    :ivar dhcp: DHCP for the guest's own address (RFC 2131). A renewal goes to one server, and is seen only where that
        is the tap.
    :ivar dhcp6: DHCPv6 (RFC 8415).
    :ivar dhcp_offer: DHCP that the tap answered with an offer.
    :ivar dhcp_ack: DHCP that the tap answered with an acknowledgement: the guest has its lease.
    :ivar dhcp_nak: DHCP that the tap answered with a refusal, because the guest asked for another address.
    """

    arp: Sighting | None = None
    nd: Sighting | None = None
    connection: Sighting | None = None
    dhcp: Sighting | None = None
    dhcp6: Sighting | None = None
    dhcp_offer: Sighting | None = None
    dhcp_ack: Sighting | None = None
    dhcp_nak: Sighting | None = None


SIGHTINGS = tuple(each.name for each in fields(Sightings))
"""Their names, in the order of ``struct guest``."""

GUEST_SIZE = BUCKETS.size + len(SIGHTINGS) * SIGHTING.size


@frozen
class TapDhcp:
    """What a tap does with DHCP.

    :ivar template: the lease by which it answers its guest; None where its guest's DHCP passes.
    :ivar deny_servers: whether it drops the frames of a guest that poses as a DHCP server.
    """

    template: DhcpTemplate | None = None
    deny_servers: bool = False

    def packed(self, tag: int) -> bytes:
        """Return the entry of *tag* in the map "dhcp"."""
        template = self.template
        if template is None:
            return DHCP.pack(tag, False, self.deny_servers, 0, bytes(4), b"", b"")
        times = DHCP_TIMES.pack(
            *(LEASE_TIME, 4, template.lease_time),
            *(RENEWAL_TIME, 4, template.renewal_time),
            *(REBINDING_TIME, 4, template.rebinding_time),
        )
        options = template.options
        return DHCP.pack(tag, True, self.deny_servers, len(options), template.address.packed, times, options)

    @classmethod
    def unpacked(cls, raw: bytes) -> TapDhcp:
        """Return what :meth:`packed` has packed."""
        _, answers, deny, length, address, times, options = DHCP.unpack(raw)
        if not answers:
            return cls(None, bool(deny))
        lease_time = DHCP_TIMES.unpack(times)[2]
        return cls(DhcpTemplate(IPv4Address(address), lease_time, options[:length]), bool(deny))


class ByteMap(Protocol):
    """A map of bytes (:class:`eve_meta.steering.bpf.libbpf.Map`)."""

    def get(self, key: bytes, /) -> bytes | None: ...

    def set(self, key: bytes, value: bytes, /) -> None: ...

    def delete(self, key: bytes, /) -> None: ...

    def __iter__(self) -> Iterator[bytes]: ...

    def close(self) -> None: ...


class LastingMaps:
    """The maps that have the same layout in every build, so that a new build takes them over from an old one.

    :param pins: the directory in which they are pinned.
    :param open_map: opens one of them, as :class:`eve_meta.steering.bpf.libbpf.Map` does.
    :cvar NAMES: the maps that are opened.
    :raises OSError: when one is missing.
    """

    NAMES: Collection[str] = ("tags", "settings", "taps", "workers", "dhcp")

    def __init__(self, pins: Path, open_map: Callable[..., ByteMap] = Map) -> None:
        self._open_map = open_map
        with contextlib.ExitStack() as undo:
            self._tags = self._opened(undo, pins / "tags", U32.size, U32.size)
            self._settings = self._opened(undo, pins / "settings", U32.size, SETTINGS.size)
            # Where this one cannot be read, taps keep their tags all the same, and their MACs are learnt again.
            self._return_paths: ByteMap | None = None
            with contextlib.suppress(OSError):
                self._return_paths = self._opened(undo, pins / "taps", U32.size, TAP.size)
            # Builds of older sources have none.
            self._workers: ByteMap | None = None
            with contextlib.suppress(OSError):
                self._workers = self._opened(undo, pins / "workers", U32.size, WORKERS.size)
            self._leases: ByteMap | None = None
            with contextlib.suppress(OSError):
                self._leases = self._opened(undo, pins / "dhcp", U32.size, DHCP.size)
            self._open(pins, undo)
            self._close = undo.pop_all()

    def _opened(
        self, undo: contextlib.ExitStack, path: Path, key_size: int, value_size: int, *, per_cpu: bool = False
    ) -> ByteMap:
        opened = self._open_map(path, key_size, value_size, per_cpu=per_cpu)
        undo.callback(opened.close)
        return opened

    def _open(self, pins: Path, undo: contextlib.ExitStack) -> None:
        """Open the other maps, of which this class has none."""

    def close(self) -> None:
        self._close.close()

    def settings(self) -> Settings:
        """Return the settings; zeros where the map is new."""
        return Settings(*SETTINGS.unpack(self._settings.get(U32.pack(0)) or bytes(SETTINGS.size)))

    def write_settings(self, settings: Settings) -> None:
        self._settings.set(U32.pack(0), SETTINGS.pack(settings.host_ifindex, settings.next_tag, settings.build))

    def tags(self) -> dict[int, int]:
        """Return the tag of every tap that has one, by the tap's ifindex."""
        entries = ((key, self._tags.get(key)) for key in self._tags)
        return {U32.unpack(key)[0]: U32.unpack(value)[0] for key, value in entries if value is not None}

    def tap(self, tag: int) -> ReturnPath:
        """Return where answers with *tag* go; ifindex 0 when no tap has it."""
        raw = None if self._return_paths is None else self._return_paths.get(U32.pack(tag))
        return ReturnPath(*TAP.unpack(raw or bytes(TAP.size)))

    def places(self) -> tuple[int, ...]:
        """Return the place of each worker, by the worker's number; empty while none listens."""
        raw = None if self._workers is None else self._workers.get(U32.pack(0))
        number, *places = WORKERS.unpack(raw or bytes(WORKERS.size))
        return tuple(places[:number])

    def dhcp(self, tag: int) -> TapDhcp:
        """Return what the tap of *tag* does with DHCP."""
        raw = self.raw_dhcp(tag)
        return TapDhcp() if raw is None else TapDhcp.unpacked(raw)

    def raw_dhcp(self, tag: int) -> bytes | None:
        """Return the entry of *tag* in the map "dhcp"; None where it has none."""
        return None if self._leases is None else self._leases.get(U32.pack(tag))


class Maps(LastingMaps):
    """All maps of the programs.

    :raises OSError: when one is missing, or belongs to another build.
    """

    NAMES = MAPS

    def _open(self, pins: Path, undo: contextlib.ExitStack) -> None:
        self._taps = self._opened(undo, pins / "taps", U32.size, TAP.size)
        self._counters = self._opened(undo, pins / "counters", U32.size, COUNTERS.size, per_cpu=True)
        self._guests = self._opened(undo, pins / "guests", U32.size, GUEST_SIZE)
        self._choice = self._opened(undo, pins / "workers", U32.size, WORKERS.size)
        self._dhcp = self._opened(undo, pins / "dhcp", U32.size, DHCP.size)
        self._deniers = self._opened(undo, pins / "deniers", U32.size, DENIERS.size)

    def write_places(self, places: Sequence[int]) -> None:
        """Have as many workers as there are *places*, and each of them answer its guests at its place.

        The kernel copies the whole entry while frames pass, but each place is one byte: no frame meets half a place.
        """
        padding = bytes(MAX_WORKERS - len(places))
        self._choice.set(U32.pack(0), WORKERS.pack(len(places), *places, *padding))

    def add_tap(self, tag: int, ifindex: int, losses: int = 0) -> None:
        """Give the tap *ifindex* its *tag*. From now on its frames are counted, and answers reach it.

        :param losses: how often the tap has lost its carrier; by this a later daemon knows whether its holder is still
            the same.
        """
        # A tag may come back after its quarantine; what was answered under it before must not.
        self._dhcp.delete(U32.pack(tag))
        # In this order: tap_in must not pass a frame whose answer host_in could not return.
        self._counters.set(U32.pack(tag), bytes(COUNTERS.size))
        self._guests.set(U32.pack(tag), bytes(GUEST_SIZE))
        self._taps.set(U32.pack(tag), TAP.pack(ifindex, bytes(6), losses & MAX_LOSSES))
        self._tags.set(U32.pack(ifindex), U32.pack(tag))

    def remove_tap(self, tag: int, ifindex: int) -> None:
        """Take the tag from its tap; the programs drop frames that still carry it."""
        # First, so that a daemon that dies in between leaves no lease that the next one would not find by its tag.
        self._dhcp.delete(U32.pack(tag))
        self._tags.delete(U32.pack(ifindex))
        self._taps.set(U32.pack(tag), bytes(TAP.size))
        self._guests.delete(U32.pack(tag))
        self._counters.delete(U32.pack(tag))

    def write_losses(self, tag: int, losses: int) -> None:
        """Note how often the tap of *tag* has lost its carrier; the tag is its present holder's from now on."""
        self._taps.set(U32.pack(tag), TAP.pack(*astuple(evolve(self.tap(tag), losses=losses & MAX_LOSSES))))

    def write_dhcp(self, tag: int, dhcp: TapDhcp) -> None:
        """Have the tap of *tag* do with DHCP what *dhcp* says, from its next frame on.

        No answer has a part of two templates: the kernel replaces an entry of a hash as a whole, and tap_in looks
        whether the entry that it read is still that of its tag. An entry that would not change is not written.
        """
        if dhcp == TapDhcp():
            self._dhcp.delete(U32.pack(tag))
        elif (raw := dhcp.packed(tag)) != self.raw_dhcp(tag):
            self._set_dhcp(tag, raw)

    def copy_dhcp(self, tag: int, old: LastingMaps) -> None:
        """Take over what the tap of *tag* does with DHCP from an earlier build, as it is."""
        if (raw := old.raw_dhcp(tag)) is not None:
            self._set_dhcp(tag, raw)

    def _set_dhcp(self, tag: int, raw: bytes) -> None:
        """Set the entry of *tag* to *raw*, after the bit without which tap_in may overlook that it denies servers."""
        index, bit = divmod(self.tap(tag).ifindex % (64 * DENIERS_WORDS), 64)
        (word,) = DENIERS.unpack(self._deniers.get(U32.pack(index)) or bytes(DENIERS.size))
        if DHCP.unpack(raw)[2] and not word >> bit & 1:
            self._deniers.set(U32.pack(index), DENIERS.pack(word | 1 << bit))
        self._dhcp.set(U32.pack(tag), raw)

    def learn(self, tag: int, known: ReturnPath) -> None:
        """Take the MAC of a guest from an earlier build, unless this build has seen it or the tap is another one.

        A guest whose request was acknowledged waits for the answer; without its MAC no answer would reach it before it
        sends again.

        :param known: the return path of *tag* in the earlier build.
        """
        unknown = bytes(6)
        entry = self.tap(tag)
        if entry.ifindex == known.ifindex and entry.mac == unknown != known.mac:
            self._taps.set(U32.pack(tag), TAP.pack(known.ifindex, known.mac, entry.losses))

    def count_untagged(self) -> None:
        """Make the counters of tag 0, which no tap has: they count the frames that belong to no tap."""
        if self._counters.get(U32.pack(0)) is None:
            self._counters.set(U32.pack(0), bytes(COUNTERS.size))

    def counters(self, tag: int) -> dict[Reason, int]:
        """Return the number of frames by reason, over all CPUs; empty when no tap has *tag*."""
        raw = self._counters.get(U32.pack(tag))
        if raw is None:
            return {}
        return dict(zip(Reason, map(sum, zip(*COUNTERS.iter_unpack(raw), strict=True)), strict=True))

    def sightings(self, tag: int) -> Sightings:
        """Return what the programs saw the guest of *tag* do; nothing when no tap has *tag*."""
        raw = self._guests.get(U32.pack(tag)) or bytes(GUEST_SIZE)
        entries = zip(SIGHTINGS, SIGHTING.iter_unpack(raw[BUCKETS.size :]), strict=True)
        return Sightings(
            **{
                name: Sighting(frames, first / SECOND, last / SECOND)
                for name, (frames, first, last) in entries
                if frames
            }
        )
