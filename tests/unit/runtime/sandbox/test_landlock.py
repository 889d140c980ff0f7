"""Landlock's rulesets, by the version that the kernel has."""

from __future__ import annotations

import errno
import os
import struct
from typing import Any

import pytest

from eve_meta.runtime.sandbox import landlock
from eve_meta.runtime.sandbox.landlock import abi, denied, deny_everything

FILES_1, FILES_2, FILES_3, FILES_5 = ((1 << rights) - 1 for rights in (13, 14, 15, 16))


class Kernel:
    """A kernel with Landlock of *version*, or one that answers with *error* when it is asked for that."""

    def __init__(self, version: int, error: int = 0) -> None:
        self.version = version
        self.error = error
        self.handled: list[tuple[int, ...]] = []
        self.restricted = 0

    def system_call(self, name: str, number: int, *arguments: Any) -> int:
        if number == landlock.RESTRICT_SELF:
            self.restricted += 1
            return 0
        if arguments == (None, 0, 1):
            if self.error:
                raise OSError(self.error, f"{name}: {os.strerror(self.error)}")
            return self.version
        attributes, size, flags = arguments
        assert (size, flags) == (len(attributes.raw), 0)
        self.handled.append(struct.unpack(f"={size // 8}Q", attributes.raw))
        return os.open("/dev/null", os.O_RDONLY)


@pytest.mark.parametrize(
    ("version", "handled"),
    [
        (1, (FILES_1,)),
        (2, (FILES_2,)),
        (3, (FILES_3,)),
        (4, (FILES_3, 3)),
        (5, (FILES_5, 3)),
        (6, (FILES_5, 3, 3)),
        (99, (FILES_5, 3, 3)),
    ],
)
def test_every_right_that_the_version_knows_is_denied(
    version: int, handled: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel(version)
    monkeypatch.setattr(landlock, "system_call", kernel.system_call)
    before = os.listdir("/proc/self/fd")
    deny_everything()
    assert (kernel.handled, kernel.restricted) == ([handled], 1)
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM])
def test_a_kernel_without_landlock_denies_nothing(error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(0, error)
    monkeypatch.setattr(landlock, "system_call", kernel.system_call)
    deny_everything()
    assert (abi(), kernel.handled, kernel.restricted) == (0, [], 0)


def test_what_is_denied_in_words() -> None:
    assert [denied(version) for version in (1, 4, 7)] == [
        "files",
        "files, TCP",
        "files, TCP, signals, abstract sockets",
    ]
