"""The password of ``/openstack/<version>/password``: the rules that worker and supervisor share.

They are those of nova's ``api/metadata/password.py``. Its limit comes from its database, which has four columns of 255
characters for a password.
"""

from __future__ import annotations

import enum

MAX_PASSWORD = 1020
"""The most bytes of a password. One of cloudbase-init, encrypted with an RSA key of 2048 bits, has 344 in base64."""


class Outcome(enum.Enum):
    """The outcome of a guest's post of a password."""

    STORED = "stored"
    """The password is on the disk, and every worker that answers the domain knows it."""

    ALREADY_SET = "already set"
    """The domain had a password before."""

    FAILED = "failed"
    """The password could not be written, or not now; another attempt may succeed."""


def read(posted: bytes) -> str:
    """Read the password in the body of a POST.

    :raises ValueError: when the body is empty, longer than :data:`MAX_PASSWORD`, or not UTF-8.
    """
    if not 0 < len(posted) <= MAX_PASSWORD:
        raise ValueError(f"expected 1..{MAX_PASSWORD} bytes, got {len(posted)}")
    return posted.decode()
