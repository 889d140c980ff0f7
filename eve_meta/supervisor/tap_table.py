"""The taps, by tag and by name, and which worker answers the guest of each.

The law: a tap that is gone belongs to no domain any more. But workers may still have something to send about what its
guest did, so its state is kept for a while.
"""

from __future__ import annotations

from collections.abc import Iterator, KeysView, Sequence

from eve_meta.supervisor.tap_state import TapState
from eve_meta.values.tag import worker_of_tag


class TapTable:
    """The taps, distributed over *workers* workers."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._taps: dict[int, TapState] = {}
        # By name. Two taps may have one name for a moment, where messages of the kernel were lost.
        self._named: dict[str, list[TapState]] = {}
        self._gone: dict[int, TapState] = {}

    def __len__(self) -> int:
        return len(self._taps)

    def __iter__(self) -> Iterator[TapState]:
        return iter(self._taps.values())

    def __getitem__(self, tag: int) -> TapState:
        return self._taps[tag]

    @property
    def names(self) -> KeysView[str]:
        """The names of the taps."""
        return self._named.keys()

    def get(self, tag: int) -> TapState | None:
        """Return the tap of *tag*, None where there is none."""
        return self._taps.get(tag)

    def get_also_gone(self, tag: int) -> TapState | None:
        """Return the tap of *tag*, also one that is gone, until it is forgotten."""
        return self._taps.get(tag) or self._gone.get(tag)

    def named(self, name: str) -> Sequence[TapState]:
        """Return the taps of that name."""
        return self._named.get(name, ())

    def add(self, state: TapState) -> None:
        """Add a tap."""
        self._taps[state.tap.tag] = state
        self._named.setdefault(state.tap.name, []).append(state)

    def remove(self, tag: int) -> TapState:
        """Remove the tap of *tag*, which is gone, and return it."""
        state = self._gone[tag] = self._taps.pop(tag)
        name = state.tap.name
        self._named[name].remove(state)
        if not self._named[name]:
            del self._named[name]
        return state

    def forget(self, tag: int) -> None:
        """Forget the tap of *tag*, which is gone: no worker sends anything about it any more."""
        del self._gone[tag]

    def worker_of(self, tag: int) -> int:
        """Return the number of the worker that answers the guest of *tag*."""
        return worker_of_tag(tag, self._workers)

    def of_worker(self, worker: int) -> Iterator[TapState]:
        """Iterate over the taps whose guests the worker of that number answers."""
        return (state for state in self if self.worker_of(state.tap.tag) == worker)
