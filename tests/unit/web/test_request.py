"""Bytes that try to be two requests at once, more than we keep, or no request at all."""

from __future__ import annotations

from http import HTTPStatus
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eve_meta.web.limits import Limits
from eve_meta.web.request import Memo, Need, Refusal, Request, RequestReader

HOST = b"Host: 169.254.169.254\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST
SMALL = Limits(max_request_line=40, max_headers=80, max_header_fields=5, max_body=10)

Outcome = Request | Need | HTTPStatus


def outcomes(*pieces: bytes, limits: Limits | None = None) -> list[Outcome]:
    """Return all outcomes when *pieces* come in one after the other, without the calls for more bytes."""
    reader = RequestReader(Memo(limits or Limits()))
    found: list[Outcome] = []
    for piece in pieces:
        reader.receive(piece)
        try:
            while (outcome := reader.next()) is not Need.DATA:
                found.append(outcome)
        except Refusal as refusal:
            return [*found, refusal.status]
    return found


def one(data: bytes, limits: Limits | None = None) -> Request:
    """Return the only request in *data*."""
    (found,) = outcomes(data, limits=limits)
    assert isinstance(found, Request), found
    return found


def refused(data: bytes, limits: Limits | None = None) -> HTTPStatus:
    """Return the status with which *data* is refused before it gives any request."""
    (found,) = outcomes(data, limits=limits)
    assert isinstance(found, HTTPStatus), found
    return found


# -- what clients send --


def test_a_get_of_curl() -> None:
    request = one(
        b"GET /openstack/latest/meta_data.json?x HTTP/1.1\r\nHost: 169.254.169.254\r\n"
        b"User-Agent: curl/8\r\nAccept: */*\r\n\r\n"
    )
    assert request == Request(
        method=b"GET",
        target=b"/openstack/latest/meta_data.json?x",
        path=("openstack", "latest", "meta_data.json"),
        version=b"1.1",
        host=b"169.254.169.254",
        headers={b"host": b"169.254.169.254", b"user-agent": b"curl/8", b"accept": b"*/*"},
        keep_alive=True,
        body=b"",
    )


def test_a_put_of_alpines_nc_has_neither_host_nor_length() -> None:
    request = one(b"PUT /latest/api/token HTTP/1.0\r\nX-aws-ec2-metadata-token-ttl-seconds: 5\r\n\r\n")
    assert (request.method, request.host, request.body, request.keep_alive) == (b"PUT", None, b"", False)


def test_a_post_with_a_body() -> None:
    request = one(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\na\0b")
    assert request.body == b"a\0b"


def test_requests_in_a_pipeline_come_out_in_order() -> None:
    found = outcomes(b"".join(b"GET /%d HTTP/1.1\r\n" % number + HOST + b"\r\n" for number in range(100)))
    assert [request.path for request in found if isinstance(request, Request)] == [(str(n),) for n in range(100)]


@pytest.mark.parametrize(
    ("version", "connection", "keep_alive"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"Connection: keep-alive\r\n", True),
        (b"1.1", b"Connection: close\r\n", False),
        (b"1.1", b"Connection: TE, \tClose\r\n", False),
        (b"1.1", b"Connection: te\r\nConnection: close\r\n", False),
        (b"1.1", b"Connection: closed\r\n", True),
        (b"1.0", b"", False),
        (b"1.0", b"Connection: keep-alive\r\n", False),
    ],
)
def test_who_may_send_another_request(version: bytes, connection: bytes, keep_alive: bool) -> None:
    assert one(b"GET / HTTP/" + version + b"\r\n" + HOST + connection + b"\r\n").keep_alive is keep_alive


