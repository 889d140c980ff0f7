"""The tag of a connection, from the mark that the kernel gave its socket."""

from __future__ import annotations

import socket
from typing import cast

import pytest

from eve_meta.values.tag import mark_of_tag
from eve_meta.web.sockets import tag_of_socket


class Marked:
    """A socket with a mark, which takes CAP_NET_ADMIN to set."""

    def __init__(self, mark: int) -> None:
        self._mark = mark

    def getsockopt(self, level: int, option: int) -> int:
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_MARK)
        return self._mark


@pytest.mark.parametrize(
    ("mark", "tag"), [(mark_of_tag(1), 1), (mark_of_tag(0xFFFF), 0xFFFF), (7, None), (0x10000, None)]
)
def test_the_tag_is_in_the_mark(mark: int, tag: int | None) -> None:
    assert tag_of_socket(cast(socket.socket, Marked(mark))) == tag


def test_a_connection_from_no_tap_has_no_tag() -> None:
    with socket.socket() as unmarked:
        assert tag_of_socket(unmarked) is None
