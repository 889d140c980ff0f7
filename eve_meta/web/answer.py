"""What a guest is told: a closed set of answers, chosen from what its tag means and what it asked.

Nothing of a request is ever quoted back, and nothing but the path and the method chooses between the documents of the
one domain that the tag means.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from http import HTTPStatus

from attrs import field, frozen

from eve_meta.documents.document import PLAIN
from eve_meta.web.request import Request
from eve_meta.web.table import Entry

RETRY_AFTER = 1
"""Seconds until a guest should ask again. cloud-init honours it; Ignition and Afterburn have waits of their own."""

READABLE = (b"GET", b"HEAD")


@frozen
class Response:
    """An answer, without what depends on its connection.

    :ivar status: the status code.
    :ivar body: the bytes; an answer to HEAD keeps them to itself.
    :ivar content_type: the value of ``Content-Type``.
    :ivar extra: further header fields, each ended by CRLF.
    :ivar close: whether the connection ends with it.
    """

    status: HTTPStatus
    body: bytes
    content_type: str = PLAIN
    extra: str = ""
    close: bool = False

    def head(self, *, date: str, close: bool) -> bytes:
        """Status line and header fields (RFC 9112 section 4).

        The status line says HTTP/1.1 to guests of HTTP/1.0 too (RFC 9110 section 2.5). ``Server`` tells whoever looks
        that this is not the metadata service of the host's own cloud; our version is no guest's business.

        :param date: now, as an HTTP date (RFC 9110 section 6.6.1).
        :param close: whether the connection ends with this answer.
        """
        connection = "Connection: close\r\n" if close else ""
        return (
            f"HTTP/1.1 {self.status.value} {self.status.phrase}\r\nServer: eve-meta\r\nDate: {date}\r\n"
            f"Content-Type: {self.content_type}\r\nContent-Length: {len(self.body)}\r\n"
            f"{self.extra}{connection}\r\n"
        ).encode("ascii")


def _refusal(status: HTTPStatus, *, extra: str = "", close: bool = False) -> Response:
    return Response(status, f"{status.value} {status.phrase}\n".encode(), extra=extra, close=close)


NO_TAP = _refusal(HTTPStatus.FORBIDDEN, close=True)
"""Whoever connected, no tap of ours did."""

NOT_FOUND = _refusal(HTTPStatus.NOT_FOUND)

NOT_ALLOWED = _refusal(HTTPStatus.METHOD_NOT_ALLOWED, extra=f"Allow: {b', '.join(READABLE).decode()}\r\n")

UNKNOWN_TAG = _refusal(HTTPStatus.SERVICE_UNAVAILABLE, extra=f"Retry-After: {RETRY_AFTER}\r\n", close=True)
"""The tap is so new that the table does not have it yet, or it is gone."""

UNKNOWN_DOMAIN = _refusal(HTTPStatus.SERVICE_UNAVAILABLE, extra=f"Retry-After: {RETRY_AFTER}\r\n")
"""The tap is there, its domain is not yet."""

TOO_MANY = _refusal(HTTPStatus.TOO_MANY_REQUESTS, extra=f"Retry-After: {RETRY_AFTER}\r\n", close=True)

DEFECT = _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, close=True)
"""We failed. Guests retry it, where a 404 would be final."""

REFUSED = {
    status: _refusal(status, close=True)
    for status in (
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.LENGTH_REQUIRED,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.REQUEST_URI_TOO_LONG,
        HTTPStatus.EXPECTATION_FAILED,
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        HTTPStatus.NOT_IMPLEMENTED,
        HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
    )
}
"""Answers to what is no request that we take (:class:`~eve_meta.web.request.Refusal`), and to one that came too
slowly."""


@frozen(kw_only=True)
class Asking:
    """What an answer depends on beside the request and the table.

    :ivar peer: the IP address that asks.
    :ivar now: seconds of ``time.monotonic()``.
    :ivar today: the date in UTC.
    :ivar seed: gives the random bytes for one answer (:meth:`eve_meta.documents.document.Document.render`).
    :ivar domain_wait: seconds for which a tap's unknown domain may still come.
    """

    peer: str
    now: float
    today: datetime.date
    seed: Callable[[], bytes] = field(repr=False)
    domain_wait: float


def answer(entry: Entry | None, request: Request, asking: Asking) -> Response:
    """The answer to *request* of the tap whose tag means *entry*."""
    if entry is None:
        return UNKNOWN_TAG
    if entry.tree is None:
        # 404 is final to cloud-init, Ignition and Afterburn alike, and 503 makes them retry; all that they need first
        # is below /openstack. Everywhere else a 503 would hold up guests that only look what is there.
        waiting = asking.now - entry.since < asking.domain_wait
        return UNKNOWN_DOMAIN if waiting and request.path[:1] == ("openstack",) else NOT_FOUND
    document = entry.tree.find(request.path, peer=asking.peer, today=asking.today)
    if document is None:
        return NOT_FOUND
    if request.method not in READABLE:
        return NOT_ALLOWED
    body = document.body if document.seed_at is None else document.render(asking.seed())
    return Response(HTTPStatus.OK, body, document.content_type)
