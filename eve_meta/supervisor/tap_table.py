"""The taps there are, by tag and by name, and which worker answers the guest of each.

The law: a tap that is gone means nobody any more. But what its guest did was gathered before, and is told for a while
after.
"""

from __future__ import annotations

from collections.abc import Iterator, KeysView, Sequence

from eve_meta.supervisor.tap_state import TapState
from eve_meta.values.tag import worker_of_tag


class TapTable:
    """The taps, shared out among *workers* workers."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._taps: dict[int, TapState] = {}
        # By name: where messages of the kernel were lost, two may have one for a moment.
        self._named: dict[str, list[TapState]] = {}
        self._leaving: dict[int, TapState] = {}

    def __len__(self) -> int:
        return len(self._taps)

    def __iter__(self) -> Iterator[TapState]:
        return iter(self._taps.values())

    def __getitem__(self, tag: int) -> TapState:
        return self._taps[tag]

    @property
    def names(self) -> KeysView[str]:
        """The names of the taps there are."""
        return self._named.keys()

    def get(self, tag: int) -> TapState | None:
        """The tap of *tag*, None where there is none."""
        return self._taps.get(tag)

    def get_also_gone(self, tag: int) -> TapState | None:
        """The tap of *tag*, also one that is gone and not forgotten."""
        return self._taps.get(tag) or self._leaving.get(tag)

    def named(self, name: str) -> Sequence[TapState]:
        """The taps of that name."""
        return self._named.get(name, ())

    def add(self, state: TapState) -> None:
        """There is one more."""
        self._taps[state.tap.tag] = state
        self._named.setdefault(state.tap.name, []).append(state)

    def remove(self, tag: int) -> TapState:
        """The tap of *tag* is gone; gives what was known of it."""
        state = self._leaving[tag] = self._taps.pop(tag)
        name = state.tap.name
        self._named[name].remove(state)
        if not self._named[name]:
            del self._named[name]
        return state

    def forget(self, tag: int) -> None:
        """Nothing more is told of *tag*, whose tap is gone."""
        del self._leaving[tag]

    def worker_of(self, tag: int) -> int:
        """The number of the worker that answers the guest of *tag*."""
        return worker_of_tag(tag, self._workers)

    def of_worker(self, worker: int) -> Iterator[TapState]:
        """The taps whose guests the worker of that number answers."""
        return (state for state in self if self.worker_of(state.tap.tag) == worker)
