"""Debian VMs with an unmodified cloud-init boot under QEMU and libvirt; their consoles show what cloud-init found."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from harness.vm import Booted, running
from harness.vm_plans import ADDRESS, FIRST, PLANS, SECOND, Plan

ALDER, BIRCH = FIRST
CEDAR, DOGWOOD = SECOND


@pytest.fixture(scope="module")
def booted() -> Iterator[dict[Plan, Booted]]:
    with running() as hypervisor:
        vms = [*hypervisor.boot(FIRST), *hypervisor.boot(SECOND)]
        yield {vm.plan: vm for vm in vms}
        if any(vm.wrong for vm in vms):
            print(hypervisor.logs())  # pytest shows it when a test fails


def on_console(vm: Booted, *words: str) -> None:
    """Assert that each of *words* is on the VM's console."""
    missing = [text for text in words if text not in vm.boot.console]
    assert not missing, f"not on the console: {missing}; its end:\n{vm.boot.tail()}"


@pytest.mark.parametrize(("plan", "other"), [(ALDER, BIRCH), (BIRCH, ALDER)], ids=["alder", "birch"])
def test_each_of_two_vms_with_one_address_boots_with_its_own_identity(
    booted: dict[Plan, Booted], plan: Plan, other: Plan
) -> None:
    vm = booted[plan]
    on_console(
        vm,
        f"lab-vm hostname: {plan.name}\n",
        f"lab-vm key: {plan.served.key}\n",
        f"lab-vm user data: of {plan.name}\n",
    )
    # "Local": cloud-init tried it before it configured the network, by a DHCP client of its own.
    assert re.search(r"Datasource DataSourceOpenStack(Local)? \[net,ver=2\]", vm.boot.console), vm.boot.tail()
    assert other.name not in vm.boot.console
    assert other.served.key not in vm.boot.console
    assert vm.boot.address == ADDRESS


def test_each_tap_that_libvirt_made_has_its_domain(booted: dict[Plan, Booted]) -> None:
    for plan in FIRST:
        vm = booted[plan]
        assert vm.tap.startswith("vnet")
        assert vm.status["domain"] == {"name": plan.name, "uuid": plan.uuid}
        # 26 for a minimal domain, and those for its key. More would be retries, or requests of another datasource.
        assert 20 <= sum(vm.status["requests"].values()) <= 35, vm.status
        assert set(vm.status["requests"]) <= {"200", "404"}, vm.status
    assert booted[ALDER].tap != booted[BIRCH].tap


def test_a_nocloud_drive_wins_over_the_service(booted: dict[Plan, Booted]) -> None:
    vm = booted[CEDAR]
    on_console(
        vm,
        "Datasource DataSourceNoCloud [seed=/dev/vdb]",
        f"lab-vm hostname: {CEDAR.on_drive.hostname}\n",
        f"lab-vm key: {CEDAR.on_drive.key}\n",
        f"lab-vm user data: of {CEDAR.on_drive.hostname}\n",
    )
    assert CEDAR.served.key not in vm.boot.console
    assert vm.boot.address == ADDRESS
    assert vm.status["requests"] == {}


def test_explain_predicted_the_datasource_of_each(booted: dict[Plan, Booted]) -> None:
    predicted = {plan.name: booted[plan].predicted for plan in PLANS}
    assert predicted == {"alder": "OpenStack", "birch": "OpenStack", "cedar": "NoCloud", "dogwood": "OpenStack"}


def test_explain_has_the_right_verdicts_after_each_boot(booted: dict[Plan, Booted]) -> None:
    for plan in FIRST:
        verdicts = booted[plan].verdicts
        assert {"packets-both-ways", "requests-answered", "datasource-ours"} <= verdicts.keys()
        assert "wrong" not in verdicts.values(), verdicts
    assert "disks-seed" in booted[CEDAR].verdicts
    assert booted[DOGWOOD].verdicts["packets-no-route"] == "wrong"


def test_a_vm_without_a_route_to_the_service_finds_no_metadata_and_sends_nothing(booted: dict[Plan, Booted]) -> None:
    vm = booted[DOGWOOD]
    on_console(vm, "Datasource DataSourceNone.", "Used fallback datasource")
    assert vm.boot.address == ADDRESS
    assert vm.boot.user_data == []
    assert vm.status["requests"] == {}
    assert {kind for kind, seen in vm.status["seen"].items() if seen} == {"dhcp"}
