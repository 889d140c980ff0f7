"""Descriptions of one domain from several places, merged."""

from __future__ import annotations

import time
from collections.abc import Mapping
from ipaddress import IPv4Address, ip_interface
from uuid import UUID

import pytest
from hypothesis import given

from eve_meta.inventory.merge import Merged, merge
from eve_meta.inventory.source import Layer
from eve_meta.values.content import EMPTY
from eve_meta.values.domain import MAX_DISKS, MAX_NICS, Disk, Domain, Ec2
from eve_meta.values.nic import Nic, Subnet, SubnetType
from tests.unit.strategies import domains as any_domains

UUID1 = UUID("1a831fa7-c50b-4693-a16e-fb8171f1b69e")
UUID2 = UUID("2a831fa7-c50b-4693-a16e-fb8171f1b69e")
MAC1, MAC2, MAC3 = (f"52:54:00:00:00:0{number}" for number in (1, 2, 3))

XML = Domain(uuid=UUID1, name="web1", nics=(Nic(tap="vnet0", mac=MAC1, mtu=1450), Nic(tap="vnet1", mac=MAC2)))


def layers(*domains: Mapping[str, Domain]) -> list[Layer]:
    return [Layer(domains=each, written=number < len(domains) - 1) for number, each in enumerate(domains)]


def together(*parts: Domain) -> Merged:
    """Return the one domain that *parts*, the most important first, make together."""
    merged, problems = merge(layers(*({str(number): part} for number, part in enumerate(parts))))
    assert problems == ()
    (one,) = merged
    return one


def problems_of(*domains: Mapping[str, Domain]) -> list[str]:
    return [str(problem) for problem in merge(layers(*domains))[1]]


def test_each_field_comes_from_the_most_important_place_that_has_it() -> None:
    file = Domain(name="web1", hostname="file", ec2=Ec2(instance_type="m1"), launch_index=0)
    metadata = Domain(
        uuid=UUID1, hostname="no", user_data=b"x", ec2=Ec2(instance_type="no", region="r"), launch_index=5
    )
    one = together(file, metadata, XML)
    assert one.domain == Domain(
        uuid=UUID1,
        name="web1",
        hostname="file",
        user_data=b"x",
        launch_index=0,
        ec2=Ec2(instance_type="m1", region="r"),
        nics=XML.nics,
    )
    assert one.sources() == {
        "name": "0",
        "hostname": "0",
        "launch_index": "0",
        "ec2.instance_type": "0",
        "ec2.region": "1",
        "uuid": "1",
        "user_data": "1",
        **{
            f"nics[{index}].{name}": "2" for index, name in ((0, "tap"), (0, "mac"), (0, "mtu"), (1, "tap"), (1, "mac"))
        },
    }


def test_a_mapping_or_list_comes_from_one_place_as_a_whole() -> None:
    one = together(Domain(name="web1", meta={"a": "1"}), Domain(name="web1", meta={"b": "2"}, public_keys={"k": "ssh"}))
    assert (one.domain.meta, one.domain.public_keys) == ({"a": "1"}, {"k": "ssh"})


def test_false_counts_and_empty_does_not() -> None:
    one = together(
        Domain(name="web1", user_data=b"", meta={}, nics=(Nic(tap="vnet0", trusted=False, tags=()),)),
        Domain(name="web1", user_data=b"x", meta={"b": "2"}, nics=(Nic(tap="vnet0", trusted=True, tags=("t",)),)),
    )
    assert (one.domain.user_data, one.domain.meta) == (EMPTY, {"b": "2"})
    assert one.domain.nics == (Nic(tap="vnet0", trusted=False, tags=("t",)),)


# -- nics --


def nics(*upper: Nic) -> tuple[Nic, ...]:
    return together(Domain(name="web1", nics=upper), XML).domain.nics


SUBNET = Subnet(type=SubnetType.IPV4, address=ip_interface("10.0.0.5/24"), gateway=IPv4Address("10.0.0.1"))


def test_a_nic_is_matched_by_its_tap() -> None:
    written = Nic(tap="vnet1", subnets=(SUBNET,))
    assert nics(written) == (Nic(tap="vnet1", mac=MAC2, subnets=(SUBNET,)), XML.nics[0])


def test_a_nic_is_matched_by_its_mac_before_its_position() -> None:
    assert nics(Nic(tags=("a",)), Nic(mac=MAC1.upper(), tags=("b",))) == (
        Nic(tap="vnet1", mac=MAC2, tags=("a",)),
        Nic(tap="vnet0", mac=MAC1, mtu=1450, tags=("b",)),
    )


def test_nics_are_matched_by_position() -> None:
    assert nics(Nic(tags=("a",)), Nic(mtu=9000)) == (
        Nic(tap="vnet0", mac=MAC1, mtu=1450, tags=("a",)),
        Nic(tap="vnet1", mac=MAC2, mtu=9000),
    )


