"""Which keys fall due, and when."""

from __future__ import annotations

from eve_meta.values.deadlines import Deadlines


def test_keys_fall_due_in_the_order_of_their_times() -> None:
    deadlines = Deadlines[str]()
    for key, due in (("late", 3.0), ("early", 1.0), ("second", 2.0), ("also early", 1.0)):
        deadlines.set(key, due)
    assert deadlines.next() == 1.0
    assert deadlines.take_due(0.9) == []
    assert deadlines.take_due(2.0) == ["early", "also early", "second"]
    assert ("early" in deadlines, "late" in deadlines) == (False, True)
    assert deadlines.next() == 3.0


def test_a_deadline_that_was_replaced_or_removed_never_falls_due() -> None:
    deadlines = Deadlines[str]()
    deadlines.set("sooner", 5.0)
    deadlines.set("sooner", 1.0)
    deadlines.set("later", 1.0)
    deadlines.set("later", 5.0)
    deadlines.set("removed", 1.0)
    deadlines.remove("removed")
    deadlines.remove("never there")
    assert deadlines.take_due(2.0) == ["sooner"]
    assert deadlines.next() == 5.0
    assert deadlines.take_due(9.0) == ["later"]
    assert deadlines.next() is None
