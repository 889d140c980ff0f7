"""What a guest's cloud-init tells of its own boot: its webhook reporting and its phone_home.

Everything in it is a guest's word. It is kept for who looks at the guest's timeline, it decides nothing, and of each
report only a few fields are taken, short ones, of printable ASCII.
"""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from attrs import field, frozen

from eve_meta.values.checks import check
from eve_meta.values.text import is_printable, to_printable_ascii

MAX_REPORT = 8 * 1024
"""Bytes of a report: cloud-init's webhook sends 200, phone_home 2 KB with four host keys."""

MAX_NAME = 64
"""Characters of a name; ``modules-final/config-scripts-user`` is among the long ones."""

MAX_DESCRIPTION = 128

MAX_FIELD = 1024
"""Characters of a field of phone_home: an RSA host key of 4096 bits has 740."""

MAX_FIELDS = 32
"""Fields that are looked at in a form."""

PHONE_HOME_FIELDS = (
    "instance_id",
    "hostname",
    "fqdn",
    "pub_key_rsa",
    "pub_key_dsa",
    "pub_key_ecdsa",
    "pub_key_ed25519",
)
"""Those that cloud-init sends (``POST_LIST_ALL`` of its cc_phone_home.py), and the only ones that are kept."""

OVERHEAD = 150
"""Bytes that a report takes on its way to the supervisor beside its text."""


class What(enum.Enum):
    """What a report is of."""

    START = "start"
    FINISH = "finish"
    PHONE_HOME = "phone-home"


class Result(enum.Enum):
    """How what it finished went (``cloudinit/reporting/events.py``)."""

    SUCCESS = "SUCCESS"
    WARN = "WARN"
    FAIL = "FAIL"


def _is_plain(text: Any, limit: int) -> bool:
    return text == "" or (is_printable(text, limit) and text.isascii())


@frozen(kw_only=True)
class BootReport:
    """A report.

    :ivar at: when it came, in seconds of ``CLOCK_MONOTONIC``: a guest's own clock may say anything.
    :ivar name: of what started or finished, as ``init-network/config-ssh``; "" for a phone_home.
    :ivar fields: what a phone_home told.
    """

    at: float = field(validator=check("a time", lambda v: isinstance(v, float) and math.isfinite(v)))
    what: What
    name: str = field(default="", validator=check("a short name", lambda v: _is_plain(v, MAX_NAME)))
    description: str = field(default="", validator=check("a short text", lambda v: _is_plain(v, MAX_DESCRIPTION)))
    result: Result | None = None
    fields: Mapping[str, str] = field(
        factory=dict,
        validator=check(
            "the fields of a phone_home",
            lambda v: all(name in PHONE_HOME_FIELDS and _is_plain(text, MAX_FIELD) for name, text in v.items()),
        ),
    )

    @property
    def cost(self) -> int:
        """Bytes that it takes on its way, roughly."""
        return OVERHEAD + len(self.name) + len(self.description) + sum(map(len, self.fields.values()))


@frozen
class TaggedReport:
    """A report on its way: the guest of *tag* made it, in that one's *generation* (:mod:`eve_meta.wire.requests`)."""

    tag: int
    generation: int
    report: BootReport


def read_report(body: bytes, at: float) -> BootReport:
    """The report in *body*, as cloud-init's ``WebHookHandler`` posts it: JSON.

    :raises ValueError: when it is none.
    """
    try:
        told = json.loads(body)
        name, what = told["name"], What(told["event_type"])
        result = Result(told["result"]) if "result" in told else None
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError("no report of cloud-init") from error
    if what is What.PHONE_HOME or not isinstance(name, str) or not name:
        raise ValueError("no report of cloud-init")
    return BootReport(
        at=at,
        what=what,
        name=_taken(name, MAX_NAME),
        description=_taken(told.get("description"), MAX_DESCRIPTION),
        result=result,
    )


def read_phone_home(body: bytes, at: float) -> BootReport:
    """The report in *body*, as cloud-init's phone_home posts it: a form.

    :raises ValueError: when it is none.
    """
    form = parse_qsl(body.decode("ascii"), max_num_fields=MAX_FIELDS)
    fields = {name: _taken(value.strip(), MAX_FIELD) for name, value in form if name in PHONE_HOME_FIELDS}
    if not fields:
        raise ValueError("no form of cloud-init")
    return BootReport(at=at, what=What.PHONE_HOME, fields=fields)


def _taken(text: object, limit: int) -> str:
    """Return what is kept of a field that a guest sent: its first *limit* characters, or "" where it is no string."""
    return to_printable_ascii(text[:limit]) if isinstance(text, str) else ""