@pytest.mark.parametrize("other", [Nic(mac=MAC3), Nic(tap="vnet7"), Nic(tap="vnet7", mac=MAC3)])
def test_a_nic_that_the_hypervisor_does_not_know_stays_apart(other: Nic) -> None:
    assert nics(other) == (other, *XML.nics)


def test_a_tap_counts_more_than_a_mac() -> None:
    wrong = Nic(tap="vnet0", mac=MAC2)
    assert nics(wrong) == (Nic(tap="vnet0", mac=MAC2, mtu=1450), XML.nics[1])


def test_a_nic_with_an_outdated_tap_is_matched_by_its_mac() -> None:
    assert nics(Nic(tap="vnet9", mac=MAC1)) == (Nic(tap="vnet9", mac=MAC1, mtu=1450), XML.nics[1])


def test_disks_are_matched_by_serial_address_or_path_and_never_by_position() -> None:
    xml = (
        Disk(bus="scsi", address="0:0:0:1", serial="vol-1"),
        Disk(bus="pci", address="0000:00:04.0"),
        Disk(bus="ide", address="0:0"),
    )
    file = (
        Disk(bus="pci", address="0000:00:04.0", tags=("b",)),
        Disk(serial="vol-1", tags=("a",)),
        Disk(tags=("c",)),
    )
    one = together(Domain(name="web1", disks=file), Domain(name="web1", disks=xml))
    assert one.domain.disks == (
        Disk(bus="pci", address="0000:00:04.0", tags=("b",)),
        Disk(bus="scsi", address="0:0:0:1", serial="vol-1", tags=("a",)),
        Disk(tags=("c",)),
        Disk(bus="ide", address="0:0"),
    )


# -- which descriptions are of one domain --


def test_a_uuid_counts_more_than_a_name() -> None:
    merged, problems = merge(layers({"a": Domain(uuid=UUID1, name="renamed")}, {"xml": XML}))
    assert problems == ()
    assert [list(each.parts) for each in merged] == [["a", "xml"]]
    assert merged[0].domain.name == "renamed"


def test_a_second_file_of_one_domain_is_refused() -> None:
    files = {"a": Domain(uuid=UUID1, hostname="a"), "b": Domain(name="web1", hostname="b")}
    merged, problems = merge(layers(files, {"xml": XML}))
    assert [(list(each.parts), each.refused) for each in merged] == [(["a", "xml"], False), (["b"], True)]
    (problem,) = problems
    assert str(problem) == (
        "b: name: expected the name of one domain that no other file describes, got 'web1', which a describes: "
        "it is not served"
    )


def test_domains_that_share_a_name_are_refused() -> None:
    other = Domain(uuid=UUID2, name="web1")
    merged, problems = merge(layers({"a": other}, {"b": Domain(name="web1")}, {"xml": XML}))
    assert all(each.refused for each in merged)
    assert len(problems) == 2


def test_a_file_with_the_uuid_of_a_domain_that_is_gone_is_a_problem() -> None:
    assert problems_of({"a": Domain(uuid=UUID2, name="web1")}, {"xml": XML}) == [
        f"a: uuid: expected the domain 'web1' to have one uuid, got {UUID2} here and xml has {UUID1}: none is served"
    ]


def test_domains_that_have_nothing_in_common_stay_apart() -> None:
    merged, problems = merge(layers({"a": Domain(uuid=UUID2), "b": Domain(name="b")}, {"xml": XML}))
    assert problems == ()
    assert len(merged) == 3


def test_a_domain_that_did_not_change_is_the_same_object() -> None:
    files = {"a": Domain(name="web1", hostname="a"), "b": Domain(name="b")}
    before, _ = merge(layers(files, {"xml": XML}))
    again, _ = merge(layers(dict(files), {"xml": XML}), before)
    assert all(one is other for one, other in zip(before, again, strict=True))
    files["a"] = Domain(name="web1", hostname="c")
    after, _ = merge(layers(files, {"xml": XML}), before)
    assert [one is other for one, other in zip(before, after, strict=True)] == [False, True]
    assert after[0].domain.hostname == "c"
    # What a place does not describe any more is gone.
    alone, _ = merge(layers(files, {}), after)
    assert alone[0].domain.uuid is None


@given(any_domains(), any_domains())
def test_any_two_domains_make_one(one: Domain, other: Domain) -> None:
    merged, _ = merge(layers({"a": one}, {"b": other}))
    assert {origin for each in merged for origin in each.parts} == {"a", "b"}
    for each in merged:
        assert set(each.sources().values()) <= {"a", "b"}


def test_the_longest_lists_merge_in_bounded_time() -> None:
    """A tenant may write one of them into a file, and the other one into libvirt's metadata."""

    def domain(prefix: str) -> Domain:
        nics = tuple(Nic(tap=f"{prefix}{number}") for number in range(MAX_NICS))
        return Domain(name="a", nics=nics, disks=tuple(Disk(serial=f"{prefix}{number}") for number in range(MAX_DISKS)))

    began = time.thread_time()
    one = together(domain("a"), domain("b"), Domain(uuid=UUID1, name="a"))
    assert time.thread_time() - began < 2
    assert len(one.parts) == 3
