"""The latest events, and whoever listens to each."""

from __future__ import annotations

from eve_meta.runtime.clock import Clock
from eve_meta.supervisor.events import KEPT, Event, Events, Kind

CLOCK = Clock(monotonic=lambda: 1.0, wall=lambda: 1.5)


def test_the_latest_are_kept_and_no_more() -> None:
    events = Events(CLOCK)
    for number in range(KEPT + 10):
        events.emit(Kind.TAP_GONE, tap=f"vnet{number}")
    assert len(events.latest) == KEPT
    assert events.latest[0].fields == {"tap": "vnet10"}
    assert events.latest[-1].plain == {
        "time": "1970-01-01T00:00:01.500Z",
        "event": "tap-gone",
        "tap": f"vnet{KEPT + 9}",
    }


def test_a_listener_gets_each_event_until_it_stops_listening() -> None:
    events = Events(CLOCK)
    received: list[Event] = []
    stop_listening = events.listen(received.append)
    events.emit(Kind.RESTORED, at=-0.25, piece="filter")  # 1.25 s ago, by the monotonic clock
    stop_listening()
    events.emit(Kind.RESTORED, piece="link")
    assert [(event.number, event.plain) for event in received] == [
        (1, {"time": "1970-01-01T00:00:00.250Z", "event": "healed", "piece": "filter"})
    ]
