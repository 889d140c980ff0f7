"""All that one domain may read, by path. Whose tree it is was settled before: by the tap that the request came from."""

from __future__ import annotations

import datetime

from eve_meta.documents.document import Document
from eve_meta.documents.ec2 import Ec2
from eve_meta.documents.eve import Eve
from eve_meta.documents.nocloud import NoCloud
from eve_meta.documents.openstack import OpenStack
from eve_meta.documents.paths import PathRule, Source, rule_of
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
        return self.document(rule_of(path), path, peer=peer, today=today, port=port, node=node)

    def document(
        self, rule: PathRule, path: tuple[str, ...], *, peer: str, today: datetime.date, port: int, node: Node
    ) -> Document | None:
        """Return what :meth:`find` does, given the *rule* of *path* (:mod:`eve_meta.documents.paths`)."""
        source = rule.source
        if source is None:
            return None
        below = path[rule.depth :]
        if source is Source.EVE:
            return self._eve.find(below, peer, port, node)
        if self._eve_only:
            return None
        if source is Source.OPENSTACK:
            return self._openstack.find(below, today)
        if source is Source.EC2:
            return self._ec2.find(below, peer)
        return self._nocloud.find(below)
