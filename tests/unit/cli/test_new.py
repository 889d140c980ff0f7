"""``eve-meta new``: a domain file to begin with, which is correct as it is."""

from __future__ import annotations

import stat
import uuid
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from eve_meta.cli import new as module
from eve_meta.cli.new import new
from eve_meta.machine import guests, links
from tests.unit.cli.conftest import Run
from tests.unit.inventory.fakeproc import FakeProc

UUID = "1a831fa7-c50b-4693-a16e-fb8171f1b69e"
UUID2 = "2a831fa7-c50b-4693-a16e-fb8171f1b69e"
MAC, MAC2 = "52:54:00:aa:bb:01", "52:54:00:aa:bb:02"


@pytest.mark.parametrize("name", ["web9", "007", "yes", "1e3", "2024-01-01", "a.b_c-d"])
def test_the_new_file_is_correct(run: Run, domains: Path, name: str) -> None:
    done = run("new", "--domains", "domains.d", name)
    path = domains / f"{name}.yaml"
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == f"domains.d/{name}.yaml"
    assert "eve-meta check domains.d" in done.stdout
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert run("check", "domains.d").stdout == "3 files, 3 good, 0 problems\n"
    assert run("render", "--domains", "domains.d", name, "/openstack").returncode == 0


def test_the_keys_in_comments_are_correct_too(run: Run, domains: Path) -> None:
    run("new", "--domains", "domains.d", "web9")
    path = domains / "web9.yaml"
    lines = path.read_text().splitlines()
    # A key in a comment has no blank after its "#".
    text = "\n".join(line[1:] if line[:1] == "#" and line[1:2] not in ("", " ") else line for line in lines)
    # Within a block in comments, the blanks are the indentation.
    text = text.replace("\n#  ", "\n  ")
    assert set(yaml.safe_load(text)) == {
        "name", "hostname", "availability_zone", "public_keys", "user_data", "meta", "nics",
    }  # fmt: skip
    path.write_text(text)
    # The one warning: where the key of the example is, a real one belongs.
    warning, summary = run("check", "domains.d").stdout.splitlines()
    assert "public_keys" in warning
    assert summary == "3 files, 3 good, 0 problems, 1 warning"


def test_a_uuid_is_never_invented(run: Run, domains: Path) -> None:
    done = run("new", "--domains", "domains.d", "web9")
    assert yaml.safe_load((domains / "web9.yaml").read_text()) == {"name": "web9"}
    assert "the name as you gave it: neither libvirt nor a VMM process " in done.stdout


def test_the_uuid_of_a_vm_that_does_not_exist_yet(run: Run, domains: Path) -> None:
    assert run("new", "--domains", "domains.d", UUID.upper()).returncode == 0
    assert yaml.safe_load((domains / f"{UUID}.yaml").read_text()) == {"uuid": UUID}
    assert run("check", "domains.d").stdout == "3 files, 3 good, 0 problems\n"


def test_an_existing_file_stays(run: Run, domains: Path) -> None:
    (domains / "old.yaml").write_text("name: [broken\n")
    done = run("new", "--domains", "domains.d", "old")
    assert done.returncode == 1
    assert done.stderr == "eve-meta: domains.d/old.yaml already exists: edit it, or remove it first\n"
    assert (domains / "old.yaml").read_text() == "name: [broken\n"
    (domains / "link.yaml").symlink_to("nowhere")
    assert run("new", "--domains", "domains.d", "link").returncode == 1
    assert not (domains / "nowhere").exists()


def test_a_name_that_another_file_has(run: Run, domains: Path) -> None:
    (domains / "web1.yaml").rename(domains / "other.yaml")
    done = run("new", "--domains", "domains.d", "web1")
    assert done.stderr == "eve-meta: there is already a domain web1, in domains.d/other.yaml\n"


@pytest.mark.parametrize("name", ["../web9", "a/b", ".hidden", "", "a b", "a\n", "é", "a" * 201])
def test_a_name_that_cannot_be_a_file_name(run: Run, domains: Path, name: str) -> None:
    done = run("new", "--domains", "domains.d", "--", name)
    assert done.returncode == 1
    assert done.stderr.startswith("eve-meta: expected a name of letters, digits, '.', '_' and '-'")
    assert len(list(domains.iterdir())) == 2


