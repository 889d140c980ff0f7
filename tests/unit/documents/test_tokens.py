"""Tokens that are forged, altered, another guest's or expired."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eve_meta.documents.tokens import KEY_BYTES, MAX_TTL, NONCE_BYTES, TOKEN_LENGTH, is_valid, seal

KEY = bytes(range(KEY_BYTES))
NONCE = bytes(range(NONCE_BYTES))
EXPIRY = 100_000.25
TOKEN = seal(KEY, EXPIRY, NONCE).encode()


def test_a_token_fits_a_header_and_a_shell_word() -> None:
    assert len(TOKEN) == TOKEN_LENGTH == 48
    assert TOKEN.replace(b"-", b"").replace(b"_", b"").isalnum()


def test_a_token_is_valid_until_its_expiry() -> None:
    for now in (0.0, EXPIRY - MAX_TTL, EXPIRY - 0.001):
        assert is_valid(KEY, TOKEN, now)
    for now in (EXPIRY, EXPIRY + 1, 1e12):
        assert not is_valid(KEY, TOKEN, now)


def test_a_token_that_one_worker_sealed_is_valid_for_another() -> None:
    assert is_valid(bytes(KEY), seal(KEY, EXPIRY, bytes(NONCE_BYTES)).encode(), 0)


@given(st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES).filter(KEY.__ne__))
def test_another_guests_token_is_worthless(key: bytes) -> None:
    assert not is_valid(key, TOKEN, 0)


def test_a_token_with_one_bit_changed_is_invalid() -> None:
    sealed = base64.urlsafe_b64decode(TOKEN)
    for bit in range(len(sealed) * 8):
        bent = bytearray(sealed)
        bent[bit // 8] ^= 1 << bit % 8
        assert not is_valid(KEY, base64.urlsafe_b64encode(bent), 0)


@pytest.mark.parametrize(
    "bent",
    [
        b"",
        TOKEN[:-1],
        TOKEN + b"A",
        TOKEN + b"=",
        TOKEN + b"\n",
        b" " + TOKEN,
        TOKEN + b", " + TOKEN,
        TOKEN[:24] + b"\0" + TOKEN[25:],
        TOKEN[:24] + b"\n" + TOKEN[24:],
        b"=" * TOKEN_LENGTH,
        b"\xff" * TOKEN_LENGTH,
        b"A" * TOKEN_LENGTH,
        b"A" * 16_000,
    ],
)
def test_a_token_has_one_spelling(bent: bytes) -> None:
    assert not is_valid(KEY, bent, 0)


def test_base64_of_the_other_alphabet_is_no_token() -> None:
    for number in range(1000):
        token = seal(KEY, EXPIRY, number.to_bytes(NONCE_BYTES, "big")).encode()
        other = token.replace(b"-", b"+").replace(b"_", b"/")
        assert other == token or not is_valid(KEY, other, 0)


@given(st.binary(max_size=80) | st.binary(min_size=36, max_size=36).map(base64.urlsafe_b64encode))
def test_no_other_bytes_are_a_token(token: bytes) -> None:
    assert not is_valid(KEY, token, 0)
