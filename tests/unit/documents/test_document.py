from __future__ import annotations

import base64
import re

import pytest

from eve_meta.documents.document import Document

SEED = bytes(range(256)) * 2


def test_the_seed_is_filled_in_at_its_place() -> None:
    document = Document(b'{"seed": "", "x": 1}', "application/json", 10)
    assert document.render(SEED) == b'{"seed": "' + base64.b64encode(SEED) + b'", "x": 1}'


def test_each_answer_has_its_own_seed() -> None:
    document = Document(b'""', "application/json", 1)
    assert document.render(SEED) != document.render(SEED[::-1])


def test_a_document_without_a_place_for_a_seed_is_sent_unchanged() -> None:
    body = b"\x1f\x8b\xff\0"
    assert Document(body).render(SEED) is body


def test_the_body_is_not_in_the_repr() -> None:
    assert "secret" not in repr(Document(b"secret"))


def test_an_entity_tag_depends_on_the_bytes_alone() -> None:
    body = b"\x1f\x8b\xff\0"
    assert Document(body).etag == '"cc76de631259a9ca014571c0a26ab069"'
    assert Document(body, "application/json").etag == Document(body).etag
    tags = {Document(body).etag for body in (b"", b"\0", b"a", b"b", b"a\n", b"A")}
    assert len(tags) == 6


def test_an_entity_tag_has_the_form_of_the_header_field() -> None:
    assert re.fullmatch('"[0-9a-f]{32}"', str(Document(b"").etag))


def test_an_entity_tag_is_computed_once() -> None:
    document = Document(b"x" * 1000)
    assert document.etag is document.etag
    assert document == Document(b"x" * 1000)
    assert str(document.etag) not in repr(document)


def test_a_document_with_a_seed_has_no_entity_tag() -> None:
    """Two answers differ, and a client that gets a 304 would use one seed twice."""
    assert Document(b'""', "application/json", 1).etag is None


@pytest.mark.parametrize("length", [0, 511, 513])
def test_a_seed_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"expected 512 random bytes, got {length}"):
        Document(b'""', "application/json", 1).render(bytes(length))