def test_an_absolute_target_brings_its_own_host() -> None:
    request = one(b"GET HTTP://rebound.example:80/latest/?x HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (request.host, request.path) == (b"rebound.example:80", ("latest",))
    assert one(b"GET http://a HTTP/1.1\r\n" + HOST + b"\r\n").path == ()
    assert one(b"GET http://a?b/c HTTP/1.1\r\n" + HOST + b"\r\n").path == ()


def test_one_empty_line_before_a_request_is_skipped() -> None:
    assert one(b"\r\n" + GET + b"\r\n").path == ()
    assert one(b"\r" + b"\n" + GET + b"\r\n").path == ()


def test_fields_of_one_name_are_joined() -> None:
    assert one(GET + b"A: 1\r\na:\t2 \r\nB:\r\n\r\n").headers[b"a"] == b"1, 2"


# -- requests that would be two --


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 1\r\nContent-Length: 1\r\n",
        b"Content-Length: 1\r\nContent-Length: 2\r\n",
        b"Content-Length: 1, 1\r\n",
        b"Content-Length: +1\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 0x1\r\n",
        b"Content-Length: 1_0\r\n",
        b"Content-Length: 1 1\r\n",
        b"Content-Length:\r\n",
        b"Content-Length: \xb2\r\n",
        b"Content-Length: 18446744073709551617\r\n",
        b"Content-Length: " + b"0" * 5000 + b"1\r\n",
        b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
    ],
)
def test_smuggling_by_a_length_that_two_readers_read_differently(fields: bytes) -> None:
    assert refused(GET + fields + b"\r\nx" + GET + b"\r\n") is HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize("coding", [b"CHUNKED", b"gzip, chunked", b"chunked, chunked", b"chunked;a=b"])
def test_codings_are_not_read(coding: bytes) -> None:
    data = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: " + coding + b"\r\n\r\n0\r\n\r\n"
    assert refused(data) in (HTTPStatus.LENGTH_REQUIRED, HTTPStatus.BAD_REQUEST)


def test_http_1_0_has_no_chunks() -> None:
    data = b"PUT / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert refused(data) is HTTPStatus.LENGTH_REQUIRED


CHUNKED = b"PUT /latest/api/token HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"


def test_a_body_of_no_chunks_is_no_body() -> None:
    (put, get) = outcomes(CHUNKED + b"0\r\n\r\n" + GET + b"\r\n")
    assert isinstance(put, Request)
    assert isinstance(get, Request)
    assert (put.method, put.body, put.keep_alive, get.method) == (b"PUT", b"", True, b"GET")


def test_a_body_of_no_chunks_comes_in_any_pieces() -> None:
    whole = CHUNKED + b"0\r\n\r\n"
    for at in range(1, len(whole)):
        (put,) = outcomes(whole[:at], whole[at:])
        assert isinstance(put, Request)
        assert put.body == b""
    assert outcomes(CHUNKED + b"0\r\n\r") == []


def test_a_guest_that_waits_with_a_body_of_no_chunks_is_told_to_go_on() -> None:
    head = CHUNKED.replace(HOST, HOST + b"Expect: 100-continue\r\n")
    (first, second) = outcomes(head, b"0\r\n\r\n")
    assert first is Need.CONTINUE
    assert isinstance(second, Request)


@pytest.mark.parametrize(
    "body",
    [
        b"3\r\nabc\r\n0\r\n\r\n",
        b"1",  # at once, not when it is whole
        b"00\r\n\r\n",
        b"0 \r\n\r\n",
        b"0;a=b\r\n\r\n",
        b"0\r\nX: a\r\n\r\n",
        b"0\n\n",
        b"0\r\n\n",
        b"0\r\r\n",
        b"0x0\r\n\r\n",
        b"-0\r\n\r\n",
        b"+0\r\n\r\n",
        b"\r\n0\r\n\r\n",
        b"0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        GET + b"\r\n",
    ],
)
def test_smuggling_by_chunks(body: bytes) -> None:
    assert refused(CHUNKED + body) is HTTPStatus.LENGTH_REQUIRED


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: a\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\n",
        b"GET / HTTP/1.1\n\n",
        b"\n" + GET + b"\r\n",
    ],
)
def test_smuggling_by_a_bare_line_feed(data: bytes) -> None:
    assert refused(data) is HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize(
    "fields",
    [
        b"X: a\rY: b\r\n",  # a bare CR
        b"X: a\r\r\n",
        b"X: a\r\n folded\r\n",
        b"X: a\r\n\tfolded\r\n",
        b"X:\r\n folded\r\n",
        b"X : a\r\n",
        b"Content-Length : 1\r\n",
        b"X\t: a\r\n",
        b" X: a\r\n",
        b"X Y: a\r\n",
        b"X\r\n",
        b": a\r\n",
        b'"X": a\r\n',
        b"X\xff: a\r\n",
        b"X\0: a\r\n",
        b"X: a\0\r\n",
        b"X: \x01\r\n",
        b"X: \x0b\r\n",
        b"X: \x7f\r\n",
    ],
)
def test_smuggling_by_a_field_that_two_readers_read_differently(fields: bytes) -> None:
    assert refused(GET + fields + b"\r\n") is HTTPStatus.BAD_REQUEST


