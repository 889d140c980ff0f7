"""The guest's virtual hardware, and the datasource that its cloud-init therefore chooses."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from eve_meta.explain.ds_identify import (
    NONE,
    OPENSTACK_ASSET_TAGS,
    OPENSTACK_PRODUCTS,
    Machine,
    Prediction,
    identify,
    is_x86,
    nocloud_seed,
)
from eve_meta.explain.facts import DiskFacts, Facts, MachineFacts
from eve_meta.explain.steps import Step, Verdict, command, listed
from eve_meta.values.addresses import SERVICE_IPV4, SERVICE_IPV6

OUR_HOSTS = (SERVICE_IPV4, *SERVICE_IPV6)

SEED_LABELS = ("cidata", "CIDATA", "config-2", "CONFIG-2")

OURS = ("OpenStack", "Ec2", "NoCloud")
"""Datasources that can read from eve-meta."""


def prediction(facts: Facts) -> Prediction | None:
    """Predict the datasource of the guest's cloud-init; None where the guest's hardware is unknown."""
    machine = facts.machine
    if machine is None:
        return None
    guest = Machine(
        machine=machine.machine,
        dmi=machine.dmi,
        labels=tuple(label for disk in machine.disks for label in disk.labels),
        cd_labels=tuple(label for disk in machine.disks for label in disk.cd_labels),
        command_line=machine.command_line,
    )
    return identify(guest)


def hardware(facts: Facts) -> Iterator[Step]:
    """Judge SMBIOS, the disks, and the datasource that follows from them."""
    machine = facts.machine
    if machine is None:
        yield Step(
            verdict=Verdict.SMBIOS_UNKNOWN,
            text="no QEMU process is known whose arguments would describe the guest's hardware",
        )
        yield Step(verdict=Verdict.DISKS_UNKNOWN, text="for the same reason")
        yield Step(verdict=Verdict.DATASOURCE_UNKNOWN, text="for the same reason")
        return
    yield smbios(facts, machine)
    yield disks(facts, machine)
    yield datasource(facts, machine)


def _name(facts: Facts) -> str:
    known = facts.host.domain
    return known.name if known is not None else facts.host.asked_for


def _set_smbios(facts: Facts, *more: str) -> str:
    return command("eve-meta", "smbios", _name(facts), *more, *(["--apply"] if facts.libvirt else []))


def smbios(facts: Facts, machine: MachineFacts) -> Step:
    """Judge whether SMBIOS makes cloud-init ask eve-meta."""
    dmi = machine.dmi
    serial = dmi.product_serial
    if " ds=nocloud" in f" {serial}":
        seed = nocloud_seed(serial)
        if seed is not None and urlsplit(seed).hostname in OUR_HOSTS:
            return Step(verdict=Verdict.SMBIOS_NOCLOUD, text=f"the serial is {serial}")
        text = f"the serial is {serial}, which leads cloud-init " + ("nowhere" if seed is None else "elsewhere")
        return Step(verdict=Verdict.SMBIOS_ELSEWHERE, text=text, mend=_set_smbios(facts, "--datasource", "nocloud"))
    if dmi.product_name.strip() in OPENSTACK_PRODUCTS:
        return Step(verdict=Verdict.SMBIOS_OPENSTACK, text=f"the product is {dmi.product_name!r} ({machine.source})")
    if dmi.chassis_asset_tag.strip() in OPENSTACK_ASSET_TAGS:
        text = f"the chassis asset tag is {dmi.chassis_asset_tag!r} ({machine.source})"
        return Step(verdict=Verdict.SMBIOS_OPENSTACK, text=text)
    other = identify(Machine(machine="x86_64", dmi=dmi))
    if other.predicted in ("Ec2", NONE) and (other.predicted != NONE or not is_x86(machine.machine)):
        text = (
            other.why
            if other.predicted == "Ec2"
            else f"on {machine.machine} cloud-init asks eve-meta whatever SMBIOS says"
        )
        return Step(verdict=Verdict.SMBIOS_NOT_NEEDED, text=text)
    if other.predicted != NONE:
        text = f"{other.why}: cloud-init looks for {other.predicted}"
        return Step(verdict=Verdict.SMBIOS_ELSEWHERE, text=text, mend=_set_smbios(facts))
    product = f"the product is {dmi.product_name!r}" if dmi.product_name else "the product is QEMU's own"
    if any(kind.status < 400 for tap in facts.host.taps for kind in tap.asked):
        return Step(verdict=Verdict.SMBIOS_NOT_NEEDED, text=f"{product}, but this guest asks eve-meta all the same")
    text = f"{product}, so cloud-init does not ask eve-meta ({machine.source})"
    return Step(verdict=Verdict.SMBIOS_MISSING, text=text, mend=_set_smbios(facts))


def disks(facts: Facts, machine: MachineFacts) -> Step:
    """Judge whether a disk has a seed, which cloud-init prefers."""
    for disk in machine.disks:
        label = next((label for label in disk.labels if label in SEED_LABELS), None)
        if label is not None:
            kind = "NoCloud" if label.lower() == "cidata" else "config drive"
            text = f"{disk.shown} is a {kind} disk (label {label!r}), which cloud-init prefers to eve-meta"
            return Step(verdict=Verdict.DISKS_SEED, text=text, mend=_without(facts, disk))
    unread = [f"{disk.shown}: {disk.unread}" for disk in machine.disks if disk.unread]
    if unread:
        return Step(verdict=Verdict.DISKS_UNREAD, text=f"could not read {listed(unread, 2)}")
    text = {0: "no disk", 1: "one disk, no seed on it"}.get(
        len(machine.disks), f"{len(machine.disks)} disks, no seed on them"
    )
    return Step(verdict=Verdict.DISKS_NO_SEED, text=text)


def _without(facts: Facts, disk: DiskFacts) -> str:
    if facts.libvirt:
        return command("virsh", "detach-disk", _name(facts), disk.shown, "--config")
    return f"start the guest without {disk.shown}"


def datasource(facts: Facts, machine: MachineFacts) -> Step:
    """Judge the datasource that cloud-init chooses, if the image has a cloud-init."""
    found = prediction(facts)
    if found is None:
        return Step(verdict=Verdict.DATASOURCE_UNKNOWN, text="the guest's hardware is unknown")
    causes = [step for step in (disks(facts, machine), smbios(facts, machine)) if step.mend is not None]
    mend = causes[0].mend if causes else _set_smbios(facts)
    if found.predicted == NONE:
        return Step(verdict=Verdict.DATASOURCE_NONE, text=f"none: {found.why}", mend=mend)
    if _ours(found, machine):
        return Step(verdict=Verdict.DATASOURCE_OURS, text=f"{found.predicted}: {found.why}")
    return Step(verdict=Verdict.DATASOURCE_OTHER, text=f"{found.predicted}: {found.why}", mend=mend)


def _ours(found: Prediction, machine: MachineFacts) -> bool:
    """Return whether the predicted datasource reads from eve-meta."""
    if found.predicted != "NoCloud":
        return found.predicted in OURS
    seed = nocloud_seed(f"{machine.command_line} {machine.dmi.product_serial}")
    on_disks = {label for disk in machine.disks for label in disk.labels}
    return seed is not None and urlsplit(seed).hostname in OUR_HOSTS and on_disks.isdisjoint(SEED_LABELS)
