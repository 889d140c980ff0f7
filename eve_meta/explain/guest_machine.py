"""The guest's virtual hardware, and the datasource that its cloud-init therefore chooses."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from eve_meta.explain.ds_identify import (
    NONE,
    OPENSTACK_ASSET_TAGS,
    OPENSTACK_PRODUCTS,
    RELEASES,
    Machine,
    Prediction,
    Release,
    identify,
    nocloud_seed,
)
from eve_meta.explain.facts import DiskFacts, Facts, MachineFacts
from eve_meta.explain.imds import Imds, ImdsPrediction, predict_imds
from eve_meta.explain.steps import Step, Verdict, command, listed, own
from eve_meta.explain.vmms import QEMU, datasource_for, untold
from eve_meta.values.addresses import SERVICE_IPV4, SERVICE_IPV6

OUR_HOSTS = (SERVICE_IPV4, *SERVICE_IPV6)

OUR_TREES = ("latest", "1.0", "20??-??-??")
"""Patterns of the trees below which systemd-imdsd finds its keys."""

SEED_LABELS = ("cidata", "CIDATA", "config-2", "CONFIG-2")

OURS = ("OpenStack", "Ec2", "NoCloud")
"""Datasources that can read from eve-meta."""


def predictions(machine: MachineFacts) -> dict[Release, Prediction]:
    """Predict the datasource of the guest's cloud-init, by its release."""
    return {release: identify(_seen(machine), release) for release in RELEASES}


def imds_prediction(machine: MachineFacts) -> ImdsPrediction:
    """Predict what systemd-imdsd asks in the guest."""
    return predict_imds(_seen(machine), OUR_HOSTS, OUR_TREES)


def _seen(machine: MachineFacts) -> Machine:
    return Machine(
        machine=machine.machine,
        dmi=machine.dmi,
        labels=tuple(label for disk in machine.disks for label in disk.labels),
        cd_labels=tuple(label for disk in machine.disks for label in disk.cd_labels),
        command_line=machine.command_line,
    )


def hardware(facts: Facts) -> Iterator[Step]:
    """Judge SMBIOS, the disks, and the datasource that follows from them."""
    machine = facts.machine
    if machine is None:
        yield Step(
            verdict=Verdict.SMBIOS_UNKNOWN,
            text="no VMM process is known whose arguments would describe the guest's hardware",
        )
        yield Step(verdict=Verdict.DISKS_UNKNOWN, text="for the same reason")
        yield Step(verdict=Verdict.DATASOURCE_UNKNOWN, text="for the same reason")
        return
    yield smbios(facts, machine)
    if machine.untold:
        yield Step(verdict=Verdict.DISKS_UNKNOWN, text=machine.untold)
        yield Step(verdict=Verdict.DATASOURCE_UNKNOWN, text="for the same reason")
        return
    yield disks(facts, machine)
    if (step := imds(facts, machine)) is not None:
        yield step
    yield datasource(facts, machine)


def _name(facts: Facts) -> str:
    known = facts.host.domain
    return known.name if known is not None else facts.host.asked_for


def _set_smbios(facts: Facts, machine: MachineFacts, *more: str) -> str:
    """Return what makes cloud-init ask eve-meta.

    :param more: options of ``eve-meta smbios``.
    """
    if machine.vmm != QEMU:
        return datasource_for(machine)
    return own(facts, "smbios", _name(facts), *more, *(["--apply"] if facts.libvirt else []))


def smbios(facts: Facts, machine: MachineFacts) -> Step:
    """Judge whether SMBIOS makes cloud-init ask eve-meta."""
    dmi = machine.dmi
    serial = dmi.product_serial
    if " ds=nocloud" in f" {serial}":
        seed = nocloud_seed(serial)
        if seed is not None and urlsplit(seed).hostname in OUR_HOSTS:
            return Step(verdict=Verdict.SMBIOS_NOCLOUD, text=f"the serial is {serial}")
        text = f"the serial is {serial}, which leads cloud-init " + ("nowhere" if seed is None else "elsewhere")
        return Step(
            verdict=Verdict.SMBIOS_ELSEWHERE, text=text, mend=_set_smbios(facts, machine, "--datasource", "nocloud")
        )
    if dmi.product_name.strip() in OPENSTACK_PRODUCTS:
        return Step(verdict=Verdict.SMBIOS_OPENSTACK, text=f"the product is {dmi.product_name!r} ({machine.source})")
    if dmi.chassis_asset_tag.strip() in OPENSTACK_ASSET_TAGS:
        text = f"the chassis asset tag is {dmi.chassis_asset_tag!r} ({machine.source})"
        return Step(verdict=Verdict.SMBIOS_OPENSTACK, text=text)
    found = {release: identify(Machine(machine=machine.machine, dmi=dmi), release) for release in RELEASES}
    elsewhere = next((each for each in found.values() if each.predicted not in (NONE, *OURS)), None)
    if elsewhere is not None:
        text = f"{elsewhere.why}: cloud-init looks for {elsewhere.predicted}"
        return Step(verdict=Verdict.SMBIOS_ELSEWHERE, text=text, mend=_set_smbios(facts, machine))
    silent = [release.shown for release, each in found.items() if each.predicted == NONE]
    if not silent:
        return Step(verdict=Verdict.SMBIOS_NOT_NEEDED, text=found[RELEASES[0]].why)
    product = _product(machine)
    if _has_asked(facts):
        return Step(verdict=Verdict.SMBIOS_NOT_NEEDED, text=f"{product}, but this guest asks eve-meta all the same")
    if machine.untold:
        return Step(verdict=Verdict.SMBIOS_UNKNOWN, text=untold(machine))
    whose = "cloud-init" if len(silent) == len(RELEASES) else listed(silent)
    text = f"{product}, so {whose} does not ask eve-meta ({machine.source})"
    return Step(verdict=Verdict.SMBIOS_MISSING, text=text, mend=_set_smbios(facts, machine))


