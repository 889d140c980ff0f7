"""What a guest is told: a closed set of answers, chosen from what its tag means and what it asked.

Nothing of a request is ever quoted back, and nothing but the path and the method chooses between the documents of the
one domain that the tag means.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple

from attrs import field, frozen

from eve_meta.documents.document import HTML, SEED_BYTES, Document
from eve_meta.values.domain import TokenPolicy
from eve_meta.values.eve_node import Node
from eve_meta.web import session
from eve_meta.web.hosts import Hosts
from eve_meta.web.request import Request
from eve_meta.web.response import RETRY_AFTER, Response, not_allowed, refusal
from eve_meta.web.table import Entry
from eve_meta.wire import password
from eve_meta.wire.boot_reports import MAX_REPORT, BootReport, read_phone_home, read_report
from eve_meta.wire.counts import Note

READABLE = (b"GET", b"HEAD")

# Reading a member of an enum runs Python until its release 3.12.
_OK = HTTPStatus.OK

_RETRY = f"Retry-After: {RETRY_AFTER}\r\n"

NO_TAP = refusal(HTTPStatus.FORBIDDEN, close=True)
"""Whoever connected, no tap of ours did."""

WRONG_HOST = refusal(HTTPStatus.FORBIDDEN, "this is not the host that you asked for", close=True)
"""The request was meant for somebody else (:mod:`eve_meta.web.hosts`). Not 400, which means what cannot be read; nor
421, the very word for it, after which a client may ask again over another connection (RFC 9110 section 15.5.20)."""

NOT_FOUND = refusal(HTTPStatus.NOT_FOUND)

NOT_ALLOWED = not_allowed(*READABLE)

UNKNOWN_TAG = refusal(HTTPStatus.SERVICE_UNAVAILABLE, extra=_RETRY, close=True)
"""The tap is so new that the table does not have it yet, or it is gone."""

UNKNOWN_DOMAIN = refusal(HTTPStatus.SERVICE_UNAVAILABLE, extra=_RETRY)
"""The tap is there, its domain is not yet."""

TOO_MANY = refusal(HTTPStatus.TOO_MANY_REQUESTS, extra=_RETRY, close=True)

DEFECT = refusal(HTTPStatus.INTERNAL_SERVER_ERROR, close=True)
"""We failed. Guests retry it, where a 404 would be final."""

PASSWORD_METHODS = not_allowed(*READABLE, b"POST")

PASSWORD_KEPT = Response(HTTPStatus.OK, b"", HTML)
"""Also to an empty one, which nova accepts without setting it."""

PASSWORD_SET_BEFORE = refusal(HTTPStatus.CONFLICT)

PASSWORD_REFUSED = refusal(HTTPStatus.BAD_REQUEST, f"not UTF-8, or more than {password.MAX_PASSWORD} bytes")
"""nova says 400 to a long one and 500 to what is no text."""

PASSWORD_NOT_KEPT = refusal(HTTPStatus.SERVICE_UNAVAILABLE, extra=_RETRY)
"""It is not known to be on the disk. cloudbase-init tries again."""

STORED = {
    password.Outcome.STORED: PASSWORD_KEPT,
    password.Outcome.ALREADY_SET: PASSWORD_SET_BEFORE,
    password.Outcome.FAILED: PASSWORD_NOT_KEPT,
}

REPORT_METHODS = not_allowed(b"POST")

REPORT_TAKEN = Response(HTTPStatus.NO_CONTENT, b"")

REPORT_REFUSED = refusal(HTTPStatus.BAD_REQUEST, "no report of cloud-init")

REPORT_TOO_LARGE = refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {MAX_REPORT} bytes")

REFUSED = {
    status: refusal(status, close=True)
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


@frozen
class StorePassword:
    """In place of an answer: the guest's *password* is to be stored first, and :data:`STORED` says what follows."""

    password: str = field(repr=False)


class RequestContext(NamedTuple):
    """What an answer depends on beside the request and the table.

    :ivar peer: the IP address that asks.
    :ivar port: the TCP port that asks.
    :ivar now: seconds of ``time.monotonic()``.
    :ivar uptime: seconds of ``CLOCK_BOOTTIME``, by which session tokens end.
    :ivar today: the date in UTC.
    :ivar random: gives as many random bytes as it is asked for.
    :ivar domain_wait: seconds for which a tap's unknown domain may still come.
    :ivar hosts: which names mean us.
    :ivar node: what all applications of an EVE-OS node are told alike.
    """

    peer: str
    port: int
    now: float
    uptime: float
    today: datetime.date
    random: Callable[[int], bytes]
    domain_wait: float
    hosts: Hosts
    node: Node


