"""The secret outlives the daemon; a key does not outlive its tap or its boot."""

from __future__ import annotations

import stat
from pathlib import Path
from uuid import UUID

import pytest

from eve_meta.documents.tokens import KEY_BYTES
from eve_meta.state import tokenkeys
from eve_meta.state.tokenkeys import FILE, SECRET_BYTES, TokenKeys, load
from eve_meta.values.problem import Problem

DOMAIN, OTHER = UUID(int=1), UUID(int=2)
KEYS = TokenKeys(bytes(range(SECRET_BYTES)), UUID(int=7))
KEY = KEYS.of(5, DOMAIN)


def test_the_secret_is_made_once_and_kept(tmp_path: Path) -> None:
    first = load(tmp_path)
    path = tmp_path / FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert first.secret == path.read_bytes()
    assert load(tmp_path) == first
    path.unlink()
    assert load(tmp_path).secret != first.secret


def test_the_secret_is_not_in_the_repr() -> None:
    assert "secret" not in repr(KEYS)


@pytest.mark.parametrize(
    ("content", "got"),
    [(b"", "0"), (b"x" * 31, "31"), (b"x" * 33, "more"), (b"x" * 100_000, "more")],
)
def test_a_broken_secret_is_a_problem_with_its_remedy(tmp_path: Path, content: bytes, got: str) -> None:
    path = tmp_path / FILE
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(Problem) as caught:
        load(tmp_path)
    assert str(caught.value) == (
        f"{path}: expected 32 random bytes, got {got}: "
        "remove it, and a new one is made; guests then need new session tokens"
    )
    assert path.read_bytes() == content


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    load(tmp_path)
    (tmp_path / FILE).chmod(mode)
    with pytest.raises(Problem, match=f"mode 0{mode:o}: remove it"):
        load(tmp_path)


def test_a_secret_that_cannot_be_read_or_made_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"cannot write .*token\.key: No such file or directory"):
        load(tmp_path / "missing")
    (tmp_path / FILE).mkdir()
    with pytest.raises(Problem, match=r"cannot read .*token\.key: Is a directory"):
        load(tmp_path)


def test_a_key_is_the_same_for_all_workers_and_after_a_restart() -> None:
    assert TokenKeys(KEYS.secret, KEYS.boot).of(5, DOMAIN) == KEY
    assert len(KEY) == KEY_BYTES


@pytest.mark.parametrize(
    "other",
    [
        KEYS.of(6, DOMAIN),
        KEYS.of(5, OTHER),
        TokenKeys(KEYS.secret, UUID(int=8)).of(5, DOMAIN),
        TokenKeys(KEYS.secret[::-1], KEYS.boot).of(5, DOMAIN),
    ],
    ids=["the domain's next tap", "another domain on this tap", "the next boot", "another host"],
)
def test_a_key_dies_with_its_tap_its_domain_and_its_boot(other: bytes) -> None:
    assert other != KEY


def test_the_boot_is_the_kernels(tmp_path: Path) -> None:
    assert str(load(tmp_path).boot) == tokenkeys.BOOT_ID.read_text().strip()
