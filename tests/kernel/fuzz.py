"""A fuzzer of the BPF programs: frames that are nearly right, in test runs and on real taps.

A test run shows what a program did with a frame, but not where it sent the frame; a real tap shows that. So both get
each frame of a guest. ``scripts/fuzz bpf`` runs the fuzzer.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

from eve_meta.steering.bpf.maps import COUNTERS, Reason, Settings
from eve_meta.values.tag import MAX_TAG, STEERED
from tests import fuzzing
from tests.kernel import law, wires
from tests.kernel.frames import GUEST_MAC, META0_MAC, SERVICE_MAC, Frames, ones_sum
from tests.kernel.law import Fate, Verdict
from tests.kernel.progrun import LOOPBACK, TC_ACT_OK, TC_ACT_REDIRECT, TC_ACT_SHOT, TC_ACT_UNSPEC, Run
from tests.kernel.steer import TAG, Steer, loaded_pins
from tests.kernel.wires import Offload, Wires

NOBODY = 0
"""The tag whose counters count the frames that belong to no tap."""

ABOUT_FRAMES = frozenset(
    {
        Reason.DROP_SPOOFED_ARP,
        Reason.DROP_SPOOFED_IP,
        Reason.DROP_ARP,
        Reason.DROP_VLAN,
        Reason.DROP_SOURCE,
        Reason.DROP_FRAGMENT,
        Reason.DROP_NOT_HTTP,
        Reason.DROP_MALFORMED,
        Reason.DROP_NO_TAG,
        Reason.DROP_NO_TAP,
        Reason.DROP_UNTAGGED,
        Reason.DROP_UNMARKED,
        Reason.DROP_SPOOFED_ND,
        Reason.DROP_ND,
        Reason.DROP_EXTENSION,
        Reason.DROP_REWRITTEN,
    }
)
"""The reasons that depend on the frame. For any other reason every frame that is ours may be dropped."""

SMALLEST, LARGEST = 14 + 40, 3072
"""The sizes in bytes of frames that no kernel refuses to test. Some kernels require a whole IP header, and all require
that the frame fits into a page, beside the kernel's own data. A real tap accepts all sizes."""

PAIRED_MAC = bytes.fromhex("5254000000aa")


