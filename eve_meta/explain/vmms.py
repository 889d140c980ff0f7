"""What to give each VMM so that its guest reaches eve-meta: an identity, a tap, and a datasource."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from attrs import frozen

from eve_meta.explain.ds_identify import NOCLOUD_SEED
from eve_meta.explain.facts import MachineFacts

QEMU = "QEMU"
"""The VMM for which ``eve-meta smbios`` has the options."""


@frozen(kw_only=True)
class Advice:
    """What helps with one VMM.

    :ivar identity: the options that give the VM a uuid or a name.
    :ivar tap: the options that give it a tap.
    :ivar kernel: where the guest's kernel command line is written.
    :ivar smbios: the option that sets SMBIOS, and what in it names the datasource; () where there is no such option.
    :ivar untold: why a VM that is not on the command line is unknown, and what it needs.
    """

    identity: str
    tap: str
    kernel: str
    smbios: tuple[str, str] | tuple[()] = ()
    untold: str = ""


ADVICE: Mapping[str, Advice] = MappingProxyType(
    {
        QEMU: Advice(identity="-uuid or -name", tap="-netdev tap or -netdev bridge", kernel="-append"),
        "Cloud Hypervisor": Advice(
            identity="--platform uuid=",
            tap="--net tap=",
            kernel="--cmdline",
            smbios=("--platform", f"serial_number={NOCLOUD_SEED}"),
            untold="its API made the VM, which eve-meta does not ask: cloud-init asks eve-meta if serial_number is "
            f"{NOCLOUD_SEED}, or cmdline has that",
        ),
        "Firecracker": Advice(
            identity="--id",
            tap="a network interface with host_dev_name",
            kernel="boot_args",
            untold="its guest has no SMBIOS: cloud-init asks eve-meta if boot_args, which eve-meta does not read, have "
            + NOCLOUD_SEED,
        ),
        "crosvm": Advice(
            identity="--smbios uuid= or --name",
            tap="--net tap-name=",
            kernel="--params",
            smbios=("--smbios", f'serial-number="{NOCLOUD_SEED}"'),
        ),
    }
)
"""By the names of the table in ``inventory/vmm/vmms.py``."""


def datasource_for(machine: MachineFacts) -> str:
    """Return how to start the guest of a VMM other than QEMU so that cloud-init asks eve-meta."""
    advice = ADVICE[machine.vmm]
    if advice.smbios and machine.dmi.product_name and not machine.command_line:
        option, value = advice.smbios
        return f"add to the guest's {option}: {value}"
    return f"add to the guest's kernel command line ({advice.kernel}): {NOCLOUD_SEED}"


def untold(machine: MachineFacts) -> str:
    """Return what cannot be known of a guest whose VMM's command line does not describe it, and what it needs."""
    return f"{machine.source}: {ADVICE[machine.vmm].untold}"
