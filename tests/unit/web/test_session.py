"""Which requests get a session token, and which need one."""

from __future__ import annotations

from http import HTTPStatus

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eve_meta.documents.tokens import MAX_TTL, is_valid
from eve_meta.values.domain import TokenPolicy
from eve_meta.web import session
from eve_meta.web.response import Response
from eve_meta.web.table import Entry
from eve_meta.wire.counts import Note
from tests.unit.web.asking import KEY, SINCE, Reply, ask, known, reply_to
from tests.unit.web.guest import get

PATH = "/latest/api/token"
TTL = "X-aws-ec2-metadata-token-ttl-seconds"

EVERYWHERE = (
    "/",
    "/openstack",
    "/openstack/latest",
    "/openstack/latest/meta_data.json",
    "/openstack/latest/user_data",
    "/latest",
    "/latest/meta-data/",
    "/2009-04-04/user-data",
    "/ec2/latest/meta-data/instance-id",
    "/2021-03-23/meta-data/mac",
    "/nocloud/meta-data",
    "/nocloud/user-data",
    "/nothing",
    "/latest/api",
    "/latest/api/token/x",
)
"""Listings and documents of every tree, and paths where nothing is, which must not be learnt, either."""


def put(*fields: str, tokens: TokenPolicy = TokenPolicy.OPTIONAL, path: str = PATH, method: str = "PUT") -> Response:
    """Return the answer to a request for a token."""
    return ask(known(tokens), path, *fields, method=method)


def token(ttl: int = 60) -> str:
    """Return a token that the guest got at :data:`SINCE`."""
    return bytes(put(f"{TTL}: {ttl}").body).decode()


def show(
    entry: Entry, token: str | None, path: str = "/openstack", *, method: str = "GET", now: float = SINCE
) -> Reply:
    """Return the reply to a request with *token*, None for a request without one."""
    fields = [] if token is None else [f"X-aws-ec2-metadata-token: {token}"]
    return reply_to(entry, get(path, *fields, method=method), now=now)


def status(reply: Reply) -> HTTPStatus:
    """Return the status of *reply*."""
    assert isinstance(reply.response, Response)
    return reply.response.status


# -- issuing --


@pytest.mark.parametrize("tokens", [TokenPolicy.OPTIONAL, TokenPolicy.REQUIRED])
@pytest.mark.parametrize("name", [TTL, TTL.lower(), "X-metadata-token-ttl-seconds"])
@pytest.mark.parametrize("ttl", ["1", "60", "00060", "21600"])
def test_a_put_gets_a_token_and_its_time(tokens: TokenPolicy, name: str, ttl: str) -> None:
    given = put(f"{name}: {ttl}", tokens=tokens)
    assert (given.status, given.content_type) == (HTTPStatus.OK, "text/plain; charset=UTF-8")
    shown = TTL if name.lower() == TTL.lower() else name
    assert given.extra == f"{shown}: {int(ttl)}\r\n"
    assert is_valid(KEY, bytes(given.body), SINCE + int(ttl) - 0.1)
    assert not is_valid(KEY, bytes(given.body), SINCE + int(ttl))


@pytest.mark.parametrize(
    "ttl",
    ["0", "-1", "+1", "21601", "99999", "100000", "1" * 5000, "1.0", "1e3", "0x10", "1_0", "60 s", "sixty", "", "\xb2"],
)
def test_a_lifetime_that_is_no_number_of_seconds(ttl: str) -> None:
    assert put(f"{TTL}: {ttl}") is session.BAD_TTL
    assert session.BAD_TTL.status is HTTPStatus.BAD_REQUEST


def test_no_lifetime_or_two() -> None:
    assert put() is session.BAD_TTL
    assert put(f"{TTL}: 60", f"{TTL}: 60") is session.BAD_TTL


@pytest.mark.parametrize("name", ["X-Forwarded-For", "x-forwarded-for", "X-FORWARDED-FOR"])
@pytest.mark.parametrize("value", ["10.0.0.9", ""])
def test_a_token_is_not_issued_through_a_proxy(name: str, value: str) -> None:
    for ttl in (f"{TTL}: 60", f"{TTL}: 0"):
        assert put(ttl, f"{name}: {value}") is session.FORWARDED
    assert session.FORWARDED.status is HTTPStatus.FORBIDDEN


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("tokens", [TokenPolicy.OPTIONAL, TokenPolicy.REQUIRED])
def test_only_a_put_gets_a_token(method: str, tokens: TokenPolicy) -> None:
    refused = put(f"{TTL}: 60", method=method, tokens=tokens)
    assert (refused.status, refused.extra) == (HTTPStatus.METHOD_NOT_ALLOWED, "Allow: PUT\r\n")


