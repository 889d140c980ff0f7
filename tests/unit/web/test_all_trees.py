"""What holds at every path: in each tree, for each version, for each listing and each document."""

from __future__ import annotations

from collections.abc import Callable
from email.message import Message

import pytest
from twisted.internet.task import Clock

from eve_meta.documents.tokens import KEY_BYTES
from eve_meta.documents.tree import Tree
from eve_meta.documents.versions import AWS_VERSIONS, EC2_VERSIONS, LATEST, OPENSTACK_VERSIONS
from eve_meta.values.domain import TokenPolicy
from eve_meta.web.limits import Limits
from eve_meta.web.table import Grants
from tests.unit.documents.reading import FULL, crawl
from tests.unit.web.guest import Answer, Guest, get, make_answering

ROOTS = (
    *(f"/openstack/{version}" for version in (*OPENSTACK_VERSIONS, LATEST)),
    *(f"/{version}" for version in (*EC2_VERSIONS, *AWS_VERSIONS, LATEST)),
    "/nocloud",
)
LEAVES = [leaf for root in ROOTS for leaf in crawl(Tree(FULL), root)]
LISTINGS = ["/", "/openstack", "/ec2", *ROOTS, *sorted({leaf.rpartition("/")[0] for leaf in LEAVES} - set(ROOTS))]
PLACES = [*LISTINGS, *LEAVES]

CHANGING = "/meta_data.json"
"""Paths with this end have other random bytes in each answer."""

OTHER_METHODS = ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE")

Ask = Callable[..., Answer]


def asking(tokens: TokenPolicy) -> Ask:
    """Return how to ask as the guest of a domain that has everything."""
    limits = Limits(burst=1e9)
    answering = make_answering(
        Clock(), known=FULL, grants=Grants(tokens=tokens, token_key=bytes(KEY_BYTES)), limits=limits
    )

    def ask(path: str, *fields: str, method: str = "GET") -> Answer:
        guest = Guest(answering)
        guest.send_blindly(get(path, *fields, method=method))
        guest.wire.abortConnection()
        if method == "HEAD":
            head, end, body = bytes(guest.wire.received).partition(b"\r\n\r\n")
            guest.wire.received[:] = head.replace(b"\r\nContent-Length: ", b"\r\nX-Length: ") + end
            (answer,) = guest.answers
            return Answer(answer.status, answer.fields, body)
        (answer,) = guest.answers
        return answer

    return ask


@pytest.fixture(scope="module")
def ask() -> Ask:
    return asking(TokenPolicy.OFF)


def header_fields(fields: Message) -> dict[str, str]:
    """Return the header fields of an answer, with the length under its own name."""
    return {name.replace("X-Length", "Content-Length"): value for name, value in fields.items()}


def test_there_is_something_in_each_tree() -> None:
    for root in ROOTS:
        assert any(leaf.startswith(f"{root}/") for leaf in LEAVES)
    assert len(LEAVES) > 300


def test_whatever_is_listed_is_there(ask: Ask) -> None:
    assert {place: ask(place).status for place in PLACES} == dict.fromkeys(PLACES, 200)


def test_a_slash_more_or_less_and_detours_make_no_difference(ask: Ask) -> None:
    for place in PLACES:
        if place.endswith(CHANGING):
            continue
        body = ask(place).body
        for other in (f"{place}/", f"/{place}//", f"/x/..{place}/.?a=/..", f"/..{place}", f"/%2e%2e/.{place}"):
            assert (ask(other).status, ask(other).body) == (200, body), other


def test_head_is_get_without_its_body(ask: Ask) -> None:
    for place in (*PLACES, "/nothing", "/latest/nothing"):
        whole, head = ask(place), ask(place, method="HEAD")
        assert head.body == b""
        assert (head.status, header_fields(head.fields)) == (whole.status, header_fields(whole.fields)), place
        assert int(header_fields(head.fields)["Content-Length"]) == len(whole.body)


def test_what_a_guest_has_already_is_not_sent_again(ask: Ask) -> None:
    for place in PLACES:
        etag = ask(place).fields["ETag"]
        if etag is None:
            assert place.endswith(CHANGING), place
            continue
        for method in ("GET", "HEAD"):
            again = ask(place, f'If-None-Match: "x", {etag}', method=method)
            assert (again.status, again.body, again.fields["ETag"]) == (304, b"", etag), place
        assert ask(place, 'If-None-Match: "x"').status == 200


def test_other_methods_get_405_with_the_allowed_ones(ask: Ask) -> None:
    for place in PLACES:
        # nova's only document that can be written.
        password = place.startswith("/openstack/") and place.endswith("/password")
        for method in OTHER_METHODS:
            answer = ask(place, "Content-Length: 0", method=method)
            if password and method == "POST":
                assert answer.status == 200
            else:
                allowed = "GET, HEAD, POST" if password else "GET, HEAD"
                assert (answer.status, answer.fields["Allow"]) == (405, allowed), (method, place)


def test_where_tokens_are_required_nothing_is_answered_without_one() -> None:
    ask = asking(TokenPolicy.REQUIRED)
    for method in ("GET", "HEAD", *OTHER_METHODS):
        assert {ask(place, "Content-Length: 0", method=method).status for place in PLACES} == {401}
    put = ask("/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 60", "Content-Length: 0", method="PUT")
    field = f"X-aws-ec2-metadata-token: {put.body.decode()}"
    assert {ask(place, field).status for place in PLACES} == {200}
