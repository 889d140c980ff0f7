"""What EVE-OS knows of its applications and of the node beyond what a domain says: what EVE's own endpoints tell.

An EVE-OS node runs an agent that answers its applications at 169.254.169.254 below ``/eve/v1``
(``pkg/pillar/cmd/msrv`` of lf-edge/eve). These are the values behind the endpoints of it that
:mod:`eve_meta.documents.eve` answers. As those of :mod:`eve_meta.values.domain` they are frozen.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address

from attrs import field, frozen


@frozen(kw_only=True)
class Adapter:
    """A network adapter of an application.

    :ivar taps: the names that the host's end of it has. Under Xen these are two, of which the guest uses one at a time:
        the paravirtual device and the one of QEMU's emulated NIC, with "-emu" at its end.
    :ivar external_ipv4: the addresses of the node's ports that its network instance uses; None where the network
        instance is unknown.
    :ivar may_discover: whether the application may ask through it for the addresses of others (``AllowToDiscover``).
    """

    taps: tuple[str, ...] = ()
    external_ipv4: tuple[IPv4Address, ...] | None = None
    may_discover: bool = False


@frozen(kw_only=True)
class Device:
    """The node, as its controller knows it (EVE's ``EdgeNodeInfo``)."""

    name: str = ""
    id: str = ""
    project_name: str = ""
    project_id: str = ""
    enterprise_name: str = ""
    enterprise_id: str = ""


@frozen(kw_only=True)
class Port:
    """An address by which another application is reached; *name* is that of its adapter on the host (``Vif``)."""

    name: str
    address: IPv4Address | IPv6Address


@frozen(kw_only=True)
class Application:
    """What a domain that is an application of EVE has beside a domain's values.

    :ivar openstack: whether its guest is told more than EVE's own endpoints (its ``MetaDataType``).
    :ivar device: the node, None while it is unknown.
    :ivar others: the node's other applications by uuid; empty where no adapter may discover them.
    """

    openstack: bool
    adapters: tuple[Adapter, ...] = ()
    device: Device | None = None
    others: Mapping[str, tuple[Port, ...]] = field(factory=dict)


@frozen(kw_only=True)
class Node:
    """What all applications of the node are told alike, each as the JSON to send, None while it is unknown.

    It is no part of a domain: a modem's counters and position change all the time, and a domain that changes is told to
    the workers anew, with all of its user data.
    """

    location: bytes | None = None
    wwan_status: bytes | None = None
    wwan_metrics: bytes | None = None


UNKNOWN_NODE = Node()
"""That of a host that is none of EVE's, or whose modems said nothing yet."""
