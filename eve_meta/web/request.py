"""Bytes in, requests out: the only reader of what guests send, without I/O and without a clock.

A request is returned whole, or refused with the status to answer. A refusal ends its connection: after it nobody can
know where the next request would begin. The decision depends on the bytes alone, never on how they were cut into pieces
on their path.

llhttp (by httptools) reads method and header fields, strictly. Before it sees anything, the head is found and checked
here, because what llhttp accepts differs by version and two readers of one request must never differ (RFC 9112 section
11.2). As of httptools 0.6.1, it takes folded lines, "Name : value", names that hold spaces or nothing, raw
bytes over 127 and control characters in targets, and a lone LF that ends the head; 0.9.0 still takes HTTP/0.9,
HTTP/2.0, RTSP and ICE request lines, several spaces between their parts, "#" in targets, and turns into a tunnel after
an Upgrade or a CONNECT.

A parser lives for one head, so that nothing of one request can change the next.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

from attrs import field, frozen
from httptools import HttpParserError, HttpParserInvalidMethodError, HttpParserUpgrade, HttpRequestParser

from eve_meta.documents.path import BadPath, normalise
from eve_meta.documents.paths import PathRule, rule_of
from eve_meta.web.limits import Limits

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"

# RFC 9112 section 3. A target is visible ASCII; "#" begins a fragment, which no target has.
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([!\"$-~]+) HTTP/([0-9]\.[0-9])\r\n")

# RFC 9112 section 3.2.2: "http" in any case; no user information (RFC 9110 section 4.2.4).
_ABSOLUTE_FORM = re.compile(rb"http://([^/?@]+)([/?].*)?", re.IGNORECASE)

# RFC 9112 section 5 without obs-fold. Bytes over 127 (obs-text) are opaque and harmless.
_FIELDS = re.compile(rb"(?:" + _TOKEN + rb":[\t -~\x80-\xff]*\r\n)*\r\n")

# Where a careless reader would see the end of a head. A head that is accepted ends with CRLF CRLF, by _FIELDS; but a
# head that ends otherwise is refused at once, not when its guest has waited for the time limit.
_END = re.compile(rb"\n\r?\n")

_OWS = b" \t"

NO_CHUNKS = b"0\r\n\r\n"
"""A body of no chunks, the only chunked one that is read (RFC 9112 section 7.1 without extensions and trailers).

Clients that send a body of unknown length send it for none: ``curl -T -``, Java, Node, Ruby and Perl with a PUT for a
token."""

MAX_REMEMBERED = 256
"""Requests in a :class:`Memo`: those of seven cloud-init boots that share no request. Each takes some 2 KB."""

MAX_REMEMBERED_BYTES = 1024
"""Bytes of a request in a :class:`Memo`. cloud-init's have 200, an AWS SDK's with a token under 400."""


class Refusal(Exception):
    """The guest sent something that is not accepted as a request.

    :ivar status: the status to answer before the connection is closed.
    """

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status)
        self.status = status


class Need(enum.Enum):
    """What is needed before there is a request."""

    DATA = enum.auto()
    """More bytes."""

    CONTINUE = enum.auto()
    """A ``100 Continue``, for which the guest waits before it sends its body; then more bytes."""


@frozen
class Request:
    """A whole request.

    :ivar method: the method as it was sent, one that llhttp knows.
    :ivar target: the request target as it was sent.
    :ivar path: the segments that *target* names (:mod:`eve_meta.documents.path`).
    :ivar version: ``b"1.0"`` or ``b"1.1"``.
    :ivar host: the authority of an absolute *target*, else the Host field; None where HTTP/1.0 has neither. It never
        chooses whose data are answered.
    :ivar headers: header fields by lower-case name; fields of one name are joined by ", " (RFC 9110 section 5.2).
    :ivar keep_alive: whether the guest may send another request on this connection.
    :ivar body: the body, empty where there is none.
    :ivar rule: the rule of *path*.
    """

    method: bytes
    target: bytes
    path: tuple[str, ...]
    version: bytes
    host: bytes | None
    headers: Mapping[bytes, bytes] = field(repr=False)
    keep_alive: bool
    body: bytes = field(repr=False)
    rule: PathRule = field(init=False, eq=False, repr=False)

    @rule.default
    def _rule_of_path(self) -> PathRule:
        # Here, because it depends on the bytes alone: a request that is remembered is not looked up again.
        return rule_of(self.path)


class _Line(NamedTuple):
    method: bytes
    target: bytes
    path: tuple[str, ...]
    version: bytes
    authority: bytes | None
    end: int


class _Head(NamedTuple):
    line: _Line
    headers: Mapping[bytes, bytes]
    length: int  # the bytes that follow the head, those of NO_CHUNKS where it is chunked
    chunked: bool


class Memo:
    """Requests that were read before, by their bytes.

    Images ask with the same bytes again and again, each client with its own. What bytes mean depends on nothing else
    (see above), so a request that came whole in one piece need not be read a second time; to read it is half of what an
    answer costs. A guest that sends ever new bytes makes the others' requests be read again, and does no other harm.

    :param limits: the limits by which the requests were read.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._known: dict[bytes, Request] = {}

    def get(self, data: bytes) -> Request | None:
        """Return the request that consists of *data*, None where it was not read before or is not remembered."""
        return self._known.get(data)

    def put(self, data: bytes, request: Request) -> None:
        """Remember *request*, which consists of *data* and nothing more."""
        if len(self._known) >= MAX_REMEMBERED:
            # The oldest. Which one goes matters little, and to keep the order of use would cost at each use.
            del self._known[next(iter(self._known))]
        self._known[data] = request


