"""Reads libvirt's XML of a domain.

See https://libvirt.org/formatdomain.html. The forms of buses and addresses are those of nova's device metadata
(``nova/virt/libvirt/driver.py``, ``_prepare_device_bus``). The XML comes from libvirtd, which is root's; but tenants
wrote the text of the metadata in it, and in many an installation more than that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from uuid import UUID
from xml.etree import ElementTree
from xml.parsers.expat import ErrorString

from eve_meta.reader.domain_text import read_metadata
from eve_meta.values.bypass import INTERFACES
from eve_meta.values.checks import BadValue
from eve_meta.values.domain import MAX_DISKS, MAX_NICS, METADATA_NAMESPACE, Disk
from eve_meta.values.nic import Nic
from eve_meta.values.plain import make_converter
from eve_meta.wire.reading import MAX_FIELD, DomainAnswer, FaultAt, XmlAnswer

_ELEMENT = f"{{{METADATA_NAMESPACE}}}domain"

_BRIDGED = ("bridge", "network")

_CONVERTER = make_converter(omit_if_default=True)

T = TypeVar("T")


def read_xml(xml: bytes) -> tuple[XmlAnswer, list[bytes]]:
    """Read *xml*, libvirt's XML of a domain; return the answer and its parts."""
    try:
        root = ElementTree.fromstring(xml)  # noqa: S314  # this process is there to be lost to whatever XML can do
        uuid, name = UUID(root.findtext("uuid", "")), root.findtext("name", "")
    except ElementTree.ParseError as error:
        # expat's own message, without the name that ElementTree adds: that may be part of a secret.
        why = f"{ErrorString(error.code)}, line {error.position[0]}"
        return XmlAnswer(error=f"expected the XML of a domain, got something else: {why}"), []
    except ValueError:
        return XmlAnswer(error="expected the XML of a domain, got something else: it has no uuid"), []
    nics, networks, kinds = _nics(root)
    disks = [_disk(each) for each in root.iterfind("devices/disk") if each.get("device", "disk") in ("disk", "lun")]
    # No domain with more can run.
    nics, networks, kinds = nics[:MAX_NICS], networks[:MAX_NICS], kinds[:MAX_NICS]
    disks = disks[:MAX_DISKS]
    elements = [each for each in root.iterfind("metadata/*") if each.tag.startswith(f"{{{METADATA_NAMESPACE}}}")]
    metadata, parts = _metadata(elements[0], uuid, name) if elements else (None, [])
    return XmlAnswer(
        uuid=str(uuid),
        name=name,
        # libvirt writes the id of running domains only. A question to libvirtd would be answered at another moment.
        active="id" in root.attrib,
        nics=[_CONVERTER.unstructure(nic) for nic in nics],
        networks=networks,
        kinds=kinds,
        disks=[_CONVERTER.unstructure(disk) for disk in disks],
        metadata=metadata,
        parts=list(map(len, parts)),
    ), parts


def _made(kind: Callable[..., T], values: dict[str, Any]) -> T:
    # A field that eve-meta's values cannot hold, such as a serial number with a control character, is left out.
    while True:
        try:
            return kind(**values)
        except BadValue as error:
            if error.field not in values:
                raise
            del values[error.field]


def _whole(text: str | None, base: int = 10) -> int | None:
    try:
        return None if text is None else int(text, base)
    except ValueError:
        return None


def _attribute(element: ElementTree.Element, path: str, name: str) -> str | None:
    child = element.find(path)
    return None if child is None else child.get(name)


# -- nics --


def _nics(root: ElementTree.Element) -> tuple[list[Nic], list[str | None], list[str]]:
    """Return the NICs, and of each of them the libvirt network that it is in and its kind."""
    # The configuration of a domain that does not run may name one tap twice. The domain would not start like that.
    taps: set[str] = set()
    nics: list[Nic] = []
    networks: list[str | None] = []
    kinds: list[str] = []
    for interface in root.iterfind("devices/interface"):
        nic = _nic(interface)
        if nic.tap is None or nic.tap not in taps:
            taps |= set() if nic.tap is None else {nic.tap}
            nics.append(nic)
            of_network = interface.get("type") == "network"
            networks.append(_attribute(interface, "source", "network") if of_network else None)
            kinds.append(INTERFACES.get(interface.get("type", ""), "tap"))
    return nics, networks, kinds


