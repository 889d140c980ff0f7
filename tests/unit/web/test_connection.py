"""Guests that hold on to what they should let go: connections, time, memory, other guests' answers."""

from __future__ import annotations

import socket
import uuid
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from eve_meta.documents.tokens import KEY_BYTES
from eve_meta.values.domain import Domain, TokenPolicy
from eve_meta.web.answering import AGE_EVERY, Answering
from eve_meta.web.guests import SWEEP_EVERY
from eve_meta.web.limits import (
    DEFAULT_ANSWER_TIME,
    DEFAULT_IDLE_TIME,
    DEFAULT_LINGER_TIME,
    DEFAULT_MAX_CONNECTIONS,
    DEFAULT_REQUEST_TIME,
    DEFAULT_WRITE_TIME,
    SLICE,
    Limits,
)
from eve_meta.web.table import Grants
from eve_meta.wire.password import Outcome
from tests.unit.web.guest import BUFFER, OTHER_UUID, TAG, TAP, UUID, Guest, counted, domain, get, make_answering

USER_DATA = "/openstack/latest/user_data"
META_DATA = "/openstack/latest/meta_data.json"
MIB = bytes(range(256)) * 4096
CLOSED_SET = {100, 200, 304, 400, 401, 403, 404, 405, 408, 409, 411, 413, 414, 417, 429, 431, 501, 503, 505}
PASSWORD = "/openstack/latest/password"
TOKENS = Grants(tokens=TokenPolicy.OPTIONAL, token_key=bytes(KEY_BYTES))


@pytest.fixture
def clock() -> Clock:
    """A clock that stands at a time that is not 0."""
    clock = Clock()
    clock.advance(1000)
    return clock


@pytest.fixture
def answering(clock: Clock) -> Answering:
    """An Answering that serves the guest of one known domain."""
    return make_answering(clock)


def with_user_data(clock: Clock, data: bytes) -> Answering:
    """Return an Answering that serves the guest of a domain whose user data are *data*."""
    return make_answering(
        clock, known=Domain(uuid=uuid.UUID(UUID), name="web1", hostname="web1.example.org", user_data=data)
    )


def wait(clock: Clock, seconds: float) -> None:
    """Let time pass, with the sweeps in it."""
    for _ in range(int(seconds / SWEEP_EVERY)):
        clock.advance(SWEEP_EVERY)


# -- answers and ends --


def test_a_connection_takes_one_request_after_another(answering: Answering) -> None:
    guest = Guest(answering)
    for count in range(1, 4):
        assert len(guest.send(get("/openstack"))) == count
    assert guest.statuses == [200, 200, 200]
    assert guest.ended == ""
    assert counted(answering) == {"200": 3}
    assert counted(answering) == {}


def test_an_answer_is_dated(answering: Answering) -> None:
    (answer,) = Guest(answering).send(get("/openstack"))
    assert answer.fields["Date"] == "Thu, 28 May 2026 20:43:20 GMT"
    assert answer.fields["Connection"] is None


def test_a_guest_that_asks_for_the_end_gets_it(answering: Answering) -> None:
    guest = Guest(answering)
    (answer,) = guest.send(get("/openstack", "Connection: close") + get("/openstack"))
    assert answer.fields["Connection"] == "close"


def test_http_1_0_is_answered_and_closed(clock: Clock) -> None:
    """As Alpine's tiny-cloud asks: by nc, without Host and Content-Length. It takes the last line for the token."""
    guest = Guest(make_answering(clock, grants=TOKENS))
    (answer,) = guest.send(b"PUT /latest/api/token HTTP/1.0\r\nX-aws-ec2-metadata-token-ttl-seconds: 5\r\n\r\n")
    assert answer.status == 200
    assert answer.fields["Connection"] == "close"
    assert guest.ended == "closed"
    assert bytes(guest.wire.received).splitlines()[-1] == answer.body


