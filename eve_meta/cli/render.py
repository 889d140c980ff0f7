"""``eve-meta render``: what would the guest read?"""

from __future__ import annotations

import datetime
import os
import sys
from ipaddress import IPv4Address
from pathlib import Path

import click

from eve_meta.cli.options import (
    complete_domain,
    config_option,
    domains_directory,
    domains_option,
    find_domain,
    read_directory,
)
from eve_meta.documents.document import SEED_BYTES, Document
from eve_meta.documents.tree import Tree
from eve_meta.errors import Problem
from eve_meta.web.path import BadPath, normalise

NO_PEER = str(IPv4Address(0))
"""The address that asks: nobody does."""

EXAMPLES = """\
\b
Examples:
  eve-meta render web1 /openstack/latest/meta_data.json | jq .
  eve-meta render web1 /latest/meta-data/
  eve-meta render --domains ./domains.d web1 /openstack/latest/user_data
"""


@click.command(epilog=EXAMPLES, short_help="Print what a guest would read.")
@click.argument("name", shell_complete=complete_domain)
@click.argument("path")
@config_option
@domains_option
def render(name: str, path: str, config: Path | None, domains: Path | None) -> None:
    """Print what the guest NAME would read at PATH, byte for byte. NAME may be a uuid, too.

    This reads the files and asks no daemon. local-ipv4 is 0.0.0.0 where the file gives the guest no address: then the
    daemon answers with the one that the guest asks from. random_seed is another each time.
    """
    tree = Tree(find_domain(read_directory(domains_directory(config, domains)), name))
    try:
        segments = normalise(os.fsencode(path))
    except BadPath as error:
        raise Problem(f"no path {path!r}: it has {error}") from None
    document = _find(tree, segments)
    if document is None:
        raise Problem(f"{name} has nothing at {path} (404); {_listed(tree, segments)}")
    left = memoryview(document.render(os.urandom(SEED_BYTES)))
    while left:
        # With PYTHONUNBUFFERED this is no buffer, and may take a part only.
        left = left[sys.stdout.buffer.write(left) :]


def _find(tree: Tree, segments: tuple[str, ...]) -> Document | None:
    return tree.find(segments, peer=NO_PEER, today=datetime.datetime.now(datetime.timezone.utc).date())


def _listed(tree: Tree, segments: tuple[str, ...]) -> str:
    for end in range(len(segments) - 1, 0, -1):
        listing = _find(tree, segments[:end])
        if listing is not None:
            return f"listed at /{'/'.join(segments[:end])}: {', '.join(listing.body.decode().split())}"
    return "a guest begins at /openstack or /latest"
