"""Guests that make an answer fail, the log grow or counters move; thousands that end at once."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from eve_meta.values.request_kind import RequestKind
from eve_meta.web.answering import DEFECT_LOG_EVERY, Answering, Now
from eve_meta.web.limits import Limits
from eve_meta.wire.messages import LEASE_TIME
from eve_meta.wire.password import Outcome
from eve_meta.wire.requests import Row
from tests.unit.web.guest import TAG, Guest, counted, get, make_answering


@pytest.fixture
def clock() -> Clock:
    """A clock at 0, where "not within the last minute" must hold, too."""
    return Clock()


@pytest.fixture
def answering(clock: Clock) -> Answering:
    """An Answering that serves the guest of one known domain."""
    return make_answering(clock)


def test_a_defect_harms_one_guest_and_logs_one_line_a_minute(clock: Clock, answering: Answering) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("quotes GET /secret")

    entry = answering.guests.table.get(TAG)
    assert entry is not None
    entry.tree.document = fail  # type: ignore[union-attr, method-assign]  # a tree that breaks
    with capturedLogs() as logged:
        for _ in range(100):
            guest = Guest(answering)
            guest.send(get("/secret"))
            assert (guest.statuses, guest.ended) == ([500], "closed")
        assert len(logged) == 1
        clock.advance(DEFECT_LOG_EVERY)
        Guest(answering).send(get("/secret"))
        assert len(logged) == 2
    assert logged[0]["kind"] == "RuntimeError"
    assert "secret" not in str({**logged[0], "log_logger": None})


def test_counters_have_names_of_a_closed_set_whatever_guests_send(answering: Answering) -> None:
    for data in (get("/a", method="BREW"), b"\0\n", get("/b"), get("/openstack", "X: " + "a" * 20_000)):
        Guest(answering).send(data)
    assert counted(answering) == {"501": 1, "malformed": 3, "400": 1, "404": 1, "431": 1}
    assert counted(answering) == {}


def test_requests_are_counted_with_their_times(answering: Answering, clock: Clock) -> None:
    clock.advance(10)
    guest = Guest(answering)
    for path in ("/openstack/latest/meta_data.json", "/openstack/2018-08-27/meta_data.json", "/openstack/x/user_data"):
        guest.send(get(path))
        clock.advance(0.5)
    guest.send(b"\0\n")
    assert answering.guests.tally.requests.take() == [
        Row(TAG, RequestKind.META_DATA, 200, 2, 10.0, 10.5),
        Row(TAG, RequestKind.USER_DATA, 404, 1, 11.0, 11.0),
        Row(TAG, RequestKind.UNREAD, 400, 1, 11.5, 11.5),
    ]
    assert answering.guests.tally.requests.take() == []


def test_the_worker_is_called_once_when_there_is_something_to_take(answering: Answering) -> None:
    calls: list[dict[int, dict[str, int]]] = []
    answering.guests.tally.began = lambda: calls.append({})
    for _ in range(3):
        Guest(answering).send(get("/openstack"))
    assert len(calls) == 1
    assert counted(answering) == {"200": 3}
    assert len(calls) == 1
    Guest(answering).send(get("/openstack"))
    assert len(calls) == 2


def test_the_date_follows_the_wall_clock(answering: Answering, clock: Clock) -> None:
    first = answering.now()
    clock.advance(0.25)
    assert answering.now() is first
    clock.advance(1)
    assert answering.now().second == first.second + 1


def test_the_day_is_utc() -> None:
    midnight = 1_767_225_600
    assert str(Now.of(midnight).today) == "2026-01-01"
    assert str(Now.of(midnight - 1).today) == "2025-12-31"
    assert Now.of(midnight).date == "Thu, 01 Jan 2026 00:00:00 GMT"


def test_thousands_of_connections_end_at_once(clock: Clock) -> None:
    answering = make_answering(clock, limits=Limits(max_connections=5000))
    guests = [Guest(answering) for _ in range(5000)]
    answering.guests.remove(TAG)
    assert {guest.ended for guest in guests} == {"aborted"}
    guests = [Guest(answering) for _ in range(5000)]
    for guest in guests:
        guest.send(b"GET")
    for _ in range(20):
        clock.advance(1)
    assert {guest.ended for guest in guests} == {"aborted"}
    assert clock.getDelayedCalls() == []


# -- the lease --


def test_a_table_that_was_never_confirmed_answers_nobody(clock: Clock) -> None:
    answering = make_answering(clock, confirmed=False)
    guest = Guest(answering)
    guest.send(get("/openstack"))
    assert (guest.statuses, guest.ended) == ([503], "closed")
    assert guest.answers[0].fields["retry-after"] == "1"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/openstack/latest/meta_data.json", b""),
        ("GET", "/latest/meta-data/instance-id", b""),
        ("GET", "/nothing/here", b""),
        ("PUT", "/latest/api/token", b""),
        ("POST", "/openstack/latest/password", b"secret"),
        ("POST", "/eve-meta/v1/report", b"{}"),
    ],
)
def test_without_a_lease_a_guest_gets_nothing_that_its_domain_decides(
    clock: Clock, method: str, path: str, body: bytes
) -> None:
    answering = make_answering(clock)
    answering.renew_lease(clock.seconds())
    posted: list[str] = []
    answering.store_password = lambda _, password: succeed(posted.append(password) or Outcome.STORED)  # type: ignore[func-returns-value]
    clock.advance(LEASE_TIME)
    guest = Guest(answering)
    guest.send(get(path, f"Content-Length: {len(body)}", method=method) + body)
    assert guest.statuses == [503]
    assert posted == []
    assert answering.guests.tally.reports.take() == []


def test_a_lease_counts_from_the_moment_that_the_table_was_true(clock: Clock) -> None:
    """The word of it may have been on its way for as long as that."""
    answering = make_answering(clock)
    clock.advance(10)
    answering.renew_lease(10 - LEASE_TIME + 0.5)
    assert statuses_of_one(answering) == [200]
    clock.advance(0.5)
    assert statuses_of_one(answering) == [503]
    answering.renew_lease(10)
    assert statuses_of_one(answering) == [200]


def statuses_of_one(answering: Answering) -> list[int]:
    guest = Guest(answering)
    guest.send(get("/openstack"))
    return guest.statuses


def test_a_lease_that_is_renewed_in_time_cuts_nobody(clock: Clock) -> None:
    answering = make_answering(clock)
    answering.renew_lease(clock.seconds())
    guest = Guest(answering)
    for _ in range(10):
        clock.advance(LEASE_TIME * 0.9)
        answering.renew_lease(clock.seconds())
        guest.send(get("/openstack"))
    assert (guest.statuses, guest.ended) == ([200] * 10, "")


def test_answers_that_are_under_way_end_with_the_lease(clock: Clock) -> None:
    answering = make_answering(clock)
    answering.renew_lease(clock.seconds())
    clock.advance(0.5)
    answering.renew_lease(clock.seconds())
    guest = Guest(answering)
    guest.send(b"GET /openstack HTTP/1.1\r\n")
    clock.advance(LEASE_TIME - 0.01)
    assert guest.ended == ""
    clock.advance(0.01)
    assert guest.ended == "aborted"
    assert counted(answering) == {"revoked": 1}
