"""Reads the command lines of VMMs: options, and arguments that hold several options.

The daemon needs a VM's identity alone; commands read the rest (:mod:`eve_meta.machine`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any


def options(value: str, implied: str = "") -> dict[str, str]:
    """Read ``key=value,key=value`` as QEMU does (``util/keyval.c``, ``util/qemu-option.c``).

    A comma within a value is written twice. Of several values for one key the last counts.

    :param implied: the key of the first part where the argument has none for it.
    """
    values: dict[str, str] = {}
    for index, part in enumerate(value.replace(",,", "\0").split(",")):
        key, equals, text = part.replace("\0", ",").partition("=")
        if equals:
            values[key] = text
        elif index == 0 and implied:
            values[implied] = key
    return values


def options_or_json(value: str, implied: str = "") -> Mapping[str, Any]:
    """Read an argument that is either :func:`options` or JSON, as that of ``-device`` may be; empty for other JSON.

    :param implied: as for :func:`options`.
    """
    if not value.startswith("{"):
        return options(value, implied)
    try:
        decoded = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    return decoded if isinstance(decoded, dict) else {}


def quoted_options(value: str, implied: str = "") -> dict[str, str]:
    """Read ``key=value,key="a,b",key=[a,b]`` as Cloud Hypervisor and crosvm do.

    A comma within quotes or brackets belongs to the value. Quotes are left out. Of several values for one key the last
    counts, and a key alone has the value "".

    :param implied: as for :func:`options`.
    """
    values: dict[str, str] = {}
    for index, part in enumerate(_parts(value.strip())):
        key, equals, text = part.partition("=")
        if equals or index or not implied:
            values[key] = text.strip()
        else:
            values[implied] = key
    return values


def _parts(value: str) -> Iterator[str]:
    part: list[str] = []
    depth, quoted = 0, False
    for character in value:
        if character == '"':
            quoted = not quoted
            continue
        if character == "," and not depth and not quoted:
            yield "".join(part)
            part = []
            continue
        if not quoted:
            depth += (character == "[") - (character == "]")
        part.append(character)
    yield "".join(part)


def long_options(
    arguments: Sequence[str], *, several: Collection[str] = (), texts: Collection[str] = ()
) -> Iterator[tuple[str, str]]:
    """Yield each option that has a value, with the value: ``--name value`` and ``--name=value``.

    What follows an option is taken for its value, although the option may have none. The arguments after ``--`` are
    none of the VMM's.

    :param arguments: a command line without the program.
    :param several: the options that take all arguments up to the next option.
    :param texts: the options whose value may begin with "-", such as the guest's kernel command line: a tenant may have
        written it, and it must not pass as another option.
    """
    option = ""
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--":
            return
        if not argument.startswith("-"):
            if option:
                yield option, argument
            option = option if option in several else ""
        elif argument in texts:
            option = ""
            if (text := next(remaining, None)) is not None:
                yield argument, text
        else:
            option, equals, value = argument.partition("=")
            if equals:
                yield option, value
                option = option if option in several else ""
