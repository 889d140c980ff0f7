"""The taps by tag and by name, those that are gone, and the worker of each."""

from __future__ import annotations

from eve_meta.steering.taps.tap import Tap
from eve_meta.supervisor.tap_state import TapState
from eve_meta.supervisor.tap_table import TapTable


def state(tag: int, name: str = "") -> TapState:
    return TapState(Tap(name or f"vnet{tag}", 100 + tag, tag, 0.0, True), None)


def table(*states: TapState, workers: int = 1) -> TapTable:
    made = TapTable(workers)
    for each in states:
        made.add(each)
    return made


def test_a_tap_that_is_gone_has_no_domain_but_can_be_found_until_it_is_forgotten() -> None:
    one = state(1)
    taps = table(one)
    assert taps.remove(1) is one
    assert (len(taps), list(taps), taps.get(1), list(taps.names), list(taps.named("vnet1"))) == (0, [], None, [], [])
    assert taps.get_also_gone(1) is one
    taps.forget(1)
    assert taps.get_also_gone(1) is None


def test_two_taps_may_have_one_name_for_a_moment() -> None:
    old, new = state(1, "vnet0"), state(2, "vnet0")
    taps = table(old, new)
    assert list(taps.named("vnet0")) == [old, new]
    taps.remove(1)
    assert list(taps.named("vnet0")) == [new]
    assert set(taps.names) == {"vnet0"}


def test_every_tap_belongs_to_one_worker() -> None:
    taps = table(*map(state, range(1, 11)), workers=3)
    shares = [{each.tap.tag for each in taps.of_worker(worker)} for worker in range(3)]
    assert sorted(map(len, shares)) == [3, 3, 4]
    assert set.union(*shares) == set(range(1, 11))
    assert all(taps.worker_of(tag) == worker for worker, share in enumerate(shares) for tag in share)
