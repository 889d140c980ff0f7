"""The lab's VMs: the metadata of each, the expected result of its boot, and the reading of its console."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from harness.vm_image import Image

ADDRESS = "10.0.0.5"
ROUTER = "10.0.0.1"

XML_NAMESPACE = "urn:eve-meta:domain:1"

MEMORY = 384
"""MiB of each VM."""


class Identity(NamedTuple):
    """The identity that metadata gives a VM: a host name, a user's key, a script that prints both on the console."""

    hostname: str
    number: int

    @property
    def key(self) -> str:
        return f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{self.number:043d} {self.hostname}@lab"

    @property
    def user_data(self) -> str:
        return f"""\
#!/bin/sh
# Run by cloud-init at the end of the boot; what it prints goes to the console.
echo "lab-vm user data: of {self.hostname}"
echo "lab-vm hostname: $(hostname)"
sed "s/^/lab-vm key: /" /home/debian/.ssh/authorized_keys
"""


class Plan(NamedTuple):
    """A VM.

    :ivar in_libvirt: whether its metadata is in its libvirt domain's own metadata, not in a domain file.
    :ivar router: whether DHCP announces a router.
    :ivar drive: whether it has a NoCloud drive, with another identity.
    """

    name: str
    number: int
    in_libvirt: bool = False
    router: bool = True
    drive: bool = False

    @property
    def uuid(self) -> str:
        return f"1a831fa7-c50b-4693-a16e-0000000000{self.number:02x}"

    @property
    def mac(self) -> str:
        return f"fa:16:3e:00:00:{self.number:02x}"

    @property
    def bridge(self) -> str:
        return f"br{self.number}"

    @property
    def served(self) -> Identity:
        """The identity that the metadata service gives it."""
        return Identity(self.name, self.number)

    @property
    def on_drive(self) -> Identity:
        """The identity on its drive."""
        return Identity(f"{self.name}-drive", 100 + self.number)

    @property
    def expected(self) -> Identity | None:
        """The identity that it should have after the boot; None where it should find no metadata."""
        if self.drive:
            return self.on_drive
        return self.served if self.router else None

    @property
    def datasource(self) -> str:
        """The datasource with which cloud-init should finish."""
        if self.drive:
            return "NoCloud"
        return "OpenStack" if self.router else "None"

    @property
    def predicted(self) -> str:
        """The datasource that cloud-init tries because of SMBIOS and disks, whether or not it gets an answer."""
        return "NoCloud" if self.drive else "OpenStack"

    @property
    def verdict(self) -> str:
        """The verdict in the table when all is as expected."""
        if self.drive:
            return "its drive's"
        return "its own" if self.router else "none, as expected"

    @property
    def domain(self) -> dict[str, Any]:
        """The content of its domain file. It names no tap: eve-meta finds out which tap is the domain's."""
        return {
            "uuid": self.uuid,
            "name": self.name,
            "hostname": self.served.hostname,
            "public_keys": {self.name: self.served.key},
            "user_data": self.served.user_data,
        }

    def seed(self) -> dict[str, str]:
        """Return the names and contents of the files on the drive."""
        identity = self.on_drive
        meta_data = f"instance-id: {identity.hostname}\nlocal-hostname: {identity.hostname}\n"
        return {
            "meta-data": f"{meta_data}public-keys:\n- {identity.key}\n",
            "user-data": identity.user_data,
        }

    def xml(self, image: Image, *, disk: str, console: str, drive: str | None) -> str:
        """Return the XML of the libvirt domain.

        :param disk: the VM's own layer over the image's disk.
        :param console: the file to which its serial port is written.
        :param drive: the image of its NoCloud drive.
        """
        second = f"""
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/><source file='{drive}'/><target dev='vdb' bus='virtio'/><readonly/>
    </disk>"""
        metadata = f"<metadata><domain xmlns='{XML_NAMESPACE}'>{escape(json.dumps(self.domain))}</domain></metadata>"
        # Software emulation on every machine, so that the test is the same on every machine. panic=-1 with on_reboot: a
        # guest whose kernel panics ends, and nobody waits for it.
        return f"""\
<domain type='qemu'>
  <name>{self.name}</name>
  <uuid>{self.uuid}</uuid>
  {metadata if self.in_libvirt else ""}
  <memory unit='MiB'>{MEMORY}</memory>
  <vcpu>1</vcpu>
  <sysinfo type='smbios'><system><entry name='product'>OpenStack Nova</entry></system></sysinfo>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>{image.kernel}</kernel>
    <initrd>{image.initrd}</initrd>
    <cmdline>root=/dev/vda console=ttyS0 quiet panic=-1</cmdline>
    <smbios mode='sysinfo'/>
  </os>
  <features><acpi/></features>
  <on_reboot>destroy</on_reboot>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='unsafe'/><source file='{disk}'/><target dev='vda' bus='virtio'/>
    </disk>{second if drive else ""}
    <interface type='bridge'>
      <source bridge='{self.bridge}'/><mac address='{self.mac}'/><model type='virtio'/>
    </interface>
    <serial type='file'><source path='{console}'/></serial>
    <memballoon model='none'/>
  </devices>
</domain>
"""


