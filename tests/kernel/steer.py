"""The loaded programs and their maps, for test runs."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from scapy.packet import Packet

from eve_meta.steering.bpf.libbpf import open_pin
from eve_meta.steering.bpf.loader import unpin
from eve_meta.steering.bpf.maps import DENIERS, PROGRAMS, U32, Maps, Reason, Settings
from tests.kernel.progrun import LOOPBACK, Run, run

TAG = 0x1234


_LOAD = """
import sys
import tempfile
from pathlib import Path
from eve_meta.steering.bpf import loader
if sources := sys.argv[2:]:
    loader.source_directory = lambda: Path(sources[0])
sys.exit(loader.main())
"""


@contextlib.contextmanager
def loaded_pins(bpffs: Path, *sources: Path) -> Iterator[Path]:
    """Load the programs, and give the directory in which they and their maps are pinned.

    :param bpffs: the BPF file system.
    :param sources: the directory to compile, when it is not the checkout's.
    """
    pins = Path(tempfile.mkdtemp(prefix="emtest-", dir=bpffs))
    try:
        subprocess.run([sys.executable, "-c", _LOAD, str(pins), *map(str, sources)], check=True)
        yield pins
    finally:
        unpin(pins)
        pins.rmdir()


class Steer:
    """The loaded programs and their maps; the tap of :data:`TAG` is the loopback device, where test runs happen."""

    def __init__(self, pins: Path) -> None:
        self.maps = Maps(pins)
        self._programs = {name: open_pin(pins / name) for name in PROGRAMS}

    def close(self) -> None:
        self.maps.close()
        for program in self._programs.values():
            os.close(program)

    def run(self, name: str, frame: Packet | bytes, mark: int = 0, repeat: int = 1) -> Run:
        return run(self._programs[name], bytes(frame), mark=mark, repeat=repeat)

    def reset(self) -> None:
        for ifindex, tag in self.maps.tags().items():
            self.maps.remove_tap(tag, ifindex)
        self.maps._counters.set(bytes(4), bytes(8 * len(Reason)))
        # The daemon never clears the bit. That of an earlier test would cost each UDP packet of this one something.
        self.maps._deniers.set(U32.pack(LOOPBACK // 64), bytes(DENIERS.size))
        self.maps.add_tap(TAG, LOOPBACK)
        self.maps.write_places(())
        self.maps.write_settings(Settings(host_ifindex=LOOPBACK, next_tag=1, build=0))

    def raw_counters(self, tag: int = TAG) -> bytes:
        """Return the counters of *tag* as the map has them, CPU after CPU; empty when no tap has it."""
        return self.maps._counters.get(U32.pack(tag)) or b""

    def counted(self, tag: int = TAG) -> dict[str, int]:
        return {reason.label: number for reason, number in self.maps.counters(tag).items() if number}
