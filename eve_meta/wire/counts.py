"""What guests move instead of log lines: numbers by tag, under names from a closed set.

A guest chooses how fast these grow, never how many there are.
"""

from __future__ import annotations

import enum


class Drop(str, enum.Enum):
    """Why a connection ended, or was never begun, other than by an answer and a close in good order."""

    REFUSED_CONNECTIONS = "refused_connections"
    """The tap had as many connections as it may have."""

    MALFORMED = "malformed"
    """No request that we take: every refusal by :mod:`eve_meta.web.request`, and a request that ends half-way."""

    TIMEOUT = "timeout"
    """A request, or the first byte of one, did not come in time."""

    SLOW_READER = "slow_reader"
    """An answer was not taken off our hands in time."""

    REVOKED = "revoked"
    """The tag went, or means another domain now."""


class Note(str, enum.Enum):
    """What is to be known of a request beside its status."""

    NO_TOKEN = "no_token"
    """It had no session token: refused where they are required, and what would be where they are optional (AWS's
    MetadataNoToken). Not counted where they are off."""

    INVALID_TOKEN = "invalid_token"
    """Its session token has ended, is another guest's, or never was one."""

    WRONG_HOST = "wrong_host"
    """It was meant for somebody else (:mod:`eve_meta.web.hosts`)."""


NAMES = frozenset(name.value for kind in (Drop, Note) for name in kind)
"""All names."""
