"""Reads an argument of QEMU that holds several options.

The daemon needs :func:`options` of a QEMU's arguments; commands read the rest (:mod:`eve_meta.machine.qemu`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
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
