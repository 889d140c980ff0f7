"""``eve-meta doctor``: what it says about libvirt."""

from __future__ import annotations

from pathlib import Path

import pytest

from eve_meta.cli import doctor
from eve_meta.config import Config
from eve_meta.inventory.libvirt import host
from eve_meta.steering.doctor.finding import Finding

AUTO = Config().inventory.libvirt


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of libvirt's sockets."""
    monkeypatch.setattr(doctor, "HostLibvirt", lambda: host.HostLibvirt(tmp_path))
    return tmp_path


def find(configured: str, monkeypatch: pytest.MonkeyPatch, *, module: bool) -> Finding:
    monkeypatch.setattr(host, "find_spec", lambda name: name if module else None)
    return doctor._libvirt(configured)


@pytest.mark.parametrize("module", [True, False])
def test_a_host_without_libvirt(directory: Path, monkeypatch: pytest.MonkeyPatch, module: bool) -> None:
    finding = find(AUTO, monkeypatch, module=module)
    assert (finding.state.value, finding.text) == ("ok", f"not asked: it has no socket in {directory}")


def test_a_libvirt_that_is_used_by_default(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / "libvirt-sock").touch()
    finding = find(AUTO, monkeypatch, module=True)
    text = f"qemu:///system is asked: {directory}/libvirt-sock is there"
    assert (finding.state.value, finding.text) == ("ok", text)


def test_a_host_whose_libvirt_cannot_be_asked(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / "virtqemud-sock").touch()
    finding = find(AUTO, monkeypatch, module=False)
    text = f"{directory}/virtqemud-sock is there, but it is not asked: Python finds no libvirt module"
    assert (finding.state.value, finding.text) == ("warning", text)
    assert "python3-libvirt" in finding.mend


def test_a_libvirt_that_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = find("xen:///system", monkeypatch, module=True)
    assert (finding.state.value, finding.text) == ("ok", "xen:///system is asked")
    finding = find("xen:///system", monkeypatch, module=False)
    assert finding.state.value == "wrong"
    assert "python3-libvirt" in finding.mend


def test_a_libvirt_that_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = find("", monkeypatch, module=False)
    assert (finding.state.value, finding.text) == ("ok", 'not asked: [inventory] libvirt is ""')