@pytest.mark.parametrize(
    "path", ["/openstack", USER_DATA, PASSWORD, "/openstack/latest/meta_data.json", "/nothing", "/"]
)
def test_head_is_get_without_its_body(clock: Clock, path: str) -> None:
    (whole, head) = (Guest(with_user_data(clock, MIB)), Guest(with_user_data(clock, MIB)))
    whole.send(get(path))
    head.wire.protocol.dataReceived(get(path, method="HEAD"))
    head.read()
    (fields, end, _) = bytes(whole.wire.received).partition(b"\r\n\r\n")
    assert bytes(head.wire.received) == fields + end


def test_a_guest_that_shuts_its_half_still_gets_its_answers(answering: Answering) -> None:
    guest = Guest(answering)
    guest.wire.takes = False
    guest.send(get("/openstack") * 2)
    guest.shut()
    guest.wire.takes = True
    guest.read()
    assert guest.statuses == [200, 200]
    assert guest.ended == "closed"


def test_a_guest_that_shuts_its_half_and_sends_nothing(answering: Answering) -> None:
    guest = Guest(answering)
    guest.shut()
    assert (guest.statuses, guest.ended) == ([], "closed")
    assert counted(answering) == {}


def test_a_guest_that_shuts_its_half_within_a_request(answering: Answering) -> None:
    guest = Guest(answering)
    guest.send(get("/openstack")[:-2])
    guest.shut()
    assert (guest.statuses, guest.ended) == ([400], "closed")
    assert counted(answering) == {"400": 1, "malformed": 1}


def test_a_body_is_read_to_its_end_before_the_next_request(answering: Answering) -> None:
    guest = Guest(answering)
    body = get("/latest")
    guest.send(get("/openstack", f"Content-Length: {len(body)}", method="POST") + body + get("/openstack"))
    assert guest.statuses == [405, 200]


def test_a_guest_that_waits_for_100_continue(answering: Answering) -> None:
    guest = Guest(answering)
    guest.send(get("/openstack", "Expect: 100-continue", "Content-Length: 3", method="POST"))
    assert guest.statuses == [100]
    guest.send(b"abc")
    assert guest.statuses == [100, 405]


# -- answers that must not go far --


def token_request(*fields: str) -> bytes:
    return get("/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 60", *fields, method="PUT")


@pytest.mark.parametrize(
    ("family", "option"),
    [
        (socket.AF_INET, (socket.IPPROTO_IP, socket.IP_TTL, 2)),
        (socket.AF_INET6, (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 2)),
    ],
)
@pytest.mark.parametrize("refused", [[], ["X-Forwarded-For: 10.0.0.9"], ["X-aws-ec2-metadata-token-ttl-seconds: 0"]])
def test_a_token_is_sent_no_further_than_it_may_go(
    clock: Clock, family: socket.AddressFamily, option: tuple[int, int, int], refused: list[str]
) -> None:
    guest = Guest(make_answering(clock, grants=TOKENS, hop_limit=2))
    guest.wire.family = family
    guest.send(get("/openstack"))
    assert guest.wire.options == []
    guest.send(token_request(*refused))
    assert guest.wire.options == [option]
    # For as long as it may have to be sent again: nothing else follows.
    assert guest.answers[-1].fields["Connection"] == "close"
    assert guest.ended == "closed"


def test_a_request_behind_the_one_for_a_token_is_not_answered(clock: Clock) -> None:
    guest = Guest(make_answering(clock, grants=TOKENS))
    guest.send(token_request() + get("/openstack"))
    assert guest.statuses == [200]
    assert guest.ended == "half-closed"


# -- answers that take their time --


class PasswordStore:
    """The supervisor's side of passwords: stores them when the test decides the outcome."""

    def __init__(self, answering: Answering) -> None:
        self.asked: list[tuple[int, str]] = []
        self.waiting: list[Deferred[Outcome]] = []
        answering.store_password = self._store

    def _store(self, tag: int, password: str) -> Deferred[Outcome]:
        self.asked.append((tag, password))
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def decide(self, outcome: Outcome) -> None:
        self.waiting.pop(0).callback(outcome)


