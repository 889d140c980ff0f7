"""eve_meta/docs/recipes.rst: its commands, files and XML are taken by eve-meta, and so is what the tools make of them.

What each tool writes stands here as it writes it, so that the tool itself is not needed.
"""

from __future__ import annotations

import pwd
import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID
from xml.etree import ElementTree

import click
import pytest
import yaml
from attrs import frozen
from docutils import nodes

from eve_meta.cli import cli
from eve_meta.config import Config, load_config
from eve_meta.inventory.vmm.process import ProcessTable
from eve_meta.machine.libvirt import hardware_of
from eve_meta.machine.qemu import hardware
from eve_meta.values.domain import METADATA_NAMESPACE
from tests import texts
from tests.contracts.fake_reader import describe, read_domain_file
from tests.unit.inventory.fakeproc import FakeProc

RECIPES = texts.read(texts.ROOT / "eve_meta/docs/recipes.rst")

UUID1 = "1a831fa7-c50b-4693-a16e-fb8171f1b69e"
PRODUCT = "OpenStack Nova"


@frozen
class Block:
    """A block of a recipe: *file* is the name of the file, "" for commands."""

    recipe: str
    file: str
    text: str


def blocks() -> Iterator[Block]:
    for block in RECIPES.findall(nodes.literal_block):
        section = block.parent
        before = section[section.index(block) - 1].astext()
        name = re.search(r"(?:\A|\s)(\S+\.\w+):\Z", before)
        yield Block(section[0].astext(), name[1] if name else "", block.astext())


ALL = list(blocks())


def of(recipe: str, suffix: str = "") -> list[str]:
    """Return the blocks of a recipe whose files have *suffix*; "" for its commands."""
    return [each.text for each in ALL if each.recipe == recipe and Path(each.file).suffix == suffix]


# -- the recipes as such --


def test_each_recipe_says_by_what_it_was_tried() -> None:
    for section in RECIPES.findall(nodes.section):
        title, last = section.next_node(nodes.title), section.children[-1].astext()
        assert title is not None
        if title.astext() not in ("Recipes", "Prometheus, Grafana, SSH"):
            assert re.match(r"Tried by: tests/|Not tried: ", last), title.astext()


def commands() -> Iterator[str]:
    for text in texts.blocks(RECIPES):
        for line in re.sub(r"\\\n\s*", " ", text).splitlines():
            if found := re.match(r"(?:sudo |ansible\.builtin\.command: |\s)*(eve-meta .*)", line):
                yield found[1]


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_a_command_of_eve_meta_parses(line: str) -> None:
    words = shlex.split(line, comments=True)
    with cli.make_context("eve-meta", words[1:]) as context:
        name, command, arguments = cli.resolve_command(context, words[1:])
        assert name is not None
        assert command is not None
        with command.make_context(name, arguments, parent=context):
            pass


def test_a_wrong_command_would_be_found() -> None:
    for line in ("eve-meta explian web1", "eve-meta explain --no-such-option web1", "eve-meta smbios"):
        with pytest.raises(click.UsageError):
            test_a_command_of_eve_meta_parses(line)
    assert "eve-meta explain web1" in set(commands())


DOMAIN_FILES = [each.text for each in ALL if each.file.endswith("web1.yaml")]


@pytest.mark.parametrize("text", DOMAIN_FILES)
def test_a_domain_file_is_good(text: str, tmp_path: Path) -> None:
    (tmp_path / "web1.yaml").write_text(text, encoding="utf-8")
    read = read_domain_file(str(tmp_path / "web1.yaml"))
    assert read.problems == ()
    assert read.domain is not None
    assert read.domain.name == "web1"


def test_there_are_domain_files() -> None:
    assert len(set(DOMAIN_FILES)) == 2


def test_the_configuration_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pwd, "getpwnam", lambda name: SimpleNamespace(pw_uid=7))
    (text,) = of("QEMU", ".toml")
    (tmp_path / "eve-meta.toml").write_text(text)
    assert load_config(tmp_path / "eve-meta.toml").inventory.process_users == ("vms",)


# -- libvirt: what the tools write into its XML --


def libvirt_domain(inner: str, interface: str = "<interface type='bridge'><target dev='vnet0'/></interface>") -> str:
    return (
        f"<domain type='kvm' id='1'><name>web1</name><uuid>{UUID1}</uuid>{inner}<devices>{interface}</devices></domain>"
    )


