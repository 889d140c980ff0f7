"""Calls of libc and of the kernel for which Python has no function, or has one from 3.12 on only."""

from __future__ import annotations

import ctypes
import os

_LIBC = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: int | ctypes.Array[ctypes.c_char] | None) -> int:
    """Call libc's function *name*, which returns -1 and sets errno where it fails.

    :raises OSError: when it fails; the text begins with *name*.
    """
    result = int(getattr(_LIBC, name)(*(_as_long(argument) for argument in arguments)))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def system_call(name: str, number: int, *arguments: int | ctypes.Array[ctypes.c_char] | None) -> int:
    """Make the system call *number*, which messages call *name*.

    :raises OSError: when it fails; the text begins with *name*.
    """
    _LIBC.syscall.restype = ctypes.c_long
    result = int(_LIBC.syscall(ctypes.c_long(number), *(_as_long(argument) for argument in arguments)))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def _as_long(argument: object) -> object:
    # Variadic functions take a register for each: an int of 32 bits would leave the upper half undefined.
    return ctypes.c_long(argument) if isinstance(argument, int) else argument
