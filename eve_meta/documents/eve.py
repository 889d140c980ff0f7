"""EVE-OS's own tree below ``/eve/v1``, as far as it can be answered by who asks and what EVE publishes.

The form is that of EVE's metadata server (``pkg/pillar/cmd/msrv/handlers.go`` of lf-edge/eve), with its status codes:
204 for what is not known (yet), 403 for who may not ask. Where it differs:

* Only the application behind a tap is answered, and by its tap. EVE looks for the address that asks, which a guest
  chooses, tells whoever asks the node's identity, and the position and modems of the node as well.
* Nothing is answered with 500: what EVE's agents have not published yet is unknown, and so 204.
* A 204 and a 404 have no document. EVE writes one behind each, too.
* Each document has its content type. EVE sets that of ``external_ipv4`` when it has been sent.

What changes something (``kubeconfig``, ``app/appCustomStatus``), needs the TPM or serves files is not here.
"""

from __future__ import annotations

from typing import Any

from eve_meta.documents.document import JSON, Document, dump, text
from eve_meta.values.domain import Domain
from eve_meta.values.eve_node import Adapter, Application, Node

NO_CONTENT = Document(b"", status=204)
"""It is not known, now."""

MAY_NOT_DISCOVER = Document(b"403 Forbidden: this application is not allowed to discover others\n", status=403)


class Eve:
    """What the guest of *domain* that asks through *tap* reads below ``/eve``; nothing, where no EVE runs it."""

    def __init__(self, domain: Domain, tap: str) -> None:
        self._application = domain.eve
        self._uuid = str(domain.instance_uuid)
        adapters = () if domain.eve is None else domain.eve.adapters
        self._adapter = next((adapter for adapter in adapters if tap in adapter.taps), Adapter())

    def find(self, path: tuple[str, ...], peer: str, port: int, node: Node) -> Document | None:
        """The document at *path* below ``/eve``, None where there is none.

        :param peer: the IP address that asks.
        :param port: the TCP port that asks.
        :param node: what all applications are told alike.
        """
        if self._application is None:
            return None
        match path:
            case ("v1", "network.json"):
                return self._network(self._application, peer, port)
            case ("v1", "external_ipv4"):
                return self._external_ipv4()
            case ("v1", "hostname"):
                return text(f"{self._uuid}\n")
            case ("v1", "discover-network.json"):
                return self._discover(self._application)
            case ("v1", "location.json"):
                return _published(node.location)
            case ("v1", "wwan", "status.json"):
                return _published(node.wwan_status)
            case ("v1", "wwan", "metrics.json"):
                return _published(node.wwan_metrics)
        return None

    def _network(self, application: Application, peer: str, port: int) -> Document | None:
        addresses, device = self._adapter.external_ipv4, application.device
        if addresses is None:
            return None
        if not addresses or device is None:
            return NO_CONTENT
        # Go writes a map's keys in the order of their names, and an IPv6 address with a port in brackets.
        keys: dict[str, Any] = {
            "app-instance-uuid": self._uuid,
            "caller-ip": f"[{peer}]:{port}" if ":" in peer else f"{peer}:{port}",
            "device-name": device.name,
            "device-uuid": device.id,
            "enterprise-id": device.enterprise_id,
            "enterprise-name": device.enterprise_name,
            "external-ipv4": ",".join(map(str, addresses)),
            "hostname": self._uuid,
            "project-name": device.project_name,
            "project-uuid": device.project_id,
        }
        return Document(dump(keys), JSON)

    def _external_ipv4(self) -> Document | None:
        addresses = self._adapter.external_ipv4
        if addresses is None:
            return None
        return text("".join(f"{address}\n" for address in addresses)) if addresses else NO_CONTENT

    def _discover(self, application: Application) -> Document:
        if not self._adapter.may_discover:
            return MAY_NOT_DISCOVER
        found = {
            uuid: [{"port": port.name, "network-address": str(port.address)} for port in ports]
            for uuid, ports in application.others.items()
        }
        return Document(dump(found), JSON)


def _published(document: bytes | None) -> Document:
    return NO_CONTENT if document is None else Document(document, JSON)