def post(body: str, *fields: str) -> bytes:
    return get(PASSWORD, f"Content-Length: {len(body)}", *fields, method="POST") + body.encode()


@pytest.mark.parametrize(
    ("outcome", "status"), [(Outcome.STORED, 200), (Outcome.ALREADY_SET, 409), (Outcome.FAILED, 503)]
)
def test_a_password_is_answered_when_it_is_kept_and_in_order(
    answering: Answering, outcome: Outcome, status: int
) -> None:
    store = PasswordStore(answering)
    guest = Guest(answering)
    guest.send(get("/openstack") + post("secret") + get("/openstack"))
    assert (guest.statuses, store.asked) == ([200], [(TAG, "secret")])
    store.decide(outcome)
    guest.read()
    assert guest.statuses == [200, status, 200]
    guest.send(get("/openstack", "Connection: close"))
    assert (guest.statuses[3:], guest.ended) == ([200], "closed")


def test_nothing_is_read_while_a_password_is_being_stored(clock: Clock) -> None:
    answering = with_user_data(clock, MIB)
    store = PasswordStore(answering)
    guest = Guest(answering)
    guest.send(get(USER_DATA) + post("secret"))  # of which the first filled the buffer
    assert store.waiting
    assert not guest.wire.reading
    store.decide(Outcome.STORED)
    assert guest.wire.reading
    assert guest.send(get("/openstack"))[-1].status == 200


def test_a_password_that_takes_too_long(answering: Answering, clock: Clock) -> None:
    store = PasswordStore(answering)
    guest = Guest(answering)
    guest.send(post("secret"))
    wait(clock, DEFAULT_ANSWER_TIME - 1)
    assert guest.statuses == []
    wait(clock, 1)
    guest.read()
    assert guest.statuses == [503]
    guest.send(post("again"))
    store.decide(Outcome.STORED)  # for the first, too late; the second has an answer of its own
    guest.read()
    assert guest.statuses == [503]
    store.decide(Outcome.ALREADY_SET)
    guest.read()
    assert guest.statuses == [503, 409]


def test_a_guest_that_leaves_while_its_password_is_being_stored(answering: Answering) -> None:
    store = PasswordStore(answering)
    (first, second) = (Guest(answering), Guest(answering))
    first.send(post("secret"))
    first.wire.abortConnection()
    second.send(post("secret", "Connection: close"))
    second.shut()
    store.decide(Outcome.STORED)
    store.decide(Outcome.STORED)
    second.read()
    assert (first.statuses, second.statuses, second.ended) == ([], [200], "closed")


def test_a_password_whose_tap_goes_is_not_answered(answering: Answering) -> None:
    store = PasswordStore(answering)
    guest = Guest(answering)
    guest.send(post("secret"))
    answering.guests.remove(TAG)
    store.decide(Outcome.STORED)
    guest.read()
    assert (guest.statuses, guest.ended) == ([], "aborted")


# -- the right domain's answers --


def test_a_request_from_no_tap_gets_403_before_it_is_read(answering: Answering) -> None:
    guest = Guest(answering, None)
    guest.send(get("/openstack"), b"\0" * 100)
    assert guest.statuses == [403]
    assert guest.ended == "half-closed"
    assert counted(answering, 0) == {"403": 1}


def test_a_tag_that_the_table_does_not_have_yet(answering: Answering) -> None:
    guest = Guest(answering, TAG + 1)
    (answer,) = guest.send(get("/openstack"))
    assert (answer.status, answer.fields["Retry-After"], guest.ended) == (503, "1", "closed")


def test_a_domain_that_comes_late_is_served_on_the_same_connection(answering: Answering, clock: Clock) -> None:
    answering.guests.put(TAG + 1, "vnet8", clock.seconds(), None)
    guest = Guest(answering, TAG + 1)
    guest.send(get("/openstack"))
    answering.guests.put(TAG + 1, "vnet8", clock.seconds(), domain(OTHER_UUID))
    guest.send(get("/openstack"))
    assert guest.statuses == [503, 200]