def _nic(interface: ElementTree.Element) -> Nic:
    kind = interface.get("type", "")
    port = interface.find("virtualport")
    bus, address = _place(interface, None)
    values = {
        "tap": _attribute(interface, "target", "dev"),
        "mac": _attribute(interface, "mac", "address"),
        "mtu": _whole(_attribute(interface, "mtu", "size")),
        "type": _type(kind, port),
        "vlan": _vlan(interface, kind),
        "id": None if port is None else _uuid(_attribute(port, "parameters", "interfaceid")),
        "bus": bus,
        "address": address,
    }
    return _made(Nic, values)


def _type(kind: str, port: ElementTree.Element | None) -> str | None:
    if port is not None and port.get("type") == "openvswitch":
        return "ovs"
    if kind in _BRIDGED:
        return "bridge"
    return {"hostdev": "hw_veb", "vhostuser": "vhostuser"}.get(kind)


def _vlan(interface: ElementTree.Element, kind: str) -> int | None:
    # A Nic's "vlan" makes the guest tag its frames. libvirt's means that the host tags them, unless the port is a
    # trunk; for a virtual function (hw_veb) the hardware does it, and the guest's documents only mention it.
    vlan = interface.find("vlan")
    if vlan is None or (vlan.get("trunk") != "yes" and kind != "hostdev"):
        return None
    tags = vlan.findall("tag")
    if len(tags) != 1 or tags[0].get("nativeMode") == "untagged":
        return None  # several networks on one NIC: the guest has to know itself which one to use
    return _whole(tags[0].get("id"))


def _uuid(text: str | None) -> UUID | None:
    try:
        return None if text is None else UUID(text)
    except ValueError:
        return None


# -- disks --


def _disk(disk: ElementTree.Element) -> Disk:
    # No path: <source> is a path of the host, which guests must not see, and <target dev> is a name that guests need
    # not use (so libvirt's documentation).
    bus, address = _place(disk, _attribute(disk, "target", "bus"))
    return _made(Disk, {"bus": bus, "address": address, "serial": disk.findtext("serial")})


def _place(device: ElementTree.Element, target: str | None) -> tuple[str | None, str | None]:
    """Return the bus on which the guest sees *device*, and the address there.

    :param target: the bus that ``<target>`` names.
    """
    address = device.find("address")
    attributes: Mapping[str, str] = {} if address is None else address.attrib
    kind = attributes.get("type")
    if kind == "pci":
        domain, bus, slot, function = (
            _whole(attributes.get(key), 0) or 0 for key in ("domain", "bus", "slot", "function")
        )
        return "pci", f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"
    if kind == "drive":
        # nova's addresses of IDE disks have two parts (its API's example is "0:0"), those of SCSI disks four.
        keys = ("bus", "unit") if target == "ide" else ("controller", "bus", "target", "unit")
        return target, ":".join(attributes.get(key, "0") for key in keys)
    if kind == "usb":
        return "usb", f"{attributes.get('bus', '0')}:{attributes.get('port', '0')}"
    # "virtio" names no bus that a guest could look at: virtio devices are on PCI, on CCW (s390) or on none (MMIO).
    return (None if target == "virtio" else target), None


# -- metadata --


def _metadata(element: ElementTree.Element, uuid: UUID, name: str) -> tuple[DomainAnswer | None, list[bytes]]:
    if element.tag != _ELEMENT or len(element):
        # An element within is not named: it is part of the text, which may hold secrets.
        got = "an element within it" if element.tag == _ELEMENT else f"<{element.tag.rpartition('}')[2][:MAX_FIELD]}>"
        message = f"expected one element <domain> with the text of a domain file in it, got {got}"
        return DomainAnswer(faults=[FaultAt(None, "", message)]), []
    if not (element.text or "").strip():
        return None, []
    return read_metadata(element.text or "", uuid, name)
