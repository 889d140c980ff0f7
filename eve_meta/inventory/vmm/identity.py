"""The identity of a VM, as its VMM's command line has it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from uuid import UUID

from attrs import frozen

# As QEMU reads a uuid (util/uuid.c). Python's UUID() accepts braces, a URN and missing dashes, too.
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\Z")


@frozen(kw_only=True)
class Identity:
    """The uuid and the name that a VMM was given; None for each that it was not given."""

    uuid: UUID | None = None
    name: str | None = None


def as_uuid(text: str) -> UUID | None:
    """Return the uuid that *text* is, None where it is none."""
    return UUID(text) if _UUID.match(text) else None


def only(uuids: Iterable[UUID | None], names: Iterable[str]) -> Identity | None:
    """Return the one uuid and the one name, or None where there are several: then one of them is no option's value.

    :param uuids: all that the command line has; each None is left out.
    :param names: the same of names; each "" is left out.
    """
    found, called = {uuid for uuid in uuids if uuid is not None}, {name for name in names if name}
    if len(found) > 1 or len(called) > 1:
        return None
    return Identity(uuid=next(iter(found), None), name=next(iter(called), None))
