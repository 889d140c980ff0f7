"""The pieces of the kernel that :class:`~eve_meta.steering.steering.Steering` works on, as it uses them.

On a host they are the modules of this package. The tests put pieces in memory in their place, and hold both to one
contract (``tests/contracts/steering_contract.py``).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Protocol

from attrs import frozen

from eve_meta.steering.bpf.maps import Maps
from eve_meta.steering.bpf.pins import Pins
from eve_meta.steering.mounts import OWN, Mounts
from eve_meta.steering.path.guard import GuardedNamespace, GuardedPins
from eve_meta.steering.path.listening import Listening, WorkerSockets
from eve_meta.steering.path.namespace import PrivateNamespace
from eve_meta.steering.taps.links import LinkSocket, link_socket
from eve_meta.steering.taps.tapfilter import TapFilter

if TYPE_CHECKING:
    from eve_meta.steering.path.inspection import Inspection


class SteeringPins(GuardedPins, Protocol):
    """The pins: :class:`eve_meta.steering.bpf.pins.Pins`."""

    def open(self, raise_if_terminated: Callable[[], None]) -> Maps: ...

    def program(self, name: str) -> int: ...

    def forget_old(self, maps: Maps) -> None: ...

    def remove(self) -> None: ...


class SteeringNamespace(GuardedNamespace, Protocol):
    """The private namespace: :class:`eve_meta.steering.path.namespace.PrivateNamespace`."""

    name: str
    host_link: str

    def entered(self) -> AbstractContextManager[None]: ...

    def listen(self, workers: int, kept: Sequence[socket.socket], places: Sequence[int]) -> Listening: ...

    def listen_again(self, number: int, old: WorkerSockets) -> WorkerSockets: ...

    def are_sound(self, sockets: WorkerSockets) -> bool: ...

    def lead_to_workers(self) -> None: ...

    def remove(self) -> None: ...


class SteeringFilter(Protocol):
    """The filter of taps: :class:`eve_meta.steering.taps.tapfilter.TapFilter`."""

    port: int

    def attach(self, ifindex: int) -> None: ...

    def detach(self, ifindex: int) -> None: ...

    def is_attached(self, ifindex: int) -> bool: ...

    def close(self) -> None: ...


@frozen(kw_only=True)
class Kernel:
    """The pieces of one steering.

    :ivar filter: makes the filter of taps from a program's file descriptor and name.
    :ivar link_socket: opens the socket on which the kernel reports the host's links.
    :ivar link_name: returns the name of the link with an ifindex; raises OSError when no such link exists.
    :ivar inspect: inspects the path and the links of the names that it is given; raises Problem.
    :ivar clock: returns monotonic seconds.
    """

    pins: SteeringPins
    namespace: SteeringNamespace
    filter: Callable[[int, str], SteeringFilter]
    link_socket: Callable[[], LinkSocket]
    link_name: Callable[[int], str]
    inspect: Callable[[Collection[str]], Inspection]
    clock: Callable[[], float]

    @classmethod
    def of_host(cls, name: str, mounts: Mounts = OWN) -> Kernel:
        """Return the pieces of this host for the steering whose private namespace is called *name*.

        :param mounts: those that the whole host sees.
        """
        pins = Pins(name, mounts)
        namespace = PrivateNamespace(name, pins.program, mounts)
        return cls(
            pins=pins,
            namespace=namespace,
            filter=TapFilter,
            link_socket=link_socket,
            link_name=socket.if_indextoname,
            inspect=partial(_inspect, namespace, pins),
            clock=time.monotonic,
        )


def _inspect(namespace: PrivateNamespace, pins: Pins, names: Collection[str]) -> Inspection:
    # Only now: it takes memory and is seldom needed.
    from eve_meta.steering.path.inspection import inspect

    return inspect(namespace, pins, names)