def test_a_domain_that_changed_is_served_on_the_same_connection(answering: Answering, clock: Clock) -> None:
    guest = Guest(answering)
    guest.send(get("/latest/meta-data/hostname"))
    answering.guests.put(TAG, TAP, clock.seconds(), domain(hostname="web2.example.org"))
    guest.send(get("/latest/meta-data/hostname"))
    assert [answer.body for answer in guest.answers] == [b"web1.example.org", b"web2.example.org"]


@pytest.mark.parametrize("then", [domain(OTHER_UUID), None])
def test_a_keep_alive_connection_never_sees_the_next_domain_of_its_tag(
    answering: Answering, clock: Clock, then: bytes | None
) -> None:
    (guest, stranger) = (Guest(answering), Guest(answering, TAG + 1))
    guest.send(get("/openstack"))
    answering.guests.put(TAG, TAP, clock.seconds(), then)
    assert guest.ended == "aborted"
    assert stranger.ended == ""
    assert counted(answering) == {"200": 1, "revoked": 1}


def test_an_answer_that_was_begun_is_not_finished_when_the_tap_is_gone(clock: Clock) -> None:
    answering = with_user_data(clock, MIB)
    guests = [Guest(answering) for _ in range(3)]
    for guest in guests:
        guest.wire.takes = False
        guest.send(get(USER_DATA))
    answering.guests.remove(TAG)
    assert [guest.ended for guest in guests] == ["aborted"] * 3
    fresh = Guest(answering)
    assert [answer.status for answer in fresh.send(get(USER_DATA))] == [503]


# -- holding connections --


def test_the_33rd_connection_of_a_tap_is_cut_and_its_neighbours_are_not(answering: Answering) -> None:
    guests = [Guest(answering) for _ in range(DEFAULT_MAX_CONNECTIONS + 1)]
    assert [guest.ended for guest in guests] == [""] * DEFAULT_MAX_CONNECTIONS + ["aborted"]
    assert Guest(answering, TAG + 1).ended == ""
    assert counted(answering) == {"refused_connections": 1}
    guests[0].send(get("/openstack", "Connection: close"))
    assert Guest(answering).ended == ""


def test_connections_from_no_tap_are_limited_too(answering: Answering) -> None:
    guests = [Guest(answering, None) for _ in range(DEFAULT_MAX_CONNECTIONS + 1)]
    assert guests[-1].ended == "aborted"


def test_a_flood_of_requests_gets_429(clock: Clock) -> None:
    answering = make_answering(clock, limits=Limits(rate=1.0, burst=5.0))
    guest = Guest(answering)
    guest.send(get("/openstack") * 100)
    assert guest.statuses == [200] * 5 + [429]
    assert guest.answers[-1].fields["Retry-After"] == "1"
    assert guest.ended == "half-closed"  # 94 requests are thrown away
    again = Guest(answering)
    assert [answer.status for answer in again.send(get("/openstack"))] == [429]
    assert again.ended == "closed"
    assert [answer.status for answer in Guest(answering, TAG + 1).send(get("/openstack"))] == [503]
    wait(clock, 2)
    assert [answer.status for answer in Guest(answering).send(get("/openstack"))] == [200]


# -- holding time --


def test_a_guest_that_connects_and_sends_nothing(answering: Answering, clock: Clock) -> None:
    guest = Guest(answering)
    wait(clock, DEFAULT_REQUEST_TIME - 1)
    assert guest.ended == ""
    wait(clock, 1)
    guest.read()
    assert (guest.statuses, guest.ended) == ([], "closed")
    assert counted(answering) == {"timeout": 1}


