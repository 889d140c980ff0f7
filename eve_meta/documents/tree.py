"""All that one domain may read, by path. Whose tree it is was settled before: by the tap that the request came from."""

from __future__ import annotations

import datetime

from eve_meta.documents.document import Document
from eve_meta.documents.ec2 import Ec2
from eve_meta.documents.eve import Eve
from eve_meta.documents.nocloud import NoCloud
from eve_meta.documents.openstack import OpenStack
from eve_meta.values.domain import Domain
from eve_meta.values.eve_node import UNKNOWN_NODE, Node


class Tree:
    """What a guest of *domain* reads.

    A tree never changes: for a changed domain or password, make another. It keeps what it has rendered.

    :param password: what the guest posted to ``/openstack/<version>/password``, None before it did.
    :param tap: the tap through which the guest asks.
    """

    def __init__(self, domain: Domain, *, password: str | None = None, tap: str = "") -> None:
        self._eve = Eve(domain, tap)
        self._eve_only = domain.eve is not None and not domain.eve.openstack
        self._openstack = OpenStack(domain, password)
        self._ec2 = Ec2(domain)
        self._nocloud = NoCloud(domain)

    def find(
        self, path: tuple[str, ...], *, peer: str, today: datetime.date, port: int = 0, node: Node = UNKNOWN_NODE
    ) -> Document | None:
        """The document at *path*, or None (404) where there is none.

        :param path: the normalised path in decoded segments, none of them empty; ``()`` is ``/``.
        :param peer: the IP address that asks. A guest chooses it: it decides nothing but what ``local-ipv4`` says when
            the domain does not know.
        :param today: the date in UTC.
        :param port: the TCP port that asks. Where two guests ask from one address and port, it is not the guest's own:
            conntrack has given one of them another.
        :param node: what all applications of an EVE-OS node are told alike.
        :raises ValueError: when *peer* is needed and is not an IP address.
        """
        match path:
            case ("eve", *_):
                return self._eve.find(path[1:], peer, port, node)
            case _ if self._eve_only:
                return None
            case ("openstack", *_):
                return self._openstack.find(path[1:], today)
            case ("ec2", *_):
                return self._ec2.find(path[1:], peer)
            case ("nocloud", *_):
                return self._nocloud.find(path[1:])
        return self._ec2.find(path, peer)
