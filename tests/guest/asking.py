"""Guests that ask without pause while something happens to the daemon."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial

from attrs import define, field

from harness.guests import Lab
from tests.guest.scene import META_DATA, KeepAlive, uuid_of

PATIENCE = 30.0
"""Seconds that a guest waits for an answer: longer than a daemon takes to start on a busy machine."""


@contextlib.contextmanager
def in_background(*asks: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run each of *asks* in a thread of its own. Each gets an event, and returns once that is set, at the end.

    :raises Exception: the one that one of them raised, at the end.
    """
    ended = threading.Event()
    with ThreadPoolExecutor(len(asks)) as threads:
        running = [threads.submit(ask, ended) for ask in asks]
        try:
            yield
        finally:
            ended.set()
        for each in running:
            each.result()


@define
class AskingGuests:
    """Guests of *lab*, "vm0" and so on, that read their meta_data.json on one new connection after the other.

    They retry nothing.

    :ivar answered: the number of answers.
    :ivar longest: the longest wait for an answer in seconds, from before the connection.
    :ivar wrong: whatever was not a guest's own document: an error, another status, another domain's document.
    """

    lab: Lab
    answered: int = 0
    longest: float = 0.0
    wrong: list[str] = field(factory=list)

    def running(self, *numbers: int, keeping: int) -> AbstractContextManager[None]:
        """Let the guests of *numbers* ask, and that of *keeping* ask on connections that it keeps open."""
        return in_background(
            *(partial(self._ask, number, False) for number in numbers), partial(self._ask, keeping, True)
        )

    def _ask(self, number: int, keeping: bool, ended: threading.Event) -> None:
        while not ended.is_set():
            began = time.monotonic()
            try:
                with KeepAlive(self.lab.guests[f"vm{number}"], timeout=PATIENCE) as connection:
                    while self._answer(connection, number, began) and keeping and not ended.is_set():
                        time.sleep(0.02)
                        began = time.monotonic()
            except (OSError, ValueError) as error:
                self.wrong.append(f"vm{number}: {error!r}")
            time.sleep(0.005)

    def _answer(self, connection: KeepAlive, number: int, began: float) -> bool:
        """Read one answer, and return whether another request may follow on *connection*."""
        answer = connection.get(META_DATA)
        self.longest = max(self.longest, time.monotonic() - began)
        if answer.status != 200 or json.loads(answer.body)["uuid"] != uuid_of(number):
            self.wrong.append(f"vm{number}: {answer}")
        self.answered += 1
        return answer.headers.get("connection") != "close"