def _product(machine: MachineFacts) -> str:
    if machine.dmi.product_name:
        return f"the product is {machine.dmi.product_name!r}"
    return "the product is QEMU's own" if machine.vmm == QEMU else f"{machine.vmm} gives this guest no SMBIOS"


def _has_asked(facts: Facts) -> bool:
    return any(kind.status < 400 for tap in facts.host.taps for kind in tap.asked)


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


def imds(facts: Facts, machine: MachineFacts) -> Step | None:
    """Judge what systemd-imdsd asks; None where nothing speaks of it."""
    found = imds_prediction(machine)
    if found.predicted is Imds.NOTHING:
        return Step(verdict=Verdict.IMDS_OFF, text=found.why) if found.why else None
    name = "systemd-imdsd (systemd 261 or newer)"
    if found.predicted is Imds.OURS:
        text = f"{name} asks eve-meta: {found.why}"
        if found.network == "locked":
            text += "; systemd.imds.network=locked keeps all other programs, cloud-init too, from the service"
        elif not found.network:
            text += "; it may keep cloud-init from the service, unless the kernel has systemd.imds.network=unlocked"
        return Step(verdict=Verdict.IMDS_OURS, text=text)
    where = "elsewhere" if found.predicted is Imds.ELSEWHERE else "nowhere"
    mend = _set_smbios(facts, machine, "--datasource", "ec2")
    if found.by_command_line:
        take = "take systemd.imds.* off the guest's kernel command line"
        mend = f"{take}, then: {mend}" if machine.vmm == QEMU else take
    text = f"{name} asks {where}: {found.why}"
    return Step(verdict=Verdict.IMDS_ELSEWHERE, text=text, mend=mend)


def datasource(facts: Facts, machine: MachineFacts) -> Step:
    """Judge the datasource that cloud-init chooses, if the image has a cloud-init."""
    found = predictions(machine)
    others = [each for each in found.values() if not _ours(each, machine)]
    shown = {release: f"{_name_of(each)}: {each.why}" for release, each in found.items()}
    text = next(iter(shown.values()))
    if len(set(shown.values())) > 1:
        text = "; ".join(f"{release.shown}: {each}" for release, each in shown.items())
    if not others or (len(others) < len(found) and _has_asked(facts)):
        return Step(verdict=Verdict.DATASOURCE_OURS, text=text)
    causes = [step for step in (disks(facts, machine), smbios(facts, machine)) if step.mend is not None]
    mend = causes[0].mend if causes else _set_smbios(facts, machine)
    none = any(each.predicted == NONE for each in others)
    return Step(verdict=Verdict.DATASOURCE_NONE if none else Verdict.DATASOURCE_OTHER, text=text, mend=mend)


def _name_of(found: Prediction) -> str:
    return "none" if found.predicted == NONE else found.predicted


def prevented(facts: Facts, machine: MachineFacts, wanted: str) -> tuple[str, str] | None:
    """Return why cloud-init in a libvirt domain will not read from eve-meta by the datasource *wanted*, and what helps.

    None where it will.
    """
    for release, found in predictions(machine).items():
        if found.predicted == wanted and _ours(found, machine):
            continue
        seed = disks(facts, machine)
        if seed.mend is not None:
            return f"cloud-init will not read from eve-meta all the same: {seed.text}", seed.mend
        whose = release.shown if release is not RELEASES[0] else "cloud-init"
        text = f"{whose} will choose {_name_of(found)} all the same: {found.why}"
        return text, f"{command('virsh', 'edit', _name(facts))}   # take that out"
    return None


def _ours(found: Prediction, machine: MachineFacts) -> bool:
    """Return whether the predicted datasource reads from eve-meta."""
    if found.predicted != "NoCloud":
        return found.predicted in OURS
    seed = nocloud_seed(f"{machine.command_line} {machine.dmi.product_serial}")
    on_disks = {label for disk in machine.disks for label in disk.labels}
    return seed is not None and urlsplit(seed).hostname in OUR_HOSTS and on_disks.isdisjoint(SEED_LABELS)
