"""Domains of a real libvirtd: what identity each guest reads, whatever happens to domains, NICs and libvirtd."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from harness.daemon import STOP_TIME, Daemon
from harness.guests import Guest, Lab
from tests.guest.libvirtd import NAMESPACE, Libvirtd, interface
from tests.guest.monsters import YAML, harmless_to
from tests.guest.scene import META_DATA, USER_DATA, Scene, eventually, uuid_of

MAC = "52:54:00:00:00:{:02x}"

ARGUMENT = 100_000
"""Characters of an argument of virsh at most; the kernel takes 128 KiB."""

SOON = 10.0
"""Seconds within which a change takes effect on a busy machine."""


@frozen
class Stage:
    """A scene with a libvirtd."""

    scene: Scene
    libvirtd: Libvirtd

    @property
    def daemon(self) -> Daemon:
        """The daemon of eve-meta."""
        return self.scene.daemon

    def define(self, number: int, devices: str | None = None, *, metadata: str | None = None) -> str:
        """Define the domain ``web<number>``, and return its name."""
        element = "" if metadata is None else f"<domain xmlns='{NAMESPACE}'><![CDATA[{metadata}]]></domain>"
        name = f"web{number}"
        self.libvirtd.define(name, uuid_of(number), devices or nic(number), metadata=element)
        return name

    def begin(self, number: int, devices: str | None = None, *, metadata: str | None = None) -> str:
        """Define the domain and start it; return its tap."""
        (tap,) = self.libvirtd.begin_domain(self.define(number, devices, metadata=metadata))
        return tap

    @contextlib.contextmanager
    def guest(self, number: int, tap: str) -> Iterator[Guest]:
        """Put a guest behind the NIC of a domain whose own CPU is halted."""
        guest = self.scene.lab.guest(f"g{number}", tap=None, mac=MAC.format(number))
        try:
            self.scene.lab.share_tap(tap, self.libvirtd.pid(f"web{number}"), guest)
            yield guest
        finally:
            # Otherwise the tap outlives its QEMU.
            self.scene.lab.remove(guest)

    def problems(self) -> list[str]:
        """Return the problems that ``status`` shows."""
        return self.daemon.problems()

    def clean(self) -> None:
        """Remove all domains and files."""
        self.libvirtd.clear()
        for file in self.daemon.domains.iterdir():
            file.unlink()


def nic(number: int, inner: str = "", **options: Any) -> str:
    """Return the XML of a NIC whose frames a guest of the lab can share with QEMU."""
    return interface(MAC.format(number), inner=inner, model="virtio", **options)


def meta_data(guest: Guest) -> dict[str, Any]:
    """Return the meta_data.json that a guest reads."""
    answer = guest.get(META_DATA)
    assert answer.status == 200, answer
    return dict(json.loads(answer.body))


def identity(guest: Guest) -> tuple[str, str]:
    """Return the uuid and the host name that a guest reads."""
    data = meta_data(guest)
    return data["uuid"], data["hostname"]


@pytest.fixture(scope="module")
def module_stage() -> Iterator[Stage]:
    with Lab("emg-virt") as lab:
        lab.bridge("br0", "10.0.0.1/24")
        with Libvirtd(lab) as libvirtd:
            inventory = f"libvirt = {json.dumps(libvirtd.uri)}\n"
            with Daemon(lab, taps=("vnet*", "fix*"), inventory=inventory) as daemon:
                yield Stage(Scene(lab, daemon), libvirtd)


@pytest.fixture
def stage(module_stage: Stage) -> Iterator[Stage]:
    yield module_stage
    module_stage.clean()


def test_a_domain_without_any_file_gets_its_metadata(stage: Stage) -> None:
    tap = stage.begin(1, nic(1, "<mtu size='1400'/>"))
    stage.scene.wait_until_known(**{tap: 1})
    with stage.guest(1, tap) as guest:
        data = meta_data(guest)
    assert (data["uuid"], data["name"], data["hostname"]) == (uuid_of(1), "web1", "web1")
    (device,) = data["devices"]
    assert (device["type"], device["mac"], device["bus"]) == ("nic", MAC.format(1), "pci")
    assert re.fullmatch(r"0000:00:0[0-9a-f]\.0", device["address"])
    stage.libvirtd.virsh("destroy", "web1")
    eventually(lambda: not stage.scene.status_of(tap), SOON)
    assert stage.problems() == []


def test_two_domains_one_with_metadata_and_one_with_a_file_of_its_name(stage: Stage) -> None:
    stage.daemon.write_domain("web2", {"name": "web2", "hostname": "two", "user_data": "second"})
    taps = stage.begin(1, metadata="hostname: one\nuser_data: first"), stage.begin(2)
    stage.scene.wait_until_known(**{taps[0]: 1, taps[1]: 2})
    with stage.guest(1, taps[0]) as one, stage.guest(2, taps[1]) as two:
        # Both have the same address, as guests in two networks may.
        assert (identity(one), one.get(USER_DATA).body) == ((uuid_of(1), "one"), b"first")
        assert (identity(two), two.get(USER_DATA).body) == ((uuid_of(2), "two"), b"second")


def test_changed_metadata_change_the_answer(stage: Stage) -> None:
    tap = stage.begin(1, metadata="hostname: before")
    stage.scene.wait_until_known(**{tap: 1})
    with stage.guest(1, tap) as guest:
        assert identity(guest) == (uuid_of(1), "before")
        stage.libvirtd.set_metadata("web1", "hostname: after\nmeta: {role: web}\n")
        eventually(lambda: identity(guest)[1] == "after", SOON)
        assert meta_data(guest)["meta"] == {"role": "web"}
        stage.libvirtd.set_metadata("web1", "hostname: broken\nmeta: web\n")
        complaint = "libvirt metadata of web1:2: meta: expected a mapping of names to values, got a string"
        eventually(lambda: stage.problems() == [complaint], SOON)
        assert identity(guest) == (uuid_of(1), "after")
        stage.libvirtd.virsh("metadata", "web1", NAMESPACE, "--remove", "--live")
        eventually(lambda: identity(guest)[1] == "web1", SOON)
        assert stage.problems() == []


def test_monstrous_metadata_are_a_problem_of_their_domain_and_harm_nobody(stage: Stage) -> None:
    taps = stage.begin(1, metadata="user_data: one"), stage.begin(2, metadata="hostname: two")
    stage.scene.wait_until_known(**{taps[0]: 1, taps[1]: 2})
    assert stage.daemon.process is not None
    with (
        stage.guest(1, taps[0]) as neighbour,
        stage.guest(2, taps[1]) as guest,
        harmless_to(neighbour, stage.daemon.process.pid),
    ):
        for text in YAML.values():
            stage.libvirtd.set_metadata("web2", f"hostname: monster\n{text[:ARGUMENT]}")
            (problem,) = eventually(stage.problems, SOON)
            print(problem)
            assert problem.startswith("libvirt metadata of web2:")
            assert len(problem) < 400
            assert identity(guest) == (uuid_of(2), "two")
            stage.libvirtd.set_metadata("web2", "hostname: two")
            eventually(lambda: stage.problems() == [], SOON)
        stage.libvirtd.set_metadata("web2", "hostname: after")
        eventually(lambda: identity(guest)[1] == "after", SOON)


def test_the_file_takes_precedence_field_by_field(stage: Stage) -> None:
    subnet = {"type": "ipv4", "address": "10.1.2.10/24"}
    file = {"uuid": uuid_of(1), "hostname": "file", "nics": [{"mac": MAC.format(1), "mtu": 1300, "subnets": [subnet]}]}
    stage.daemon.write_domain("web1", file)
    tap = stage.begin(1, metadata="hostname: metadata\nuser_data: metadata\n")
    stage.scene.wait_until_known(**{tap: 1})
    with stage.guest(1, tap) as guest:
        data = meta_data(guest)
        assert (data["hostname"], data["name"]) == ("file", "web1")
        assert guest.get(USER_DATA).body == b"metadata"
        network = json.loads(guest.get("/openstack/latest/network_data.json").body)
        rendered = stage.scene.lab.host.run(*stage.daemon.command("render", "web1", META_DATA)).stdout
        assert json.loads(rendered) | {"random_seed": ""} == data | {"random_seed": ""}
        sources = stage.scene.lab.host.run(*stage.daemon.command("render", "web1", "--sources")).stdout
        output = dict(line.split(maxsplit=1) for line in sources.splitlines())
        path = f"{stage.daemon.domains}/web1.yaml"
        assert {
            name: output[name] for name in ("uuid", "hostname", "name", "user_data", "nics[0].mtu", "nics[0].tap")
        } == {
            "uuid": f"{path}:2",
            "hostname": f"{path}:3",
            "name": "libvirt XML of web1",
            "user_data": "libvirt metadata of web1",
            "nics[0].mtu": f"{path}:7",
            "nics[0].tap": "libvirt XML of web1",
        }
        (link,) = network["links"]
        assert (link["id"], link["mtu"], link["type"]) == (tap, 1300, "bridge")
        (stage.daemon.domains / "web1.yaml").unlink()
        eventually(lambda: identity(guest)[1] == "metadata", SOON)


def test_a_file_that_assigns_a_tap_to_another_domain_serves_nobody(stage: Stage) -> None:
    tap = stage.begin(1)
    stage.scene.wait_until_known(**{tap: 1})
    stage.daemon.write_domain("other", {"name": "other", "user_data": "secret", "nics": [{"tap": tap}]})
    eventually(lambda: stage.scene.domain_is(tap, None), SOON)
    (problem,) = stage.problems()
    assert problem.endswith(f"nics: expected this domain behind {tap}, got libvirt XML of web1: it is not served")
    (stage.daemon.domains / "other.yaml").unlink()
    stage.scene.wait_until_known(**{tap: 1})


def test_a_nic_that_is_plugged_in_and_out(stage: Stage) -> None:
    tap = stage.begin(1)
    stage.scene.wait_until_known(**{tap: 1})
    path = stage.libvirtd.directory / "nic.xml"
    path.write_text(nic(9))
    stage.libvirtd.virsh("attach-device", "web1", str(path), "--live")
    (more,) = set(stage.libvirtd.taps("web1")) - {tap}
    stage.scene.wait_until_known(**{more: 1})
    with stage.guest(1, tap) as guest:
        eventually(lambda: len(meta_data(guest)["devices"]) == 2, SOON)
        assert {device["mac"] for device in meta_data(guest)["devices"]} == {MAC.format(1), MAC.format(9)}
    # A running guest would release the NIC; this one is halted, so the tap goes with the domain.
    stage.libvirtd.virsh("destroy", "web1")
    eventually(lambda: not stage.scene.status_of(more), SOON)


def test_a_tap_name_that_another_domain_gets_at_once(stage: Stage) -> None:
    """Over and over: no request through the tap between two starts shows the domain that had it before."""
    devices = {number: nic(number, "<target dev='fix0'/>") for number in (1, 2)}
    for number in (1, 2):
        stage.define(number, devices[number], metadata=f"hostname: h{number}")
    seen: list[tuple[int, str | None]] = []
    for turn in range(6):
        number, other = (1, 2) if turn % 2 else (2, 1)
        stage.libvirtd.virsh("start", "--paused", f"web{number}")
        deadline = time.monotonic() + SOON
        while True:
            domain = stage.scene.status_of("fix0").get("domain")
            seen.append((number, domain and domain["uuid"]))
            assert (domain and domain["uuid"]) != uuid_of(other), seen
            if domain is not None:
                break
            assert time.monotonic() < deadline, seen
        stage.libvirtd.virsh("destroy", f"web{number}")
    assert {(number, uuid) for number, uuid in seen if uuid} == {(1, uuid_of(1)), (2, uuid_of(2))}


def test_a_libvirtd_that_is_killed_and_started_again(stage: Stage) -> None:
    tap = stage.begin(1, metadata="hostname: one")
    stage.scene.wait_until_known(**{tap: 1})
    with stage.guest(1, tap) as guest:
        stage.libvirtd.stop(signal.SIGKILL)
        try:
            eventually(lambda: any("libvirt" in problem for problem in stage.problems()), SOON)
            assert all(": warning: " in problem for problem in stage.problems())
            assert identity(guest) == (uuid_of(1), "one")
        finally:
            stage.libvirtd.start()
        eventually(lambda: stage.problems() == [], SOON)
        assert identity(guest) == (uuid_of(1), "one")
        stage.libvirtd.set_metadata("web1", "hostname: again")
        eventually(lambda: identity(guest)[1] == "again", SOON)
    second = stage.begin(2)
    stage.scene.wait_until_known(**{second: 2})


def test_a_libvirtd_that_hangs_delays_nothing(stage: Stage) -> None:
    tap = stage.begin(1, metadata="hostname: one")
    stage.scene.wait_until_known(**{tap: 1})
    with stage.guest(1, tap) as guest:
        with stage.libvirtd.hanging():
            began = time.monotonic()
            assert identity(guest) == (uuid_of(1), "one")
            stage.daemon.stop()
            stage.daemon.start()
            assert time.monotonic() - began < STOP_TIME
            eventually(lambda: any("has not answered yet" in problem for problem in stage.problems()), SOON)
            # It counts as away: the process alone decides which domain has the tap, and the file what the guest reads.
            stage.daemon.write_domain("web1", {"name": "web1", "hostname": "file"})
            stage.scene.wait_until_known(**{tap: 1})
            assert identity(guest) == (uuid_of(1), "file")
            (stage.daemon.domains / "web1.yaml").unlink()
        eventually(lambda: stage.problems() == [], SOON)
        stage.scene.wait_until_known(**{tap: 1})
        assert identity(guest) == (uuid_of(1), "one")


def test_a_libvirtd_that_comes_after_the_daemon(stage: Stage) -> None:
    stage.daemon.write_domain("web1", {"name": "web1", "hostname": "file"})
    tap = stage.begin(1)
    stage.libvirtd.stop()
    try:
        stage.daemon.stop()
        stage.daemon.start()
        # The QEMU process decides which domain has the tap, and the file what the guest reads.
        stage.scene.wait_until_known(**{tap: 1})
        (problem,) = stage.problems()
        assert re.match(
            r"libvirt qemu\+unix:.*: warning: .*No such file or directory: known domains are served", problem
        )
    finally:
        stage.libvirtd.start()
    eventually(lambda: stage.problems() == [], SOON)
    with stage.guest(1, tap) as guest:
        eventually(lambda: len(meta_data(guest)["devices"]) == 1, SOON)
        assert identity(guest) == (uuid_of(1), "file")


# -- eve-meta smbios and explain --


SECRETIVE = "<graphics type='vnc' port='-1' autoport='yes' passwd='secret'/>"


def command(stage: Stage, *arguments: str, status: int = 0) -> str:
    """Run ``eve-meta ARGUMENTS`` on the hypervisor, and return what it prints."""
    done = stage.scene.lab.host.run(*stage.daemon.command(*arguments), check=False)
    assert (done.returncode, done.stderr) == (status, ""), done
    return done.stdout


def verdicts(stage: Stage, name: str, status: int) -> tuple[Any, dict[str, str], dict[str, str | None]]:
    """Return the datasource that explain predicts, the verdict of each step, and the repair of each."""
    report = json.loads(command(stage, "explain", name, "--json", status=status))
    steps = report["steps"]
    return (
        report["datasource"]["predicted"],
        {step["step"]: step["verdict"] for step in steps},
        {step["step"]: step["mend"] for step in steps},
    )


def test_smbios_is_written_where_it_is_missing_and_nothing_else_changes(stage: Stage) -> None:
    name = stage.define(1, nic(1) + SECRETIVE)
    before = stage.libvirtd.virsh("dumpxml", "--inactive", "--security-info", name)
    eventually(lambda: "web1" in command(stage, "explain", name, status=1), SOON)
    predicted, found, mend = verdicts(stage, name, 1)
    assert (predicted, found["smbios"]) == ("None", "smbios-missing")
    assert mend["smbios"] == f"eve-meta smbios web1 --apply --config {stage.daemon.config}"
    assert mend["tap"] == "virsh start web1"
    output = command(stage, "smbios", name, "--apply", "--yes")
    assert "+      <entry name='product'>OpenStack Nova</entry>" in output
    after = stage.libvirtd.virsh("dumpxml", "--inactive", "--security-info", name)
    lost = set(before.splitlines()) - set(after.splitlines())
    assert lost == set()
    assert "passwd='secret'" in after
    assert "already has it" in command(stage, "smbios", name, "--apply", "--yes")
    assert stage.libvirtd.virsh("dumpxml", "--inactive", "--security-info", name) == after
    # Before the domain runs, and while it does.
    assert verdicts(stage, name, 1)[0] == "OpenStack"
    stage.libvirtd.begin_domain(name)
    eventually(lambda: verdicts(stage, name, 0)[1]["domain"] == "domain-known", SOON)
    predicted, found, _ = verdicts(stage, name, 0)
    assert (predicted, found["smbios"], found["process"]) == ("OpenStack", "smbios-openstack", "process-known")
    assert "The domain runs." in command(stage, "smbios", name, "--datasource", "nocloud", "--apply", "--yes")


def test_a_seed_disk_is_found_in_a_domain_of_libvirts(stage: Stage, tmp_path: Path) -> None:
    seed = tmp_path / "seed.img"
    seed.write_bytes(bytes(1024 * 1024))
    subprocess.run(["mkfs.vfat", "-n", "CIDATA", seed], check=True, stdout=subprocess.DEVNULL)
    disk = f"<disk type='file' device='cdrom'><source file='{seed}'/><target dev='sda' bus='sata'/><readonly/></disk>"
    name = stage.define(1, nic(1) + disk)
    # SMBIOS alone does not decide, and the command says what does.
    assert f"virsh detach-disk web1 {seed} --config" in command(stage, "smbios", name, "--apply", "--yes", status=1)
    stage.libvirtd.begin_domain(name)
    eventually(lambda: verdicts(stage, name, 1)[1]["process"] == "process-known", SOON)
    predicted, found, mend = verdicts(stage, name, 1)
    assert (predicted, found["disks"], found["datasource"]) == ("NoCloud", "disks-seed", "datasource-other")
    assert mend["disks"] == f"virsh detach-disk web1 {seed} --config"
