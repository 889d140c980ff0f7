"""The latest of what happened."""

from __future__ import annotations

from eve_meta.supervisor.events import KEPT, Event, Events, Kind


def test_the_latest_are_kept_and_no_more() -> None:
    events = Events(lambda: 1.5)
    for number in range(KEPT + 10):
        events.emit(Kind.TAP_GONE, tap=f"vnet{number}")
    assert len(events.latest) == KEPT
    assert events.latest[0].fields == {"tap": "vnet10"}
    assert events.latest[-1].plain == {
        "time": "1970-01-01T00:00:01.500Z",
        "event": "tap-gone",
        "tap": f"vnet{KEPT + 9}",
    }


def test_who_listens_hears_of_each_until_it_does_not() -> None:
    events = Events()
    heard: list[Event] = []
    end = events.listen(heard.append)
    events.emit(Kind.HEALED, at=0.25, piece="filter")
    end()
    events.emit(Kind.HEALED, piece="link")
    assert [(event.number, event.plain) for event in heard] == [
        (1, {"time": "1970-01-01T00:00:00.250Z", "event": "healed", "piece": "filter"})
    ]