def product_of(xml: str) -> str:
    found = hardware_of(xml)
    assert found is not None
    return found.dmi.product_name


VIRT_INSTALL = """\
<domain type="kvm">
  <name>web1</name>
  <uuid>1a831fa7-c50b-4693-a16e-fb8171f1b69e</uuid>
  <metadata>
    <libosinfo:libosinfo xmlns:libosinfo="http://libosinfo.org/xmlns/libvirt/domain/1.0">
      <libosinfo:os id="http://debian.org/debian/11"/>
    </libosinfo:libosinfo>
  </metadata>
  <memory>2097152</memory>
  <sysinfo type="smbios">
    <system>
      <entry name="product">OpenStack Nova</entry>
    </system>
  </sysinfo>
  <os>
    <type arch="x86_64" machine="q35">hvm</type>
    <boot dev="hd"/>
    <smbios mode="sysinfo"/>
  </os>
  <devices>
    <disk type="file" device="disk">
      <driver name="qemu" type="qcow2"/>
      <source file="/var/lib/libvirt/images/web1.qcow2"/>
      <target dev="vda" bus="virtio"/>
    </disk>
    <interface type="bridge">
      <source bridge="br0"/>
      <mac address="52:54:00:12:34:56"/>
      <model type="virtio"/>
    </interface>
  </devices>
</domain>
"""
"""What matters of what ``virt-install --print-xml`` 4.1 prints for the recipe's command, and a uuid."""


def test_virt_install() -> None:
    (command,) = of("virt-install")
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:3] == ["virt-install", "--name", "web1"]
    assert f"system.product={PRODUCT}" in words
    described = describe(VIRT_INSTALL, lambda _: None)
    assert (described.domain.name, described.domain.uuid) == ("web1", UUID(UUID1))
    assert [nic.mac for nic in described.domain.nics] == ["52:54:00:12:34:56"]
    assert product_of(VIRT_INSTALL) == PRODUCT


def metadata_of(xml: str) -> Any:
    described = describe(xml, lambda _: None)
    assert described.problems == ()
    assert described.metadata is not None
    return described.metadata


def test_virt_manager() -> None:
    (inner,) = of("virt-manager", ".xml")
    xml = libvirt_domain(inner)
    assert product_of(xml) == PRODUCT
    assert metadata_of(xml).profiles == ("web",)


def test_terraform() -> None:
    (text,) = of("Terraform", ".xslt")
    sheet = ElementTree.fromstring(text)
    added = [each for each in sheet.iter() if each.tag in ("sysinfo", "metadata")]
    (mode,) = sheet.iter("smbios")
    inner = "".join(ElementTree.tostring(each, encoding="unicode") for each in added)
    xml = libvirt_domain(f"<os><type>hvm</type><smbios mode='{mode.get('mode')}'/></os>{inner}")
    assert METADATA_NAMESPACE in xml
    assert product_of(xml) == PRODUCT
    assert metadata_of(xml).profiles == ("web",)
    (main,) = of("Terraform", ".tf")
    assert "eve-meta.xslt" in main


# -- QEMU's own command lines --

PROXMOX = shlex.split(
    """-id 100 -name web1,debug-threads=on -no-shutdown
    -chardev socket,id=qmp,path=/var/run/qemu-server/100.qmp,server=on,wait=off
    -mon chardev=qmp,mode=control -pidfile /var/run/qemu-server/100.pid -daemonize
    -smbios 'type=1,uuid=1a831fa7-c50b-4693-a16e-fb8171f1b69e,product=OpenStack Nova' -nodefaults
    -device vmgenid,guid=fb282779-7056-4f1d-96bb-70f578294e45
    -netdev type=tap,id=net0,ifname=tap100i0,script=/usr/libexec/qemu-server/pve-bridge,vhost=on
    -device virtio-net-pci,mac=BC:24:11:2E:A1:00,netdev=net0,bus=pci.0,addr=0x12,id=net0"""
)
"""What Proxmox VE 8 starts, as ``/usr/bin/kvm``, for ``qm start 100`` (shortened)."""