class Bench:
    """The loaded programs, a tap for test runs, and a real tap."""

    def __init__(self, steer: Steer, wires: Wires) -> None:
        self._steer = steer
        self._wires = wires
        self._maps = steer.maps
        self._settings = Settings(host_ifindex=wires.service.ifindex, next_tag=1, build=0)
        self._maps.count_untagged()
        self._maps.write_settings(self._settings)

    def try_one(self, random: Random) -> str:
        """Try one input, and return the name of its result."""
        frames = Frames(random)
        # Both taps begin anew, so that no input depends on those before it.
        self._maps.add_tap(TAG, LOOPBACK)
        self._maps.add_tap(wires.TAG, self._wires.guest.ifindex)
        match random.randrange(20):
            case 0:
                return self._ns_in(frames.between(TAG))
            case 1:
                mark = frames.mostly(STEERED | TAG, (0, TAG, STEERED, random.getrandbits(32)), 3)
                return self._ns_out(frames.between(TAG), mark)
            case 2:
                return self._host_in(frames.between(TAG), learnt=not frames.one_in(4))
            case 3:
                return self._tap_in_unready(frames.guests(), tagged=frames.one_in(2))
            case _:
                frame = frames.guests()
                self._real_tap(frame, frames)
                return self._tap_in(frame)

    # -- test runs --

    def _run(self, program: str, frame: bytes, mark: int = 0) -> tuple[Run, set[tuple[int, Reason]]] | None:
        """Return what the program did, and the counter that it moved; None when the kernel refuses the frame's size."""
        before = {tag: self._steer.raw_counters(tag) for tag in (TAG, NOBODY)}
        try:
            done = self._steer.run(program, frame, mark)
        except OSError:
            assert not SMALLEST <= len(frame) <= LARGEST, "the kernel refuses to run it"
            return None
        moved = [(tag, reason) for tag, counters in before.items() for reason in self._moved(tag, counters)]
        assert len(moved) <= 1, f"two counters moved: {moved}"
        return done, set(moved)

    def _moved(self, tag: int, before: bytes) -> list[Reason]:
        """Return the counters of *tag* that have moved since *before*, each as often as it has moved."""
        now = self._steer.raw_counters(tag)
        if now == before:
            return []
        pairs = zip(COUNTERS.iter_unpack(before), COUNTERS.iter_unpack(now), strict=True)
        return [
            Reason(at % len(Reason))
            for at, (old, new) in enumerate(pair for cpus in pairs for pair in zip(*cpus, strict=True))
            for _ in range(new - old)
        ]

    def _tap_in(self, frame: bytes) -> str:
        result = self._run("tap_in", frame)
        if result is None:
            return "tap_in: no size for a test run"
        (done, moved) = result
        wanted = law.fate(frame)
        self._check_tap_in(frame, done, moved, wanted)
        if wanted.fate is not Fate.OTHERS:
            return f"tap_in: {next(iter(moved))[1].label}"
        return "tap_in: not ours"

    def _check_tap_in(self, frame: bytes, done: Run, moved: set[tuple[int, Reason]], wanted: Verdict) -> None:
        if law.claims(frame):
            assert done.verdict == TC_ACT_SHOT, "it claims to come from the service"
        if wanted.fate is Fate.OTHERS:
            assert (done.verdict, moved) == (TC_ACT_UNSPEC, set()), "not ours"
            assert done.frame == frame, "not ours, and changed"
            return
        assert len(moved) == 1, "a frame of ours is not counted"
        ((tag, reason),) = moved
        assert tag == TAG, "not counted for its tap"
        if wanted.fate is Fate.DROP or reason not in REASONS[wanted.fate]:
            assert done.verdict == TC_ACT_SHOT, f"not dropped: {wanted}"
            assert reason in wanted.reasons or reason not in ABOUT_FRAMES, f"{reason.label} is not true of it: {wanted}"
            assert reason.label.startswith("drop_")
            return
        assert done.verdict == TC_ACT_REDIRECT, f"not taken: {wanted}"
        CHECKS[wanted.fate](frame, done.frame, TAG)
        if wanted.fate is Fate.REQUEST:
            assert self._maps.tap(TAG).mac == frame[6:12], "the guest's MAC was not learnt"

    def _tap_in_unready(self, frame: bytes, *, tagged: bool) -> str:
        """Try a tap that has no tag yet, or no path into the private namespace."""
        if tagged:
            self._maps.write_settings(Settings(host_ifindex=0, next_tag=1, build=0))
        else:
            self._maps.remove_tap(TAG, LOOPBACK)
        try:
            result = self._run("tap_in", frame)
        finally:
            self._maps.write_settings(self._settings)
        if result is None:
            return "tap_in: no size for a test run"
        (done, moved) = result
        wanted = law.fate(frame)
        if tagged and wanted.fate is Fate.REQUEST:
            wanted = law.drop(Reason.DROP_NO_TAG)
        if tagged or wanted.fate is Fate.OTHERS:
            self._check_tap_in(frame, done, moved, wanted)
        else:
            assert done.verdict == TC_ACT_SHOT, "taken from a tap without a tag"
            ((tag, reason),) = moved
            assert tag == NOBODY
            assert reason is Reason.DROP_NO_TAG or reason in wanted.reasons
        return "tap_in: not ready"

    def _ns_in(self, frame: bytes) -> str:
        result = self._run("ns_in", frame)
        if result is None:
            return "ns_in: no size for a test run"
        (done, moved) = result
        tag = tag_in(frame[6:12])
        assert done.frame == frame
        if tag:
            assert (done.verdict, done.mark, moved) == (TC_ACT_OK, STEERED | tag, set())
            return "ns_in: marked"
        assert (done.verdict, moved) == (TC_ACT_SHOT, {(NOBODY, Reason.DROP_UNTAGGED)})
        return "ns_in: drop_untagged"

    def _ns_out(self, frame: bytes, mark: int) -> str:
        result = self._run("ns_out", frame, mark)
        if result is None:
            return "ns_out: no size for a test run"
        (done, moved) = result
        assert done.mark == mark
        if mark & STEERED and mark & MAX_TAG:
            assert (done.verdict, moved) == (TC_ACT_OK, set())
            assert tag_in(done.frame[:6]) == mark & MAX_TAG
            assert done.frame[6:] == frame[6:]
            return "ns_out: tagged"
        assert (done.verdict, moved) == (TC_ACT_SHOT, {(NOBODY, Reason.DROP_UNMARKED)})
        return "ns_out: drop_unmarked"

    def _host_in(self, frame: bytes, *, learnt: bool) -> str:
        if learnt:
            request = GUEST_MAC + PAIRED_MAC + REQUEST
            assert self._steer.run("tap_in", request).verdict == TC_ACT_REDIRECT
        result = self._run("host_in", frame)
        if result is None:
            return "host_in: no size for a test run"
        (done, moved) = result
        tag = tag_in(frame[:6])
        if learnt and tag == TAG:
            assert (done.verdict, moved) == (TC_ACT_REDIRECT, {(TAG, Reason.PASSED_ANSWER)})
            assert done.frame == PAIRED_MAC + SERVICE_MAC + frame[12:]
            return "host_in: passed_answer"
        reason = Reason.DROP_NO_TAP if tag else Reason.DROP_UNTAGGED
        assert (done.verdict, moved) == (TC_ACT_SHOT, {(tag if tag == TAG else NOBODY, reason)})
        return f"host_in: {reason.label}"

    # -- real taps --

    def _real_tap(self, frame: bytes, frames: Frames) -> None:
        offload = frames.offload(len(frame)) if frames.one_in(3) else None
        if frames.one_in(6):
            frame, offload = frames.forged_by_offload()
        self._wires.drain()
        if not self._wires.guest.try_to_send(frame, offload or Offload()):
            return
        (back, neighbours, service) = self._wires.drain()
        for got in neighbours:
            assert not law.claims(got), (
                f"a neighbour gets a frame that claims to be the service's: {got.hex()} {offload}"
            )
            # The bridge cuts off the bytes behind a packet (br_validate_ipv6()), in which its headers may have ended.
            wanted = law.fate(got, stripped=MANY)
            assert wanted in (law.OTHERS, law.drop(Reason.DROP_EXTENSION)), (
                f"a neighbour gets a frame of ours: {got.hex()} {offload}"
            )
        for got in service:
            assert got[:12] == META0_MAC + tag_mac(wires.TAG), f"not this tap's tag: {got.hex()} {offload}"
            assert law.fate(got).fate is Fate.REQUEST, f"not a request: {got.hex()} {offload}"
        for got in back:
            assert got[6:12] == SERVICE_MAC, f"a frame that is not an answer came back: {got.hex()} {offload}"
        if offload is not None:
            return
        fate = law.fate(frame, stripped=1).fate
        came = (len(back), len(service))
        if fate in (Fate.OTHERS, Fate.DROP):
            assert came == (0, 0), fate
        else:
            # It may be dropped as well; the test runs check the reason.
            assert came in ((0, 0), (0, 1) if fate is Fate.REQUEST else (1, 0)), fate


