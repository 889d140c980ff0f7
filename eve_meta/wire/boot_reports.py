"""Reports in which a guest's cloud-init describes its own boot: the posts of its webhook reporting and of phone_home.

A report is a guest's claim. It is kept for the guest's timeline and decides nothing. Of each report only a few fields
are kept, short ones, of printable ASCII.
"""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl

from attrs import field, frozen

from eve_meta.values.checks import check
from eve_meta.values.text import is_printable, to_printable_ascii

MAX_REPORT = 8 * 1024
"""The most bytes of a report: cloud-init's webhook sends 200, phone_home 2 KB with four host keys."""

MAX_NAME = 64
"""The most characters of a name; ``modules-final/config-scripts-user`` is among the long ones."""

MAX_DESCRIPTION = 128

MAX_FIELD = 1024
"""The most characters of a field of phone_home: an RSA host key of 4096 bits has 740."""

MAX_FIELDS = 32
"""The most fields of a form that are parsed."""

PHONE_HOME_FIELDS = (
    "instance_id",
    "hostname",
    "fqdn",
    "pub_key_rsa",
    "pub_key_dsa",
    "pub_key_ecdsa",
    "pub_key_ed25519",
)
"""The fields that cloud-init sends (``POST_LIST_ALL`` of its cc_phone_home.py). No others are kept."""

HOST_KEY_FIELDS: Mapping[str, str] = MappingProxyType(
    {"pub_key_ed25519": "ssh-ed25519", "pub_key_ecdsa": "ecdsa-sha2-nistp", "pub_key_rsa": "ssh-rsa"}
)
"""The fields with host keys, each with the beginning of its type. OpenSSH has dropped DSA keys."""

OVERHEAD = 150
"""Bytes that a report takes in a message to the supervisor beside its text."""


class What(enum.Enum):
    """The event that a report describes."""

    START = "start"
    FINISH = "finish"
    PHONE_HOME = "phone-home"


class Result(enum.Enum):
    """The outcome of a step that finished (``cloudinit/reporting/events.py``)."""

    SUCCESS = "SUCCESS"
    WARN = "WARN"
    FAIL = "FAIL"


def _is_plain(text: Any, limit: int) -> bool:
    return text == "" or (is_printable(text, limit) and text.isascii())


@frozen(kw_only=True)
class BootReport:
    """A report.

    :ivar at: when the report arrived, in seconds of ``CLOCK_MONOTONIC``: the guest's own clock may be anywhere.
    :ivar name: the name of the step that started or finished, such as ``init-network/config-ssh``; "" for a phone_home.
    :ivar fields: the fields of a phone_home.
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
        """Roughly the bytes that the report takes in a message to the supervisor."""
        return OVERHEAD + len(self.name) + len(self.description) + sum(map(len, self.fields.values()))


@frozen
class TaggedReport:
    """A report of the guest of *tag* in the tag's *generation* (:mod:`eve_meta.wire.requests`)."""

    tag: int
    generation: int
    report: BootReport


def read_report(body: bytes, at: float) -> BootReport:
    """Read a report from *body*, the JSON that cloud-init's ``WebHookHandler`` posts.

    :raises ValueError: when *body* is no such report.
    """
    try:
        event = json.loads(body)
        name, what = event["name"], What(event["event_type"])
        result = Result(event["result"]) if "result" in event else None
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError("no report of cloud-init") from error
    if what is What.PHONE_HOME or not isinstance(name, str) or not name:
        raise ValueError("no report of cloud-init")
    return BootReport(
        at=at,
        what=what,
        name=_kept(name, MAX_NAME),
        description=_kept(event.get("description"), MAX_DESCRIPTION),
        result=result,
    )


def read_phone_home(body: bytes, at: float) -> BootReport:
    """Read a report from *body*, the form that cloud-init's phone_home posts.

    :raises ValueError: when *body* is no such form.
    """
    form = parse_qsl(body.decode("ascii"), max_num_fields=MAX_FIELDS)
    fields = {name: _kept(value.strip(), MAX_FIELD) for name, value in form if name in PHONE_HOME_FIELDS}
    if not fields:
        raise ValueError("no form of cloud-init")
    return BootReport(at=at, what=What.PHONE_HOME, fields=fields)


def _kept(text: object, limit: int) -> str:
    """Return the part of a guest's field that is kept: its first *limit* characters, "" where it is no string."""
    return to_printable_ascii(text[:limit]) if isinstance(text, str) else ""
