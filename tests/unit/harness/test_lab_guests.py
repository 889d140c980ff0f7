"""The lab's domain files, which people look into."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

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