def test_a_directory_that_is_not_there(run: Run, tmp_path: Path) -> None:
    done = run("new", "--domains", "missing", "web9")
    assert done.returncode == 1
    assert done.stderr == (
        "eve-meta: no directory missing: make it with 'install -d -m 700 missing', or name another\n"
    )
    assert not (tmp_path / "missing").exists()


# -- what QEMU and libvirt know --

Begin = Callable[..., Result]


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeProc:
    """The processes of a host with the taps tap0, tap1 and vnet0."""
    fake = FakeProc(tmp_path / "proc")
    monkeypatch.setattr(guests, "PROC", fake.path)
    monkeypatch.setattr(links, "names", lambda: frozenset({"lo", "tap0", "tap1", "vnet0"}))
    return fake


@pytest.fixture
def libvirt_uri() -> str:
    """The URI of the host's libvirt, "" for none."""
    return ""


@pytest.fixture
def begin(proc: FakeProc, domains: Path, libvirt_uri: str, monkeypatch: pytest.MonkeyPatch) -> Begin:
    """Run ``eve-meta new`` on that host, with domain files for web1 and db1."""
    monkeypatch.setattr(module, "usable_uri", lambda configured: libvirt_uri if configured == "auto" else configured)

    def run_new(*arguments: str) -> Result:
        return CliRunner().invoke(new, ["--domains", str(domains), *arguments])

    return run_new


def written(domains: Path, name: str) -> Any:
    return yaml.safe_load((domains / f"{name}.yaml").read_text())


@pytest.mark.parametrize("name", ["v1", UUID, "tap0", "V1"])
def test_a_running_qemu_by_name_uuid_and_tap(begin: Begin, proc: FakeProc, domains: Path, name: str) -> None:
    tap = ("-netdev", "tap,id=n0,ifname=tap0,script=no", "-device", f"virtio-net-pci,netdev=n0,mac={MAC}")
    proc.add(7, "qemu", "-name", "v1,debug-threads=on", "-smbios", f"type=1,uuid={UUID}", *tap, taps=["tap0"])
    done = begin(name)
    assert done.exception is None
    assert written(domains, "v1") == {"uuid": UUID, "name": "v1", "nics": [{"tap": "tap0", "mac": MAC}]}
    assert done.output.splitlines()[:-1] == [
        f"{domains}/v1.yaml",
        "  from QEMU process 7:",
        f"  uuid  {UUID}",
        "  name  v1",
        f"  nic   {MAC}, tap tap0",
    ]


def test_a_qemu_that_was_given_no_uuid(begin: Begin, proc: FakeProc, domains: Path) -> None:
    proc.add(7, "qemu", "-name", "v1", "-nic", f"tap,ifname=tap0,mac={MAC}", taps=["tap0"])
    assert "  uuid  none, because none is known\n" in begin("v1").output
    assert written(domains, "v1") == {"name": "v1", "nics": [{"tap": "tap0", "mac": MAC}]}


def test_a_qemu_that_was_given_neither_uuid_nor_name(begin: Begin, proc: FakeProc, domains: Path) -> None:
    proc.add(7, "qemu", "-nic", f"tap,ifname=tap0,mac={MAC}", taps=["tap0"])
    assert begin("tap0").exit_code == 0
    assert written(domains, "tap0") == {"name": "tap0", "nics": [{"tap": "tap0", "mac": MAC}]}


def test_a_tap_whose_name_nobody_chose_ties_the_file_only_where_nothing_else_does(
    begin: Begin, proc: FakeProc, domains: Path
) -> None:
    bridged = ("-nic", f"bridge,br=br0,mac={MAC}")
    proc.add(7, "qemu", "-uuid", UUID, "-name", "v1", *bridged, taps=["tap0"])
    proc.add(8, "qemu", "-uuid", UUID2, "-name", "v2", *bridged, taps=["tap1"], uids=(1000,) * 4)
    assert f"  nic   {MAC}, tap0 at present\n" in begin("v1").output
    assert f"  nic   {MAC}, tap tap1\n" in begin("v2").output
    assert written(domains, "v1") == {"uuid": UUID, "name": "v1", "nics": [{"mac": MAC}]}
    assert written(domains, "v2") == {"uuid": UUID2, "name": "v2", "nics": [{"tap": "tap1", "mac": MAC}]}


