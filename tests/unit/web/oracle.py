"""The worker's reading of a guest's bytes, compared with that of h11.

h11 is written from the same RFCs by other people, in another language than llhttp. Wherever both take a request they
must agree on every part of it and on where it ends: two readers that do not are what request smuggling is made of. We
refuse much that h11 takes, each kind for a reason (:data:`EXPLAINED`).

:func:`check` takes any bytes; :func:`request` makes some that are nearly right, out of any source of randomness.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from random import Random

import h11
from attrs import field, frozen

from eve_meta.documents.path import BadPath, normalise
from eve_meta.web.limits import Limits
from eve_meta.web.request import Memo, Need, Refusal, Request, RequestReader

ANY_SIZE = 1 << 30
"""The size up to which h11 keeps a head: more than any input has, because the test does not compare limits."""


@frozen
class Taken:
    """A request, whole. *rest* is what follows it; *last*, whether another may follow on its connection."""

    method: bytes
    target: bytes
    version: bytes
    fields: Mapping[bytes, bytes]
    body: bytes
    rest: bytes
    last: bool


@frozen
class Refused:
    """No request, whatever may follow. *status* is what we answer; h11's is not compared."""

    status: int = field(eq=False)


@frozen
class Unfinished:
    """Perhaps the beginning of one."""


Outcome = Taken | Refused | Unfinished


def ours(data: bytes) -> Outcome:
    """Return what the worker's reader makes of *data*."""
    reader = RequestReader(Memo(Limits()))
    reader.receive(data)
    try:
        while (found := reader.next()) is Need.CONTINUE:
            pass
    except Refusal as refusal:
        return Refused(refusal.status)
    if not isinstance(found, Request):
        return Unfinished()
    return Taken(
        found.method,
        found.target,
        found.version,
        found.headers,
        found.body,
        bytes(reader._buffer),
        not found.keep_alive,
    )


def theirs(data: bytes) -> Outcome:
    """Return what h11 makes of *data*."""
    reader = h11.Connection(h11.SERVER, max_incomplete_event_size=ANY_SIZE)
    reader.receive_data(data)
    head: h11.Request | None = None
    body = b""
    try:
        while True:
            event = reader.next_event()
            if isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                # Only with an answer h11 knows what follows one that asks for a tunnel (CONNECT, Upgrade).
                reader.send(h11.Response(status_code=405, headers=[(b"Content-Length", b"0")]))
                reader.send(h11.EndOfMessage())
                last = reader.our_state is h11.MUST_CLOSE
                rest = reader.trailing_data[0]
                return Taken(head.method, head.target, head.http_version, _joined(head.headers), body, rest, last)
            else:
                return Unfinished()
    except h11.RemoteProtocolError as error:
        return Refused(error.error_status_hint)


