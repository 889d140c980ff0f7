"""Bytes that are held once, however many domains have them."""

from __future__ import annotations

import gc
import hashlib
import weakref

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from eve_meta.runtime.sealed import seal
from eve_meta.values.content import Content, content_of
from eve_meta.values.domain import MAX_USER_DATA, Domain, File
from eve_meta.values.plain import make_converter

DATA = bytes(range(256)) * 8


def new(data: bytes) -> bytes:
    """Return *data* as another object."""
    return bytes(bytearray(data))


def test_equal_bytes_of_any_domains_are_one_object() -> None:
    one = Domain(name="one", user_data=new(DATA), files=(File(path="/a", content=new(DATA)),))
    other = make_converter().structure(make_converter().unstructure(Domain(name="b", user_data=new(DATA))), Domain)
    assert one.user_data is not None
    assert one.user_data is one.files[0].content is other.user_data is content_of(new(DATA))
    assert evolve(one, name="c").user_data is one.user_data


def test_a_content_is_forgotten_with_the_last_that_holds_it() -> None:
    content = content_of(new(b"forgotten"))
    known = weakref.ref(content)
    del content
    gc.collect()
    assert known() is None


@given(st.binary(max_size=40), st.slices(40).filter(lambda part: part.step in (None, 1)))
def test_a_content_has_the_length_and_the_slices_of_its_bytes_wherever_they_lie(data: bytes, part: slice) -> None:
    here, there = content_of(data), Content(len(data), hashlib.sha256(data).hexdigest(), data)
    there.move_to(seal(data))
    for content in (here, there):
        assert (len(content), bytes(content), content[part], bool(content)) == (len(data), data, data[part], bool(data))
    assert here == there
    assert hash(here) == hash(there)
    assert here.digest == hashlib.sha256(data).hexdigest()


def test_different_bytes_are_different_contents() -> None:
    assert content_of(b"a") != content_of(b"b")
    assert content_of(b"a") != b"a"


def test_a_content_shows_nothing_of_its_bytes() -> None:
    content = content_of(b"hunter2")
    assert repr(content) == "<Content of 7 bytes>"
    assert "hunter2" not in repr(Domain(name="a", user_data=content, files=(File(path="/a", content=content),)))


def test_user_data_that_are_too_long_are_refused_without_being_quoted() -> None:
    with pytest.raises(ValueError, match=rf"\Aexpected at most {MAX_USER_DATA} bytes of user data, got \d+\Z"):
        Domain(name="a", user_data=b"x" * (MAX_USER_DATA + 1))
