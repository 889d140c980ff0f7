"""Answers to ``eve-meta rerun``: gives a domain another instance id, and takes it back."""

from __future__ import annotations

from uuid import UUID, uuid4

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from eve_meta.admin.domain import known_names
from eve_meta.admin.questions import GivenId
from eve_meta.inventory.inventory import Inventory
from eve_meta.supervisor.supervisor import Supervisor
from eve_meta.values.problem import Problem

_log = Logger()


def rerun(supervisor: Supervisor, inventory: Inventory, name: str) -> Deferred[GivenId]:
    """Answer :data:`~eve_meta.admin.questions.RERUN`.

    :raises Problem: where *name* means no domain; the result fails with one where the id cannot be stored.
    """
    return _give(supervisor, inventory, name, uuid4())


def undo_rerun(supervisor: Supervisor, inventory: Inventory, name: str) -> Deferred[GivenId]:
    """Answer :data:`~eve_meta.admin.questions.UNDO_RERUN`.

    :raises Problem: as :func:`rerun`, and where the domain has its own id.
    """
    return _give(supervisor, inventory, name, None)


def _give(supervisor: Supervisor, inventory: Inventory, name: str, instance_id: UUID | None) -> Deferred[GivenId]:
    wanted = known_names(supervisor, inventory).domain(name)
    domain = next((domain for domain in inventory.domains() if domain.instance_uuid == wanted.uuid), None)
    if domain is None:
        raise Problem(f"the domain {wanted.name} ({wanted.uuid}) has gone just now: try again")
    if instance_id is None and domain.instance_id is None:
        raise Problem(f"{wanted.name} has its own instance id: there is nothing to undo")

    def given(_: None) -> GivenId:
        shown = instance_id or wanted.uuid
        _log.info("{name} ({uuid}) has the instance id {id}", name=wanted.name, uuid=wanted.uuid, id=shown)
        return {"uuid": str(wanted.uuid), "name": wanted.name, "instance_id": str(shown)}

    return inventory.give_instance_id(domain, instance_id).addCallback(given)
