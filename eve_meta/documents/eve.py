"""EVE-OS's own tree below ``/eve/v1``, as far as the guest's tap and the data that EVE publishes allow.

The format and the status codes are those of EVE's metadata server (``pkg/pillar/cmd/msrv/handlers.go`` of
lf-edge/eve): 204 where a value is not known (yet), 403 where the application may not ask. It differs in this:

* Only the application behind a tap is answered, and its tap identifies it. EVE looks the application up by the address
  that asks, which a guest chooses, and tells everybody the node's identity, position and modems.
* No request is answered with 500: a value that EVE's agents have not published yet is unknown, and so 204.
* A 204 and a 404 have no body. EVE sends one with each.
* Each document has its content type. EVE sets that of ``external_ipv4`` only after it has sent the document.

Endpoints that change something (``kubeconfig``, ``app/appCustomStatus``), need the TPM or serve files are not served.
"""

from __future__ import annotations

from typing import Any

from eve_meta.documents.document import JSON, Document, dump, text
from eve_meta.values.domain import Domain
from eve_meta.values.eve_node import Adapter, Application, Node

NO_CONTENT = Document(b"", status=204)
"""The answer while a value is unknown."""

MAY_NOT_DISCOVER = Document(b"403 Forbidden: this application is not allowed to discover others\n", status=403)


class Eve:
    """The documents below ``/eve`` for the guest of *domain* behind *tap*: none unless EVE runs the domain."""

    def __init__(self, domain: Domain, tap: str) -> None:
        self._application = domain.eve
        self._uuid = str(domain.instance_uuid)
        adapters = () if domain.eve is None else domain.eve.adapters
        self._adapter = next((adapter for adapter in adapters if tap in adapter.taps), Adapter())

    def find(self, path: tuple[str, ...], peer: str, port: int, node: Node) -> Document | None:
        """Return the document at *path* below ``/eve``, None where there is none.

        :param peer: the IP address from which the guest asks.
        :param port: the TCP port from which the guest asks.
        :param node: the values that all applications of the node read alike.
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
        # Go writes the keys of a map in alphabetical order, and an IPv6 address that has a port in brackets.
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
        others = {
            uuid: [{"port": port.name, "network-address": str(port.address)} for port in ports]
            for uuid, ports in application.others.items()
        }
        return Document(dump(others), JSON)


def _published(document: bytes | None) -> Document:
    return NO_CONTENT if document is None else Document(document, JSON)
