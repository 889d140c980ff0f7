"""A reader whose parent is killed does not go on, whatever it reads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

PARENT = """
import time
from eve_meta.inventory.readers.command import CommandReader
from eve_meta.inventory.readers.reading import Reading

reader = CommandReader()
good = Reading("b", {"kind": "domain"}, b"name: a\\n", lambda plain, _: plain)
reader.read(good)
reader.wait(good)
print(reader._process._pid, flush=True)
time.sleep(100)
"""


def runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_reader_ends_with_its_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    reader = int(parent.stdout.readline())
    assert runs(reader)
    os.kill(reader, signal.SIGSTOP)  # it does not see the end of its channel
    parent.kill()
    parent.communicate()
    end = time.monotonic() + 5
    while runs(reader):
        assert time.monotonic() < end
        time.sleep(0.05)
