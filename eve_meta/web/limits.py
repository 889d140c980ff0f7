"""What one guest may cost: every limit on what a guest sends, holds or takes, with its reason.

No limit grows with what a guest does. Times are seconds, sizes are bytes. Deadlines are looked at once a second, so a
time limit may take effect up to a second late.
"""

from __future__ import annotations

from attrs import frozen

from eve_meta.values.content import SMALL

DEFAULT_MAX_REQUEST_LINE = 4 * 1024
"""Bytes of a request line with its CRLF; beyond it 414. The longest path that is served has some 120 bytes. nginx and
Apache take 8 KiB, RFC 9112 section 3 asks general servers for 8000."""

DEFAULT_MAX_HEADERS = 16 * 1024
"""Bytes of all header fields together; beyond it 431. The largest field that is read is a session token, under 1 KiB.
Node.js and h11 take 16 KiB for the whole head, Apache and nginx 8 KiB for each field."""

DEFAULT_MAX_HEADER_FIELDS = 100
"""Header fields of a request; beyond it 431. 16 KiB hold 4,000 empty ones, and each costs a call from the parser.
Apache and Python's http.client take 100; guests' clients send at most a dozen."""

DEFAULT_MAX_BODY = 64 * 1024
"""Bytes of a request's body; beyond it 413. The largest that a client sends is cloud-init's report, some KiB; a
password has 1,020. nova takes 112 KiB, Firecracker's MMDS 50 KiB."""

DEFAULT_MAX_CONNECTIONS = 32
"""Open connections of a tap. cloud-init asks over one at a time (two when it races IPv6 against IPv4), a busy AWS SDK
over ten; browsers hold six to a host. 4,000 taps that all hold 32 stay within a systemd service's half a million files.
"""

DEFAULT_REQUEST_TIME = 10.0
"""From accepting a connection, or from the first byte of a later request, until the whole request has arrived. A byte
does not renew it, or a guest could hold 32 connections for ever with one byte every nine seconds (Slowloris).
Apache's mod_reqtimeout gives 20..40, the configuration that HAProxy's manual shows 10; guests are one hop
away."""

DEFAULT_IDLE_TIME = 15.0
"""Between two requests on a connection. HTTP clients drop theirs after about a minute, but a boot reads everything
within two seconds; Apache gives 5, Node.js 5, nginx 75."""

DEFAULT_WRITE_TIME = 10.0
"""Without progress of a guest that reads its answer slowly: the time for one :data:`SLICE` of it. 6.5 KB/s is slower
than any guest on its own host; nginx gives 60 to each write."""

DEFAULT_ANSWER_TIME = 5.0
"""Until a password is on the host's disk; beyond it 503. cloudbase-init's requests wait without a limit, botocore's one
second, but it posts none."""

DEFAULT_LINGER_TIME = 2.0
"""After a refusal, while what the guest still sends is thrown away. To close at once would make the kernel send a
reset, which may destroy the answer before the guest has read it (RFC 9112 section 9.6). nginx's lingering_timeout
is 5."""

DEFAULT_RATE = 200.0
"""Requests a second of a tap in the long run; beyond it and :data:`DEFAULT_BURST` 429. A boot is 35 requests within a
second or two, and clients that retry do so about once a second. At some 80 µs each, the answers to a guest that
floods without end take under 2 % of a worker's time. AWS allows 1,024 packets a second to its link-local services."""

DEFAULT_BURST = 400.0
"""Requests of a tap in one go: ten clients of a boot's 35 requests at once, which no image runs."""

DEFAULT_MAX_ANSWERS_A_TURN = 4
"""Answers, or slices of long ones, to a tap in one turn of the reactor; beyond it the guest's connections wait for the
next turn, behind what others ask meanwhile. A guest that asks for eight things at once on each of its connections keeps
others waiting for a third of a millisecond so, and for twenty without. A boot asks for one thing after the other, and
never waits."""

SLICE = SMALL
"""Bytes of a body that a connection hands to its transport at a time: what a guest that does not read can make a worker
hold, beside another 64 KiB in the transport's own buffer and 128 KiB in the kernel's
(:data:`eve_meta.web.sockets.SEND_BUFFER`), however long its user data are. A content that is no longer than this is an
object of Python (:data:`~eve_meta.values.content.SMALL`)."""

DEFAULT_MAX_PINNED = 4 * 1024 * 1024
"""Bytes of bodies beyond :data:`SLICE` that a tap's connections hold while the guest reads them; a further one gets
429. User data and files count for nothing: their one copy is there whether anybody reads it or not. What counts is made
for the guest, such as vendor data or a meta_data.json with many keys: 1 MB at most, of which each connection may have a
copy of its own, as every random_seed is another. The first body is always sent. A client reads one or two such
documents at a time."""


@frozen(kw_only=True)
class Limits:
    """The limits of a worker's guests: the constants above, smaller in tests."""

    max_request_line: int = DEFAULT_MAX_REQUEST_LINE
    max_headers: int = DEFAULT_MAX_HEADERS
    max_header_fields: int = DEFAULT_MAX_HEADER_FIELDS
    max_body: int = DEFAULT_MAX_BODY
    max_connections: int = DEFAULT_MAX_CONNECTIONS
    request_time: float = DEFAULT_REQUEST_TIME
    idle_time: float = DEFAULT_IDLE_TIME
    write_time: float = DEFAULT_WRITE_TIME
    answer_time: float = DEFAULT_ANSWER_TIME
    linger_time: float = DEFAULT_LINGER_TIME
    rate: float = DEFAULT_RATE
    burst: float = DEFAULT_BURST
    max_answers_a_turn: int = DEFAULT_MAX_ANSWERS_A_TURN
    max_pinned: int = DEFAULT_MAX_PINNED
