"""What a guest is told, and that it is told nothing else."""

from __future__ import annotations

import datetime
from http import HTTPStatus

import pytest

from eve_meta.documents.document import SEED_BYTES
from eve_meta.documents.tree import Tree
from eve_meta.domain import Domain
from eve_meta.web import answer as answers
from eve_meta.web.answer import Asking, Response, answer
from eve_meta.web.limits import Limits
from eve_meta.web.request import Request, RequestReader
from eve_meta.web.table import Entry
from tests.unit.web.guest import get

SINCE = 1000.0
WAIT = 60.0
UNKNOWN = Entry("vnet0", SINCE, None)
KNOWN = Entry("vnet0", SINCE, b"", Tree(Domain(name="web1", user_data=b"\x1f\x8b\0\xff")))


def ask(entry: Entry | None, path: str, *, method: str = "GET", now: float = SINCE) -> Response:
    """The answer to a request for *path*."""
    reader = RequestReader(Limits())
    reader.receive(get(path, method=method))
    request = reader.next()
    assert isinstance(request, Request)
    asking = Asking(
        peer="10.0.0.5",
        now=now,
        today=datetime.date(2026, 1, 1),
        seed=lambda: bytes(SEED_BYTES),
        domain_wait=WAIT,
    )
    return answer(entry, request, asking)


@pytest.mark.parametrize("path", ["/", "/openstack", "/openstack/latest/user_data", "/latest/meta-data", "/nothing"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_a_tag_that_the_table_does_not_have_yet(path: str, method: str) -> None:
    assert ask(None, path, method=method) is answers.UNKNOWN_TAG
    assert answers.UNKNOWN_TAG.close


@pytest.mark.parametrize(
    "path", ["/openstack", "/openstack/", "//x/../openstack", "/openstack/latest/user_data", "/openstack/x"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_a_guest_whose_domain_may_still_come_is_told_to_retry(path: str, method: str) -> None:
    for now in (SINCE, SINCE + WAIT - 0.1):
        assert ask(UNKNOWN, path, method=method, now=now) is answers.UNKNOWN_DOMAIN
    assert "Retry-After: 1\r\n" in answers.UNKNOWN_DOMAIN.extra


def test_a_guest_whose_domain_did_not_come_is_told_to_go_on() -> None:
    assert ask(UNKNOWN, "/openstack", now=SINCE + WAIT) is answers.NOT_FOUND


@pytest.mark.parametrize(
    "path", ["/", "/latest", "/latest/meta-data/", "/latest/api/token", "/ec2", "/Openstack", "/openstackx"]
)
def test_no_other_path_waits_for_a_domain(path: str) -> None:
    assert ask(UNKNOWN, path) is answers.NOT_FOUND


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_document_is_sent_as_it_is(method: str) -> None:
    found = ask(KNOWN, "/openstack/latest/user_data", method=method)
    assert (found.status, found.body, found.close) == (HTTPStatus.OK, b"\x1f\x8b\0\xff", False)
    assert found.content_type == "text/plain; charset=UTF-8"
    assert ask(KNOWN, "/openstack/latest/meta_data.json").content_type == "application/json"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH"])
def test_another_method_finds_what_is_there_but_does_nothing(method: str) -> None:
    found = ask(KNOWN, "/openstack/latest/user_data", method=method)
    assert found is answers.NOT_ALLOWED
    assert found.extra == "Allow: GET, HEAD\r\n"
    assert ask(KNOWN, "/nothing", method=method) is answers.NOT_FOUND


def test_randomness_is_asked_for_only_where_a_document_needs_it() -> None:
    assert b'"random_seed": "AAAA' in ask(KNOWN, "/openstack/latest/meta_data.json").body


def test_a_head_says_what_the_body_is() -> None:
    head = ask(KNOWN, "/openstack/latest/user_data").head(date="Thu, 01 Jan 2026 00:00:00 GMT", close=True)
    assert head == (
        b"HTTP/1.1 200 OK\r\n"
        b"Server: eve-meta\r\n"
        b"Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
        b"Content-Type: text/plain; charset=UTF-8\r\n"
        b"Content-Length: 4\r\n"
        b"Connection: close\r\n\r\n"
    )


def test_every_refusal_ends_the_connection_and_says_little() -> None:
    for status, refusal in answers.REFUSED.items():
        assert refusal.status is status
        assert refusal.close
        assert refusal.body == f"{status.value} {status.phrase}\n".encode()
