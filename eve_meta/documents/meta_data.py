"""``meta_data.json``: the guest's identity, in each version of nova's API.

The rules, and the order of the keys, are those of nova's ``InstanceMetadata._metadata_as_json`` and
``_get_device_metadata``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from eve_meta.documents.document import JSON, Document, dump
from eve_meta.documents.versions import EPOXY, GRIZZLY, LIBERTY, NEWTON_ONE, OCATA, ROCKY, VICTORIA
from eve_meta.values.domain import Disk, Domain
from eve_meta.values.nic import Nic

CONTENT_NAME = "{:04}"
"""The name of a file below ``/openstack/content``, made from its number as by nova's ``"%04i"``."""


def meta_data(domain: Domain, version: str) -> Document:
    """Make the ``meta_data.json`` of *version*, one of :data:`~eve_meta.documents.versions.OPENSTACK_VERSIONS`.

    :returns: a document that, from 2013-04-04 on, has a place for its ``random_seed``.
    """
    first = _first_keys(domain)
    if version < GRIZZLY:
        return Document(dump(first), JSON)
    # The seed goes between the quotes of an empty string. Its place is computed, not searched for: the guest's owner
    # chooses the other values and could write the searched text into one of them.
    body = dump({**first, "random_seed": ""})
    seed_at = len(body) - len('"}')
    if last := _last_keys(domain, version):
        body = body[:-1] + b", " + dump(last)[1:]
    return Document(body, JSON, seed_at)


def _first_keys(domain: Domain) -> dict[str, Any]:
    """Return the keys before ``random_seed``, which every version has."""
    keys: dict[str, Any] = {"uuid": str(domain.guest_uuid)}
    if domain.meta:
        keys["meta"] = dict(domain.meta)
    if domain.files:
        keys["files"] = [
            {"path": file.path, "content_path": f"/content/{CONTENT_NAME.format(number)}"}
            for number, file in enumerate(domain.files)
        ]
    if domain.public_keys:
        # nova has only a server's first key. Both forms have room for all, and guests install all keys that they find.
        keys["public_keys"] = dict(domain.public_keys)
        keys["keys"] = [
            {"name": name, "type": _key_type(data), "data": data} for name, data in domain.public_keys.items()
        ]
    keys["hostname"] = domain.guest_hostname
    keys["name"] = domain.display_name
    keys["launch_index"] = domain.launch_index or 0
    keys["availability_zone"] = domain.availability_zone
    return keys


def _last_keys(domain: Domain, version: str) -> dict[str, Any]:
    """Return the keys after ``random_seed``, each from its first version on."""
    keys: dict[str, Any] = {}
    if version >= LIBERTY:
        keys["project_id"] = domain.project_id
    if version >= NEWTON_ONE:
        keys["devices"] = [
            *_nics(domain, version),
            *(_disk(disk) for disk in domain.disks),
            *(_shares(domain) if version >= EPOXY else ()),
        ]
    if version >= VICTORIA:
        keys["dedicated_cpus"] = list(domain.dedicated_cpus)
    return keys


def _key_type(data: str) -> str:
    # cloudbase-init takes the certificates of Windows guests from the keys of nova's type x509.
    return "x509" if data.lstrip().startswith("-----BEGIN CERTIFICATE-----") else "ssh"


def _nics(domain: Domain, version: str) -> Iterator[dict[str, Any]]:
    for nic in domain.nics:
        if nic.mac is None:
            continue  # a guest finds a NIC by its MAC address, and nova's entries always have one
        device: dict[str, Any] = {}
        if nic.vlan is not None and version >= OCATA:
            device["vlan"] = nic.vlan
        if version >= ROCKY:
            device["vf_trusted"] = bool(nic.trusted)
        # nova leaves out a NIC that would have neither a key nor a tag; with vf_trusted every NIC has a key.
        if device or nic.tags:
            yield {**device, "type": "nic", "mac": nic.mac, **_place(nic)}


def _disk(disk: Disk) -> dict[str, Any]:
    device: dict[str, Any] = {"type": "disk"}
    if disk.serial is not None:
        device["serial"] = disk.serial
    if disk.path is not None:
        device["path"] = disk.path
    return {**device, **_place(disk)}


def _shares(domain: Domain) -> Iterator[dict[str, Any]]:
    for share in domain.shares:
        # A share is on no bus that a guest could look at; nova, too, writes "none".
        yield {"type": "share", "share_id": str(share.share_id), "tag": share.tag, "bus": "none", "address": "none"}


def _place(device: Nic | Disk) -> dict[str, Any]:
    """Return the keys by which a guest finds *device*, and its owner's tags. nova writes "none" for an unknown bus."""
    place: dict[str, Any] = {"bus": device.bus or "none", "address": device.address or "none"}
    if device.tags:
        place["tags"] = list(device.tags)
    return place
