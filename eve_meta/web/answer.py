"""The answer to a guest's request: one of a closed set, chosen by the entry of the guest's tag and the request.

Nothing of a request is ever quoted back, and nothing but the path and the method chooses between the documents of the
one domain that is behind the tap of the tag. The table of :mod:`eve_meta.documents.paths` has the document or action at
each path.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple

from attrs import field, frozen

from eve_meta.documents.document import HTML, SEED_BYTES, Document
from eve_meta.documents.paths import PATHS, READ, Action, WhileUnknown
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

# Reading a member of an enum runs Python until its release 3.12.
_OK = HTTPStatus.OK

_RETRY = f"Retry-After: {RETRY_AFTER}\r\n"

NO_TAP = refusal(HTTPStatus.FORBIDDEN, close=True)
"""The connection came through no tap."""

WRONG_HOST = refusal(HTTPStatus.FORBIDDEN, "this is not the host that you asked for", close=True)
"""The request was meant for another server (:mod:`eve_meta.web.hosts`). Not 400, which means what cannot be read; nor
421, the very status for it, after which a client may ask again over another connection (RFC 9110 section 15.5.20)."""

NOT_FOUND = refusal(HTTPStatus.NOT_FOUND)

NOT_ALLOWED = {rule.methods: not_allowed(*rule.methods) for rule in PATHS if rule.methods}
"""The 405 by the methods that are allowed."""

UNKNOWN_TAG = refusal(HTTPStatus.SERVICE_UNAVAILABLE, extra=_RETRY, close=True)
"""The tap is so new that the table does not have it yet, or it has gone."""

UNKNOWN_DOMAIN = refusal(HTTPStatus.SERVICE_UNAVAILABLE, extra=_RETRY)
"""The tap is known, its domain is not yet."""

NOT_CURRENT = refusal(HTTPStatus.SERVICE_UNAVAILABLE, extra=_RETRY, close=True)
"""The supervisor has not confirmed the table for :data:`eve_meta.wire.messages.LEASE_TIME` seconds: the tap may be
another domain's by now."""

TOO_MANY = refusal(HTTPStatus.TOO_MANY_REQUESTS, extra=_RETRY, close=True)

DEFECT = refusal(HTTPStatus.INTERNAL_SERVER_ERROR, close=True)
"""A defect of ours. Guests retry after it, where a 404 would be final."""

PASSWORD_KEPT = Response(HTTPStatus.OK, b"", HTML)
"""The password is stored. Also to an empty one, which nova accepts without setting it."""

PASSWORD_SET_BEFORE = refusal(HTTPStatus.CONFLICT)

PASSWORD_REFUSED = refusal(HTTPStatus.BAD_REQUEST, f"not UTF-8, or more than {password.MAX_PASSWORD} bytes")
"""nova answers 400 to a long one and 500 to what is no text."""

PASSWORD_NOT_KEPT = refusal(HTTPStatus.SERVICE_UNAVAILABLE, extra=_RETRY)
"""The password is not known to be on the disk. cloudbase-init tries again."""

STORED = {
    password.Outcome.STORED: PASSWORD_KEPT,
    password.Outcome.ALREADY_SET: PASSWORD_SET_BEFORE,
    password.Outcome.FAILED: PASSWORD_NOT_KEPT,
}

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
"""By status, the answers to what a worker does not take as a request (:class:`~eve_meta.web.request.Refusal`), and to a
request that came too slowly."""


@frozen
class StorePassword:
    """In place of an answer: *password* is to be stored first, and :data:`STORED` has the answer to the outcome."""

    password: str = field(repr=False)