def _joined(fields: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for name, value in fields:
        found[name] = found[name] + b", " + value if name in found else value
    return found


# -- where we differ --


@frozen
class Case:
    """Bytes, and what each reader makes of them."""

    data: bytes
    ours: Outcome
    theirs: Outcome

    @property
    def line(self) -> bytes:
        """The request line."""
        return self.data.split(b"\n", 1)[0].rstrip(b"\r")

    @property
    def head(self) -> bytes:
        """All before the body, in the eyes of the most lenient reader."""
        end = re.search(rb"\n\r?\n", self.data)
        return self.data[: end.end()] if end else self.data

    def refused(self, *statuses: int) -> bool:
        """Return whether we refuse, with one of *statuses*, what h11 takes."""
        return isinstance(self.theirs, Taken) and isinstance(self.ours, Refused) and self.ours.status in statuses

    def has(self, pattern: bytes) -> bool:
        """Return whether *pattern* is in the head."""
        return re.search(pattern, self.head, re.IGNORECASE) is not None


@frozen
class Explanation:
    """Why we differ from h11 in some cases: which, the reason, and an example."""

    reason: str
    applies: Callable[[Case], bool]
    example: bytes


def _is_form_of_ours(line: bytes) -> bool:
    """Return whether the target in *line* has a form that we take.

    It is a path, or "http" with a host without user information and a path, and names a place.
    """
    target = [*line.split(b" "), b"", b""][1]
    found = re.fullmatch(rb"(?:http://[^/?@#]+)?(/[^#]*|\?[^#]*)?", target, re.IGNORECASE)
    if found is None or not target or target.startswith(b"?"):
        return False
    try:
        normalise(found[1] or b"/")
    except BadPath:
        return False
    return True


BAD, UNKNOWN, TEAPOT = HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.EXPECTATION_FAILED

EXPLAINED = (
    Explanation(
        "h11 waits for the end of a head that cannot become right any more; a guest must not hold a connection so",
        lambda case: isinstance(case.ours, Refused) and isinstance(case.theirs, Unfinished),
        b"GET /%zz HTTP/1.1\r\n",
    ),
    Explanation(
        "h11 refuses a first byte that no request can begin with; we look at a line when it is there",
        lambda case: isinstance(case.theirs, Refused) and isinstance(case.ours, Unfinished) and case.data[0] <= 0x20,
        b"\0",
    ),
    Explanation(
        "h11 takes a lone LF for the end of a line (RFC 9112 section 2.2 lets it); another reader may not",
        lambda case: case.refused(BAD) and case.has(rb"(?<!\r)\n"),
        b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    ),
    Explanation(
        "h11 joins folded lines (obs-fold, RFC 9112 section 5.2, by which a server refuses or joins them)",
        lambda case: case.refused(BAD) and case.has(rb"\n[ \t]"),
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
    ),
    Explanation(
        "h11 takes control characters in values (by RFC 9110 section 5.5 they are invalid)",
        lambda case: case.refused(BAD) and case.has(rb"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]"),
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n",
    ),
    Explanation(
        "h11 does not look into the target; ours is a path that names a place, or has one behind http://host",
        lambda case: case.refused(BAD) and not _is_form_of_ours(case.line),
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    Explanation(
        "h11 takes every version of the right form; by RFC 9110 section 2.5 a 2.0 in this syntax is an error",
        lambda case: case.refused(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED),
        b"GET / HTTP/2.0\r\n\r\n",
    ),
    Explanation(
        "h11 takes every method; llhttp those that exist",
        lambda case: case.refused(UNKNOWN),
        b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    Explanation(
        "h11 reads chunks, of which clients of ours send none that hold anything",
        lambda case: case.refused(HTTPStatus.LENGTH_REQUIRED, BAD) and case.has(rb"\ntransfer-encoding:"),
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ),
    Explanation(
        "h11 takes one length given twice (RFC 9110 section 8.6 lets it)",
        lambda case: case.refused(BAD) and case.has(rb"\ncontent-length:(.*,|[^\0]*\ncontent-length:)"),
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    ),
    Explanation(
        "h11 leaves it to its user what a guest may cost",
        lambda case: case.refused(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.REQUEST_URI_TOO_LONG,
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        ),
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n" + bytes(65537),
    ),
    Explanation(
        "h11 leaves it to its user which expectations can be met",
        lambda case: case.refused(TEAPOT),
        b"GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n",
    ),
    Explanation(
        "h11 refuses the empty line before a request that RFC 9112 section 2.2 asks servers to ignore",
        lambda case: (
            case.data.startswith(b"\r\n") and isinstance(case.theirs, Refused) and isinstance(case.ours, Taken)
        ),
        b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
)


def difference(data: bytes) -> Case | None:
    """Return the case in which the two readers disagree about *data*, None where they agree."""
    case = Case(data, ours(data), theirs(data))
    return None if case.ours == case.theirs else case


def check(data: bytes) -> None:
    """Fail when the two readers do not agree about *data* and nothing explains why."""
    case = difference(data)
    assert case is None or any(each.applies(case) for each in EXPLAINED), case


# -- bytes that are nearly right --

METHODS = (b"HEAD", b"PUT", b"POST", b"DELETE", b"OPTIONS", b"CONNECT", b"BREW", b"get", b"G ET", b"")
TARGETS = (
    b"/", b"/latest/api/token", b"/openstack/latest/meta_data.json", b"//a/./b/../c?d=e", b"/%41%2e%2E", b"/%2f", b"/%",
    b"/a#b", b"*", b"a", b"?", b"http://169.254.169.254/latest", b"HTTP://a", b"http://a@b/", b"http:///", b"a:80",
    b"https://a/", b"/\xff", b"/ /", b"",
)  # fmt: skip
VERSIONS = (b"HTTP/1.0", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.10", b"http/1.1", b"")
GOOD_FIELDS = (
    b"Host: 169.254.169.254", b"X-metadata-token: abc", b"A: b", b"A:b ", b"a:\t b \t", b"A: b, c", b"A: \xff",
    b"Content-Length: 0", b"Content-Length: 3", b"content-length: 5", b"Expect: 100-continue", b"Connection: close",
    b"Transfer-Encoding: chunked", b"Connection: keep-alive", b"Connection: a, Close",
    b"Connection: upgrade", b"Upgrade: h2c", b"A: " + b"b" * 300,
)  # fmt: skip
FIELDS = (
    b"Host: a", b"host:", b"Content-Length: 3, 3", b"Content-Length: +3", b"Content-Length: 3 ", b"Content-Length: 0x3",
    b"Content-Length:", b"Content-Length : 3", b"Content-Length: 65537", b"Content-Length: 99999999999999999999999",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding:\x0bchunked", b"Expect: tea", b" folded: a", b"\tb", b": a", b"A", b"A B: c", b"A\0: b",
    b"A: \0", b"A: \x01", b"A: \x7f", b"A: b\rc", b'"A": b',
)  # fmt: skip
ENDS = (b"\n", b"\r", b"\r\r\n", b"")
BODIES = (
    b"", b"", b"abc", b"abcde", b"abcdefgh", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"0\r\n\r\n", b"0\r\n\r\n",
    b"0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n", b"0;a=b\r\n\r\n",
    b"0\r\nA: b\r\n\r\n", b"00\r\n\r\n",
)  # fmt: skip
BYTES = (b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b",", b"/", b"\0", b"\x7f", b"\x80", b"0", b"1", b"A", b"%", b"#")


def request(random: Random) -> bytes:
    """Return a request, or the remains of one: both readers take some four in ten."""

    def mostly(usual: bytes, others: Sequence[bytes], one_in: int = 12) -> bytes:
        return random.choice(others) if random.randrange(one_in) == 0 else usual

    line = b" ".join((mostly(b"GET", METHODS, 4), mostly(TARGETS[0], TARGETS, 4), mostly(b"HTTP/1.1", VERSIONS)))
    fields = [mostly(random.choice(GOOD_FIELDS), FIELDS) for _ in range(random.randrange(5))]
    fields.insert(random.randrange(len(fields) + 1), mostly(GOOD_FIELDS[0], FIELDS))
    head = b"".join(each + mostly(b"\r\n", ENDS, 50) for each in (line, *fields, b""))
    data = bytearray(mostly(b"", (b"\r\n",)) + head + random.choice(BODIES))
    for _ in range(random.choice((0, 0, 0, 0, 1, 1, 2, 3))):
        start = random.randrange(len(data) + 1)
        end = start + random.choice((0, 0, 1, 1, 2, 10))
        data[start:end] = random.choice((b"", *BYTES, bytes(data[end : end + 20])))
    return bytes(data)
