"""What a guest's connection inherits."""

from __future__ import annotations

import socket

from eve_meta.web.listener import SEND_BUFFER, prepare


def test_an_accepted_socket_holds_little_and_delays_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        prepare(listener)
        with socket.create_connection(listener.getsockname()):
            (accepted, _) = listener.accept()
            with accepted:
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * SEND_BUFFER
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