def test_an_upgrade_is_ignored_and_never_makes_a_tunnel() -> None:
    upgrade = b"POST / HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc"
    (first, second) = outcomes(upgrade + GET + b"\r\n")
    assert isinstance(first, Request)
    assert isinstance(second, Request)
    assert (first.body, second.method) == (b"abc", b"GET")


def test_a_connect_never_makes_a_tunnel() -> None:
    assert refused(b"CONNECT 10.0.0.1:22 HTTP/1.1\r\n" + HOST + b"\r\n") is HTTPStatus.BAD_REQUEST
    (first, second) = outcomes(b"CONNECT / HTTP/1.1\r\n" + HOST + b"\r\n" + GET + b"\r\n")
    assert isinstance(first, Request)
    assert isinstance(second, Request)
    assert (first.method, second.method) == (b"CONNECT", b"GET")


def test_two_hosts_or_none() -> None:
    assert refused(b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n") is HTTPStatus.BAD_REQUEST
    assert refused(b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n") is HTTPStatus.BAD_REQUEST
    assert refused(b"GET / HTTP/1.1\r\n\r\n") is HTTPStatus.BAD_REQUEST


# -- no requests --


@pytest.mark.parametrize(
    "line",
    [
        b"GET /",
        b"GET",
        b"",
        b" GET / HTTP/1.1",
        b"GET  / HTTP/1.1",
        b"GET /  HTTP/1.1",
        b"GET\t/ HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b"GET / HTTP/11",
        b"GET / HTTP/1.10",
        b"GET / http/1.1",
        b"GET / RTSP/1.0",
        b"SOURCE / ICE/1.0",
        b"GET /a b HTTP/1.1",
        b"GET /a\0 HTTP/1.1",
        b"GET /a\x0c HTTP/1.1",
        b"GET /\xff HTTP/1.1",
        b"GET /%ff HTTP/1.1",
        b"GET /a%2fb HTTP/1.1",
        b"GET /a#b HTTP/1.1",
        b"GET latest HTTP/1.1",
        b"GET ?x HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"GET 169.254.169.254:80 HTTP/1.1",
        b"GET https://169.254.169.254/ HTTP/1.1",
        b"GET http:///latest HTTP/1.1",
        b"GET http://user@169.254.169.254/ HTTP/1.1",
        b"G\xc3\x89T / HTTP/1.1",
    ],
)
def test_a_request_line_that_is_none(line: bytes) -> None:
    assert refused(line + b"\r\n" + HOST + b"\r\n") is HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize("version", [b"0.9", b"1.2", b"2.0", b"9.9"])
def test_a_version_that_we_do_not_speak(version: bytes) -> None:
    assert refused(b"GET / HTTP/" + version + b"\r\n") is HTTPStatus.HTTP_VERSION_NOT_SUPPORTED


def test_the_preface_of_http_2() -> None:
    assert refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") is HTTPStatus.HTTP_VERSION_NOT_SUPPORTED


@pytest.mark.parametrize("method", [b"BREW", b"get", b"GETX", b"!"])
def test_a_method_that_nobody_knows(method: bytes) -> None:
    assert refused(method + b" / HTTP/1.1\r\n" + HOST + b"\r\n") is HTTPStatus.NOT_IMPLEMENTED


# -- more than we keep --


def test_a_request_line_that_never_ends() -> None:
    line = b"GET /" + b"a" * (40 - len("GET / HTTP/1.1\r\n")) + b" HTTP/1.1\r\n"
    assert one(line + HOST + b"\r\n", SMALL).method == b"GET"
    assert refused(line.replace(b"a", b"aa", 1) + HOST + b"\r\n", SMALL) is HTTPStatus.REQUEST_URI_TOO_LONG
    assert outcomes(b"a" * 40, limits=SMALL) == []
    assert refused(b"a" * 41, SMALL) is HTTPStatus.REQUEST_URI_TOO_LONG


def test_header_fields_that_never_end() -> None:
    line = b"GET / HTTP/1.0\r\n"
    fields = b"X: " + b"a" * (80 - len("X: \r\n\r\n")) + b"\r\n\r\n"
    assert one(line + fields, SMALL).version == b"1.0"
    assert refused(line + b"Y" + fields, SMALL) is HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    assert outcomes(line, b"a" * 80, limits=SMALL) == []
    assert outcomes(line, b"a" * 81, limits=SMALL) == [HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE]


def test_header_fields_without_number() -> None:
    line = b"GET / HTTP/1.0\r\n"
    assert one(line + b"a:\r\n" * 5 + b"\r\n", SMALL).headers == {b"a": b", , , , "}
    assert refused(line + b"a:\r\n" * 6 + b"\r\n", SMALL) is HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


def test_a_body_that_is_too_long_is_refused_before_it_comes() -> None:
    line = b"POST / HTTP/1.0\r\n"
    assert one(line + b"Content-Length: 10\r\n\r\n0123456789", SMALL).body == b"0123456789"
    assert refused(line + b"Content-Length: 11\r\n\r\n", SMALL) is HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    expecting = b"POST / HTTP/1.1\r\nHost:\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n"
    assert refused(expecting, SMALL) is HTTPStatus.REQUEST_ENTITY_TOO_LARGE


def test_what_is_kept_of_a_slow_sender_is_bounded() -> None:
    reader = RequestReader(Memo(SMALL))
    for _ in range(SMALL.max_request_line):
        reader.receive(b"a")
        assert reader.next() is Need.DATA
        assert reader.pending
    reader.receive(b"a")
    with pytest.raises(Refusal):
        reader.next()


# -- Expect --


def expecting(value: bytes, *, version: bytes = b"1.1", length: int = 3) -> bytes:
    return b"POST / HTTP/%b\r\n%bExpect: %b\r\nContent-Length: %d\r\n\r\n" % (version, HOST, value, length)


def test_a_guest_that_waits_for_100_continue_is_told_once() -> None:
    (first, second) = outcomes(expecting(b"100-Continue"), b"a", b"bc")
    assert first is Need.CONTINUE
    assert isinstance(second, Request)
    assert second.body == b"abc"


def test_a_guest_that_has_nothing_to_send_is_not_told_to() -> None:
    (only,) = outcomes(expecting(b"100-continue", length=0))
    assert isinstance(only, Request)


def test_an_expectation_of_http_1_0_is_ignored() -> None:
    assert one(expecting(b"100-continue", version=b"1.0") + b"abc").body == b"abc"
    assert one(expecting(b"tea", version=b"1.0") + b"abc").body == b"abc"


def test_another_expectation_cannot_be_met() -> None:
    assert refused(expecting(b"tea")) is HTTPStatus.EXPECTATION_FAILED


# -- the law --

PIECES = st.sampled_from(
    [
        b"GET / HTTP/1.1\r\n",
        b"GET /%2e%2e//x?y HTTP/1.0\r\n",
        b"POST /a HTTP/1.1\r\n",
        b"GET /" + b"a" * 20 + b" HTTP/1.1\r\n",
        b"GET http://a/b HTTP/1.1\r\n",
        b"OPTIONS * HTTP/1.1\r\n",
        b"GET / HTTP/2.0\r\n",
        b"PUT ",
        b"Host: a\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: 11\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Expect: 100-continue\r\n",
        b"Connection: close\r\n",
        b"Upgrade: h2c\r\nConnection: upgrade\r\n",
        b"X:" + b"b" * 30 + b"\r\n",
        b"a:\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b":",
        b"abc",
        b"\0",
        b"\xff",
    ]
)
BYTES = st.lists(PIECES, max_size=12).map(b"".join) | st.binary(max_size=60)


@given(data=BYTES, cuts=st.lists(st.integers(0, 200), max_size=8))
def test_how_bytes_are_cut_never_changes_what_they_say(data: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[start:end] for start, end in pairwise(places)]
    whole = outcomes(data, limits=SMALL)
    assert outcomes(*pieces, limits=SMALL) == whole
    assert outcomes(*(bytes([byte]) for byte in data), limits=SMALL) == whole


@given(data=BYTES)
def test_what_is_taken_is_exactly_one_request_after_another(data: bytes) -> None:
    """Written out again by its own account, each request is read as itself and as nothing more."""
    for outcome in outcomes(data, limits=SMALL):
        if isinstance(outcome, Request):
            fields = b"".join(b"%b: %b\r\n" % field for field in outcome.headers.items() if field[0] != b"expect")
            again = b"%b %b HTTP/%b\r\n%b\r\n%b" % (
                outcome.method,
                outcome.target,
                outcome.version,
                fields,
                outcome.body,
            )
            copy = one(again)
            assert (copy.method, copy.path, copy.body, copy.keep_alive) == (
                outcome.method,
                outcome.path,
                outcome.body,
                outcome.keep_alive,
            )
