"""Session tokens: what a guest shows with each request to prove that it asked for one first (AWS's IMDSv2).

A token is its own expiry, sealed by AES-256-GCM with the key of one tap's life and one domain. Nothing is kept of it,
so any worker accepts what another sealed. Where no token was asked for, or another guest's is shown, no key fits.

Each guest has a key of its own (:mod:`eve_meta.state.tokenkeys`) in place of additional authenticated data with one key
for all: with random nonces, a key is good for 2**32 messages (NIST SP 800-38D section 8.3), which a few guests that
flood use up within days. A key that one guest wears out lets that guest forge its own tokens, which it has for the
asking.
"""

from __future__ import annotations

import base64
import re
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
"""AES-256."""

NONCE_BYTES = 12
"""What GCM is made for (NIST SP 800-38D section 8.2): 96 bits."""

MAX_TTL = 21_600
"""Seconds that a token may last: six hours, as AWS and Firecracker have it."""

_EXPIRY = struct.Struct("!d")
_TAG_BYTES = 16
_SEALED_BYTES = NONCE_BYTES + _EXPIRY.size + _TAG_BYTES

TOKEN_LENGTH = _SEALED_BYTES * 4 // 3
"""Characters of every token: 48. 36 bytes fill base64 without padding or spare bits, so each has one way to be
written."""

_TOKEN = re.compile(rb"[A-Za-z0-9_-]{%d}" % TOKEN_LENGTH)


def seal(key: bytes, expiry: float, nonce: bytes) -> str:
    """A token of the guest that *key* belongs to: 48 characters of A-Z a-z 0-9 - _.

    :param key: :data:`KEY_BYTES` bytes.
    :param expiry: when it ends, in seconds of ``CLOCK_BOOTTIME``: it goes on while the host sleeps, and nobody can set
        it back.
    :param nonce: :data:`NONCE_BYTES` random bytes, others each time.
    """
    sealed = AESGCM(key).encrypt(nonce, _EXPIRY.pack(expiry), None)
    return base64.urlsafe_b64encode(nonce + sealed).decode("ascii")


def is_valid(key: bytes, token: bytes, now: float) -> bool:
    """Whether *token* was sealed with *key* and has not ended at *now* (seconds of ``CLOCK_BOOTTIME``).

    :param token: what a guest sent, whatever it is.
    """
    # First by its looks: what a guest makes us decrypt is bounded.
    if not _TOKEN.fullmatch(token):
        return False
    sealed = base64.urlsafe_b64decode(token)
    try:
        opened = AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None)
    except InvalidTag:
        return False
    (expiry,) = _EXPIRY.unpack(opened)
    return bool(now < expiry)
