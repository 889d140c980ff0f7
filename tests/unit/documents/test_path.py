"""Paths that try to leave the guest's tree, or to be two paths at once."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eve_meta.documents.path import BadPath, normalise

META = ("latest", "meta-data")


@pytest.mark.parametrize(
    ("path", "segments"),
    [
        (b"/", ()),
        (b"", ()),
        (b"/latest/meta-data", META),
        (b"/latest/meta-data/", META),
        (b"//latest///meta-data//", META),
        (b"/./latest/./meta-data/.", META),
        (b"/latest/x/../meta-data", META),
        (b"/latest/meta-data/x/..", META),
        (b"/latest/meta-data?recursive=true", META),
        (b"/latest/meta-data?a=/../..", META),
        (b"/latest/meta%2Ddata", META),
        (b"/latest/meta-data?%", META),
        (b"/a%5Fb", ("a_b",)),
        (b"/%E2%82%AC", ("€",)),
        (b"/a%253f", ("a%3f",)),
        (b"/a%3fb", ("a?b",)),
        (b"/...", ("...",)),
        (b"/\\..\\x", ("\\..\\x",)),
    ],
)
def test_a_path_has_one_meaning(path: bytes, segments: tuple[str, ...]) -> None:
    assert normalise(path) == segments


@pytest.mark.parametrize(
    "path",
    [b"/..", b"/../../..", b"/a/../..", b"/%2e%2e/%2E.", b"/.%2e/", b"//..//..", b"/./../"],
)
def test_dots_never_climb_above_the_root(path: bytes) -> None:
    assert normalise(path + b"/latest") == ("latest",)


def test_dots_are_not_decoded_twice() -> None:
    assert normalise(b"/a/%252e%252e/b") == ("a", "%2e%2e", "b")


@pytest.mark.parametrize(
    "path",
    [
        b"/a%2Fb",
        b"/%2f",
        b"/..%2f..%2fetc",
        b"/a%00",
        b"/a\0",
        b"/%ff",
        b"/\xff",
        b"/%c0%ae",
        b"/%",
        b"/%4",
        b"/%zz",
        b"/%%41",
    ],
)
def test_an_ambiguous_path_is_refused(path: bytes) -> None:
    with pytest.raises(BadPath):
        normalise(path)


@given(
    st.lists(st.sampled_from([b"/", b".", b"..", b"%2e", b"%2F", b"%", b"%00", b"a", b"?", b"\xff"])).map(b"".join)
    | st.binary()
)
@example(b"/%2e%2e%2f")
def test_no_bytes_give_a_segment_that_could_be_decoded_again(path: bytes) -> None:
    try:
        segments = normalise(path)
    except BadPath:
        return
    assert not {"", ".", ".."} & set(segments)
    assert not any(character in segment for segment in segments for character in "/\0")
