"""The worker's answer to one request, without a connection and without a clock."""

from __future__ import annotations

import datetime

from attrs import frozen

from eve_meta.documents.tokens import KEY_BYTES
from eve_meta.documents.tree import Tree
from eve_meta.values.domain import Domain, TokenPolicy
from eve_meta.values.eve_node import Node
from eve_meta.web.answer import RequestContext, StorePassword, answer, objection
from eve_meta.web.hosts import Hosts
from eve_meta.web.limits import Limits
from eve_meta.web.request import Memo, Request, RequestReader
from eve_meta.web.response import Response
from eve_meta.web.table import Entry, Grants
from eve_meta.wire.boot_reports import BootReport
from eve_meta.wire.counts import Note
from tests.unit.web.guest import get

SINCE = 1000.0
"""When the tap appeared, in seconds of both clocks."""

WAIT = 60.0
KEY = bytes(range(KEY_BYTES))
UNKNOWN = Entry("vnet0", SINCE, None)


NODE = Node(location=b'{"Latitude":49.84}')


def known(tokens: TokenPolicy = TokenPolicy.OFF, *, password: str | None = None) -> Entry:
    """Return the entry of a tag whose domain is known."""
    domain = Domain(name="web1", user_data=b"\x1f\x8b\0\xff")
    return Entry(
        "vnet0", SINCE, b"", Grants(tokens=tokens, token_key=KEY, password=password), Tree(domain, password=password)
    )


@frozen
class Reply:
    """A response, and the objection that is counted."""

    response: Response | StorePassword | BootReport
    note: Note | None


def reply_to(entry: Entry | None, data: bytes, *, now: float = SINCE) -> Reply:
    """Return the reply to the request *data*."""
    reader = RequestReader(Memo(Limits()))
    reader.receive(data)
    request = reader.next()
    assert isinstance(request, Request)
    context = RequestContext(
        peer="10.0.0.5",
        port=40000,
        now=now,
        uptime=now,
        today=datetime.date(2026, 1, 1),
        random=bytes,
        domain_wait=WAIT,
        hosts=Hosts(["metadata.example.org"]),
        node=NODE,
    )
    note = objection(entry, request, context)
    return Reply(answer(entry, request, context, note), note)


def ask(entry: Entry | None, path: str, *fields: str, method: str = "GET", now: float = SINCE) -> Response:
    """Return the answer to a request for *path*."""
    reply = reply_to(entry, get(path, *fields, method=method), now=now)
    assert isinstance(reply.response, Response)
    return reply.response
