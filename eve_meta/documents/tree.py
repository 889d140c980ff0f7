"""All documents of one domain, by path. The tap from which a request came has decided whose tree answers it."""

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
    """The documents that the guest of *domain* reads.

    A tree never changes: a domain or password that changes needs a new tree. It keeps the documents that it has made.

    :param password: the password that the guest posted to ``/openstack/<version>/password``, None before it did.
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
        """Return the document at *path*, None (404) where there is none.

        :param path: the normalised path in decoded segments, none of them empty; ``()`` is ``/``.
        :param peer: the IP address from which the guest asks. The guest chooses it: it decides only the value of
            ``local-ipv4`` where the domain has none.
        :param today: the date in UTC.
        :param port: the TCP port from which the guest asks. Where two guests ask from the same address and port,
            conntrack has given one of them another port, which is this one.
        :param node: the values that all applications of an EVE-OS node read alike.
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
