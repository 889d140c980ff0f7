"""The pinned maps of ``bpf/steer.c``, as values. ``bpf/shared.h`` has the structs; a test compares both."""

from __future__ import annotations

import contextlib
import enum
import struct
from pathlib import Path

from attrs import astuple, evolve, fields, frozen

from eve_meta.steering.bpf.libbpf import Map

PROGRAMS = ("tap_in", "ns_in", "ns_out", "host_in")
MAPS = ("tags", "taps", "counters", "guests", "settings")


class Reason(enum.IntEnum):
    """Why a program did what it did with a frame: ``enum reason`` of ``bpf/shared.h``, where each is explained."""

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

    @property
    def label(self) -> str:
        """The name for people and programs: ``drop_spoofed_arp``."""
        return self.name.lower()


U32 = struct.Struct("=I")
TAP = struct.Struct("=I6sH")
COUNTERS = struct.Struct(f"={len(Reason)}Q")
SETTINGS = struct.Struct("=IIQ")
BUCKETS = struct.Struct("=QQ")
SIGHTING = struct.Struct("=QQQ")

SECOND = 1_000_000_000

MAX_LOSSES = 0xFFFF
"""The kernel counts losses of a carrier in 32 bits; of these so many are kept."""


@frozen
class ReturnPath:
    """Where the answers of a tag go; *losses*, modulo 65536, as :meth:`Maps.add_tap` was told."""

    ifindex: int
    mac: bytes
    losses: int = 0


@frozen
class Settings:
    """What the programs and a restarted daemon must know. *build* names the sources of these pins."""

    host_ifindex: int
    next_tag: int
    build: int


@frozen
class Sighting:
    """When a guest did something: how often, and first and last, in seconds of ``CLOCK_BOOTTIME``."""

    frames: int
    first: float
    last: float


@frozen(kw_only=True)
class Sightings:
    """What a guest was seen doing since its tap has its tag; None: never.

    :ivar arp: ARP requests for the service that were answered.
    :ivar nd: neighbour solicitations for it that were answered.
    :ivar connection: SYNs to it, also those over the limit.
    :ivar dhcp: DHCP for the guest's own address, broadcast (RFC 2131); a renewal is not.
    :ivar dhcp6: DHCPv6 (RFC 8415).
    """

    arp: Sighting | None = None
    nd: Sighting | None = None
    connection: Sighting | None = None
    dhcp: Sighting | None = None
    dhcp6: Sighting | None = None


SIGHTINGS = tuple(one.name for one in fields(Sightings))
"""In the order of ``struct guest``."""

GUEST_SIZE = BUCKETS.size + len(SIGHTINGS) * SIGHTING.size


class LastingMaps:
    """The maps below a pin directory that look the same in every build: what a new build takes over from an old one.

    :raises OSError: when one is missing.
    """

    def __init__(self, pins: Path) -> None:
        with contextlib.ExitStack() as undo:
            self._tags = Map(pins / "tags", U32.size, U32.size)
            undo.callback(self._tags.close)
            self._settings = Map(pins / "settings", U32.size, SETTINGS.size)
            undo.callback(self._settings.close)
            # Where this one cannot be read, tags stay all the same, and MACs are learned again.
            self._where: Map | None = None
            with contextlib.suppress(OSError):
                self._where = Map(pins / "taps", U32.size, TAP.size)
                undo.callback(self._where.close)
            self._open(pins, undo)
            self._close = undo.pop_all()

    def _open(self, pins: Path, undo: contextlib.ExitStack) -> None:
        """Opens what else there is."""

    def close(self) -> None:
        self._close.close()

    def settings(self) -> Settings:
        """The settings; zeros in a map that is new."""
        return Settings(*SETTINGS.unpack(self._settings.get(U32.pack(0)) or bytes(SETTINGS.size)))

    def write_settings(self, settings: Settings) -> None:
        self._settings.set(U32.pack(0), SETTINGS.pack(settings.host_ifindex, settings.next_tag, settings.build))

    def tags(self) -> dict[int, int]:
        """ifindex → tag, of every tap that has one."""
        found = ((key, self._tags.get(key)) for key in self._tags)
        return {U32.unpack(key)[0]: U32.unpack(value)[0] for key, value in found if value is not None}

    def tap(self, tag: int) -> ReturnPath:
        """Where the answers of *tag* go; ifindex 0 when it has no tap."""
        raw = None if self._where is None else self._where.get(U32.pack(tag))
        return ReturnPath(*TAP.unpack(raw or bytes(TAP.size)))