@pytest.mark.parametrize("first", [b"", get("/openstack")])
def test_slowloris(answering: Answering, clock: Clock, first: bytes) -> None:
    """One byte a second, in time each, does not renew the time of the request as a whole."""
    guest = Guest(answering)
    guest.send(first)
    for byte in b"GET / HTTP/1.1\r\nX: " + b"a" * 20:
        if guest.ended:
            break
        guest.send(bytes([byte]))
        wait(clock, 1)
        guest.read()
    assert guest.statuses == [200] * bool(first) + [408]
    assert clock.seconds() <= 1000 + DEFAULT_REQUEST_TIME + SWEEP_EVERY
    assert guest.ended == "half-closed"
    wait(clock, DEFAULT_LINGER_TIME)
    assert guest.ended == "aborted"
    assert counted(answering)["timeout"] == 1


def test_empty_lines_do_not_keep_a_connection_alive(answering: Answering, clock: Clock) -> None:
    guest = Guest(answering)
    guest.send(get("/openstack"))
    for byte in b"\r\n\r\n":
        guest.send(bytes([byte]))
        wait(clock, 3)
    assert guest.statuses == [200, 400]


def test_a_body_that_does_not_come(answering: Answering, clock: Clock) -> None:
    guest = Guest(answering)
    guest.send(get("/openstack", "Content-Length: 3", method="POST") + b"ab")
    wait(clock, DEFAULT_REQUEST_TIME)
    guest.read()
    assert guest.statuses == [408]


def test_a_connection_that_idles(answering: Answering, clock: Clock) -> None:
    guest = Guest(answering)
    guest.send(get("/openstack"))
    wait(clock, DEFAULT_IDLE_TIME - 1)
    guest.send(get("/openstack"))
    wait(clock, DEFAULT_IDLE_TIME - 1)
    assert guest.ended == ""
    wait(clock, 1)
    guest.read()
    assert (guest.statuses, guest.ended) == ([200, 200], "closed")
    assert counted(answering) == {"200": 2}


def test_a_guest_that_idles_and_has_not_read_its_answer(answering: Answering, clock: Clock) -> None:
    guest = Guest(answering)
    guest.wire.takes = False
    guest.send(get("/openstack"))
    wait(clock, DEFAULT_IDLE_TIME + DEFAULT_WRITE_TIME)
    assert guest.ended == "aborted"
    assert counted(answering) == {"200": 1, "slow_reader": 1}


def test_what_is_sent_after_a_refusal_is_thrown_away_for_a_while(answering: Answering, clock: Clock) -> None:
    guest = Guest(answering)
    guest.send(b"\r\n\r\n", get("/openstack"), get("/openstack"))
    assert guest.statuses == [400]
    assert guest.ended == "half-closed"
    guest.shut()
    guest.read()
    assert guest.ended == "closed"
    wait(clock, DEFAULT_LINGER_TIME)
    assert counted(answering) == {"400": 1, "malformed": 1}


def test_no_timer_runs_without_a_connection(answering: Answering, clock: Clock) -> None:
    guest = Guest(answering)
    assert len(clock.getDelayedCalls()) == 1
    guest.send(get("/openstack", "Connection: close"))
    wait(clock, 2 * AGE_EVERY)
    assert clock.getDelayedCalls() == []
    Guest(answering)
    assert len(clock.getDelayedCalls()) == 1


# -- holding memory --


def test_a_large_answer_arrives_whole(clock: Clock) -> None:
    guest = Guest(with_user_data(clock, MIB))
    (answer, following) = guest.send(get(USER_DATA) + get("/openstack"))
    assert answer.body == MIB
    assert following.status == 200
    (last,) = Guest(with_user_data(clock, MIB)).send(get(USER_DATA, "Connection: close"))
    assert last.body == MIB


@pytest.mark.parametrize("size", [SLICE - 1, SLICE, SLICE + 1, 2 * SLICE])
def test_an_answer_of_about_one_piece_arrives_whole(clock: Clock, size: int) -> None:
    guest = Guest(with_user_data(clock, MIB[:size]))
    (answer, _) = guest.send(get(USER_DATA), get("/openstack", "Connection: close"))
    assert len(answer.body) == size
    assert guest.ended == "closed"


