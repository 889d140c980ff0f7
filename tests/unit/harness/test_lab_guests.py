"""The lab's domain files, which people look into, and the table that its demo prints."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from harness.lab_demo import Observed, table
from harness.lab_guests import PLANS, Plan
from tests.contracts.fake_reader import read_domain_file


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_a_domain_file_is_yaml_as_a_person_writes_it_and_says_what_the_plan_does(plan: Plan, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(plan.file)
    path.chmod(0o600)
    read = read_domain_file(str(path))
    assert (read.problems, read.domain and read.domain.name) == ((), plan.name)
    # PyYAML reads YAML 1.1, in which a MAC address of digits alone is a number; none of these is.
    assert yaml.safe_load(plan.file) == plan.domain
    assert "\n  #!/bin/sh\n" in plan.file
    assert "\\n" not in plan.file


def test_the_demos_table_fits_80_columns() -> None:
    def seen(plan: Plan) -> Observed:
        found = {"datasource": plan.datasource, "token": plan.needs_token, "hostname": plan.domain["hostname"]}
        ipv4, ipv6 = (["10.0.0.5"], []) if plan.ipv4 else ([], ["fe80::f816:3eff:fe00:5"])
        return Observed(found, None, ipv4, ipv6, [], None)

    lines = table({plan: seen(plan) for plan in PLANS}, {plan: [] for plan in PLANS}).splitlines()
    assert len(lines) == 1 + len(PLANS)
    assert max(map(len, lines)) <= 80
    assert lines[3].split() == ["cedar.example.org", "10.0.0.5", "vnet2", "routed", "OpenStack", "its", "own"]
