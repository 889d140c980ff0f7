"""The keys of session tokens: one secret in the state directory, and out of it a key for each guest.

A guest's key belongs to its domain's uuid, to its tap's life, and to this boot of the host:

* The tap's life is told by its ifindex. The kernel counts these up and uses none twice within a boot, and a tap keeps
  its own while the daemon comes and goes. The tag would not do: after a clean stop tags begin at 1 again, so that a
  guest's tokens would end with the daemon, and those of a tap that is gone might open for the next.
* After a boot ifindexes, tags and ``CLOCK_BOOTTIME``, by which tokens end, all begin anew. With the boot's id in its
  key, no token of an earlier boot comes to life again. The guests of that boot are gone as well, and clients get
  themselves another token when they are told 401.

Workers are given the keys of the guests that they serve, and never the secret.
"""

from __future__ import annotations

import hmac
import os
import stat
import struct
from pathlib import Path
from uuid import UUID

from attrs import field, frozen

from eve_meta.state import files
from eve_meta.values.problem import Problem

FILE = "token.key"

SECRET_BYTES = 32

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""A uuid that the kernel makes at each boot (random(4))."""

_PURPOSE = b"eve-meta session token 1"
_TAP = struct.Struct("!I")


@frozen
class TokenKeys:
    """Makes guests' keys.

    :ivar secret: :data:`SECRET_BYTES` random bytes.
    :ivar boot: the id of this boot.
    """

    secret: bytes = field(repr=False)
    boot: UUID

    def of(self, ifindex: int, domain: UUID) -> bytes:
        """The key of *domain* behind the tap *ifindex*: 32 bytes.

        HMAC-SHA256 as pseudorandom function (NIST SP 800-108); all parts have fixed lengths.
        """
        return hmac.digest(self.secret, _PURPOSE + self.boot.bytes + _TAP.pack(ifindex) + domain.bytes, "sha256")


def load(directory: Path) -> TokenKeys:
    """The keys by the secret in the state *directory*; it is made when there is none.

    :raises Problem: when it cannot be had, or is none.
    """
    return TokenKeys(_secret(directory / FILE), UUID(BOOT_ID.read_text().strip()))


def _secret(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            secret = file.read(SECRET_BYTES + 1)
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    except FileNotFoundError:
        return _make(path)
    except OSError as error:
        raise Problem(f"cannot read {path}: {error.strerror}") from None
    remedy = "remove it, and a new one is made; guests then need new session tokens"
    if len(secret) != SECRET_BYTES:
        got = "more" if len(secret) > SECRET_BYTES else str(len(secret))
        raise Problem(f"{path}: expected {SECRET_BYTES} random bytes, got {got}: {remedy}")
    if mode & 0o077:
        raise Problem(f"{path}: expected a file that root alone can read (mode 0600), got mode {mode:04o}: {remedy}")
    return secret


def _make(path: Path) -> bytes:
    secret = os.urandom(SECRET_BYTES)
    try:
        files.write(path, secret)
    except OSError as error:
        raise Problem(f"cannot write {path}: {error.strerror}") from None
    return secret
