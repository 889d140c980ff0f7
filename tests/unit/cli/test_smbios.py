"""``eve-meta smbios``, with libvirt's own test driver in place of a hypervisor."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest
from click.testing import CliRunner, Result

from eve_meta.cli.smbios import smbios
from eve_meta.values.problem import Problem

UUID = "1a831fa7-c50b-4693-a16e-fb8171f1b69e"

DOMAIN = "<domain type='test'><name>{name}</name><memory>8192</memory><os><type>hvm</type>{smbios}</os></domain>"


@pytest.fixture
def connection() -> Iterator[Any]:
    """Connect to the test driver, which forgets everything when the last connection to it closes."""
    libvirt.registerErrorHandler(lambda *_: None, None)
    connection = libvirt.open("test:///default")
    pristine = connection.lookupByName("test").XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    yield connection
    # The driver does not forget while an exception still holds a domain.
    connection.defineXML(pristine)
    connection.close()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "eve-meta.toml"
    path.write_text('[inventory]\nlibvirt = "test:///default"\n')
    return path


def run(config: Path, *arguments: str, typed: str = "") -> Result:
    return CliRunner().invoke(smbios, [*arguments, "--config", str(config)], input=typed)


def product(connection: Any, name: str = "test") -> bool:
    xml: str = connection.lookupByName(name).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    return "<entry name='product'>OpenStack Nova</entry>" in xml


def test_the_settings_are_printed_without_libvirt(tmp_path: Path) -> None:
    result = CliRunner().invoke(smbios, ["web 1", "--datasource", "nocloud"]).output
    assert "<entry name='serial'>ds=nocloud;s=http://169.254.169.254/nocloud/</entry>" in result
    assert "-smbios 'type=1,serial=ds=nocloud;s=http://169.254.169.254/nocloud/'" in result
    assert "eve-meta smbios 'web 1' --datasource nocloud --apply" in result
    assert "type=1,product=OpenStack Nova" in CliRunner().invoke(smbios, ["web1"]).output


def test_the_change_is_shown_and_must_be_confirmed(connection: Any, config: Path) -> None:
    result = run(config, "test", "--apply", typed="n\n")
    assert isinstance(result.exception, Problem)
    assert str(result.exception) == "nothing was changed"
    assert "+      <entry name='product'>OpenStack Nova</entry>" in result.output
    assert not product(connection)
    result = run(config, "test", "--apply", typed="y\n")
    assert result.exit_code == 0
    assert product(connection)
    # The test driver's domain runs.
    assert "virsh shutdown test" in result.output


def test_a_second_time_changes_nothing(connection: Any, config: Path) -> None:
    assert run(config, "test", "--apply", "--yes").exit_code == 0
    before = connection.lookupByName("test").XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    result = run(config, connection.lookupByName("test").UUIDString(), "--apply", "--yes")
    assert (result.exit_code, result.output.splitlines()[0]) == (
        0,
        "test already has it: system product is 'OpenStack Nova'",
    )
    assert connection.lookupByName("test").XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) == before


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("nobody", "no domain or tap 'nobody': the domains are test"),
        ("tset", "no domain or tap 'tset': did you mean test or testnet0?"),
        (UUID, f"no domain or tap '{UUID}': the domains are test"),
    ],
)
def test_an_unknown_domain(connection: Any, config: Path, name: str, error: str) -> None:
    result = run(config, name, "--apply", "--yes")
    assert isinstance(result.exception, Problem)
    assert str(result.exception) == error


@pytest.mark.parametrize("name", ["web1", "WEB1", UUID, UUID.upper(), "emtap9", "EMTAP9"])
def test_every_form_of_a_name(connection: Any, config: Path, name: str) -> None:
    """The domain runs, or it would have no tap."""
    nic = "<devices><interface type='ethernet'><target dev='emtap9'/></interface></devices>"
    xml = DOMAIN.format(name="web1", smbios="").replace("</domain>", f"<uuid>{UUID}</uuid>{nic}</domain>")
    domain = connection.defineXML(xml)
    domain.create()
    try:
        result = run(config, name, "--apply", "--yes")
        assert (result.exit_code, product(connection, "web1")) == (0, True)
    finally:
        domain.destroy()
        domain.undefine()


def test_a_missing_libvirt(tmp_path: Path) -> None:
    config = tmp_path / "eve-meta.toml"
    config.write_text(f'[inventory]\nlibvirt = "qemu+unix:///system?socket={tmp_path}/none"\n')
    result = run(config, "web1", "--apply", "--yes")
    assert isinstance(result.exception, Problem)
    assert "No such file or directory" in str(result.exception)


@pytest.mark.parametrize(
    ("sysinfo", "datasource", "why", "mend"),
    [
        (
            "<system><entry name='serial'>ds=nocloud</entry></system>",
            "openstack",
            "cloud-init will choose NoCloud all the same: the DMI serial has ds=nocloud",
            "virsh edit web1   # take that out",
        ),
        (
            "<system><entry name='manufacturer'>DigitalOcean</entry></system>",
            "openstack",
            "cloud-init will choose DigitalOcean all the same: the DMI system vendor is 'DigitalOcean'",
            "virsh edit web1   # take that out",
        ),
        ("<system><entry name='serial'>ds=nocloud</entry></system>", "nocloud", "", ""),
        ("<system/>", "ec2", "", ""),
    ],
)
def test_whoever_writes_what_does_not_decide_learns_what_does(
    connection: Any, config: Path, sysinfo: str, datasource: str, why: str, mend: str
) -> None:
    xml = DOMAIN.format(name="web1", smbios="<smbios mode='sysinfo'/>")
    domain = connection.defineXML(xml.replace("</domain>", f"<sysinfo type='smbios'>{sysinfo}</sysinfo></domain>"))
    try:
        for said in ("changed web1", "web1 already has it"):
            result = run(config, "web1", "--datasource", datasource, "--apply", "--yes")
            assert result.exit_code == (1 if why else 0), result.output
            assert said in result.output
            assert why in " ".join(result.output.split())
            assert mend in result.output
    finally:
        domain.undefine()


def test_a_seed_disk_that_decides_is_named_with_the_command_that_removes_it(
    connection: Any, config: Path, tmp_path: Path
) -> None:
    seed = tmp_path / "seed.img"
    seed.write_bytes(bytes(1024 * 1024))
    subprocess.run(["mkfs.vfat", "-n", "CIDATA", seed], check=True, stdout=subprocess.DEVNULL)
    disk = f"<disk type='file'><driver type='raw'/><source file='{seed}'/><target dev='vdb'/></disk>"
    xml = DOMAIN.format(name="web1", smbios="").replace("</domain>", f"<devices>{disk}</devices></domain>")
    domain = connection.defineXML(xml)
    try:
        result = run(config, "web1", "--apply", "--yes")
        assert result.exit_code == 1
        shown = " ".join(result.output.split())
        assert f"{seed} is a NoCloud disk (label 'CIDATA'), which cloud-init prefers to eve-meta" in shown
        assert f"virsh detach-disk web1 {seed} --config" in result.output
    finally:
        domain.undefine()


def test_the_settings_for_ec2_are_printed(tmp_path: Path) -> None:
    result = CliRunner().invoke(smbios, ["web1", "--datasource", "ec2"]).output
    assert "<entry name='vendor'>Amazon EC2</entry>" in result
    assert "-smbios 'type=0,vendor=Amazon EC2'" in result
    assert "-smbios type=3,asset=eve-meta.zstack.io" in result
    assert "session tokens" in result


def test_a_transient_domain(connection: Any, config: Path) -> None:
    connection.createXML(DOMAIN.format(name="short", smbios=""))
    result = run(config, "short", "--apply", "--yes")
    assert isinstance(result.exception, Problem)
    assert "transient" in str(result.exception)


def test_a_domain_that_shows_the_smbios_of_the_host(connection: Any, config: Path) -> None:
    connection.defineXML(DOMAIN.format(name="host", smbios="<smbios mode='host'/>"))
    result = run(config, "host", "--apply", "--yes")
    assert isinstance(result.exception, Problem)
    assert str(result.exception).startswith("host: its guest is shown the host's own SMBIOS")


def test_a_domain_that_changes_before_the_confirmation(
    connection: Any, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def confirm(_: str) -> bool:
        domain = connection.lookupByName("test")
        xml = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        connection.defineXML(xml.replace("</name>", "</name><title>new</title>"))
        return True

    monkeypatch.setattr("click.confirm", confirm)
    result = run(config, "test", "--apply")
    assert isinstance(result.exception, Problem)
    assert "somebody else has changed test" in str(result.exception)
    assert not product(connection)


def test_yes_without_apply_is_a_usage_error(config: Path) -> None:
    assert run(config, "web1", "--yes").exit_code == 2
