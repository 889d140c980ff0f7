"""What a guest is answered, and that it learns nothing else."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from eve_meta.documents.paths import READ
from eve_meta.documents.tree import Tree
from eve_meta.values.domain import Domain, TokenPolicy
from eve_meta.values.eve_node import Adapter, Application
from eve_meta.web import answer as answers
from eve_meta.web.answer import StorePassword
from eve_meta.web.table import Entry, Grants
from eve_meta.wire.counts import Note
from eve_meta.wire.password import MAX_PASSWORD
from tests.unit.web.asking import NODE, SINCE, UNKNOWN, WAIT, ask, known, reply_to
from tests.unit.web.guest import get

KNOWN = known()


@pytest.mark.parametrize("path", ["/", "/openstack", "/openstack/latest/user_data", "/latest/meta-data", "/nothing"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_a_tag_that_the_table_does_not_have_yet(path: str, method: str) -> None:
    assert ask(None, path, method=method) is answers.UNKNOWN_TAG
    assert answers.UNKNOWN_TAG.close


@pytest.mark.parametrize(
    "path",
    [
        "/openstack",
        "/openstack/",
        "//x/../openstack",
        "/openstack/latest/user_data",
        "/openstack/x",
        "/nocloud/meta-data",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_a_guest_whose_domain_may_still_become_known_retries(path: str, method: str) -> None:
    for now in (SINCE, SINCE + WAIT - 0.1):
        assert ask(UNKNOWN, path, method=method, now=now) is answers.UNKNOWN_DOMAIN
    assert "Retry-After: 1\r\n" in answers.UNKNOWN_DOMAIN.extra


def test_a_guest_that_wants_a_token_before_its_domain_is_known_retries() -> None:
    assert ask(UNKNOWN, "/latest/api/token", method="PUT") is answers.UNKNOWN_DOMAIN
    assert ask(UNKNOWN, "/latest/api/token", method="PUT", now=SINCE + WAIT) is answers.NOT_FOUND


def test_a_guest_whose_domain_stays_unknown_gets_404_in_the_end() -> None:
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
def test_another_method_than_get_and_head_gets_405_where_a_document_is(method: str) -> None:
    found = ask(KNOWN, "/openstack/latest/user_data", method=method)
    assert found is answers.NOT_ALLOWED[READ]
    assert found.extra == "Allow: GET, HEAD\r\n"
    assert ask(KNOWN, "/nothing", method=method) is answers.NOT_FOUND


def test_randomness_is_asked_for_only_where_a_document_needs_it() -> None:
    assert b'"random_seed": "AAAA' in bytes(ask(KNOWN, "/openstack/latest/meta_data.json").body)


def test_the_header_fields_of_a_document() -> None:
    answer = ask(KNOWN, "/openstack/latest/user_data")
    assert answer.head(date="Thu, 01 Jan 2026 00:00:00 GMT", close=True) == (
        b"HTTP/1.1 200 OK\r\n"
        b"Server: eve-meta\r\n"
        b"Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
        b"Content-Type: text/plain; charset=UTF-8\r\n"
        b"Content-Length: 4\r\n"
        b'ETag: "6adf81ba16d001cb9c84f1bcbe5bb40b"\r\n'
        b"Connection: close\r\n\r\n"
    )


def test_every_refusal_ends_the_connection_and_has_its_status_for_a_body() -> None:
    for status, refusal in answers.REFUSED.items():
        assert refusal.status is status
        assert refusal.close
        assert refusal.body == f"{status.value} {status.phrase}\n".encode()


# -- conditions --

USER_DATA = "/openstack/latest/user_data"
META_DATA = "/openstack/latest/meta_data.json"
PASSWORD = "/openstack/latest/password"


def etag_of(path: str) -> str:
    """Return the entity tag of the document at *path*."""
    found = ask(KNOWN, path)
    assert found.extra.startswith('ETag: "')
    return found.extra.removeprefix("ETag: ").rstrip()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_a_guest_has_already_is_not_sent_again(method: str) -> None:
    etag = etag_of(USER_DATA)
    for value in (etag, f"W/{etag}", f'"a", {etag}', f'W/"a" ,{etag},"b"', "*"):
        found = ask(KNOWN, USER_DATA, f"If-None-Match: {value}", method=method)
        assert (found.status, found.body, found.extra) == (HTTPStatus.NOT_MODIFIED, b"", f"ETag: {etag}\r\n")
    head = found.head(date="Thu, 01 Jan 2026 00:00:00 GMT", close=False)
    assert b"Content-" not in head  # RFC 9110 section 15.4.5: not of the document, and there is no other


@pytest.mark.parametrize("value", ['""', '"a"', "", "**", "a, b", '"', "W/", '"*"', "\xff"])
def test_another_entity_tag_changes_nothing(value: str) -> None:
    etag = etag_of(USER_DATA)
    for other in (value, etag.strip('"'), etag[:-1]):
        assert ask(KNOWN, USER_DATA, f"If-None-Match: {other}").status is HTTPStatus.OK


def test_equal_bytes_have_one_entity_tag_and_others_another() -> None:
    assert etag_of(USER_DATA) == etag_of("/latest/user-data")
    assert etag_of(USER_DATA) != etag_of("/latest/meta-data/hostname")


def test_a_fresh_random_seed_is_never_called_unmodified() -> None:
    assert ask(KNOWN, META_DATA).extra == ""
    assert ask(KNOWN, META_DATA, f"If-None-Match: {etag_of(USER_DATA)}").status is HTTPStatus.OK


def test_conditions_of_other_kinds_are_ignored() -> None:
    for field in ("If-Modified-Since: Thu, 01 Jan 2026 00:00:00 GMT", 'If-Match: "a"', "Range: bytes=0-0"):
        assert ask(KNOWN, USER_DATA, field).status is HTTPStatus.OK


def test_a_condition_on_what_is_not_there_or_not_allowed() -> None:
    assert ask(KNOWN, "/nothing", "If-None-Match: *") is answers.NOT_FOUND
    assert ask(KNOWN, USER_DATA, "If-None-Match: *", method="PUT") is answers.NOT_ALLOWED[READ]


# -- EVE's endpoints --


def eve_entry(openstack: bool) -> Entry:
    """Return the entry of a tag whose domain is an application of EVE, on a network instance without ports."""
    adapter = Adapter(taps=("nbu1x1",), external_ipv4=())
    domain = Domain(name="app1", eve=Application(openstack=openstack, adapters=(adapter,)), user_data=b"secret")
    return Entry("nbu1x1", SINCE, b"", tree=Tree(domain, tap="nbu1x1"))


EVE = "/eve/v1"


def test_what_is_unknown_has_no_content_at_all() -> None:
    for path in ("network.json", "external_ipv4", "wwan/status.json", "wwan/metrics.json"):
        found = ask(eve_entry(True), f"{EVE}/{path}", "If-None-Match: *")
        assert (found.status, found.body, found.extra) == (HTTPStatus.NO_CONTENT, b"", "")
        assert b"\r\nContent-" not in found.head(date="Thu, 01 Jan 2026 00:00:00 GMT", close=False)


def test_an_application_that_may_not_discover_others_is_refused() -> None:
    found = ask(eve_entry(True), f"{EVE}/discover-network.json")
    assert (found.status, found.close) == (HTTPStatus.FORBIDDEN, False)
    assert bytes(found.body).startswith(b"403 Forbidden")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_eves_endpoints_are_read_only(method: str) -> None:
    assert ask(eve_entry(True), f"{EVE}/hostname", method=method) is answers.NOT_ALLOWED[READ]
    assert ask(eve_entry(True), f"{EVE}/kubeconfig", method=method) is answers.NOT_FOUND


def test_what_eve_publishes_of_its_node_is_for_its_applications_alone() -> None:
    path = f"{EVE}/location.json"
    found = ask(eve_entry(False), path)
    assert (found.status, found.body, found.content_type) == (HTTPStatus.OK, NODE.location, "application/json")
    assert ask(KNOWN, path) is answers.NOT_FOUND
    assert ask(UNKNOWN, path) is answers.NOT_FOUND
    assert ask(None, path) is answers.UNKNOWN_TAG


def test_an_application_without_openstack_metadata_has_eves_endpoints_and_nothing_else() -> None:
    assert ask(eve_entry(False), f"{EVE}/hostname").status is HTTPStatus.OK
    for path in ("/", "/openstack", USER_DATA, META_DATA, "/latest/user-data", "/nocloud/user-data", PASSWORD):
        assert ask(eve_entry(False), path) is answers.NOT_FOUND
        assert ask(eve_entry(True), path).status is HTTPStatus.OK


def test_eves_endpoints_need_a_token_where_one_is_required() -> None:
    entry = eve_entry(True)
    entry.grants = Grants(tokens=TokenPolicy.REQUIRED)
    assert ask(entry, f"{EVE}/hostname").status is HTTPStatus.UNAUTHORIZED


# -- passwords --


def post(body: bytes, *, password: str | None = None, path: str = PASSWORD) -> object:
    """Return the response to a POST of *body*."""
    request = get(path, f"Content-Length: {len(body)}", method="POST") + body
    return reply_to(known(password=password), request).response


def test_a_password_is_stored_before_it_is_answered() -> None:
    assert post("pässword\n".encode()) == StorePassword("pässword\n")
    assert post(b"x" * MAX_PASSWORD) == StorePassword("x" * MAX_PASSWORD)


@pytest.mark.parametrize("body", [b"x" * (MAX_PASSWORD + 1), "ä".encode() * 511, b"\xff", b"\xed\xa0\x80", b"a\xc3"])
def test_what_is_no_password_gets_400_and_not_500(body: bytes) -> None:
    assert post(body) is answers.PASSWORD_REFUSED
    assert answers.PASSWORD_REFUSED.status is HTTPStatus.BAD_REQUEST


def test_no_password_at_all_leaves_it_unset() -> None:
    assert post(b"") is answers.PASSWORD_KEPT
    no_length = reply_to(known(), get(PASSWORD, method="POST"))
    assert no_length.response is answers.PASSWORD_KEPT
    assert (answers.PASSWORD_KEPT.body, answers.PASSWORD_KEPT.content_type) == (b"", "text/html; charset=UTF-8")


@pytest.mark.parametrize("body", [b"x", b"", b"x" * 5000, b"\xff"])
def test_a_password_that_is_set_stays(body: bytes) -> None:
    assert post(body, password="first") is answers.PASSWORD_SET_BEFORE
    assert answers.PASSWORD_SET_BEFORE.status is HTTPStatus.CONFLICT


def test_a_password_is_read_as_it_was_posted() -> None:
    assert ask(known(), PASSWORD).body == b""
    assert ask(known(password="pässword\n"), PASSWORD).body == "pässword\n".encode()


@pytest.mark.parametrize("version", ["2012-08-10", "2011-01-01"])
def test_no_password_before_its_version(version: str) -> None:
    assert post(b"x", path=f"/openstack/{version}/password") is answers.NOT_FOUND
    assert post(b"x", path="/openstack/2013-04-04/password") == StorePassword("x")


@pytest.mark.parametrize("path", ["/latest/password", "/openstack/password", f"{PASSWORD}/x", "/openstack/latest"])
def test_a_password_can_be_posted_nowhere_else(path: str) -> None:
    assert post(b"x", path=path) in (answers.NOT_FOUND, answers.NOT_ALLOWED[READ])


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_other_methods_on_a_password(method: str) -> None:
    assert ask(KNOWN, PASSWORD, method=method).extra == "Allow: GET, HEAD, POST\r\n"


def test_without_a_token_where_one_is_required_no_password_is_set() -> None:
    reply = reply_to(known(TokenPolicy.REQUIRED), get(PASSWORD, "Content-Length: 1", method="POST") + b"x")
    assert (reply.response.status, reply.note) == (HTTPStatus.UNAUTHORIZED, Note.NO_TOKEN)  # type: ignore[union-attr]
