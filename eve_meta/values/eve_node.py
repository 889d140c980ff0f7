"""The data of EVE's own endpoints: an application of EVE-OS, and the node on which it runs.

An EVE-OS node runs an agent that answers its applications at 169.254.169.254 below ``/eve/v1``
(``pkg/pillar/cmd/msrv`` of lf-edge/eve). :mod:`eve_meta.documents.eve` answers some of the agent's endpoints from these
values, which are frozen, as those of :mod:`eve_meta.values.domain` are.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address

from attrs import field, frozen


@frozen(kw_only=True)
class Adapter:
    """A network adapter of an application.

    :ivar taps: the names of the adapter's end on the host. Under Xen these are two, of which the guest uses one at a
        time: the paravirtual device, and that of QEMU's emulated NIC, whose name ends in "-emu".
    :ivar external_ipv4: the addresses of the node's ports that the adapter's network instance uses; None where the
        network instance is unknown.
    :ivar may_discover: whether the application may ask through this adapter for the addresses of other applications
        (``AllowToDiscover``).
    """

    taps: tuple[str, ...] = ()
    external_ipv4: tuple[IPv4Address, ...] | None = None
    may_discover: bool = False


@frozen(kw_only=True)
class Device:
    """The node, as its controller describes it (EVE's ``EdgeNodeInfo``)."""

    name: str = ""
    id: str = ""
    project_name: str = ""
    project_id: str = ""
    enterprise_name: str = ""
    enterprise_id: str = ""


@frozen(kw_only=True)
class Port:
    """An address of another application; *name* is its adapter's name on the host (``Vif``)."""

    name: str
    address: IPv4Address | IPv6Address


@frozen(kw_only=True)
class Application:
    """The values that a domain has only as an application of an EVE-OS node.

    :ivar openstack: whether the guest reads more than EVE's own endpoints (the application's ``MetaDataType``).
    :ivar device: the node; None while it is unknown.
    :ivar others: the addresses of the node's other applications, by uuid; empty where no adapter may discover them.
    """

    openstack: bool
    adapters: tuple[Adapter, ...] = ()
    device: Device | None = None
    others: Mapping[str, tuple[Port, ...]] = field(factory=dict)


MAX_NODE_DATA = 1024 * 1024
"""The most bytes of each of a node's documents: all three are sent to a worker in one message. Those of a node with two
modems have some KiB."""


def _short_enough(data: bytes | None) -> bytes | None:
    return None if data is not None and len(data) > MAX_NODE_DATA else data


@frozen(kw_only=True)
class Node:
    """The data that all applications of the node read alike, each the JSON to answer, None while it is unknown.

    It is no part of a domain: a modem's counters and position change all the time, and a domain that changes is sent to
    the workers again as a whole. Data of more than :data:`MAX_NODE_DATA` bytes count as unknown.
    """

    location: bytes | None = field(default=None, converter=_short_enough, repr=False)
    wwan_status: bytes | None = field(default=None, converter=_short_enough, repr=False)
    wwan_metrics: bytes | None = field(default=None, converter=_short_enough, repr=False)


UNKNOWN_NODE = Node()
"""The value on a host that is no EVE-OS node, and until the agents of a node have published something."""
