"""What taps answer to DHCP as their domains come, change and go."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_interface
from typing import Any, cast

import attrs
from attrs import define, field
from twisted.internet.task import Clock

from eve_meta.config import SteeringConfig
from eve_meta.steering.bpf.maps import TapDhcp
from eve_meta.steering.steering import Steering
from eve_meta.steering.taps.tap import Tap
from eve_meta.supervisor.dhcp import DhcpAnswers
from eve_meta.values.dhcp import DhcpTemplate
from eve_meta.values.domain import Domain
from eve_meta.values.nic import DhcpPolicy, DhcpServerPolicy, Nic, Subnet, SubnetType

ON, OFF = DhcpPolicy.ON, DhcpPolicy.OFF
ALLOW, DENY = DhcpServerPolicy.ALLOW, DhcpServerPolicy.DENY
TAP = Tap(name="vnet1", ifindex=101, tag=1, since=0.0, carrier=True)
PASSES = TapDhcp()


@define
class FakeSteering:
    """Keeps what each tag does with DHCP (tests/contracts/steering_contract.py has what the real one does).

    :ivar told: how often it was told something.
    """

    by_tag: dict[int, TapDhcp] = field(factory=dict)
    told: int = 0

    def dhcp(self, tag: int) -> TapDhcp:
        return self.by_tag.get(tag, PASSES)

    def set_dhcp(self, tag: int, template: DhcpTemplate | None, *, deny_servers: bool) -> None:
        self.told += 1
        self.by_tag[tag] = TapDhcp(template, deny_servers)


def web(address: str | None = "10.0.0.5/24", **more: Any) -> Domain:
    subnets = () if address is None else (Subnet(type=SubnetType.IPV4, address=ip_interface(address)),)
    nic = Nic(tap="vnet1", mac="fa:16:3e:00:00:01", subnets=subnets, **more)
    return Domain(name="web1", nics=(nic,))


@define
class Scene:
    """The answers of taps, with or without the time in which an earlier daemon's may stand."""

    clock: Clock
    steering: FakeSteering
    answers: DhcpAnswers

    @classmethod
    def make(cls, steering: FakeSteering | None = None, *, settled: bool = True, **config: Any) -> Scene:
        clock, steering = Clock(), steering or FakeSteering()
        answers = DhcpAnswers(SteeringConfig(**config), clock.seconds)
        answers.start(cast(Steering, steering))
        if settled:
            answers.settle([])
        return cls(clock, steering, answers)

    def assign(self, domain: Domain | None) -> TapDhcp:
        """Assign *domain* to the tap; return what the tap does from then on."""
        self.answers.assign(TAP, domain)
        return self.steering.dhcp(1)

    def address(self) -> str | None:
        template = self.steering.dhcp(1).template
        return None if template is None else str(template.address)


def test_a_tap_offers_the_lease_of_its_domain_until_the_domain_is_lost() -> None:
    scene = Scene.make()
    assert scene.assign(None) == PASSES
    assert scene.assign(web(dhcp=ON)).deny_servers
    assert scene.address() == "10.0.0.5"
    assert scene.assign(None) == PASSES


def test_a_tap_is_told_only_what_has_changed() -> None:
    scene = Scene.make()
    for domain in (web(dhcp=ON), attrs.evolve(web(dhcp=ON), meta={"role": "web"})):
        scene.assign(domain)
    assert scene.steering.told == 1


def test_the_configuration_decides_where_nobody_else_does() -> None:
    scene = Scene.make(dhcp=ON)
    assert scene.assign(None) == TapDhcp(None, True)  # a tap answers nobody whom it does not know
    assert scene.assign(web(dhcp=OFF)) == PASSES
    scene.assign(web())
    assert scene.address() == "10.0.0.5"
    assert Scene.make(dhcp_server=DENY).assign(web()) == TapDhcp(None, True)
    assert not Scene.make(dhcp=ON, dhcp_server=DENY).assign(web(dhcp_server=ALLOW)).deny_servers


def test_an_address_that_changes_is_offered_at_once_and_the_one_before_is_remembered() -> None:
    scene = Scene.make()
    scene.assign(web(dhcp=ON))
    scene.clock.advance(60)
    scene.assign(web("10.0.0.6/24", dhcp=ON))
    assert scene.address() == "10.0.0.6"
    now = scene.answers.of(1)
    assert now is not None
    assert (now.address, now.before, now.since) == (IPv4Address("10.0.0.6"), IPv4Address("10.0.0.5"), 60)
    # What else changes is no other address.
    scene.clock.advance(60)
    scene.assign(web("10.0.0.6/16", dhcp=ON))
    later = scene.answers.of(1)
    assert later is not None
    assert (later.before, later.since) == (IPv4Address("10.0.0.5"), 60)


def test_a_tap_goes_on_with_what_an_earlier_daemon_had_it_do_until_its_domain_may_be_known() -> None:
    earlier = Scene.make()
    earlier.assign(web(dhcp=ON))
    scene = Scene.make(earlier.steering, settled=False)
    scene.assign(None)
    assert scene.address() == "10.0.0.5"
    scene.assign(web("10.0.0.6/24", dhcp=ON))
    changed = scene.answers.of(1)
    assert changed is not None
    assert (changed.address, changed.before) == (IPv4Address("10.0.0.6"), IPv4Address("10.0.0.5"))


def test_a_tap_whose_domain_stays_unknown_passes_dhcp_once_the_daemon_has_settled() -> None:
    earlier = Scene.make()
    earlier.assign(web(dhcp=ON))
    scene = Scene.make(earlier.steering, settled=False)
    scene.assign(None)
    scene.answers.settle([(TAP, None)])
    assert scene.steering.dhcp(1) == PASSES


def test_a_domain_that_is_lost_before_the_daemon_has_settled_is_offered_no_more() -> None:
    scene = Scene.make(settled=False)
    scene.assign(web(dhcp=ON))
    assert scene.assign(None) == PASSES


def test_a_tap_that_is_gone_is_forgotten() -> None:
    scene = Scene.make()
    scene.assign(web(dhcp=ON))
    scene.answers.remove(1)
    assert scene.answers.of(1) is None