class Maps(LastingMaps):
    """All the maps below a pin directory.

    :raises OSError: when one is missing, or is another build's.
    """

    def _open(self, pins: Path, undo: contextlib.ExitStack) -> None:
        self._taps = Map(pins / "taps", U32.size, TAP.size)
        undo.callback(self._taps.close)
        self._counters = Map(pins / "counters", U32.size, COUNTERS.size, per_cpu=True)
        undo.callback(self._counters.close)
        self._guests = Map(pins / "guests", U32.size, GUEST_SIZE)
        undo.callback(self._guests.close)

    def add_tap(self, tag: int, ifindex: int, losses: int = 0) -> None:
        """Gives the tap *ifindex* its *tag*. From here on its frames are counted, and answers find their way.

        :param losses: how often it has lost its carrier: so a later daemon knows whether it still means the same.
        """
        # In this order: tap_in must not pass a frame whose answer host_in could not return.
        self._counters.set(U32.pack(tag), bytes(COUNTERS.size))
        self._guests.set(U32.pack(tag), bytes(GUEST_SIZE))
        self._taps.set(U32.pack(tag), TAP.pack(ifindex, bytes(6), losses & MAX_LOSSES))
        self._tags.set(U32.pack(ifindex), U32.pack(tag))

    def remove_tap(self, tag: int, ifindex: int) -> None:
        """Takes the tag away; what still comes with it is dropped."""
        self._tags.delete(U32.pack(ifindex))
        self._taps.set(U32.pack(tag), bytes(TAP.size))
        self._guests.delete(U32.pack(tag))
        self._counters.delete(U32.pack(tag))

    def write_losses(self, tag: int, losses: int) -> None:
        """Takes note that the tap of *tag* has lost its carrier so often; from now on it is whoever holds it now."""
        self._taps.set(U32.pack(tag), TAP.pack(*astuple(evolve(self.tap(tag), losses=losses & MAX_LOSSES))))

    def learn(self, tag: int, known: ReturnPath) -> None:
        """Lets *tag* have the guest's MAC that an earlier build has *known*, where the tap is the same.

        Where its own was not seen yet: a guest whose request was acknowledged waits, and until it sends again, no
        answer would find it.
        """
        nobody = bytes(6)
        entry = self.tap(tag)
        if entry.ifindex == known.ifindex and entry.mac == nobody != known.mac:
            self._taps.set(U32.pack(tag), TAP.pack(known.ifindex, known.mac, entry.losses))

    def count_untagged(self) -> None:
        """Makes the counters of tag 0, which is nobody's: frames that no tap can be made responsible for."""
        if self._counters.get(U32.pack(0)) is None:
            self._counters.set(U32.pack(0), bytes(COUNTERS.size))

    def counters(self, tag: int) -> dict[Reason, int]:
        """Frames by reason, over all CPUs; empty when *tag* has no tap."""
        raw = self._counters.get(U32.pack(tag))
        if raw is None:
            return {}
        return dict(zip(Reason, map(sum, zip(*COUNTERS.iter_unpack(raw), strict=True)), strict=True))

    def sightings(self, tag: int) -> Sightings:
        """What the guest of *tag* was seen doing; nothing when it has no tap."""
        raw = self._guests.get(U32.pack(tag)) or bytes(GUEST_SIZE)
        found = zip(SIGHTINGS, SIGHTING.iter_unpack(raw[BUCKETS.size :]), strict=True)
        return Sightings(
            **{name: Sighting(frames, first / SECOND, last / SECOND) for name, (frames, first, last) in found if frames}
        )
