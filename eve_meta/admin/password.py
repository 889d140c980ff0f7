"""What ``eve-meta password`` asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred

from eve_meta.inventory.inventory import Inventory
from eve_meta.supervisor.supervisor import Supervisor
from eve_meta.values.domain import Domain
from eve_meta.values.problem import Problem


def read_password(supervisor: Supervisor, inventory: Inventory, name: str) -> dict[str, str | None]:
    """The password of the domain that *name* means, None where its guest posted none.

    :raises Problem: when it means none.
    """
    uuid = _uuid(supervisor, inventory, name)
    return {"uuid": str(uuid), "password": supervisor.passwords.get(uuid)}


def clear_password(supervisor: Supervisor, inventory: Inventory, name: str) -> Deferred[Any]:
    """Forgets it; the result comes when the guest can post another.

    :raises Problem: when *name* means no domain; the result fails with one when the password cannot be removed.
    """
    return supervisor.passwords.clear(_uuid(supervisor, inventory, name))


def _uuid(supervisor: Supervisor, inventory: Inventory, name: str) -> UUID:
    for domain in _domains(supervisor, inventory):
        if name == domain.name or name.lower() == str(domain.instance_uuid):
            return domain.instance_uuid
    try:
        # The password of a domain whose file is gone can still be read and cleared.
        uuid = UUID(name)
    except ValueError:
        uuid = None
    if uuid is None or supervisor.passwords.get(uuid) is None:
        raise Problem(f"no domain {name!r}: 'eve-meta status' shows those with a tap, 'eve-meta check' all files")
    return uuid


def _domains(supervisor: Supervisor, inventory: Inventory) -> Iterator[Domain]:
    # Those with a tap first: where a file says no uuid, the QEMU process behind the tap does.
    yield from (state.domain for state in supervisor.taps if state.domain is not None)
    yield from inventory.domains()
