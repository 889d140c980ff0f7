"""The keys of session tokens: one secret in the state directory, and a key for each guest derived from it.

A guest's key belongs to the domain's uuid, to one life of the tap, and to this boot of the host:

* The ifindex identifies the life of a tap. The kernel counts ifindexes up and uses none twice within a boot, and a tap
  keeps its own while daemons come and go. The tag would not do: after a clean stop tags begin at 1 again, so that a
  guest's tokens would end with the daemon, and those for a tap that is gone might be valid for the next one.
* At each boot, ifindexes, tags and ``CLOCK_BOOTTIME``, by which tokens expire, begin anew. With the boot's id in the
  key, no token of an earlier boot becomes valid again. The guests of that boot are gone as well, and clients ask for
  another token when they get a 401.

A worker gets the keys of the guests that it serves, never the secret.
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
    """The keys of guests, derived from *secret*.

    :ivar secret: :data:`SECRET_BYTES` random bytes.
    :ivar boot: the id of this boot.
    """

    secret: bytes = field(repr=False)
    boot: UUID

    def of(self, ifindex: int, domain: UUID) -> bytes:
        """Return the key of *domain* behind the tap *ifindex*: 32 bytes.

        It is derived by HMAC-SHA256 as a pseudorandom function (NIST SP 800-108); all parts have fixed lengths.
        """
        return hmac.digest(self.secret, _PURPOSE + self.boot.bytes + _TAP.pack(ifindex) + domain.bytes, "sha256")


def load(directory: Path) -> TokenKeys:
    """Load the secret from the state *directory*, after making one where there is none.

    :raises Problem: when the secret cannot be read or made, or the file does not hold one.
    """
    return TokenKeys(_secret(directory / FILE), UUID(BOOT_ID.read_text().strip()))


def _secret(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            secret = file.read(SECRET_BYTES + 1)
            status = os.fstat(file.fileno())
    except FileNotFoundError:
        return _make(path)
    except OSError as error:
        raise Problem(f"cannot read {path}: {error.strerror}") from None
    remedy = "remove it, and a new one is made; guests then need new session tokens"
    if len(secret) != SECRET_BYTES:
        got = "more" if len(secret) > SECRET_BYTES else str(len(secret))
        raise Problem(f"{path}: expected {SECRET_BYTES} random bytes, got {got}: {remedy}")
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid != os.geteuid():
        raise Problem(f"{path}: expected a file of root's, got one of uid {status.st_uid}: {remedy}")
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