FIRST = (Plan("alder", 1), Plan("birch", 2, in_libvirt=True))
"""Two VMs with the same address, booted at once."""

SECOND = (Plan("cedar", 3, drive=True), Plan("dogwood", 4, router=False))

PLANS = FIRST + SECOND


class Boot(NamedTuple):
    """The content of a VM's console so far.

    :ivar stages: the stages of cloud-init that have begun, and the seconds since the kernel's start.
    :ivar datasource: the datasource in cloud-init's last line; None before that line.
    """

    console: str
    stages: dict[str, float]
    datasource: str | None
    address: str | None
    hostname: str | None
    keys: list[str]
    user_data: list[str]

    @classmethod
    def read(cls, console: str) -> Boot:
        """Read a console, also while the VM boots."""
        # A carriage return ends each line that a program prints to a terminal; the journal adds another.
        text = console.replace("\r", "")
        begun = re.findall(r"Cloud-init v\. \S+ running '([\w:-]+)' at .* Up ([\d.]+) seconds", text)
        finished = re.findall(r"Cloud-init v\. \S+ finished at .* Datasource (.+?)\. +Up ([\d.]+) seconds", text)
        addresses = re.findall(r"ci-info: \| +(?!lo )\w+ +\| True \| +([\d.]+) ", text)
        return cls(
            console=text,
            stages={stage: float(seconds) for stage, seconds in [*begun, *(("finished", up) for _, up in finished)]},
            datasource=finished[-1][0] if finished else None,
            address=addresses[-1] if addresses else None,
            hostname=next(iter(re.findall(r"lab-vm hostname: (.*)", text)), None),
            keys=re.findall(r"lab-vm key: (.*)", text),
            user_data=re.findall(r"lab-vm user data: of (.*)", text),
        )

    def tail(self, lines: int = 40) -> str:
        """Return the last *lines* lines of the console."""
        return "\n".join(self.console.splitlines()[-lines:])


def differences(plan: Plan, boot: Boot) -> list[str]:
    """List how a boot differs from the plan; empty when all is right."""
    identity = plan.expected
    expected = {
        "address": ADDRESS,
        "hostname": identity and identity.hostname,
        "keys": [identity.key] if identity else [],
        "user_data": [identity.hostname] if identity else [],
    }
    actual = boot._asdict()
    wrong = [
        f"{key}: expected {value!r}, got {actual[key]!r}" for key, value in expected.items() if actual[key] != value
    ]
    # OpenStackLocal is the same datasource, when cloud-init tries it before it configures the network.
    if not re.match(rf"DataSource{plan.datasource}(Local)?( \[|$)", boot.datasource or ""):
        wrong.append(f"datasource: expected {plan.datasource}, got {boot.datasource!r}")
    return wrong
