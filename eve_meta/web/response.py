"""An answer as bytes."""

from __future__ import annotations

from http import HTTPStatus

from attrs import field, frozen

from eve_meta.documents.document import PLAIN

RETRY_AFTER = 1
"""Seconds until a guest should ask again. cloud-init honours it; Ignition and Afterburn have waits of their own."""

_BEGINNINGS = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\nServer: eve-meta\r\nDate: " for status in HTTPStatus
}

# In a 304 these two would speak of the document that is not sent (RFC 9110 sections 8.6 and 15.4.5); a 204 has none,
# and may have no length (section 8.6).
_WITHOUT_CONTENT = (HTTPStatus.NOT_MODIFIED.value, HTTPStatus.NO_CONTENT.value)


@frozen
class Response:
    """An answer, without what depends on its connection.

    :ivar status: the status code.
    :ivar body: the bytes; an answer to HEAD keeps them to itself.
    :ivar content_type: the value of ``Content-Type``.
    :ivar extra: further header fields, each ended by CRLF.
    :ivar close: whether the connection ends with it.
    :ivar hop_limited: whether it leaves with the configured hop limit (:mod:`eve_meta.web.sockets`). Such a one closes.
    """

    status: HTTPStatus
    body: bytes = field(repr=False)  # secrets do not belong into a log
    content_type: str = PLAIN
    extra: str = ""
    close: bool = False
    hop_limited: bool = False

    def head(self, *, date: str, close: bool) -> bytes:
        """Status line and header fields (RFC 9112 section 4).

        The status line says HTTP/1.1 to guests of HTTP/1.0 too (RFC 9110 section 2.5). ``Server`` tells whoever looks
        that this is not the metadata service of the host's own cloud; our version is no guest's business.

        :param date: now, as an HTTP date (RFC 9110 section 6.6.1).
        :param close: whether the connection ends with this answer.
        """
        code = int(self.status)  # the members of an enum hash and compare in Python, for each answer
        connection = "Connection: close\r\n" if close else ""
        content = (
            ""
            if code in _WITHOUT_CONTENT
            else f"Content-Type: {self.content_type}\r\nContent-Length: {len(self.body)}\r\n"
        )
        return f"{_BEGINNINGS[code]}{date}\r\n{content}{self.extra}{connection}\r\n".encode("ascii")


def refusal(
    status: HTTPStatus, why: str = "", *, extra: str = "", close: bool = False, hop_limited: bool = False
) -> Response:
    """An answer that refuses; *why*, for who reads it, is a constant and never of the request."""
    said = f"{status.value} {status.phrase}" + (f": {why}" if why else "")
    return Response(status, f"{said}\n".encode(), extra=extra, close=close, hop_limited=hop_limited)


def not_allowed(*methods: bytes) -> Response:
    """The 405 where only *methods* are allowed (RFC 9110 section 15.5.6)."""
    return refusal(HTTPStatus.METHOD_NOT_ALLOWED, extra=f"Allow: {b', '.join(methods).decode()}\r\n")
