"""Session tokens, which a guest asks for first and then sends with each request (AWS's IMDSv2).

A token is its own time of expiry, sealed by AES-256-GCM with a key for one domain on one tap. No process keeps tokens,
so each worker accepts those that another sealed. An invented token, or another guest's, was not sealed with the key.

Each guest has a key of its own (:mod:`eve_meta.state.tokenkeys`), rather than one key for all with additional
authenticated data: with random nonces a key is good for 2**32 messages (NIST SP 800-38D section 8.3), which a few
guests that flood use up within days. A guest that wears out its own key can forge only its own tokens, which it gets
for the asking.
"""

from __future__ import annotations

import base64
import re
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
"""The length of an AES-256 key."""

NONCE_BYTES = 12
"""The length of a nonce for which GCM is made (NIST SP 800-38D section 8.2): 96 bits."""

MAX_TTL = 21_600
"""The longest life of a token, in seconds: six hours, as with AWS and Firecracker."""

_EXPIRY = struct.Struct("!d")
_TAG_BYTES = 16
_SEALED_BYTES = NONCE_BYTES + _EXPIRY.size + _TAG_BYTES

TOKEN_LENGTH = _SEALED_BYTES * 4 // 3
"""The length of every token in characters: 48. Its 36 bytes fill base64 without padding or spare bits, so that each
token has one spelling."""

_TOKEN = re.compile(rb"[A-Za-z0-9_-]{%d}" % TOKEN_LENGTH)


def seal(key: bytes, expiry: float, nonce: bytes) -> str:
    """Make a token for the guest that *key* belongs to: 48 characters of A-Z a-z 0-9 - _.

    :param key: :data:`KEY_BYTES` bytes.
    :param expiry: when the token expires, in seconds of ``CLOCK_BOOTTIME``: that clock goes on while the host sleeps,
        and nobody can set it back.
    :param nonce: :data:`NONCE_BYTES` random bytes, new for each token.
    """
    sealed = AESGCM(key).encrypt(nonce, _EXPIRY.pack(expiry), None)
    return base64.urlsafe_b64encode(nonce + sealed).decode("ascii")


def is_valid(key: bytes, token: bytes, now: float) -> bool:
    """Return whether *token* was sealed with *key* and has not expired at *now* (seconds of ``CLOCK_BOOTTIME``).

    :param token: any bytes that a guest sent.
    """
    # The form is checked first, so that the size of what a guest makes us decrypt is bounded.
    if not _TOKEN.fullmatch(token):
        return False
    sealed = base64.urlsafe_b64decode(token)
    try:
        opened = AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None)
    except InvalidTag:
        return False
    (expiry,) = _EXPIRY.unpack(opened)
    return bool(now < expiry)
