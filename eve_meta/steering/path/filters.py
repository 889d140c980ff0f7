"""tc filters: how the programs are attached to links.

Every filter of ours has the same priority and handle, because a replacement without them appends a second filter. On a
tap the qdisc is ``ingress``, not ``clsact``: libvirt sets bandwidth limits with ``tc qdisc del … ingress`` and ``tc
qdisc add … ingress``. A clsact in that place makes these commands fail, and with them the start of the domain. Where
either of the two is there already it serves us as well: both take the parent ffff:fff2 (``ingress_find()``).
"""

from __future__ import annotations

import errno
from typing import Any

from attrs import frozen
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from eve_meta.steering.path.names import FILTER_HANDLE, FILTER_PRIORITY

ETH_P_ALL = 0x0003
INGRESS = 0xFFFFFFF2
EGRESS = 0xFFFFFFF3
"""Parents: TC_H_CLSACT with TC_H_MIN_INGRESS or TC_H_MIN_EGRESS (linux/pkt_sched.h)."""

GONE = (errno.ENODEV, errno.ENOENT, errno.EINVAL)
"""The kernel's errors for a link, qdisc or filter that does not exist; EINVAL where a filter's qdisc is missing."""


@frozen(kw_only=True)
class Filter:
    """A tc filter on a link; of the filters on one link, the one of the lowest *priority* sees a frame first."""

    priority: int
    kind: str
    name: str
    ours: bool

    def __str__(self) -> str:
        return f"{self.name or self.kind} of priority {self.priority}"


def attach(ipr: IPRoute, ifindex: int, program: int, name: str, parent: int = INGRESS) -> None:
    """Attach a program to *parent* of a link, in place of a filter of ours that may be there.

    :param program: the program's file descriptor.
    :raises NetlinkError: when the kernel refuses, for example because *parent*'s qdisc is missing.
    """
    ipr.tc("replace-filter", "bpf", ifindex, **filter_arguments(program, name, parent))


def filter_arguments(program: int, name: str, parent: int = INGRESS) -> dict[str, Any]:
    """Return the arguments by which pyroute2 makes our filter."""
    return {
        "handle": FILTER_HANDLE,
        "parent": parent,
        "prio": FILTER_PRIORITY,
        "protocol": ETH_P_ALL,
        "fd": program,
        "name": f"eve-meta:{name}",
        "classid": 0,
        "direct_action": True,
    }


def add_qdisc(ipr: IPRoute, kind: str, ifindex: int) -> bool:
    """Add the qdisc *kind* (``ingress`` or ``clsact``) to a link; return False when one of the two is there already.

    :raises NetlinkError: ENODEV when the link is gone.
    """
    try:
        ipr.tc("add", kind, ifindex)
    except NetlinkError as error:
        if error.code == errno.EEXIST:
            return False
        raise
    return True


def is_attached(ipr: IPRoute, ifindex: int, parent: int = INGRESS) -> bool:
    """Return whether a filter of ours is on *parent* of a link."""
    return any(each.ours for each in on_link(ipr, ifindex, parent))


def on_link(ipr: IPRoute, ifindex: int, parent: int = INGRESS) -> list[Filter]:
    """Return the filters on *parent* of a link in the order in which they see a frame; none where the link is gone."""
    try:
        dump = list(ipr.get_filters(index=ifindex, parent=parent))
    except NetlinkError as error:
        if error.code not in GONE:
            raise
        dump = []
    # A dump also names the priority of each chain, in a message without a handle.
    return sorted((_filter(message) for message in dump if message["handle"]), key=lambda each: each.priority)


def _filter(message: Any) -> Filter:
    options = message.get_attr("TCA_OPTIONS")
    name = options.get_attr("TCA_BPF_NAME") if hasattr(options, "get_attr") else None
    priority = message["info"] >> 16
    return Filter(
        priority=priority,
        kind=str(message.get_attr("TCA_KIND")),
        name=str(name or ""),
        ours=(priority, message["handle"]) == (FILTER_PRIORITY, FILTER_HANDLE),
    )
