"""Answers about the passwords that guests post."""

from __future__ import annotations

from uuid import UUID

from twisted.internet.defer import Deferred

from eve_meta.admin.domain import known_names
from eve_meta.admin.questions import ShownPassword
from eve_meta.inventory.inventory import Inventory
from eve_meta.supervisor.supervisor import Supervisor


def read_password(supervisor: Supervisor, inventory: Inventory, name: str) -> ShownPassword:
    """Answer :data:`~eve_meta.admin.questions.PASSWORD`.

    :raises Problem: where *name* means no domain.
    """
    uuid = _uuid_of(supervisor, inventory, name)
    return {"uuid": str(uuid), "password": supervisor.passwords.get(uuid)}


def clear_password(supervisor: Supervisor, inventory: Inventory, name: str) -> Deferred[None]:
    """Answer :data:`~eve_meta.admin.questions.CLEAR_PASSWORD`.

    :raises Problem: where *name* means no domain; the result fails with one where the password cannot be removed.
    """
    return supervisor.passwords.clear(_uuid_of(supervisor, inventory, name))


def _uuid_of(supervisor: Supervisor, inventory: Inventory, name: str) -> UUID:
    names = known_names(supervisor, inventory)
    if names.resolve(name) is None:
        # The password of a domain whose file is gone can still be read and cleared, by the uuid alone.
        try:
            uuid = UUID(name)
        except ValueError:
            pass
        else:
            if supervisor.passwords.get(uuid) is not None:
                return uuid
    return names.domain(name).uuid
