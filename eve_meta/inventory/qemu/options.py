"""How QEMU writes several options in one argument. A module of its own, because the daemon needs nothing else of it."""

from __future__ import annotations


def options(value: str, implied: str = "") -> dict[str, str]:
    """A value of ``key=value,key=value`` as QEMU reads it (``util/keyval.c``, ``util/qemu-option.c``).

    A comma in a value is written twice, and the last of several of one key counts.

    :param implied: the key of a first part that has none.
    """
    found = {}
    for index, part in enumerate(value.replace(",,", "\0").split(",")):
        key, equals, text = part.replace("\0", ",").partition("=")
        if equals:
            found[key] = text
        elif index == 0 and implied:
            found[implied] = key
    return found