def test_a_tap_that_no_qemu_holds(begin: Begin, domains: Path) -> None:
    assert begin("tap1").output.splitlines()[1:-1] == [
        "  from the host, where tap1 is:",
        "  uuid  none, because none is known",
        "  name  tap1",
        "  nic   tap tap1",
    ]
    assert written(domains, "tap1") == {"name": "tap1", "nics": [{"tap": "tap1"}]}


def test_every_running_vm_without_a_file(begin: Begin, proc: FakeProc, domains: Path) -> None:
    proc.add(7, "qemu", "-uuid", UUID, "-name", "v1", taps=["tap0"])
    proc.add(8, "qemu", "-name", "web1", taps=["tap1"])
    proc.add(9, "qemu", "-name", "no tap, so not served")
    done = begin("--all")
    assert (done.exit_code, done.output.splitlines()[0]) == (0, f"{domains}/v1.yaml")
    assert sorted(path.name for path in domains.iterdir()) == ["db1.yaml", "v1.yaml", "web1.yaml"]
    assert str(begin("--all").exception) == f"each VM that runs here has a file in {domains}"


def test_a_file_in_the_way_of_one_vm_keeps_no_other_from_getting_one(
    begin: Begin, proc: FakeProc, domains: Path
) -> None:
    proc.add(7, "qemu", "-uuid", UUID, "-name", "v1", taps=["tap0"])
    proc.add(8, "qemu", "-uuid", UUID2, "-name", "v2", taps=["tap1"])
    (domains / "v1.yaml").write_text("name: [broken\n")
    done = begin("--all")
    assert str(done.exception) == f"{domains}/v1.yaml already exists: edit it, or remove it first"
    assert written(domains, "v2")["uuid"] == UUID2


def test_a_vm_that_a_file_describes_under_another_name(begin: Begin, proc: FakeProc, domains: Path) -> None:
    proc.add(7, "qemu", "-uuid", UUID, "-name", "v1", taps=["tap0"])
    (domains / "old.yaml").write_text(f"uuid: {UUID}\n")
    assert str(begin("v1").exception) == f"there is already a file of this VM: {domains}/old.yaml"


def test_two_vms_of_one_name(begin: Begin, proc: FakeProc) -> None:
    proc.add(7, "qemu", "-uuid", UUID, "-name", "v1", taps=["tap0"])
    proc.add(8, "qemu", "-name", "v1", taps=["tap1"])
    assert str(begin("v1").exception) == (
        f"several VMs are called v1: QEMU process 7 ({UUID}) and QEMU process 8 (tap1); give a uuid or a tap"
    )


def test_a_name_that_is_no_name_of_a_file(begin: Begin, proc: FakeProc, domains: Path) -> None:
    proc.add(7, "qemu", "-uuid", UUID, "-name", "my: vm/1", taps=["tap0"])
    assert begin("my: vm/1").exit_code == 0
    assert written(domains, UUID) == {"uuid": UUID, "name": "my: vm/1"}


def test_a_name_that_no_domain_can_have_reaches_no_file(begin: Begin, proc: FakeProc, domains: Path) -> None:
    proc.add(7, "qemu", "-uuid", UUID, "-name", "v1\nuser_data: x", taps=["tap0"])
    assert begin("tap0").exit_code == 0
    assert written(domains, UUID) == {"uuid": UUID}


@pytest.mark.parametrize("arguments", [(), ("--all", "v1")])
def test_either_a_name_or_all(begin: Begin, arguments: tuple[str, ...]) -> None:
    done = begin(*arguments)
    assert done.exit_code == 2
    assert "expected either NAME|UUID|TAP or --all" in done.output


NIC = "<interface type='ethernet'><mac address='{}'/>{}</interface>"
DOMAIN = (
    "<domain type='test'{}><name>{}</name><uuid>{}</uuid><memory>8192</memory><os><type>hvm</type></os><devices>{}"
    "</devices></domain>"
)


