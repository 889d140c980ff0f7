"""The names and numbers by which a daemon, and people, recognise everything that eve-meta puts on a host."""

from __future__ import annotations

META0 = "meta0"
"""The end of the veth pair within the private namespace."""

META0_MAC = "02:a9:fe:a9:fe:02"

ALIAS = "eve-meta: to the metadata service"
"""The mark on the veth pair's end on the host, and on lo within the private namespace. A link or a namespace that has
one of our names but not this alias belongs to somebody else."""

TABLE = 169
RULE_PRIORITY = 169
"""The routing table for packets that answer a tap, and the priority of the rule that leads to it: after ``local`` (0),
before ``main`` (32766)."""

FILTER_PRIORITY = 169
FILTER_HANDLE = 0xA9FE
"""Priority and handle of our tc filters: 169 and 254, easily recognised in ``tc filter show``."""


def host_link(namespace: str) -> str:
    """Return the name of the host's end of the veth pair that leads into *namespace*."""
    return f"{namespace}0"