LXD = shlex.split(
    """-S -name web1 -uuid 1a831fa7-c50b-4693-a16e-fb8171f1b69e -daemonize -cpu host -nographic -serial chardev:console
    -nodefaults -no-reboot -no-user-config
    -sandbox on,obsolete=deny,elevateprivileges=allow,spawn=deny,resourcecontrol=deny
    -readconfig /var/log/lxd/web1/qemu.conf -pidfile /var/log/lxd/web1/qemu.pid -D /var/log/lxd/web1/qemu.log
    -smbios 'type=2,manufacturer=Canonical Ltd.,product=LXD' -runas nobody
    -smbios 'type=1,product=OpenStack Nova'"""
)
"""What LXD's driver of QEMU starts, and Incus' alike. They plug NICs in afterwards, and so name none here."""

PACKER = shlex.split(
    """-name web1 -machine type=pc,accel=kvm -m 512M
    -drive file=output-web1/web1,if=virtio,cache=writeback,discard=ignore,format=qcow2
    -netdev bridge,id=user.0,br=br0 -device virtio-net,netdev=user.0 -smbios 'type=1,product=OpenStack Nova'"""
)
"""What the plugin of Packer starts for the recipe."""


def plain_qemu() -> list[str]:
    (text,) = of("QEMU")
    words = shlex.split(text.replace("\\\n", " "))
    return words[words.index("qemu-system-x86_64") + 1 :]


@pytest.mark.parametrize(
    ("exe", "arguments", "tap", "uuid"),
    [
        pytest.param("/usr/bin/qemu-system-x86_64", plain_qemu(), "tap-web1", UUID1, id="QEMU"),
        pytest.param("/usr/bin/kvm", PROXMOX, "tap100i0", UUID1, id="Proxmox"),
        pytest.param("/opt/incus/bin/qemu-system-x86_64", LXD, "tap3e5f1a2b", UUID1, id="LXD"),
        pytest.param("/usr/bin/qemu-system-x86_64", PACKER, "tap0", None, id="Packer"),
    ],
)
def test_a_qemu_is_found_by_its_tap_and_shows_openstack(
    tmp_path: Path, exe: str, arguments: list[str], tap: str, uuid: str | None
) -> None:
    assert Config().steering.matches(tap)
    proc = FakeProc(tmp_path)
    proc.add(10, *(exe, *arguments), taps=[tap], exe=exe)
    owner = ProcessTable(proc.path).scan([tap]).owners[tap]
    assert (owner.name, owner.uuid, owner.trusted) == ("web1", None if uuid is None else UUID(uuid), True)
    found = hardware(exe, arguments)
    assert found.dmi.product_name == PRODUCT
    if uuid is not None and arguments is not LXD:
        assert [(nic.kind, nic.ifname) for nic in found.nics] == [("tap", tap)]


def test_the_arguments_of_packers_recipe_are_those_of_its_qemu() -> None:
    (text,) = of("Packer", ".hcl")
    (given,) = re.findall(r'qemuargs\s+= \[\["(.*)", "(.*)"\]\]', text)
    assert given in pairwise(PACKER)


def test_the_product_that_proxmox_is_given_is_decoded() -> None:
    (text,) = of("Proxmox VE")
    assert f"product=$(printf '{PRODUCT}' | base64),base64=1" in text
    # The uuid that the VM has stays: without one Proxmox would make none.
    assert "uuid=$uuid," in text


# -- Ansible --


def test_ansible_writes_good_domain_files(tmp_path: Path) -> None:
    (text,) = of("Ansible", ".yaml")
    (play,) = yaml.safe_load(text)
    files, _ = play["tasks"]
    copied = files["ansible.builtin.copy"]
    assert (copied["mode"], copied["dest"]) == ("0600", "/etc/eve-meta/domains.d/{{ item.key }}.yaml")
    for name, values in play["vars"]["vms"].items():
        content = copied["content"].replace("{{ item.key }}", name)
        for key, value in values.items():
            content = content.replace(f"{{{{ item.value.{key} }}}}", value)
        (tmp_path / f"{name}.yaml").write_text(content)
        read = read_domain_file(str(tmp_path / f"{name}.yaml"))
        assert read.problems == ()
        assert read.domain is not None
        assert (read.domain.name, read.domain.hostname) == (name, f"{name}.example.org")
        assert [nic.mac for nic in read.domain.nics] == [values["mac"]]