def xml_of_virt1(flags: int = 0) -> str:
    """Return the XML of a running domain whose taps have names that libvirt's QEMU driver chose.

    libvirt's test driver has no such domain.
    """
    taps = ("", "") if flags else ("<target dev='vnet0'/>", "<target dev='vnet1'/>")
    return DOMAIN.format("" if flags else " id='3'", "virt1", UUID, "".join(map(NIC.format, (MAC, MAC2), taps)))


class TestLibvirt:
    """A running domain of a libvirt that the configuration does not name."""

    @pytest.fixture
    def libvirt_uri(self, monkeypatch: pytest.MonkeyPatch) -> str:
        pytest.importorskip("libvirt")
        domain = SimpleNamespace(
            name=lambda: "virt1", UUID=lambda: uuid.UUID(UUID).bytes, isActive=lambda: 1, XMLDesc=xml_of_virt1
        )
        connection = SimpleNamespace(listAllDomains=lambda: [domain])
        monkeypatch.setattr(guests, "connected", lambda uri, read_only: nullcontext(connection))
        return "qemu:///system"

    @pytest.mark.parametrize("name", ["virt1", UUID, "vnet1"])
    def test_its_own_uuid_and_nics(self, begin: Begin, domains: Path, name: str) -> None:
        done = begin(name)
        assert done.exception is None
        # Not the taps: libvirt chooses other names at each start.
        assert written(domains, "virt1") == {"uuid": UUID, "name": "virt1", "nics": [{"mac": MAC}, {"mac": MAC2}]}
        assert done.output.splitlines()[1:-1] == [
            "  from libvirt (qemu:///system):",
            f"  uuid  {UUID}",
            "  name  virt1",
            f"  nic   {MAC}, vnet0 at present",
            f"  nic   {MAC2}, vnet1 at present",
        ]

    def test_its_qemu_is_not_another_vm(self, begin: Begin, proc: FakeProc, domains: Path) -> None:
        proc.add(7, "qemu", "-uuid", UUID, "-name", "guest=virt1", taps=["vnet0"])
        assert begin("--all").exit_code == 0
        assert {path.name for path in domains.iterdir()} == {"db1.yaml", "virt1.yaml", "web1.yaml"}


class TestRealLibvirt:
    @pytest.fixture
    def libvirt_uri(self, tmp_path: Path) -> str:
        pytest.importorskip("libvirt")
        nic = NIC.format(MAC, "<target dev='tap1'/>")
        (tmp_path / "node.xml").write_text(f"<node>{DOMAIN.format('', 'virt2', UUID2, nic)}</node>")
        return f"test://{tmp_path}/node.xml"

    def test_a_tap_whose_name_a_person_chose(self, begin: Begin, domains: Path) -> None:
        assert begin("virt2").exception is None
        assert written(domains, "virt2") == {"uuid": UUID2, "name": "virt2", "nics": [{"tap": "tap1", "mac": MAC}]}


class TestUnreachableLibvirt:
    @pytest.fixture
    def libvirt_uri(self, tmp_path: Path) -> str:
        pytest.importorskip("libvirt")
        return f"test://{tmp_path}/missing.xml"

    def test_the_rest_is_written(self, begin: Begin, domains: Path, libvirt_uri: str) -> None:
        done = begin("v9")
        assert (done.exit_code, written(domains, "v9")) == (0, {"name": "v9"})
        assert f"not asked: {libvirt_uri}: " in done.output


def test_the_file_names_the_schema_for_editors(domains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schema = tmp_path / "domain.schema.json"
    monkeypatch.setattr(module, "DOMAIN_SCHEMA", schema)
    assert CliRunner().invoke(new, ["--domains", str(domains), "a"]).exit_code == 0
    assert "$schema" not in (domains / "a.yaml").read_text()
    schema.touch()
    assert CliRunner().invoke(new, ["--domains", str(domains), "b"]).exit_code == 0
    assert (domains / "b.yaml").read_text().splitlines()[0] == f"# yaml-language-server: $schema={schema}"
