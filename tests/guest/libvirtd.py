"""Domains of a real libvirtd, with real QEMUs whose CPUs are halted."""

from __future__ import annotations

from harness import libvirtd

NAMESPACE = "urn:eve-meta:domain:1"

DOMAIN = """
<domain type='qemu'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <metadata>{metadata}</metadata>
  <memory unit='MiB'>16</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    {devices}
    <memballoon model='none'/>
  </devices>
</domain>
"""


def interface(mac: str, *, bridge: str = "br0", inner: str = "", model: str = "e1000") -> str:
    """Return the XML of a NIC without an option ROM: so a guest that has not booted asks no network for anything."""
    return (
        f"<interface type='bridge'><mac address='{mac}'/><source bridge='{bridge}'/><model type='{model}'/>"
        f"<rom enabled='no'/>{inner}</interface>"
    )


class Libvirtd(libvirtd.Libvirtd):
    """A libvirtd for domains that have nothing to boot."""

    def define(self, name: str, uuid: str, devices: str, *, metadata: str = "") -> None:
        """Define a domain whose guest has 16 MiB of memory and nothing to boot."""
        path = self.directory / f"{name}.xml"
        path.write_text(DOMAIN.format(name=name, uuid=uuid, devices=devices, metadata=metadata))
        self.virsh("define", str(path))

    def begin_domain(self, name: str) -> list[str]:
        """Start a domain with its CPU halted, and return its taps."""
        self.virsh("start", "--paused", name)
        return self.taps(name)

    def set_metadata(self, name: str, text: str, *options: str) -> None:
        """Set the domain's metadata, as eve_meta/docs/libvirt.rst documents it."""
        element = f"<domain><![CDATA[{text}]]></domain>"
        self.virsh("metadata", name, NAMESPACE, "--key", "eve", "--set", element, *(options or ("--live",)))
