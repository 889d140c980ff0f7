"""Has each tap answer its guest's DHCP as the guest's domain has it.

The law: a tap never offers the lease of a domain that it has lost. Until the daemon has settled, a tap whose domain is
not known yet does what an earlier daemon had it do: its guest may renew its lease at this very moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address

from attrs import evolve, frozen
from twisted.logger import Logger

from eve_meta.config import SteeringConfig
from eve_meta.documents.dhcp_lease import (
    DhcpLease,
    denies_servers,
    dhcp_lease,
    nic_of_tap,
)
from eve_meta.steering.steering import Steering
from eve_meta.steering.taps.tap import Tap
from eve_meta.values.domain import Domain
from eve_meta.values.nic import DhcpPolicy
from eve_meta.values.plain import field_of


@frozen
class DhcpDecision:
    """What a tap does with its guest's DHCP.

    :ivar lease: the lease that it offers, None where the guest's DHCP passes.
    :ivar deny_servers: whether it drops what its guest sends as a DHCP server.
    :ivar since: when its address became this one, in seconds of ``CLOCK_MONOTONIC``.
    :ivar before: the address that it offered until then, None for none.
    """

    lease: DhcpLease | None
    deny_servers: bool
    since: float
    before: IPv4Address | None = None

    @property
    def address(self) -> IPv4Address | None:
        """The address that the tap offers."""
        return None if self.lease is None else self.lease.template.address


class DhcpAnswers:
    """Decides what taps do with DHCP, and has steering do it.

    :param seconds: returns the time of ``CLOCK_MONOTONIC``.
    """

    _log = Logger()

    def __init__(self, config: SteeringConfig, seconds: Callable[[], float]) -> None:
        self._config = config
        self._seconds = seconds
        self._steering: Steering | None = None
        self._settled = False
        self._taps: dict[int, DhcpDecision] = {}

    def start(self, steering: Steering) -> None:
        """Begin to tell *steering*, which has no taps yet."""
        self._steering = steering

    def settle(self, taps: Iterable[tuple[Tap, Domain | None]]) -> None:
        """Decide about *taps* whose domain is still unknown, as about all that come later."""
        self._settled = True
        for tap, domain in taps:
            if domain is None:
                self.assign(tap, None)

    def assign(self, tap: Tap, domain: Domain | None) -> None:
        """Have *tap* do what *domain* has it do, whose tap it is from now on; None where that is unknown."""
        if self._steering is None or (domain is None and not self._settled and tap.tag not in self._taps):
            return
        old = self._taps.get(tap.tag)
        lease, deny = self._wanted(tap.name, domain)
        if old is not None and (old.lease, old.deny_servers) == (lease, deny):
            return
        offered = self._steering.dhcp(tap.tag).template
        self._steering.set_dhcp(tap.tag, None if lease is None else lease.template, deny_servers=deny)
        new = DhcpDecision(lease, deny, self._seconds(), None if offered is None else offered.address)
        if new.address == new.before:
            new = evolve(new, since=new.since if old is None else old.since, before=None if old is None else old.before)
        self._taps[tap.tag] = new
        if lease is not None and domain is not None:
            self._warn(tap, domain, lease)

    def _warn(self, tap: Tap, domain: Domain, lease: DhcpLease) -> None:
        for fault in lease.faults:
            self._log.warn(
                "tap {tap}: {field} of {domain!r}: {message}",
                tap=tap.name,
                field=field_of(Domain, fault.path),
                domain=domain.display_name,
                message=fault.message,
            )

    def remove(self, tag: int) -> None:
        """Forget the tap of *tag*, which is gone."""
        self._taps.pop(tag, None)

    def of(self, tag: int) -> DhcpDecision | None:
        """Return what the tap of *tag* does with DHCP, None where nothing is decided yet."""
        return self._taps.get(tag)

    def _wanted(self, tap: str, domain: Domain | None) -> tuple[DhcpLease | None, bool]:
        """Return the lease that a tap offers, None for none, and whether its guest may be no DHCP server."""
        if domain is None:
            # Whatever the guest may get later, it is not known to be a DHCP server for others.
            return None, denies_servers(self._config.dhcp_server, self._config.dhcp)
        index = nic_of_tap(domain, tap)
        nic = None if index is None else domain.nics[index]
        policy = domain.dhcp_policy(nic, self._config.dhcp)
        deny = denies_servers(domain.dhcp_server_policy(nic, self._config.dhcp_server), policy)
        return dhcp_lease(domain, index, tap) if policy is DhcpPolicy.ON else None, deny
