"""``eve-meta smbios``, with libvirt's own test driver in place of a hypervisor."""

from __future__ import annotations

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
    assert (result.exit_code, result.output.splitlines()[0]) == (0, "test already has it: product is 'OpenStack Nova'")
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
