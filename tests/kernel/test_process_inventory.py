"""Real QEMU processes on real taps, in a network namespace of the test's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="taps and network namespaces need root")

QEMU = "qemu-system-x86_64"
UUID1 = "1a831fa7-c50b-4693-a16e-fb8171f1b69e"
UUID2 = "2a831fa7-c50b-4693-a16e-fb8171f1b69e"

WATCH = """
import json, sys, time
from eve_meta.inventory.owners import ProcessOwners
from eve_meta.reactor import reactor

def say():
    told = {tap: [str(owner.uuid), owner.name] for tap, owner in owners.owners().items()}
    print(json.dumps({"owners": told, "at": time.time()}), flush=True)

owners = ProcessOwners(reactor)
owners.start(say)
owners.taps_changed(sys.argv[1:])
reactor.run()
"""
"""A daemon's share: it prints the owners whenever they change."""


@pytest.fixture
def namespace() -> Iterator[str]:
    """A network namespace with the taps tap0 and tap1, which outlive what opens them."""
    name = f"em-proc-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    for tap in ("tap0", "tap1"):
        subprocess.run(["ip", "-n", name, "tuntap", "add", tap, "mode", "tap"], check=True)
    yield name
    subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.fixture
def start(namespace: str) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a program within the namespace; ends it with the test."""
    processes: list[subprocess.Popen[str]] = []

    def start_process(*command: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(["ip", "netns", "exec", namespace, *command], stdout=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield start_process
    for process in processes:
        process.kill()
        process.communicate()


def qemu(*arguments: str, tap: str) -> list[str]:
    assert shutil.which(QEMU), f"{QEMU} is missing: install the package qemu-system-x86"
    netdev = f"tap,id=n0,ifname={tap},script=no,downscript=no"
    return [QEMU, "-M", "none", "-S", "-nographic", "-display", "none", *arguments, "-netdev", netdev]


def watch(start: Callable[..., subprocess.Popen[str]]) -> subprocess.Popen[str]:
    return start(sys.executable, "-c", WATCH, "tap0", "tap1")


def wait_for(watcher: subprocess.Popen[str], owners: dict[str, Any]) -> float:
    """Waits until the watcher says these *owners*; when it said so."""
    assert watcher.stdout is not None
    end = time.monotonic() + 20
    for line in watcher.stdout:
        said = json.loads(line)
        if said["owners"] == owners:
            return float(said["at"])
        assert time.monotonic() < end, f"expected {owners}, last said {said}"
    raise AssertionError("the watcher ended")


def test_qemu_that_runs_already(start: Callable[..., subprocess.Popen[str]]) -> None:
    start(*qemu("-uuid", UUID1, "-name", "guest=web,,1,debug-threads=on", tap="tap0"))
    start(*qemu("--uuid", UUID2, "-name", "web2,process=renamed", tap="tap1"))
    wait_for(watch(start), {"tap0": [UUID1, "web,1"], "tap1": [UUID2, "web2"]})


def test_qemu_that_starts_later_and_ends(start: Callable[..., subprocess.Popen[str]]) -> None:
    watcher = watch(start)
    wait_for(watcher, {})
    process = start(*qemu("-uuid", UUID1, "-name", "web1", tap="tap0"))
    wait_for(watcher, {"tap0": [UUID1, "web1"]})
    killed = time.time()
    process.kill()
    assert wait_for(watcher, {}) - killed < 0.5
    # The tap is still there, and another VM may have it.
    start(*qemu("-uuid", UUID2, "-name", "web2", tap="tap0"))
    wait_for(watcher, {"tap0": [UUID2, "web2"]})


def test_qemu_in_another_namespace_is_not_behind_our_tap(
    namespace: str, start: Callable[..., subprocess.Popen[str]]
) -> None:
    other = f"{namespace}-b"
    subprocess.run(["ip", "netns", "add", other], check=True)
    try:
        subprocess.run(["ip", "-n", other, "tuntap", "add", "tap0", "mode", "tap"], check=True)
        start("ip", "netns", "exec", other, *qemu("-uuid", UUID2, "-name", "other", tap="tap0"))
        start(*qemu("-uuid", UUID1, "-name", "web1", tap="tap1"))
        # Both have been started before the one that is ours is found.
        wait_for(watch(start), {"tap1": [UUID1, "web1"]})
    finally:
        subprocess.run(["ip", "netns", "del", other], check=True)