class RequestContext(NamedTuple):
    """Everything on which an answer depends, beside the request and the table.

    :ivar peer: the guest's IP address.
    :ivar port: the guest's TCP port.
    :ivar now: seconds of ``time.monotonic()``.
    :ivar uptime: seconds of ``CLOCK_BOOTTIME``, by which session tokens expire.
    :ivar today: the date in UTC.
    :ivar random: returns as many random bytes as it is asked for.
    :ivar domain_wait: seconds from a tap's appearing during which its unknown domain may still become known.
    :ivar hosts: the names by which guests may call this service.
    :ivar node: the values that EVE-OS publishes of its node.
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


def objection(entry: Entry | None, request: Request, context: RequestContext) -> Note | None:
    """Return why *request* is refused wherever it leads, None where it is not.

    :param entry: the entry of the guest's tag.
    """
    if not context.hosts.known(request.host):
        return Note.WRONG_HOST
    return None if entry is None else session.objection(entry, request, context.uptime)


def answer(
    entry: Entry | None, request: Request, context: RequestContext, objected: Note | None
) -> Response | StorePassword | BootReport:
    """Return the answer to *request*, or what must be done before it can be answered.

    :param entry: the entry of the guest's tag.
    :param objected: the result of :func:`objection`.
    """
    if objected is Note.WRONG_HOST:
        return WRONG_HOST
    if entry is None:
        return UNKNOWN_TAG
    if entry.tree is None:
        return _unknown_domain(entry, request, context)
    if objected is Note.INVALID_TOKEN or (objected is Note.NO_TOKEN and entry.grants.tokens is TokenPolicy.REQUIRED):
        return session.UNAUTHORIZED
    rule = request.rule
    if rule.source is None:
        return _act(entry, request, context)
    document = entry.tree.document(
        rule, request.path, peer=context.peer, today=context.today, port=context.port, node=context.node
    )
    if document is None:
        return NOT_FOUND
    if request.method in READ:
        return _read(document, request.headers, context)
    return _act(entry, request, context)


def _unknown_domain(entry: Entry, request: Request, context: RequestContext) -> Response:
    while_unknown = request.rule.while_unknown
    waits = while_unknown is WhileUnknown.RETRY or (
        while_unknown is WhileUnknown.RETRY_ALLOWED and request.method in request.rule.methods
    )
    return UNKNOWN_DOMAIN if waits and context.now - entry.since < context.domain_wait else NOT_FOUND


def _act(entry: Entry, request: Request, context: RequestContext) -> Response | StorePassword | BootReport:
    """Return the answer of a path to a method that does not read."""
    rule = request.rule
    if not rule.methods or (rule.action is Action.ISSUE_TOKEN and entry.grants.tokens is TokenPolicy.OFF):
        return NOT_FOUND
    if request.method not in rule.methods:
        return NOT_ALLOWED[rule.methods]
    match rule.action:
        case Action.ISSUE_TOKEN:
            return session.issue(entry, request, context.uptime, context.random)
        case Action.SET_PASSWORD:
            return _set_password(entry, request)
        case Action.TAKE_REPORT:
            return _take_report(read_report, request, context)
        case Action.TAKE_PHONE_HOME:
            return _take_report(read_phone_home, request, context)
    raise AssertionError(f"{rule.pattern} allows {request.method!r} and has no action for it")


def _read(document: Document, headers: Mapping[bytes, bytes], context: RequestContext) -> Response:
    if document.status != _OK:
        return Response(HTTPStatus(document.status), document.body, document.content_type)
    validator = "" if document.etag is None else f"ETag: {document.etag}\r\n"
    if b"if-none-match" in headers and _is_among(document.etag, headers[b"if-none-match"]):
        return Response(HTTPStatus.NOT_MODIFIED, b"", extra=validator)
    body = document.body if document.seed_at is None else document.render(context.random(SEED_BYTES))
    return Response(_OK, body, document.content_type, validator)


# RFC 9110 section 8.8.3. Weak tags are compared like strong ones here (section 13.1.2).
_ENTITY_TAG = re.compile(rb'(?:W/)?("[!#-~\x80-\xff]*")')


def _is_among(etag: str | None, value: bytes) -> bool:
    return value == b"*" or (etag is not None and etag.encode("ascii") in _ENTITY_TAG.findall(value))


def _take_report(
    read: Callable[[bytes, float], BootReport], request: Request, context: RequestContext
) -> Response | BootReport:
    if len(request.body) > MAX_REPORT:
        return REPORT_TOO_LARGE
    try:
        return read(request.body, context.now)
    except ValueError:
        return REPORT_REFUSED


def _set_password(entry: Entry, request: Request) -> Response | StorePassword:
    # In nova's order: a password that is set comes before any fault of the posted one.
    if entry.grants.password is not None:
        return PASSWORD_SET_BEFORE
    if not request.body:
        return PASSWORD_KEPT
    try:
        return StorePassword(password.read(request.body))
    except ValueError:
        return PASSWORD_REFUSED
