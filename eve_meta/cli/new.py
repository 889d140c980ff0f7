"""``eve-meta new``: a domain file to begin with."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

import click

from eve_meta.admin.client import NotRunning, ask
from eve_meta.admin.questions import LIST_DOMAINS
from eve_meta.cli.known import read_directory
from eve_meta.cli.options import config_option, domains_directory, domains_option
from eve_meta.config import load_config
from eve_meta.values.problem import Problem

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}\Z")

TEMPLATE = """\
# What the metadata service tells the guest {name}. "eve-meta check" checks this file.
# Everything but the uuid or the name may be left out. Remove the "#" before each key that you need.

# The uuid and the name of the domain: libvirt's, or QEMU's -uuid and -name. If the guest's DMI system-uuid differs from
# the uuid here, its cloud-init starts over at each boot: if the domain already exists, write the domain's own uuid.
uuid: {uuid}
name: {quoted}

#hostname: {name}.example.org
#availability_zone: nova

# The guest gets all of these keys.
#public_keys:
#  alice: ssh-ed25519 AAAA... alice@example.org

# Anything that the guest's cloud-init, Ignition or the like understands. To keep it in a file beside this one, write
# user_data_file and the path; for bytes that are not text, user_data_base64.
#user_data: |
#  #cloud-config
#  packages: [nginx]

# Strings of your own, in "meta" of meta_data.json.
#meta: {{role: web}}

# Needed only to tell the guest its addresses, or if no QEMU process holds the tap. Without subnets the guest uses DHCP.
#nics:
#- tap: vnet0
#  mac: fa:16:3e:00:00:01
#  subnets:
#  - {{type: ipv4, address: 10.1.2.10/24, gateway: 10.1.2.1, dns: [10.1.2.2]}}
"""

EXAMPLES = """\
\b
Examples:
  eve-meta new web1
  eve-meta new --domains ./domains.d web1
"""


@click.command(epilog=EXAMPLES)
@click.argument("name")
@config_option
@domains_option
def new(name: str, config: Path | None, domains: Path | None) -> None:
    """Write the domain file NAME.yaml, with a uuid, the name, and every other key in a comment, for you to complete.

    If the daemon runs and knows a domain NAME, for example from libvirt, the file gets that domain's uuid; otherwise a
    new one. An existing file is never overwritten.
    """
    if not _SAFE.match(name):
        raise Problem(
            f"expected a name of letters, digits, '.', '_' and '-' that begins with a letter or digit, got {name!r}"
        )
    directory = read_directory(domains_directory(config, domains))
    known = {} if domains is not None else _known(config)
    for other, domain in directory.domains.items():
        if domain.name == name:
            raise Problem(f"there is already a domain {name}, in {other}")
    path = directory.path / f"{name}.yaml"
    # json.dumps quotes the name: in YAML a plain 007 or true would not be a string.
    text = TEMPLATE.format(name=name, quoted=json.dumps(name), uuid=known.get(name, uuid4()))
    try:
        # For root alone: the file will hold secrets.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise Problem(f"{path} already exists: edit it, or remove it first") from None
    except OSError as error:
        raise Problem(f"cannot write {path}: {error.strerror}") from None
    try:
        with open(descriptor, "w") as file:
            file.write(text)
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink()
        raise Problem(f"cannot write {path}: {error.strerror}") from None
    where = "" if domains is None else f" {domains}"
    click.echo(f"{path}\nNext: complete it, then run 'eve-meta check{where}'. A running daemon reads it by itself.")


def _known(config: Path | None) -> Mapping[str, str]:
    """Return the uuids of the domains that a daemon knows, by name; a file with another uuid would contradict them."""
    try:
        domains = ask(load_config(config).admin.socket, LIST_DOMAINS)
    except NotRunning:
        return {}
    return {each["name"]: each["uuid"] for each in domains}
