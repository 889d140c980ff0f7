"""An answer, and its bytes."""

from __future__ import annotations

from http import HTTPStatus

from attrs import field, frozen

from eve_meta.documents.document import PLAIN
from eve_meta.values.content import Content

RETRY_AFTER = 1
"""Seconds after which a guest should retry. cloud-init honours it; Ignition and Afterburn have waits of their own."""

_BEGINNINGS = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\nServer: eve-meta\r\nDate: " for status in HTTPStatus
}

# Statuses whose answers have neither Content-Type nor Content-Length. In a 304 these two would describe the document
# that is not sent (RFC 9110 sections 8.6 and 15.4.5); a 204 has no content, and may have no length (section 8.6).
_WITHOUT_CONTENT = (HTTPStatus.NOT_MODIFIED.value, HTTPStatus.NO_CONTENT.value)


@frozen
class Response:
    """An answer, without what depends on its connection.

    :ivar status: the status code.
    :ivar body: the bytes of the body, as :class:`~eve_meta.documents.document.Document` has them; in an answer to HEAD
        they are counted and not sent.
    :ivar content_type: the value of ``Content-Type``.
    :ivar extra: further header fields, each ended by CRLF.
    :ivar close: whether the connection ends with this answer.
    :ivar hop_limited: whether it leaves with the configured hop limit (:mod:`eve_meta.web.sockets`); it closes, too.
    """

    status: HTTPStatus
    body: bytes | Content = field(repr=False)  # secrets do not belong into a log
    content_type: str = PLAIN
    extra: str = ""
    close: bool = False
    hop_limited: bool = False

    def head(self, *, date: str, close: bool) -> bytes:
        """Return the status line and the header fields (RFC 9112 section 4).

        The status line has HTTP/1.1 for guests that speak HTTP/1.0, too (RFC 9110 section 2.5). ``Server`` shows
        whoever looks that this is not the metadata service of the host's own cloud; the version is no guest's business.

        :param date: now, as an HTTP date (RFC 9110 section 6.6.1).
        :param close: whether the connection ends with this answer.
        """
        code = int(self.status)  # members of an enum hash and compare in Python code, which would run for each answer
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
    """Return an answer that refuses a request. *why*, a text for people, is a constant, never from the request."""
    line = f"{status.value} {status.phrase}" + (f": {why}" if why else "")
    return Response(status, f"{line}\n".encode(), extra=extra, close=close, hop_limited=hop_limited)


def not_allowed(*methods: bytes) -> Response:
    """Return the 405 where only *methods* are allowed (RFC 9110 section 15.5.6)."""
    return refusal(HTTPStatus.METHOD_NOT_ALLOWED, extra=f"Allow: {b', '.join(methods).decode()}\r\n")