@pytest.mark.parametrize("path", ["/latest//api/./token", "/latest/api/token/", "/%6catest/api/token?x"])
def test_the_path_is_normalised_like_any_other(path: str) -> None:
    assert put(f"{TTL}: 60", path=path).status is HTTPStatus.OK


@pytest.mark.parametrize("path", ["/2021-03-23/api/token", "/ec2/latest/api/token", "/openstack/latest/api/token"])
def test_tokens_are_issued_at_one_path(path: str) -> None:
    assert put(f"{TTL}: 60", path=path).status is HTTPStatus.NOT_FOUND


def test_where_tokens_are_off_their_path_is_404() -> None:
    for method in ("GET", "PUT"):
        assert put(f"{TTL}: 60", method=method, tokens=TokenPolicy.OFF).status is HTTPStatus.NOT_FOUND


def test_every_answer_to_a_put_is_hop_limited_and_ends_its_connection() -> None:
    for answer in (put(f"{TTL}: 60"), session.BAD_TTL, session.FORWARDED):
        assert (answer.hop_limited, answer.close) == (True, True)
    for reply in (show(known(TokenPolicy.REQUIRED), token()), show(known(TokenPolicy.REQUIRED), None)):
        assert isinstance(reply.response, Response)
        assert not reply.response.hop_limited


# -- requiring --


@pytest.mark.parametrize("path", EVERYWHERE)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT"])
def test_where_tokens_are_required_nothing_is_answered_without_one(path: str, method: str) -> None:
    entry = known(TokenPolicy.REQUIRED)
    assert show(entry, None, path, method=method) == Reply(session.UNAUTHORIZED, Note.NO_TOKEN)
    assert show(entry, "AAAA", path, method=method) == Reply(session.UNAUTHORIZED, Note.INVALID_TOKEN)
    assert status(show(entry, token(), path, method=method)) is not HTTPStatus.UNAUTHORIZED


@pytest.mark.parametrize("path", EVERYWHERE)
def test_where_tokens_are_optional_requests_without_one_are_answered_and_counted(path: str) -> None:
    reply = show(known(TokenPolicy.OPTIONAL), None, path)
    assert reply == Reply(show(known(TokenPolicy.OFF), None, path).response, Note.NO_TOKEN)
    assert show(known(TokenPolicy.OPTIONAL), token(), path).note is None


def test_an_invalid_token_is_refused_where_none_is_needed() -> None:
    reply = show(known(TokenPolicy.OPTIONAL), "AAAA")
    assert reply == Reply(session.UNAUTHORIZED, Note.INVALID_TOKEN)
    assert session.UNAUTHORIZED.status is HTTPStatus.UNAUTHORIZED


@pytest.mark.parametrize("shown", [None, "AAAA", ""])
def test_where_tokens_are_off_they_are_ignored(shown: str | None) -> None:
    assert show(known(TokenPolicy.OFF), shown).note is None
    assert status(show(known(TokenPolicy.OFF), shown)) is HTTPStatus.OK


@pytest.mark.parametrize("tokens", [TokenPolicy.OPTIONAL, TokenPolicy.REQUIRED])
def test_an_expired_token(tokens: TokenPolicy) -> None:
    assert show(known(tokens), token(60), now=SINCE + 59.9).note is None
    assert show(known(tokens), token(60), now=SINCE + 60).note is Note.INVALID_TOKEN
    assert show(known(tokens), token(MAX_TTL), now=SINCE + MAX_TTL).note is Note.INVALID_TOKEN


@pytest.mark.parametrize("tokens", [TokenPolicy.OPTIONAL, TokenPolicy.REQUIRED])
def test_another_guests_token(tokens: TokenPolicy) -> None:
    entry = known(tokens)
    entry.grants = attrs.evolve(entry.grants, token_key=KEY[::-1])
    assert show(entry, token()).note is Note.INVALID_TOKEN


def test_two_tokens_are_no_valid_one() -> None:
    fields = [f"X-aws-ec2-metadata-token: {token()}"] * 2
    assert reply_to(known(TokenPolicy.REQUIRED), get("/openstack", *fields)).note is Note.INVALID_TOKEN


def test_firecrackers_name_for_a_token() -> None:
    entry = known(TokenPolicy.REQUIRED)
    assert reply_to(entry, get("/openstack", f"X-Metadata-Token: {token()}")).note is None
    # Of two names AWS's counts: a second token must not save a first one that is bad.
    both = ["X-aws-ec2-metadata-token: AAAA", f"X-metadata-token: {token()}"]
    assert reply_to(entry, get("/openstack", *both)).note is Note.INVALID_TOKEN


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=60))
def test_no_text_at_all_is_a_token_by_chance(text: str) -> None:
    fields = f"GET / HTTP/1.0\r\nX-aws-ec2-metadata-token:{text}\r\n\r\n".encode("latin-1")
    assert reply_to(known(TokenPolicy.REQUIRED), fields).note is Note.INVALID_TOKEN
