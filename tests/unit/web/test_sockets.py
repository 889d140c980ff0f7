"""What an accepted socket inherits from its listener, and the tag that the kernel gave it."""

from __future__ import annotations

import socket
from typing import cast

import pytest

from eve_meta.values.tag import mark_of_tag
from eve_meta.web.sockets import SEND_BUFFER, SILENT_TIME, prepare, tag_of_socket


def test_an_accepted_socket_holds_little_and_delays_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        prepare(listener)
        with socket.create_connection(listener.getsockname()) as guest:
            guest.sendall(b"G")
            (accepted, _) = listener.accept()
            with accepted:
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * SEND_BUFFER
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_a_silent_guest_is_accepted_only_after_a_while() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        prepare(listener)
        with socket.create_connection(listener.getsockname()):
            listener.settimeout(SILENT_TIME / 2)
            with pytest.raises(TimeoutError):
                listener.accept()
            listener.settimeout(3 * SILENT_TIME)
            (accepted, _) = listener.accept()
            accepted.close()


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
