"""What a tap answers to DHCP, from the subnets of its NIC."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, ip_address, ip_interface, ip_network
from typing import Any
from uuid import UUID

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eve_meta.documents.dhcp_lease import (
    DHCP_LEASE_TIME,
    DhcpLease,
    denies_servers,
    dhcp_lease,
    link_local_address,
    nic_of_tap,
)
from eve_meta.values.dhcp import MAX_OPTIONS
from eve_meta.values.domain import Domain
from eve_meta.values.nic import Bond, BondMode, DhcpPolicy, DhcpServerPolicy, Nic, Route, Subnet, SubnetType, Vlan
from tests.unit.documents import dhcp_reading
from tests.unit.documents.dhcp_reading import ON_LINK
from tests.unit.strategies import domains

MASK, ROUTER, DNS, HOST_NAME, DOMAIN_NAME, MTU, SEARCH, ROUTES, WINDOWS_ROUTES = 1, 3, 6, 12, 15, 26, 119, 121, 249

MAC = "fa:16:3e:00:00:01"
UUID_1 = UUID(int=1)
SERVICE = (IPv4Network("169.254.169.254/32"), ON_LINK)
DEFAULT = IPv4Network("0.0.0.0/0")


def subnet(address: str | None, gateway: str | None = None, *, dhcp: bool = False, **more: Any) -> Subnet:
    return Subnet(
        type=SubnetType.IPV4_DHCP if dhcp else SubnetType.IPV4,
        address=None if address is None else ip_interface(address),
        gateway=None if gateway is None else ip_address(gateway),
        dns=tuple(map(ip_address, more.get("dns", ()))),
        routes=tuple(Route(to=ip_network(to), via=ip_address(via)) for to, via in more.get("routes", ())),
    )


def domain(*subnets: Subnet, **more: Any) -> Domain:
    nic = Nic(tap="vnet1", mac=MAC, subnets=subnets, mtu=more.pop("mtu", None), vlan=more.pop("vlan", None))
    return Domain(uuid=UUID_1, name="web1", nics=(nic,), **more)


def lease_of(some: Domain) -> DhcpLease:
    return dhcp_lease(some, nic_of_tap(some, "vnet1"), "vnet1")


def options_of(some: Domain) -> dict[int, bytes]:
    return dhcp_reading.options(lease_of(some).template.options)


def routes_of(some: Domain) -> list[tuple[str, str]]:
    options = options_of(some)
    assert options[ROUTES] == options[WINDOWS_ROUTES]
    return [(str(to), str(via)) for to, via in dhcp_reading.routes(options[ROUTES])]


def faults_of(some: Domain) -> dict[tuple[Any, ...], str]:
    return {fault.path: fault.message for fault in lease_of(some).faults}


def test_everything_that_a_subnet_has() -> None:
    given_subnet = subnet(
        "10.1.2.10/23",
        "10.1.2.1",
        dns=("10.1.2.2", "2001:db8::53", "10.1.2.3"),
        routes=[("10.5.0.0/16", "10.1.2.7")],
    )
    web = domain(given_subnet, mtu=1400, hostname="web1.example.org", search=("example.org", "corp.example.org"))
    template = lease_of(web).template
    assert (template.address, template.lease_time) == (IPv4Address("10.1.2.10"), DHCP_LEASE_TIME)
    options = options_of(web)
    assert options[MASK] == bytes([255, 255, 254, 0])
    assert options[ROUTER] == bytes([10, 1, 2, 1])
    assert options[DNS] == bytes([10, 1, 2, 2, 10, 1, 2, 3])
    assert options[HOST_NAME] == b"web1"
    assert options[DOMAIN_NAME] == b"example.org"
    assert options[MTU] == bytes([1400 // 256, 1400 % 256])
    assert dhcp_reading.names(options[SEARCH]) == ["example.org", "corp.example.org"]
    assert routes_of(web) == [
        ("169.254.169.254/32", "0.0.0.0"),
        ("0.0.0.0/0", "10.1.2.1"),
        ("10.5.0.0/16", "10.1.2.7"),
    ]
    assert options.keys() == {
        *(MASK, ROUTER, DNS, HOST_NAME, DOMAIN_NAME, MTU, SEARCH, ROUTES, WINDOWS_ROUTES),
    }
    assert faults_of(web) == {}


def test_a_subnet_that_has_nothing_but_an_address() -> None:
    bare = domain(subnet("10.1.2.10/24"))
    assert options_of(bare).keys() == {MASK, HOST_NAME, ROUTES, WINDOWS_ROUTES}
    assert routes_of(bare) == [("169.254.169.254/32", "0.0.0.0")]


def test_the_host_name_brings_the_domain_name_where_there_are_no_search_domains() -> None:
    options = options_of(domain(subnet("10.1.2.10/24"), hostname="web1.a.example.org"))
    assert (options[HOST_NAME], options[DOMAIN_NAME]) == (b"web1", b"a.example.org")
    assert SEARCH not in options


def test_a_gateway_beyond_an_address_without_neighbours_is_on_the_link() -> None:
    assert routes_of(domain(subnet("10.0.0.9/32", "169.254.0.1"))) == [
        ("169.254.169.254/32", "0.0.0.0"),
        ("169.254.0.1/32", "0.0.0.0"),
        ("0.0.0.0/0", "169.254.0.1"),
    ]


def test_a_router_outside_the_subnet_is_on_the_link() -> None:
    routes = [("10.5.0.0/16", "10.9.9.9"), ("10.6.0.0/16", "10.9.9.9")]
    assert routes_of(domain(subnet("10.0.0.9/24", "10.0.0.1", routes=routes))) == [
        ("169.254.169.254/32", "0.0.0.0"),
        ("10.9.9.9/32", "0.0.0.0"),
        ("0.0.0.0/0", "10.0.0.1"),
        ("10.5.0.0/16", "10.9.9.9"),
        ("10.6.0.0/16", "10.9.9.9"),
    ]


def test_a_default_route_among_the_routes_is_the_router() -> None:
    web = domain(subnet("10.0.0.9/24", routes=[("0.0.0.0/0", "10.0.0.7")]))
    assert options_of(web)[ROUTER] == bytes([10, 0, 0, 7])
    assert routes_of(web) == [("169.254.169.254/32", "0.0.0.0"), ("0.0.0.0/0", "10.0.0.7")]


def test_a_route_to_the_service_that_somebody_wrote() -> None:
    written = subnet("10.0.0.9/24", routes=[("169.254.169.254/32", "10.0.0.7")])
    assert routes_of(domain(written)) == [("169.254.169.254/32", "10.0.0.7")]


# -- which address --


def test_an_address_that_documents_leave_to_dhcp_goes_before_static_ones() -> None:
    both = domain(subnet("10.0.0.9/24"), subnet("10.1.0.9/24", "10.1.0.1", dhcp=True))
    assert lease_of(both).template.address == IPv4Address("10.1.0.9")
    assert options_of(both)[ROUTER] == bytes([10, 1, 0, 1])
    assert faults_of(both) == {
        ("nics", 0, "subnets", 0, "address"): "DHCP gives 10.1.0.9 alone: this one reaches the guest by its documents"
    }


def test_the_first_of_several_static_addresses() -> None:
    several = domain(
        Subnet(type=SubnetType.IPV6, address=ip_interface("2001:db8::9/64")),
        *map(subnet, ("10.0.0.9/24", "10.1.0.9/24")),
    )
    assert lease_of(several).template.address == IPv4Address("10.0.0.9")
    assert list(faults_of(several)) == [("nics", 0, "subnets", 2, "address")]


def test_dns_servers_of_another_subnet() -> None:
    ipv6 = Subnet(type=SubnetType.IPV6, address=ip_interface("2001:db8::9/64"), dns=(ip_address("10.0.0.53"),))
    assert options_of(domain(subnet("10.0.0.9/24"), ipv6))[DNS] == bytes([10, 0, 0, 53])


LINK_LOCAL_OPTIONS = {
    MASK: bytes([255, 255, 0, 0]),
    HOST_NAME: b"web1",
    ROUTES: bytes([32, 169, 254, 169, 254, 0, 0, 0, 0]),
    WINDOWS_ROUTES: bytes([32, 169, 254, 169, 254, 0, 0, 0, 0]),
}


@pytest.mark.parametrize(
    "subnets",
    [
        (),
        (Subnet(type=SubnetType.IPV6, address=ip_interface("2001:db8::9/64"), dns=(ip_address("10.0.0.53"),)),),
    ],
)
def test_a_nic_without_an_ipv4_address_gets_a_link_local_one(subnets: tuple[Subnet, ...]) -> None:
    lease = lease_of(domain(*subnets))
    assert lease.is_link_local
    assert lease.template.address == link_local_address(domain(), MAC)
    assert dhcp_reading.options(lease.template.options) == LINK_LOCAL_OPTIONS
    assert lease.faults == ()


def test_an_address_by_dhcp_that_nobody_has_written() -> None:
    unknown = domain(subnet(None, "10.0.0.1", dhcp=True))
    assert dhcp_reading.options(lease_of(unknown).template.options) == LINK_LOCAL_OPTIONS
    assert faults_of(unknown) == {
        ("nics", 0, "subnets", 0): (
            "no 'address' is given: by DHCP the guest gets a link-local one, and no route but the service's"
        )
    }


@pytest.mark.parametrize("address", ["169.254.169.254/16", "224.0.0.1/24", "127.0.0.1/8"])
def test_an_address_that_no_guest_can_have(address: str) -> None:
    impossible = domain(subnet(address))
    assert lease_of(impossible).is_link_local
    ((path, message),) = faults_of(impossible).items()
    assert path == ("nics", 0, "subnets", 0, "address")
    assert message.startswith("expected an IPv4 address that a guest can have, got ")


@given(st.uuids(), st.binary(min_size=6, max_size=6).map(lambda mac: mac.hex(":")))
def test_link_local_addresses_are_those_of_rfc_3927_and_no_services(uuid: UUID, mac: str) -> None:
    address = link_local_address(Domain(uuid=uuid), mac)
    assert IPv4Address("169.254.1.0") <= address <= IPv4Address("169.254.254.255")
    assert address.packed[2] not in (169, 170)


def test_a_link_local_address_stays_whatever_the_domain_is_told() -> None:
    first = link_local_address(Domain(uuid=UUID_1, name="a"), MAC)
    assert link_local_address(Domain(uuid=UUID_1, name="b", instance_id=UUID(int=9)), MAC) == first
    assert len({first, link_local_address(Domain(uuid=UUID(int=2)), MAC), link_local_address(domain(), "vnet7")}) == 3
    # The same on every host and day.
    assert first == IPv4Address("169.254.146.219")


def test_a_nic_with_a_vlan_gets_a_link_local_address_for_the_device_that_does_not_tag() -> None:
    assert lease_of(domain(subnet("10.0.0.9/24"), vlan=7)).is_link_local


def test_the_nics_of_a_bond_get_its_address() -> None:
    nics = (Nic(tap="vnet0", mac="fa:16:3e:00:00:02"), Nic(tap="vnet1", mac=MAC))
    vlan = Vlan(id=7, subnets=(subnet("10.7.0.9/24"),))
    bond = Bond(nics=("vnet0", MAC), mode=BondMode.LACP, subnets=(subnet("10.0.0.9/24"),), vlans=(vlan,), mtu=9000)
    bonded = Domain(uuid=UUID_1, nics=nics, bonds=(bond,))
    for nic in (0, 1):
        template = dhcp_lease(bonded, nic, "").template
        assert template.address == IPv4Address("10.0.0.9")
        assert dhcp_reading.options(template.options)[MTU] == (9000).to_bytes(2, "big")
    tagged = attrs.evolve(bonded, bonds=(attrs.evolve(bond, subnets=()),))
    assert dhcp_lease(tagged, 0, "").is_link_local


def test_which_nic_a_tap_is() -> None:
    named = Domain(name="a", nics=(Nic(mac=MAC), Nic(tap="vnet1")))
    assert (nic_of_tap(named, "vnet1"), nic_of_tap(named, "vnet2")) == (1, 0)
    assert nic_of_tap(Domain(name="a", nics=(Nic(), Nic())), "vnet1") is None
    assert nic_of_tap(Domain(name="a"), "vnet1") is None


def test_a_tap_of_an_unknown_nic_gets_a_link_local_address_of_its_own() -> None:
    two = Domain(uuid=UUID_1, name="web1", nics=(Nic(subnets=(subnet("10.0.0.9/24"),)), Nic()))
    leases = [dhcp_lease(two, None, tap) for tap in ("vnet1", "vnet2")]
    assert all(lease.is_link_local for lease in leases)
    assert len({lease.template.address for lease in leases}) == 2


# -- what does not fit --


def test_many_routes_are_left_out_and_the_guest_boots_all_the_same() -> None:
    many = [(f"10.{number}.0.0/16", "10.0.0.7") for number in range(40)]
    web = domain(subnet("10.0.0.9/32", "169.254.0.1", routes=many))
    assert routes_of(web) == [
        ("169.254.169.254/32", "0.0.0.0"),
        ("169.254.0.1/32", "0.0.0.0"),
        ("0.0.0.0/0", "169.254.0.1"),
    ]
    path = ("nics", 0, "subnets", 0, "routes")
    assert [fault.path for fault in lease_of(web).faults] == [path, path]
    assert lease_of(web).faults[0].message == (
        "DHCP leaves out the routes, for which its 240 bytes of options have no room"
    )


def test_routes_that_fit_once_are_left_out_for_old_windows() -> None:
    some = [(f"10.{number}.0.0/16", "10.0.0.7") for number in range(20)]
    web = domain(subnet("10.0.0.9/24", "10.0.0.1", routes=some))
    options = options_of(web)
    assert len(dhcp_reading.routes(options[ROUTES])) == 22
    assert len(dhcp_reading.routes(options[WINDOWS_ROUTES])) == 2
    ((path, message),) = faults_of(web).items()
    assert path == ("nics", 0, "subnets", 0, "routes")
    assert "the routes for old Windows" in message


def test_long_names_are_left_out() -> None:
    long = ".".join(["x" * 63] * 3)
    web = domain(subnet("10.0.0.9/24"), search=(long, f"a.{long}"))
    assert SEARCH not in options_of(web)
    assert [path[0] for path in faults_of(web)] == ["search"]


@given(domains(), st.booleans())
def test_any_domain_has_an_answer(some: Domain, known: bool) -> None:
    for index in range(len(some.nics)):
        lease = dhcp_lease(some, index if known else None, "vnet1")
        assert len(lease.template.options) <= MAX_OPTIONS
        options = dhcp_reading.options(lease.template.options)
        told = dhcp_reading.routes(options[ROUTES])
        assert SERVICE in told or any(to == SERVICE[0] for to, _ in told)
        # A client of RFC 3442 passes the router over, so the default route is among the routes, too.
        default = next((via for to, via in told if to == DEFAULT), None)
        assert (None if ROUTER not in options else IPv4Address(options[ROUTER])) == default
        if SEARCH in options:
            assert dhcp_reading.names(options[SEARCH]) == list(some.search)
        subnets = {each.address.ip for each in some.subnets if each.address is not None}
        assert lease.is_link_local or lease.template.address in subnets


# -- policies --


@pytest.mark.parametrize(
    ("nic", "of_domain", "default", "right"),
    [
        (None, None, "off", "off"),
        (None, None, "on", "on"),
        (None, "on", "off", "on"),
        ("off", "on", "on", "off"),
        ("on", "off", "off", "on"),
    ],
)
def test_the_nic_goes_before_the_domain_and_the_domain_before_the_configuration(
    nic: str | None, of_domain: str | None, default: str, right: str
) -> None:
    def policy(text: str | None) -> DhcpPolicy | None:
        return None if text is None else DhcpPolicy(text)

    some = Domain(name="a", dhcp=policy(of_domain))
    assert some.dhcp_policy(Nic(dhcp=policy(nic)), DhcpPolicy(default)) is DhcpPolicy(right)


def test_servers_are_denied_where_the_tap_answers_itself_unless_somebody_decided() -> None:
    auto, deny, allow = DhcpServerPolicy.AUTO, DhcpServerPolicy.DENY, DhcpServerPolicy.ALLOW
    assert [denies_servers(each, DhcpPolicy.ON) for each in (auto, deny, allow)] == [True, True, False]
    assert [denies_servers(each, DhcpPolicy.OFF) for each in (auto, deny, allow)] == [False, True, False]
    some = Domain(name="a", dhcp_server=deny)
    assert some.dhcp_server_policy(Nic(), allow) is deny
    assert some.dhcp_server_policy(Nic(dhcp_server=allow), auto) is allow
    assert Domain(name="a").dhcp_server_policy(None, allow) is allow
