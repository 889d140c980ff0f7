"""The counters that guests' misbehaviour moves, in place of log lines: by tag, under names from a closed set.

A guest decides how fast its counters grow, never how many there are.
"""

from __future__ import annotations

import enum


class Drop(str, enum.Enum):
    """The reasons why a connection was refused, or ended otherwise than by an answer and an orderly close."""

    REFUSED_CONNECTIONS = "refused_connections"
    """The tap had as many connections as a tap may have."""

    MALFORMED = "malformed"
    """The request was malformed: :mod:`eve_meta.web.request` refused it, or it ended half-way."""

    TIMEOUT = "timeout"
    """A request, or its first byte, did not arrive in time."""

    SLOW_READER = "slow_reader"
    """The guest did not read its answer in time."""

    REVOKED = "revoked"
    """The tap is gone, another domain was assigned to it, or the lease ended, so that nobody could know."""


class Note(str, enum.Enum):
    """Facts about a request that its status does not show."""

    NO_TOKEN = "no_token"
    """The request had no session token. It was refused where tokens are required; where they are optional, it would be
    refused if they were required (AWS's MetadataNoToken). Not counted where tokens are off."""

    INVALID_TOKEN = "invalid_token"
    """The request's session token has expired, is another guest's, or never was one."""

    TOO_MUCH_UNREAD = "too_much_unread"
    """The guest's connections held as many bytes of answers as they may, which the guest has not read yet; the request
    got 429."""

    WRONG_HOST = "wrong_host"
    """The request's Host names another server (:mod:`eve_meta.web.hosts`)."""


NAMES = frozenset(name.value for kind in (Drop, Note) for name in kind)
"""The names of all counters."""