class RequestReader:
    """Reads the requests of one connection, one at a time.

    :meth:`receive` takes bytes, :meth:`next` returns the request in them. What is kept is bounded: a caller that calls
    :meth:`next` until :attr:`Need.DATA` after each :meth:`receive` never makes the reader keep more than the largest
    request and one piece.
    """

    def __init__(self, memo: Memo) -> None:
        self._memo = memo
        self._limits = memo.limits
        self._buffer = bytearray()
        self._searched = 0
        self._line: _Line | None = None
        self._head: _Head | None = None

    @property
    def pending(self) -> bool:
        """Whether there are bytes that belong to no request returned so far."""
        return bool(self._buffer) or self._head is not None

    def receive(self, data: bytes) -> None:
        """Take the next bytes of the connection."""
        self._buffer += data

    def next(self) -> Request | Need:
        """Return the next request, or what is needed before there is one.

        :raises Refusal: when the bytes are no acceptable request: the connection is to be closed after the answer, and
            this not to be called again.
        """
        data = b""
        if self._head is None:
            if self._line is None and len(self._buffer) <= MAX_REMEMBERED_BYTES:
                data = bytes(self._buffer)
                known = self._memo.get(data)
                if known is not None:
                    self._buffer.clear()
                    self._searched = 0
                    return known
            self._head = self._read_head()
            if self._head is None:
                return Need.DATA
            if self._head.length and _waits(self._head):
                # Also when the body is already here, where no server need do so (RFC 9110 section 10.1.1): the answer
                # must not depend on how fast the guest's bytes came.
                return Need.CONTINUE
        (line, headers, length, chunked) = self._head
        if chunked and not NO_CHUNKS.startswith(self._buffer[:length]):
            raise Refusal(HTTPStatus.LENGTH_REQUIRED)
        if len(self._buffer) < length:
            return Need.DATA
        body = b"" if chunked else bytes(self._buffer[:length])
        del self._buffer[:length]
        self._head = None
        request = Request(
            line.method,
            line.target,
            line.path,
            line.version,
            line.authority or headers.get(b"host"),
            headers,
            _keep_alive(line.version, headers),
            body,
        )
        if data and not length and not self._buffer:
            # A request with a body may be a password, which is not to be kept here.
            self._memo.put(data, request)
        return request

    def _read_head(self) -> _Head | None:
        if self._line is None:
            self._line = self._read_line()
            if self._line is None:
                return None
        (buffer, limits, start) = (self._buffer, self._limits, self._line.end)
        end = _END.search(buffer, self._searched)
        if (end.end() if end else len(buffer)) - start > limits.max_headers:
            raise Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if end is None:
            self._searched = max(start - 1, len(buffer) - 2)
            return None
        head = bytes(buffer[: end.end()])
        if not _FIELDS.fullmatch(head, start):
            raise Refusal(HTTPStatus.BAD_REQUEST)
        if head.count(b"\n", start) > limits.max_header_fields + 1:
            raise Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        parsed = _parse(self._line, head, limits)
        del buffer[: len(head)]
        self._line = None
        self._searched = 0
        return parsed

    def _read_line(self) -> _Line | None:
        (buffer, limit) = (self._buffer, self._limits.max_request_line)
        # One empty line is skipped, as RFC 9112 section 2.2 asks: old clients send one after a body.
        start = 2 if buffer.startswith(b"\r\n") else 0
        end = buffer.find(b"\n", max(start, self._searched)) + 1
        if (end or len(buffer)) - start > limit:
            raise Refusal(HTTPStatus.REQUEST_URI_TOO_LONG)
        if not end:
            self._searched = len(buffer)
            return None
        match = _REQUEST_LINE.fullmatch(buffer, start, end)
        if match is None:
            raise Refusal(HTTPStatus.BAD_REQUEST)
        (method, target, version) = (bytes(part) for part in match.groups())
        if version not in (b"1.0", b"1.1"):
            raise Refusal(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
        (authority, path) = _split(target)
        try:
            segments = normalise(path)
        except BadPath:
            raise Refusal(HTTPStatus.BAD_REQUEST) from None
        self._searched = end - 1
        return _Line(method, target, segments, version, authority, end)


def _split(target: bytes) -> tuple[bytes | None, bytes]:
    # The authority-form is for CONNECT and the asterisk-form for OPTIONS alone (RFC 9112 section 3.2): neither leads to
    # anything here.
    if target.startswith(b"/"):
        return None, target
    # A server must accept the absolute-form, and then use that authority in place of the Host field's.
    absolute = _ABSOLUTE_FORM.fullmatch(target)
    if absolute is None:
        raise Refusal(HTTPStatus.BAD_REQUEST)
    return absolute[1], absolute[2] or b"/"


class _Fields:
    """The header fields of one head, as llhttp hands them over.

    :ivar fields: the fields by lower-case name, those of one name joined.
    :ivar hosts: the number of Host fields.
    """

    def __init__(self) -> None:
        self.fields: dict[bytes, bytes] = {}
        self.hosts = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        value = value.strip(_OWS)
        if name == b"host":
            self.hosts += 1
        known = self.fields.get(name)
        self.fields[name] = value if known is None else known + b", " + value


def _parse(line: _Line, head: bytes, limits: Limits) -> _Head:
    fields = _Fields()
    try:
        HttpRequestParser(fields).feed_data(head)
    except HttpParserUpgrade:
        # An Upgrade is an offer that a server may ignore (RFC 9110 section 7.8): the connection goes on in HTTP/1.1,
        # with another parser. A CONNECT is a method like any other that no path allows.
        pass
    except HttpParserInvalidMethodError:
        raise Refusal(HTTPStatus.NOT_IMPLEMENTED) from None
    except HttpParserError:
        # Among others: more than one Content-Length, one with Transfer-Encoding, one that is no number or over 2**64.
        raise Refusal(HTTPStatus.BAD_REQUEST) from None
    headers = fields.fields
    # RFC 9112 section 3.2: exactly one Host in HTTP/1.1; two are a contradiction in any version.
    if fields.hosts > 1 or (line.version == b"1.1" and not fields.hosts):
        raise Refusal(HTTPStatus.BAD_REQUEST)
    chunked = b"transfer-encoding" in headers
    if chunked and (headers[b"transfer-encoding"] != b"chunked" or line.version != b"1.1"):
        # A server may ask for a length (RFC 9112 section 6.3). No known client sends chunks that hold something, and
        # what is not read cannot be read in two ways. So only one spelling of none is taken: NO_CHUNKS.
        raise Refusal(HTTPStatus.LENGTH_REQUIRED)
    try:
        length = int(headers.get(b"content-length", b"0"))
    except ValueError:
        # llhttp has found digits only, but they are more (leading zeros) than Python reads.
        raise Refusal(HTTPStatus.BAD_REQUEST) from None
    if length > limits.max_body:
        raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    if line.version == b"1.1" and headers.get(b"expect", _CONTINUE).lower() != _CONTINUE:
        raise Refusal(HTTPStatus.EXPECTATION_FAILED)
    return _Head(line, headers, len(NO_CHUNKS) if chunked else length, chunked)


_CONTINUE = b"100-continue"


def _waits(head: _Head) -> bool:
    # RFC 9110 section 10.1.1: an Expect of HTTP/1.0 is ignored.
    return head.line.version == b"1.1" and b"expect" in head.headers


def _keep_alive(version: bytes, headers: Mapping[bytes, bytes]) -> bool:
    # HTTP/1.0's "Connection: keep-alive" is not honoured, as RFC 9112 section 9.3 allows: clients of HTTP/1.0 here are
    # shell scripts with nc, which read until the server closes.
    if version == b"1.0":
        return False
    options = headers.get(b"connection")
    return options is None or b"close" not in [option.strip(_OWS).lower() for option in options.split(b",")]
