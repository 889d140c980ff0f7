"""README.rst's two commands, ``scripts/lab demo`` and ``scripts/test``, on a host that nobody prepared."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from harness.clean_host import CleanHost

TAKE_FOR_GRANTED = ("test_gathering", "test_doctor", "test_process_inventory", "test_real_tap", "test_unit")
"""The tests that run programs as other users, mount, and open devices.

The whole of scripts/test here would double the time of the whole of scripts/test: installing its packages and these
tests take four minutes beside the other stages.
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CleanHost]:
    with CleanHost(tmp_path_factory.mktemp("clean") / "root") as host:
        yield host


def test_the_demo_shows_each_guest_its_own_metadata(host: CleanHost) -> None:
    began = time.monotonic()
    done = host.run("scripts/lab", "demo")
    assert done.returncode == 0, done.stdout
    assert "lab: each guest got its own metadata; all is removed again" in done.stdout
    print(f"scripts/lab demo: {time.monotonic() - began:.0f} s")


def test_the_tests_pass(host: CleanHost) -> None:
    began = time.monotonic()
    chosen = " or ".join(TAKE_FOR_GRANTED)
    done = host.run("scripts/test", "unit", "kernel", "guest", PYTEST_ADDOPTS=f"-k '{chosen}'")
    assert done.returncode == 0, done.stdout
    assert " passed, 0 failed, 0 skipped\n" in done.stdout
    print(f"scripts/test: {time.monotonic() - began:.0f} s")
