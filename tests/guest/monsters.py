"""Documents that somebody wrote to harm others by having them read, and what others have to notice of it: nothing."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from attrs import define, field

from harness.guests import Guest, Response
from tests.guest.asking import PATIENCE, in_background
from tests.guest.scene import USER_DATA, proc_status

YAML = {
    "aliases of aliases": "a: &a [x, x, x, x, x, x, x, x]\n"
    + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 8)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    "nesting without end": "vendor_data: " + "[" * 100_000,
    "anchors without end": "&a " * 100_000,
    "a number without end": "launch_index: " + "9" * 1_000_000,
    "parts without end": "vendor_data: [" + "x, " * 200_000 + "]",
}
"""Texts of a domain, each of which is one mistake."""

WAIT = 1.0
"""Seconds that an answer may take on a busy machine; on an idle one it takes a thousandth of that."""

MEMORY = 96 * 1024
"""KiB by which the supervisor may grow for a moment: its documents on the way to the reader and back, and no more."""


@define
class _Neighbour:
    guest: Guest
    path: str
    own: Response
    answers: int = 0
    longest: float = 0.0
    wrong: set[tuple[int, bytes]] = field(factory=set)

    def ask_on(self, ended: threading.Event) -> None:
        while not ended.wait(0.01):
            began = time.monotonic()
            answer = self.guest.get(self.path, timeout=PATIENCE)
            self.longest = max(self.longest, time.monotonic() - began)
            self.answers += 1
            if (answer.status, answer.body) != (200, self.own.body):
                self.wrong.add((answer.status, answer.body))


@contextlib.contextmanager
def harmless_to(guest: Guest, supervisor: int, path: str = USER_DATA) -> Iterator[None]:
    """Assert that meanwhile *guest* gets its own document at once, and that the supervisor's memory stays bounded.

    :param supervisor: its process id.
    :param path: the document, which is the same each time.
    """
    neighbour = _Neighbour(guest, path, guest.get(path))
    assert neighbour.own.status == 200, neighbour.own
    before = int(proc_status(supervisor)["VmRSS"].split()[0])
    Path(f"/proc/{supervisor}/clear_refs").write_text("5")  # its peak is what it has now
    with in_background(neighbour.ask_on):
        yield
    grown = int(proc_status(supervisor)["VmHWM"].split()[0]) - before
    print(
        f"\n{neighbour.answers} answers, the longest after {neighbour.longest:.3f} s; the supervisor grew {grown} KiB"
    )
    assert neighbour.wrong == set()
    assert neighbour.answers > 0
    assert neighbour.longest < WAIT
    assert grown < MEMORY
