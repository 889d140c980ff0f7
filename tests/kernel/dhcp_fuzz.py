"""A fuzzer of the DHCP that taps answer: frames that are nearly a client's, in test runs, beside the model.

``scripts/fuzz dhcp`` runs it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from eve_meta.steering.bpf.maps import COUNTERS, Reason
from tests import fuzzing
from tests.kernel import dhcp_model, law
from tests.kernel.dhcp_frames import DhcpFrames
from tests.kernel.law import Fate
from tests.kernel.progrun import LOOPBACK, TC_ACT_REDIRECT, TC_ACT_SHOT, TC_ACT_UNSPEC, Run
from tests.kernel.steer import TAG, Steer, loaded_pins


class DhcpBench:
    """The loaded programs, and a tap for test runs."""

    def __init__(self, steer: Steer) -> None:
        self._steer = steer

    def try_one(self, random: Random) -> str:
        """Try one input, and return the name of its result."""
        frames = DhcpFrames(random)
        tap, frame = frames.tap(), frames.frame()
        self._steer.maps.add_tap(TAG, LOOPBACK)
        self._steer.maps.write_dhcp(TAG, tap)
        done = self._steer.run("tap_in", frame)
        moved = self._moved()
        judgement = dhcp_model.judge(frame, tap)
        if not judgement.concerns:
            return self._other(frame, done, moved)
        if judgement.answer is not None:
            assert tap.template is not None
            assert done.verdict == TC_ACT_REDIRECT, f"not answered: {judgement}, {moved}"
            assert moved == [dhcp_model.ANSWERED[judgement.answer]]
            assert done.frame == dhcp_model.expected(frame, tap.template), "another answer"
        else:
            assert done.verdict == TC_ACT_SHOT, f"not dropped: {judgement}"
            assert len(moved) == 1
            assert moved[0] in judgement.flaws, f"{moved[0].label} is not true of it: {judgement}"
        return moved[0].label

    def _other(self, frame: bytes, done: Run, moved: list[Reason]) -> str:
        wanted = law.fate(frame)
        if wanted.fate is Fate.OTHERS:
            assert (done.verdict, moved, done.frame) == (TC_ACT_UNSPEC, [], frame)
            return "not ours"
        assert wanted.fate is Fate.DROP, "no frame of these is a request"
        assert done.verdict == TC_ACT_SHOT
        assert len(moved) == 1
        assert moved[0] in wanted.reasons
        return moved[0].label

    def _moved(self) -> list[Reason]:
        """Return the counters of the tap that have moved since it got its tag."""
        counts = [sum(of_cpus) for of_cpus in zip(*COUNTERS.iter_unpack(self._steer.raw_counters()), strict=True)]
        return [reason for reason, count in zip(Reason, counts, strict=True) for _ in range(count)]


@contextlib.contextmanager
def bench(pins: Path) -> Iterator[Callable[[Random], str]]:
    """Give the trial of an input, with the programs in *pins*."""
    with contextlib.closing(Steer(pins)) as steer:
        steer.reset()
        yield DhcpBench(steer).try_one


@contextlib.contextmanager
def _prepare() -> Iterator[fuzzing.Input]:
    with loaded_pins(Path("/sys/fs/bpf")) as pins, bench(pins) as try_one:
        yield try_one


if __name__ == "__main__":
    sys.exit(fuzzing.main("dhcp", _prepare))
