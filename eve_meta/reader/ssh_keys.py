"""Public keys as sshd and Windows read them."""

from __future__ import annotations

import re

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key
from cryptography.x509 import load_pem_x509_certificate

_KEY = re.compile(r"(?:^|\s)((?:ssh|ecdsa|sk)-[\w.@-]+\s+\S+)")


def unreadable(text: str) -> str | None:
    """Return why no guest can use the public key *text*; None where it can. The key itself is not quoted.

    sshd takes a key's options before it. Each line is a key of its own, as in ``authorized_keys``.
    """
    if text.lstrip().startswith("-----BEGIN CERTIFICATE-----"):
        try:
            load_pem_x509_certificate(text.encode())
        except ValueError:
            return "expected a certificate in PEM, got a damaged one"
        return None
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return next(filter(None, map(_unreadable_line, lines)), None)


def _unreadable_line(line: str) -> str | None:
    match = _KEY.search(line)
    if match is None:
        return "expected a public key such as 'ssh-ed25519 AAAA… alice@example', got other text"
    try:
        load_ssh_public_key(match[1].encode())
    except UnsupportedAlgorithm:
        return None  # newer than this host's cryptography
    except ValueError:
        return "expected a public key, got a damaged one: copy the whole line of the .pub file"
    return None


def load_modules() -> None:
    """Read a key of each kind: cryptography imports some of its modules only then."""
    for key in (
        ed25519.Ed25519PublicKey.from_public_bytes(bytes(32)),
        ec.derive_private_key(1, ec.SECP256R1()).public_key(),
        rsa.RSAPublicNumbers(65537, 2**2047 + 1).public_key(),
    ):
        unreadable(key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode())
    unreadable("-----BEGIN CERTIFICATE-----\n")