MANY = 1 << 30

REASONS = {
    Fate.ARP_ANSWER: {Reason.ANSWERED_ARP},
    Fate.ND_ANSWER: {Reason.ANSWERED_ND},
    Fate.REQUEST: {Reason.PASSED_REQUEST},
}

REQUEST = bytes.fromhex("0800450000280001000040060000 0a000005a9fea9fe 12670050000000000000000050022000 00000000")
"""A request of 10.0.0.5, without its MAC addresses."""


def tag_mac(tag: int) -> bytes:
    return b"\x02\xa9\xfe\0" + tag.to_bytes(2, "big")


def tag_in(mac: bytes) -> int:
    """Return the tag that *mac* carries; 0 when it carries none."""
    return int.from_bytes(mac[4:], "big") if mac[:4] == b"\x02\xa9\xfe\0" else 0


def _check_request(frame: bytes, passed: bytes, tag: int) -> None:
    assert passed == META0_MAC + tag_mac(tag) + frame[12:]


def _check_arp(frame: bytes, answer: bytes, _tag: int) -> None:
    # RFC 826: a reply from the service to the sender; hardware type and padding are the request's.
    addresses = SERVICE_MAC + law.SERVICE.packed + frame[22:32]
    assert answer == frame[6:12] + SERVICE_MAC + frame[12:20] + b"\0\2" + addresses + frame[42:]


def _check_nd(frame: bytes, answer: bytes, _tag: int) -> None:
    # RFC 4861 sections 4.4, 7.2.4; nothing follows the message.
    target, asker = frame[62:78], frame[22:38]
    known = any(asker)
    assert answer[:12] == (frame[6:12] if known else bytes.fromhex("333300000001")) + SERVICE_MAC
    assert (answer[12:14], answer[14] >> 4, answer[18:22]) == (b"\x86\xdd", 6, b"\0\x20\x3a\xff")
    to = asker if known else bytes.fromhex("ff020000000000000000000000000001")
    assert (answer[22:38], answer[38:54]) == (target, to)
    message = answer[54:]
    assert message[:2] == b"\x88\0"
    assert message[4:] == (b"\x60\0\0\0" if known else b"\x20\0\0\0") + target + b"\2\1" + SERVICE_MAC
    assert ones_sum(target + to + bytes.fromhex("000000200000003a") + message) == 0xFFFF, "checksum"


CHECKS = {Fate.ARP_ANSWER: _check_arp, Fate.ND_ANSWER: _check_nd, Fate.REQUEST: _check_request}


@contextlib.contextmanager
def bench(pins: Path, name: str) -> Iterator[Bench]:
    """Give a bench with the programs in *pins* and with network namespaces whose names begin with *name*."""
    with contextlib.closing(Steer(pins)) as steer:
        steer.reset()
        with wires.open_wires(pins, name) as real:
            yield Bench(steer, real)


@contextlib.contextmanager
def _prepare() -> Iterator[fuzzing.Input]:
    """Give the trial of an input, with programs and taps that no other process uses."""
    with loaded_pins(Path("/sys/fs/bpf")) as pins, bench(pins, f"emfuzz{os.getpid()}") as made:
        yield made.try_one


if __name__ == "__main__":
    sys.exit(fuzzing.main("bpf", _prepare))