def test_a_guest_that_does_not_read_makes_the_worker_keep_little(clock: Clock) -> None:
    answering = with_user_data(clock, MIB)
    guest = Guest(answering)
    guest.wire.takes = False
    guest.send(get(USER_DATA) * 100)
    assert len(guest.wire.buffer) < BUFFER + SLICE + 4096
    assert not guest.wire.reading
    wait(clock, DEFAULT_WRITE_TIME)
    assert guest.ended == "aborted"
    assert counted(answering) == {"200": 1, "slow_reader": 1}


def test_a_tap_holds_few_long_documents_that_were_made_for_it(clock: Clock) -> None:
    """User data are held once. A long meta_data.json is another in each answer, because of its random_seed."""
    known = Domain(name="web1", user_data=MIB, meta={str(key): "x" * 250 for key in range(900)})
    answering = make_answering(clock, known=known, limits=Limits(max_pinned=600_000))
    guests = [Guest(answering) for _ in range(5)]
    for guest in guests:
        guest.wire.takes = False
    guests[0].send(get(USER_DATA))
    for guest in guests[1:3]:
        guest.send(get(META_DATA))
    assert counted(answering) == {"200": 3}
    guests[3].wire.takes = True
    assert [answer.status for answer in guests[3].send(get(META_DATA))] == [429]
    assert counted(answering) == {"429": 1, "too_much_unread": 1}
    guests[1].wire.takes = True
    guests[1].read()
    assert len(guests[1].answers[0].body) > 200_000
    guests[4].send(get(META_DATA))
    guests[2].wire.abortConnection()
    assert [answer.status for answer in Guest(answering).send(get(META_DATA))] == [200]
    assert counted(answering) == {"200": 2}


def test_the_first_long_document_is_sent_whatever_its_length(clock: Clock) -> None:
    known = Domain(name="web1", vendor_data={"cloud-init": "x" * 200_000})
    answering = make_answering(clock, known=known, limits=Limits(max_pinned=1))
    for _ in range(2):
        (answer,) = Guest(answering).send(get("/openstack/latest/vendor_data.json"))
        assert (answer.status, len(answer.body) > 200_000) == (200, True)


def test_a_guest_that_sends_and_never_reads_stops_itself(clock: Clock) -> None:
    answering = make_answering(clock, limits=Limits(burst=1e9))
    guest = Guest(answering)
    guest.wire.takes = False
    for _ in range(10_000):
        guest.send(get("/openstack"))
    assert len(guest.wire.buffer) < BUFFER + 4096
    assert counted(answering)["200"] < 1000


def test_a_guest_that_reads_slowly_but_reads_gets_all(clock: Clock) -> None:
    guest = Guest(with_user_data(clock, MIB))
    guest.wire.takes = False
    guest.send(get(USER_DATA))
    while guest.wire.buffer:
        wait(clock, DEFAULT_WRITE_TIME - 1)
        guest.wire.takes = True
        guest.wire.turn()
        guest.wire.takes = False
    (answer,) = guest.answers
    assert answer.body == MIB


# -- the worker ends --


def test_a_guest_that_asks_while_the_worker_drains_is_answered_once_more(answering: Answering) -> None:
    idle, silent, half = (Guest(answering) for _ in range(3))
    idle.send(get("/openstack"))
    half.send(b"GET /openstack HTTP/1.1\r\n")
    answering.draining = True
    for guest in (idle, silent):
        assert guest.send(get("/openstack"))[-1].fields["Connection"] == "close"
    half.send(b"Host: 169.254.169.254\r\n\r\n" + get("/openstack"))
    assert [guest.statuses for guest in (idle, silent, half)] == [[200, 200], [200], [200]]
    assert [guest.ended for guest in (idle, silent, half)] == ["closed", "closed", "half-closed"]


