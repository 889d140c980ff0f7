"""The constants that scripts/inspect-steering copies, because it also runs where eve_meta is not installed."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

from eve_meta.steering.bpf.maps import BUCKETS, MAPS, PROGRAMS, SIGHTINGS, U32, Reason
from eve_meta.steering.path import iptables, names, sysctls
from eve_meta.values.addresses import SERVICE_IPV4, SERVICE_IPV6
from eve_meta.values.tag import PLACE_MASK, PLACE_SHIFT, STEERED

SCRIPT = Path(__file__).parents[3] / "scripts/inspect-steering"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    loader = SourceFileLoader("inspect_steering", str(SCRIPT))
    spec = importlib.util.spec_from_loader("inspect_steering", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        loader.exec_module(module)
    return module


def test_the_script_looks_for_the_numbers_that_steering_uses(script: ModuleType) -> None:
    assert script.FILTER_PRIORITY == names.FILTER_PRIORITY
    assert int(script.FILTER_HANDLE, 16) == names.FILTER_HANDLE
    assert int(script.TABLE) == names.TABLE
    assert int(script.STEERED, 16) == STEERED
    assert (script.PLACE_SHIFT, int(script.PLACE_MASK, 16)) == (PLACE_SHIFT, PLACE_MASK)
    assert script.PORT == iptables.PORT


def test_the_script_looks_for_the_links_and_addresses_that_steering_uses(script: ModuleType) -> None:
    assert script.META0 == names.META0
    assert script.Inspection("emx", "bpftool").host_link == names.host_link("emx")
    assert (
        ("iptables", (SERVICE_IPV4,), iptables.WORKER),
        ("ip6tables", tuple(SERVICE_IPV6), f"[{iptables.WORKER6}]"),
    ) == script.FAMILIES


def test_the_script_knows_all_programs_and_maps(script: ModuleType) -> None:
    assert tuple(script.PROGRAMS) == PROGRAMS
    assert tuple(MAPS) == script.MAPS


def test_the_sysctls_that_the_script_explains_have_steerings_values(script: ModuleType) -> None:
    wanted = {name.replace("/", "."): value for name, value in sysctls.SYSCTLS.items()}
    assert {name: value for name, (value, _) in script.SYSCTLS.items()}.items() <= wanted.items()


def test_the_script_reads_reasons_and_sightings_in_the_programs_order(script: ModuleType) -> None:
    assert [name.lower() for name, _ in script.reasons()] == [reason.label for reason in Reason]
    assert tuple(name for name, _ in script.sightings()) == SIGHTINGS
    assert BUCKETS.size == script.BUCKETS * 8


def test_the_script_writes_keys_as_the_maps_have_them(script: ModuleType) -> None:
    assert script.words(0x1234) == [f"{byte:#04x}" for byte in U32.pack(0x1234)]
