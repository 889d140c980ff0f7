"""``eve-meta render``: what would the guest read?"""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path
from types import MappingProxyType
from typing import Any

import attrs
import click

from eve_meta.cli.known import Shown, known_domains, with_lines
from eve_meta.cli.options import config_option, domains_option, name_argument
from eve_meta.documents.document import SEED_BYTES, Document
from eve_meta.documents.path import BadPath, normalise
from eve_meta.documents.paths import rule_of
from eve_meta.documents.tree import Tree
from eve_meta.values.domain import Domain, File
from eve_meta.values.problem import Problem

NO_PEER = str(IPv4Address(0))
"""The address of the asking guest, where none asks."""

EXAMPLES = """\
\b
Examples:
  eve-meta render web1 /openstack/latest/meta_data.json | jq .
  eve-meta render web1 /latest/meta-data/
  eve-meta render web1 --sources
  eve-meta render --domains ./domains.d web1 /openstack/latest/user_data
"""


@click.command(epilog=EXAMPLES)
@name_argument
@click.argument("path", required=False)
@click.option(
    "--sources",
    "show_sources",
    is_flag=True,
    help="Print where each field of the domain comes from, instead of a document.",
)
@config_option
@domains_option
def render(name: str, path: str | None, show_sources: bool, config: Path | None, domains: Path | None) -> None:
    """Print what a guest would read at PATH, byte for byte.

    The first argument is the domain's name, its uuid, or its tap.

    The domain comes from the running daemon, which alone knows what libvirt or EVE-OS report and the uuid of a QEMU
    process. If no daemon runs, it comes from the domain files, unless libvirt or EVE-OS is configured: then the files
    alone are not what the guest reads. With --domains it comes from the files in DIR, and no daemon is asked. Only the
    daemon knows an instance id that eve-meta rerun gave.

    Only root sees user data, files, meta, public keys and vendor data. For the group of [admin] operators they are left
    out of a document, which standard error says, and a document of nothing else is refused.

    Two values differ from what the guest reads. If the domain has no IPv4 address, local-ipv4 is 0.0.0.0 here; the
    daemon answers the address from which the guest asks. And random_seed is new each time.
    """
    if show_sources == (path is not None):
        raise click.UsageError("expected a PATH or --sources")
    shown = known_domains(config, domains).show(name)
    if path is None:
        _print_sources(with_lines(shown.sources))
    else:
        _print_document(name, shown, path)


def _print_sources(sources: Mapping[str, str]) -> None:
    width = max(map(len, sources))
    for field, source in sources.items():
        click.echo(f"{field.ljust(width)}  {source}")


def _print_document(name: str, shown: Shown, path: str) -> None:
    try:
        segments = normalise(os.fsencode(path))
    except BadPath as error:
        raise Problem(f"{path!r} is not a path: it has {error}") from None
    tree = Tree(shown.domain)
    document = _find(tree, segments)
    seed = os.urandom(SEED_BYTES)
    missing = [field for field in shown.hidden if _depends(shown.domain, field, segments, seed)]
    if document is None:
        if missing:
            raise Problem(f"only root may see what {name} reads at {path}: it has the domain's {' and '.join(missing)}")
        rule = rule_of(segments)
        if rule.methods and rule.source is None:
            raise Problem(f"{name} reads nothing at {path}, which is for {b', '.join(rule.methods).decode()} (405)")
        raise Problem(f"{name} has nothing at {path} (404); {_listed(tree, segments)}")
    if missing:
        click.echo(f"eve-meta: without {' and '.join(missing)}, which only root may see", err=True)
    left = memoryview(bytes(document.render(seed)))
    while left:
        # With PYTHONUNBUFFERED write() has no buffer, and may take only a part.
        left = left[sys.stdout.buffer.write(left) :]


PLACEHOLDERS: Mapping[str, Any] = MappingProxyType(
    {
        "user_data": b"hidden",
        "files": (File(path="/hidden"),),
        "meta": {"hidden": "hidden"},
        "public_keys": {"hidden": f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'A' * 43} hidden"},
        "vendor_data": {"hidden": "hidden"},
        "vendor_data2": {"hidden": "hidden"},
    }
)
"""A value for each field that may hold a secret, to find the documents in which the field is."""


def _depends(domain: Domain, field: str, segments: tuple[str, ...], seed: bytes) -> bool:
    """Return whether *domain*, if it had the *field* that is hidden, would read something else at a path."""
    documents = [_find(Tree(each), segments) for each in (domain, attrs.evolve(domain, **{field: PLACEHOLDERS[field]}))]
    without, with_it = (None if each is None else bytes(each.render(seed)) for each in documents)
    return without != with_it


def _find(tree: Tree, segments: tuple[str, ...]) -> Document | None:
    return tree.find(segments, peer=NO_PEER, today=datetime.datetime.now(datetime.timezone.utc).date())


def _listed(tree: Tree, segments: tuple[str, ...]) -> str:
    for end in range(len(segments) - 1, 0, -1):
        listing = _find(tree, segments[:end])
        if listing is not None:
            return f"there are, at /{'/'.join(segments[:end])}: {', '.join(bytes(listing.body).decode().split())}"
    return "a guest begins at /openstack or /latest"
