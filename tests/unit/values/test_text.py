"""Text that others wrote cannot reach a terminal, a log or a field as anything but text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eve_meta.values.text import escape_unprintable, is_printable, to_printable_ascii

HOSTILE = "a\x1b]0;owned\x07\x9b31m\rb\u202ec\nd\ud800é \\"
"""A terminal's escape sequences, line breaks, a change of direction, half a character; and what is harmless."""


@pytest.mark.parametrize(
    ("text", "printable"),
    [
        ("web 1", True),
        ("wéb", True),
        ("w" * 5, True),
        ("w" * 6, False),
        ("", False),
        ("a\n", False),
        ("\x1b[31m", False),
        ("\u202e", False),
        ("\xa0", False),  # a space, but not the ASCII one
        (b"web1", False),
        (None, False),
    ],
)
def test_printable_is_a_short_string_of_printable_characters(text: object, printable: bool) -> None:
    assert is_printable(text, 5) is printable


def test_unprintable_characters_are_escaped_and_others_kept() -> None:
    assert escape_unprintable(HOSTILE) == r"a\x1b]0;owned\x07\x9b31m\rb\u202ec\nd\ud800é " + "\\"


def test_a_line_break_is_kept_where_the_caller_wants_it() -> None:
    assert escape_unprintable("a\r\nb\x07", keep="\n") == "a\\r\nb\\x07"


def test_ascii_has_a_question_mark_for_each_other_character() -> None:
    assert to_printable_ascii(HOSTILE) == "a?]0;owned??31m?b?c?d?? \\"


@given(text=st.text())
def test_whatever_the_text_the_result_is_printable(text: str) -> None:
    assert escape_unprintable(text).isprintable()
    ascii_text = to_printable_ascii(text)
    assert ascii_text.isprintable()
    assert ascii_text.isascii()
    assert len(ascii_text) == len(text)