def test_idle_connections_end_and_those_with_a_request_do_not(clock: Clock) -> None:
    answering = with_user_data(clock, MIB)
    idle, silent, half, slow = (Guest(answering) for _ in range(4))
    idle.send(get("/openstack"))
    half.send(b"GET /open")
    slow.wire.takes = False
    slow.send(get(USER_DATA))
    store = PasswordStore(answering)
    poster = Guest(answering)
    poster.send(post("secret"))
    answering.draining = True
    answering.guests.end_idle()
    for guest in (idle, silent):
        guest.read()
    assert [guest.ended for guest in (idle, silent, half, slow, poster)] == ["closed", "closed", "", "", ""]
    half.send(b"stack HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n")
    store.decide(Outcome.STORED)
    slow.wire.takes = True
    slow.read()
    answering.guests.end_idle()  # again, for the answer that began before it was known to be the last
    for guest in (half, slow, poster):
        guest.read()
        assert (guest.statuses, guest.ended) == ([200], "closed")
    assert slow.answers[0].body == MIB
    assert answering.guests.is_quiet


def test_a_begun_answer_is_the_last_when_the_supervisor_is_gone(clock: Clock) -> None:
    answering = with_user_data(clock, MIB)
    store = PasswordStore(answering)
    idle, silent, half, unread, slow, poster = (Guest(answering) for _ in range(6))
    idle.send(get("/openstack"))
    half.send(b"GET /open")
    for guest in (unread, slow):
        guest.wire.takes = False
    unread.send(get("/openstack"))
    slow.send(get(USER_DATA) + get("/openstack"))
    poster.send(post("secret"))
    answering.guests.finish()
    store.decide(Outcome.STORED)
    for guest in (unread, slow):
        guest.wire.takes = True
    for guest in (idle, silent, half, unread, slow, poster):
        guest.read()
        guest.send_blindly(b"stack HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n")
    assert [guest.statuses for guest in (idle, silent, half, unread, slow, poster)] == [[200], [], [], [200], [200], []]
    assert slow.answers[0].body == MIB
    for guest in (half, slow):
        assert guest.ended == "half-closed"
        guest.shut()
    assert answering.guests.is_quiet


# -- the law --

PIECES = st.sampled_from(
    [
        get("/openstack"),
        get("/openstack/latest/meta_data.json", version="1.0"),
        get("/latest/meta-data/local-ipv4"),
        get("/", "Expect: 100-continue", "Content-Length: 2", method="POST"),
        get("/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 9", method="PUT"),
        get("/openstack", "X-metadata-token: a"),
        get("/openstack", "If-None-Match: *"),
        get("/openstack/latest/password", "Content-Length: 2", method="POST"),
        get("/x", "Connection: close"),
        get("/x", "Transfer-Encoding: chunked", method="POST"),
        b"GET / HTTP/1.1\r\n",
        b"Host: a\r\n",
        b"\r\n",
        b"\n",
        b"ab",
        b"\0",
        b"GET /%ff HTTP/1.1\r\n",
        b"A" * 5000,
        b"a: b\r\n" * 200,
    ]
)


@given(
    data=st.lists(PIECES, max_size=8).map(b"".join) | st.binary(max_size=200),
    cuts=st.lists(st.integers(0, 2000), max_size=8),
    tag=st.sampled_from([TAG, TAG + 1, None]),
)
def test_any_bytes_get_answers_of_the_closed_set_and_their_cuts_change_nothing(
    data: bytes, cuts: list[int], tag: int | None
) -> None:
    read = []
    for places in ([], cuts, range(len(data))):
        bounds = sorted({0, len(data), *(cut for cut in places if cut < len(data))})
        answering = make_answering(Clock(), grants=TOKENS)
        guest = Guest(answering, tag)
        guest.send(*(data[start:end] for start, end in pairwise(bounds)))
        guest.shut()
        assert set(guest.statuses) <= CLOSED_SET
        assert guest.ended == "closed"
        read.append([(answer.status, answer.fields.items()) for answer in guest.answers])
        assert not any(connections.connections for connections in answering.guests._allowances.values())
    assert read[0] == read[1] == read[2]
