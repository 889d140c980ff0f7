"""Host keys: what OpenSSH and cryptography make is taken, whatever else a guest sends is not."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from eve_meta.values.checks import BadValue
from eve_meta.values.host_key import MAX_DATA, HostKey, read_host_key

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJKOEWEDN3K5WzKNk4Q5Ql1ZFgGQxNQ3Cw0u2mT9yZ9s"


def blob(*parts: bytes) -> str:
    """Return *parts* as the base64 of a key."""
    return base64.b64encode(b"".join(struct.pack(">I", len(part)) + part for part in parts)).decode()


def made() -> list[str]:
    keys: list[Any] = [ed25519.Ed25519PrivateKey.generate().public_key()]
    keys += [ec.generate_private_key(curve).public_key() for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1())]
    # Numbers of the size are enough: whether they are primes is the guest's concern.
    keys += [rsa.RSAPublicNumbers(65537, 2 ** (bits - 1) + 1).public_key() for bits in (2048, 3072, 4096)]
    return [key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() for key in keys]


@pytest.mark.parametrize("line", made(), ids=lambda line: line.split()[0])
def test_a_key_is_read_and_its_comment_dropped(line: str) -> None:
    assert str(read_host_key(line)) == line
    assert str(read_host_key(f"{line} root@web1, *.example.org")) == line


POINT = b"\x04" + bytes(64)
MODULUS = b"\0\x80" + bytes(255)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "N/A",
        "ssh-ed25519",
        "ssh-ed25519 ",
        # Lines for other hosts, and markers.
        f"@cert-authority * {ED25519}",
        f"@revoked {ED25519}",
        f"*.example.org {ED25519}",
        f"web2,10.0.0.5 {ED25519}",
        f"{ED25519}\ngithub.com {ED25519}",
        f"{ED25519}\r",
        f"\t{ED25519}",
        ED25519.replace(" ", "\t"),
        ED25519.replace(" ", "  "),
        # Types that are no host keys, or no more.
        f"ssh-ed25519-cert-v01@openssh.com {blob(b'ssh-ed25519-cert-v01@openssh.com', bytes(32))}",
        f"sk-ssh-ed25519@openssh.com {blob(b'sk-ssh-ed25519@openssh.com', bytes(32), b'ssh:')}",
        f"ssh-dss {blob(b'ssh-dss', MODULUS, bytes(20), MODULUS, MODULUS)}",
        # A type and another key.
        f"ssh-rsa {ED25519.split()[1]}",
        f"ssh-ed25519 {blob(b'ssh-rsa', b'x' * 3, MODULUS)}",
        f"ecdsa-sha2-nistp256 {blob(b'ecdsa-sha2-nistp384', b'nistp384', POINT)}",
        # Lengths, forms, and what follows.
        f"ssh-ed25519 {blob(b'ssh-ed25519', bytes(31))}",
        f"ssh-ed25519 {blob(b'ssh-ed25519', bytes(32), b'more')}",
        f"ssh-ed25519 {blob(b'ssh-ed25519')}",
        f"ecdsa-sha2-nistp256 {blob(b'ecdsa-sha2-nistp256', b'nistp256', POINT[:-1])}",
        f"ecdsa-sha2-nistp256 {blob(b'ecdsa-sha2-nistp256', b'nistp521', POINT)}",
        f"ecdsa-sha2-nistp256 {blob(b'ecdsa-sha2-nistp256', b'nistp256', bytes(65))}",
        f"ssh-rsa {blob(b'ssh-rsa', b'', MODULUS)}",
        f"ssh-rsa {blob(b'ssh-rsa', b'x', bytes(256))}",
        f"ssh-rsa {blob(b'ssh-rsa', b'x', MODULUS[1:])}",
        f"ssh-rsa {blob(b'ssh-rsa', b'x', bytes([1] * 64))}",
        f"ssh-rsa {blob(b'ssh-rsa', b'x', bytes([1] * 600))}",
        # Base64 in other forms.
        ED25519 + "=",
        ED25519[:-1],
        ED25519[:30] + "\n" + ED25519[30:],
        ED25519[:30] + "*" + ED25519[30:],
        ED25519[:30] + "ä" + ED25519[30:],
        f"ecdsa-sha2-nistp256 {blob(b'ecdsa-sha2-nistp256', b'nistp256', POINT).replace('A=', 'B=')}",
        "ssh-ed25519 " + "A" * (MAX_DATA + 4),
        "ssh-ed25519 AAAA",
        "ssh-ed25519 /////w==",
    ],
)
def test_whatever_else_a_guest_sends_is_refused(line: str) -> None:
    with pytest.raises(BadValue, match="expected an SSH host key, got '"):
        read_host_key(line)


@given(st.text(max_size=100), st.binary(max_size=200))
def test_bytes_are_a_key_or_raise_a_value_error(text: str, data: bytes) -> None:
    for line in (text, f"ssh-ed25519 {base64.b64encode(data).decode()}"):
        try:
            key = read_host_key(line)
        except ValueError:
            continue
        assert isinstance(key, HostKey)
        assert str(key).isascii()
        assert str(key).count(" ") == 1
        assert str(key).isprintable()