def objection(entry: Entry | None, request: Request, asking: RequestContext) -> Note | None:
    """What speaks against *request* of the tap whose tag means *entry*, wherever it leads."""
    if not asking.hosts.known(request.host):
        return Note.WRONG_HOST
    return None if entry is None else session.objection(entry, request, asking.uptime)


def answer(
    entry: Entry | None, request: Request, asking: RequestContext, objected: Note | None
) -> Response | StorePassword | BootReport:
    """The answer to *request* of the tap whose tag means *entry*.

    :param objected: what :func:`objection` says.
    """
    if objected is Note.WRONG_HOST:
        return WRONG_HOST
    if entry is None:
        return UNKNOWN_TAG
    if entry.tree is None:
        return _unknown_domain(entry, request, asking)
    tokens = entry.grants.tokens
    if objected is Note.INVALID_TOKEN or (objected is Note.NO_TOKEN and tokens is TokenPolicy.REQUIRED):
        return session.UNAUTHORIZED
    if tokens is not TokenPolicy.OFF and request.path == session.TOKEN_PATH:
        return session.issue(entry, request, asking.uptime, asking.random)
    document = entry.tree.find(request.path, peer=asking.peer, today=asking.today, port=asking.port, node=asking.node)
    if document is None:
        return _report(request, asking)
    if request.method in READABLE:
        return _read(document, request.headers, asking)
    match request.path:
        case ("openstack", _, "password"):
            return _post_password(entry, request) if request.method == b"POST" else PASSWORD_METHODS
    return NOT_ALLOWED


def _unknown_domain(entry: Entry, request: Request, asking: RequestContext) -> Response:
    # 404 is final to cloud-init, Ignition and Afterburn alike, and 503 makes them retry; all that they need first is
    # below /openstack or /nocloud. A 404 for a token is final as well: to the AWS SDKs it says that this service has
    # none, and they go on without. Everywhere else a 503 would hold up guests that only look what is there.
    in_tree = request.path[:1] in (("openstack",), ("nocloud",))
    waits = in_tree or (request.method == b"PUT" and request.path == session.TOKEN_PATH)
    return UNKNOWN_DOMAIN if waits and asking.now - entry.since < asking.domain_wait else NOT_FOUND


def _read(document: Document, headers: Mapping[bytes, bytes], asking: RequestContext) -> Response:
    if document.status != _OK:
        return Response(HTTPStatus(document.status), document.body, document.content_type)
    validator = "" if document.etag is None else f"ETag: {document.etag}\r\n"
    if b"if-none-match" in headers and _is_among(document.etag, headers[b"if-none-match"]):
        return Response(HTTPStatus.NOT_MODIFIED, b"", extra=validator)
    body = document.body if document.seed_at is None else document.render(asking.random(SEED_BYTES))
    return Response(_OK, body, document.content_type, validator)


# RFC 9110 section 8.8.3. Weak tags are compared like strong ones here (section 13.1.2).
_ENTITY_TAG = re.compile(rb'(?:W/)?("[!#-~\x80-\xff]*")')


def _is_among(etag: str | None, value: bytes) -> bool:
    return value == b"*" or (etag is not None and etag.encode("ascii") in _ENTITY_TAG.findall(value))


_REPORTS: Mapping[tuple[str, ...], Callable[[bytes, float], BootReport]] = {
    ("eve-meta", "v1", "report"): read_report,
    ("eve-meta", "v1", "phone-home"): read_phone_home,
}


def _report(request: Request, asking: RequestContext) -> Response | BootReport:
    """What a guest posts where no document is."""
    read = _REPORTS.get(request.path)
    if read is None:
        return NOT_FOUND
    if request.method != b"POST":
        return REPORT_METHODS
    if len(request.body) > MAX_REPORT:
        return REPORT_TOO_LARGE
    try:
        return read(request.body, asking.now)
    except ValueError:
        return REPORT_REFUSED


def _post_password(entry: Entry, request: Request) -> Response | StorePassword:
    # In nova's order: that one is set is said first.
    if entry.grants.password is not None:
        return PASSWORD_SET_BEFORE
    if not request.body:
        return PASSWORD_KEPT
    try:
        return StorePassword(password.read(request.body))
    except ValueError:
        return PASSWORD_REFUSED
