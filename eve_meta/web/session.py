"""Session tokens over HTTP: which request gets one, and which requests need one.

The rules are those of AWS's IMDSv2 and of Firecracker's MMDS, which has a second name for each header field. They
defend against a program in the guest that can be made to fetch a URL (SSRF), against a proxy, and against a NAT that
lets others in. The program can be made to send a GET but no PUT with a header field of its own, the proxy adds
X-Forwarded-For, and whoever is behind the NAT is a router too far away.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from eve_meta.documents.paths import TOKEN_PATH
from eve_meta.documents.tokens import MAX_TTL, NONCE_BYTES, is_valid, seal
from eve_meta.values.domain import TokenPolicy
from eve_meta.web.request import Request
from eve_meta.web.response import Response, refusal
from eve_meta.web.table import Entry
from eve_meta.wire.counts import Note

TOKEN_FIELDS = (b"x-aws-ec2-metadata-token", b"x-metadata-token")
TTL_FIELDS = {
    b"x-aws-ec2-metadata-token-ttl-seconds": "X-aws-ec2-metadata-token-ttl-seconds",
    b"x-metadata-token-ttl-seconds": "X-metadata-token-ttl-seconds",
}
"""The header fields with the seconds that a token is to last, each with its name in the answer."""

_MAX_TTL_DIGITS = len(str(MAX_TTL))

UNAUTHORIZED = refusal(HTTPStatus.UNAUTHORIZED, f"PUT {TOKEN_PATH} first")
"""Without ``WWW-Authenticate``, which RFC 9110 section 11.6.1 wants: no scheme has a name for this, and AWS sends none.
"""

# Each answer to the PUT has the hop limit, and so closes: a client too far away is to learn nothing.
FORWARDED = refusal(HTTPStatus.FORBIDDEN, close=True, hop_limited=True)
BAD_TTL = refusal(
    HTTPStatus.BAD_REQUEST,
    f"X-aws-ec2-metadata-token-ttl-seconds is not a number of 1..{MAX_TTL}",
    close=True,
    hop_limited=True,
)


def objection(entry: Entry, request: Request, uptime: float) -> Note | None:
    """Return why *request* is refused where tokens are required; None when its token is valid, or none is needed.

    :param uptime: seconds of ``CLOCK_BOOTTIME``.
    """
    if entry.grants.tokens is TokenPolicy.OFF or not request.rule.needs_token:
        return None
    token = next((request.headers[name] for name in TOKEN_FIELDS if name in request.headers), None)
    if token is None:
        return Note.NO_TOKEN
    return None if is_valid(entry.grants.token_key, token, uptime) else Note.INVALID_TOKEN


def issue(entry: Entry, request: Request, uptime: float, random: Callable[[int], bytes]) -> Response:
    """Return the answer to *request*, a PUT to :data:`~eve_meta.documents.paths.TOKEN_PATH`.

    :param uptime: seconds of ``CLOCK_BOOTTIME``.
    :param random: returns as many random bytes as it is asked for.
    """
    if b"x-forwarded-for" in request.headers:
        return FORWARDED
    for name, shown in TTL_FIELDS.items():
        if name in request.headers:
            ttl = _ttl(request.headers[name])
            if ttl is None:
                return BAD_TTL
            token = seal(entry.grants.token_key, uptime + ttl, random(NONCE_BYTES)).encode("ascii")
            return Response(HTTPStatus.OK, token, extra=f"{shown}: {ttl}\r\n", close=True, hop_limited=True)
    return BAD_TTL


def _ttl(value: bytes) -> int | None:
    # int() alone would read "+1" and "1_0", too.
    if not value.isdigit() or len(value) > _MAX_TTL_DIGITS:
        return None
    ttl = int(value)
    return ttl if 1 <= ttl <= MAX_TTL else None
