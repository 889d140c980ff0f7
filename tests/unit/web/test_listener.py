"""What an accepted connection inherits from the listener."""

from __future__ import annotations

import socket

import pytest

from eve_meta.web.sockets import SEND_BUFFER, SILENT_TIME, prepare


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
