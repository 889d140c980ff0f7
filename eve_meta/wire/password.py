"""The password service of ``/openstack/<version>/password``: what worker and supervisor both hold to.

As nova's ``api/metadata/password.py``. Its limit comes from its database, which has four columns of 255 characters for
it.
"""

from __future__ import annotations

import enum

MAX_PASSWORD = 1020
"""Bytes of a password. cloudbase-init's, encrypted with an RSA key of 2048 bits and in base64, has 344."""


class Outcome(enum.Enum):
    """What became of a password that a guest posted."""

    STORED = "stored"
    """It is on the disk, and every worker that answers the domain knows it."""

    ALREADY_SET = "already set"
    """There was one before."""

    FAILED = "failed"
    """It could not be written, or not now; another try may succeed."""


def read(posted: bytes) -> str:
    """The password in the body of a POST.

    :raises ValueError: when it is empty, longer than :data:`MAX_PASSWORD`, or not UTF-8.
    """
    if not 0 < len(posted) <= MAX_PASSWORD:
        raise ValueError(f"expected 1..{MAX_PASSWORD} bytes, got {len(posted)}")
    return posted.decode()
