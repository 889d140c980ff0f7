"""A domain as libvirt describes it.

The reader parses the XML (:mod:`eve_meta.reader.libvirt_xml`); here root makes values of the reader's answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar
from uuid import UUID

import attrs
from attrs import field, frozen

from eve_meta.inventory.files.domain_file import read_answer
from eve_meta.inventory.readers.reading import Reading
from eve_meta.inventory.source import InventoryProblem
from eve_meta.values.bypass import INSTEAD, bypass
from eve_meta.values.checks import BadValue
from eve_meta.values.domain import MAX_DISKS, MAX_NICS, Disk, Domain
from eve_meta.values.nic import Nic
from eve_meta.values.plain import make_converter
from eve_meta.values.text import escape_unprintable
from eve_meta.wire.reading import Parts, XmlAnswer

MAX_NAME = 1024
"""The most characters of a domain's or a network's name in libvirt, which are names of files, too."""

_CONVERTER = make_converter(detailed=False)

T = TypeVar("T")


@frozen(kw_only=True)
class Description:
    """A domain as libvirt described it.

    :ivar active: whether the domain runs or is paused: only then its taps exist.
    :ivar domain: the domain as the hypervisor knows it.
    :ivar metadata: the domain that eve-meta's metadata describe, None where they are missing or broken.
    :ivar metadata_lines: the lines of their fields that a later problem may name.
    :ivar problems: what is wrong with the metadata, and whether none of the NICs can be served.
    """

    uuid: UUID
    name: str
    active: bool
    domain: Domain
    metadata: Domain | None = None
    metadata_lines: Mapping[str, int] = field(factory=dict, repr=False)
    problems: tuple[InventoryProblem, ...] = ()

    @property
    def origin(self) -> str:
        """The origin of *domain*."""
        return f"libvirt XML of {escape_unprintable(self.name)}"

    @property
    def metadata_origin(self) -> str:
        """The origin of *metadata*."""
        return _metadata_origin(self.name)


@frozen(kw_only=True)
class ReadXml:
    """The XML of a domain, read.

    :ivar error: why it is no XML of a domain; then there is no description.
    :ivar networks: the name of the libvirt network of each NIC, None for none.
    """

    error: str
    description: Description | None = None
    networks: tuple[str | None, ...] = field(default=())

    def described(self, uuids: Mapping[str, UUID | None]) -> Description:
        """Return the description with the uuids of networks, by name.

        :raises ValueError: where there is no description.
        """
        if self.description is None:
            raise ValueError(self.error)
        nics = tuple(
            nic if name is None else attrs.evolve(nic, network_id=uuids.get(name))
            for nic, name in zip(self.description.domain.nics, self.networks, strict=True)
        )
        return attrs.evolve(self.description, domain=attrs.evolve(self.description.domain, nics=nics))


def xml_reading(xml: str, uuid: UUID) -> Reading[ReadXml]:
    """Return the reading of *xml*, which libvirtd gave for the domain *uuid*."""

    def structure(plain: dict[str, Any], parts: bytes) -> ReadXml:
        return _read_xml(_CONVERTER.structure(plain, XmlAnswer), parts, uuid)

    return Reading(f"libvirt domain {uuid}", {"kind": "libvirt"}, xml.encode(errors="replace"), structure)


def _read_xml(answer: XmlAnswer, parts: bytes, asked: UUID) -> ReadXml:
    if answer.error:
        return ReadXml(error=answer.error)
    uuid, name = UUID(answer.uuid), answer.name
    if uuid != asked or len(name) > MAX_NAME:
        raise ValueError("another domain than the one that libvirtd was asked for")
    nics = tuple(_CONVERTER.structure(nic, Nic) for nic in answer.nics)
    if len(nics) > MAX_NICS or len(answer.disks) > MAX_DISKS:
        raise ValueError("more than the reader should have taken")
    if not len(answer.networks) == len(answer.kinds) == len(nics):
        raise ValueError("networks or kinds of other NICs")
    values: dict[str, Any] = {"uuid": uuid, "name": name, "nics": nics}
    values["disks"] = tuple(_CONVERTER.structure(disk, Disk) for disk in answer.disks)
    metadata: Domain | None = None
    lines: Mapping[str, int] = {}
    problems: tuple[InventoryProblem, ...] = ()
    if answer.metadata is not None:
        read = read_answer(answer.metadata, Parts(parts, answer.parts), _metadata_origin(name))
        if read.beside is not None:
            raise ValueError("metadata with a file beside them")
        metadata, lines, problems = read.domain, read.lines, read.problems
        if metadata is not None and (metadata.uuid, metadata.name) != (uuid, name):
            raise ValueError("metadata of another domain")
    domain = _made(values)
    problems += _unservable(name, answer)
    return ReadXml(
        error="",
        description=Description(
            uuid=uuid,
            name=name,
            active=answer.active,
            domain=domain,
            metadata=metadata,
            metadata_lines=lines,
            problems=problems,
        ),
        networks=tuple(answer.networks) if len(domain.nics) == len(nics) else (),
    )


def _unservable(name: str, answer: XmlAnswer) -> tuple[InventoryProblem, ...]:
    """Return a warning where a domain runs and none of its NICs can be served."""
    reasons = [why for kind in answer.kinds if (why := bypass("its NIC", kind)) is not None]
    if not answer.active or not reasons or len(reasons) < len(answer.kinds):
        return ()
    message = f"it cannot be served: {reasons[0]}; {INSTEAD}"
    return (InventoryProblem(file=f"libvirt XML of {escape_unprintable(name)}", message=message, warning=True),)


def _made(values: dict[str, Any]) -> Domain:
    # A field that eve-meta's values cannot hold, such as a name with a control character, is left out.
    while True:
        try:
            return Domain(**values)
        except BadValue as error:
            if error.field not in values:
                raise
            del values[error.field]


def _metadata_origin(name: str) -> str:
    return f"libvirt metadata of {escape_unprintable(name)}"
