"""The lab's VMs: what each is given, what it is to say of itself, and how its console is read."""

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
    """Who a VM is told to be: its host name, the key of its user, and a script that says so on the console."""

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

    :ivar in_libvirt: whether what to tell it is in its libvirt domain's own metadata, not in a domain file.
    :ivar router: whether DHCP tells it one.
    :ivar drive: whether it has one with other metadata (NoCloud).
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
        """Who the metadata service says it is."""
        return Identity(self.name, self.number)

    @property
    def on_drive(self) -> Identity:
        """Who its drive says it is."""
        return Identity(f"{self.name}-drive", 100 + self.number)

    @property
    def expected(self) -> Identity | None:
        """Who it is to be in the end."""
        if self.drive:
            return self.on_drive
        return self.served if self.router else None

    @property
    def datasource(self) -> str:
        """Which datasource cloud-init is to choose."""
        if self.drive:
            return "NoCloud"
        return "OpenStack" if self.router else "None"

    @property
    def predicted(self) -> str:
        """What cloud-init sets out to choose, by SMBIOS and disks; whether it gets an answer is another matter."""
        return "NoCloud" if self.drive else "OpenStack"

    @property
    def verdict(self) -> str:
        """What it means when all is as expected."""
        if self.drive:
            return "its drive's"
        return "its own" if self.router else "none, as expected"

    @property
    def told(self) -> dict[str, Any]:
        """What to tell it. No tap: whose a tap is, eve-meta finds out."""
        return {
            "uuid": self.uuid,
            "name": self.name,
            "hostname": self.served.hostname,
            "public_keys": {self.name: self.served.key},
            "user_data": self.served.user_data,
        }

    def seed(self) -> dict[str, str]:
        """The files on the drive."""
        identity = self.on_drive
        meta_data = f"instance-id: {identity.hostname}\nlocal-hostname: {identity.hostname}\n"
        return {
            "meta-data": f"{meta_data}public-keys:\n- {identity.key}\n",
            "user-data": identity.user_data,
        }

    def xml(self, image: Image, *, disk: str, console: str, drive: str | None) -> str:
        """The libvirt domain. *disk* is its own layer over the image's, *console* the file for what it prints."""
        second = f"""
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/><source file='{drive}'/><target dev='vdb' bus='virtio'/><readonly/>
    </disk>"""
        metadata = f"<metadata><domain xmlns='{XML_NAMESPACE}'>{escape(json.dumps(self.told))}</domain></metadata>"
        # Software emulation everywhere, so that it is the same everywhere. panic=-1 with on_reboot: a guest whose
        # kernel panics ends, and need not be waited for.
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
"""Two with the same address, at once."""

SECOND = (Plan("cedar", 3, drive=True), Plan("dogwood", 4, router=False))

PLANS = FIRST + SECOND


class Boot(NamedTuple):
    """What a VM's console says so far.

    :ivar stages: the stages of cloud-init that have begun, and after how many seconds.
    :ivar datasource: as cloud-init's last line has it; None before.
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
        """Read a console, whole or not."""
        # One ends each line that a program prints to a terminal, the other is the journal's own.
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
        """The end of the console."""
        return "\n".join(self.console.splitlines()[-lines:])


def differences(plan: Plan, boot: Boot) -> list[str]:
    """How a boot differs from what is expected; nothing when all is right."""
    who = plan.expected
    expected = {
        "address": ADDRESS,
        "hostname": who and who.hostname,
        "keys": [who.key] if who else [],
        "user_data": [who.hostname] if who else [],
    }
    found = boot._asdict()
    wrong = [f"{key}: expected {value!r}, got {found[key]!r}" for key, value in expected.items() if found[key] != value]
    # OpenStackLocal is the same one, when cloud-init asked it before it configured the network.
    if not re.match(rf"DataSource{plan.datasource}(Local)?( \[|$)", boot.datasource or ""):
        wrong.append(f"datasource: expected {plan.datasource}, got {boot.datasource!r}")
    return wrong
