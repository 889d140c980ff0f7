"""The EC2-compatible tree: the names that each version lists and serves.

Versions 1.0 to 2009-04-04 are as nova answers them (``get_ec2_metadata``). 2016-09-02 and later are AWS's, with as much
of AWS's data as a hypervisor has. They are served, but the list of versions leaves them out: clients that want one ask
for it by name, and those that read the list expect nova's versions.

A listing marks directories with "/" at the end. Clients crawl by listings, and cloud-init drops the whole datasource
when one listed leaf fails, so every listed name is answered, if need be with an empty document.

``latest`` lists what nova's newest version lists and serves what AWS's newest version serves. cloud-init's OpenStack
datasource crawls all that ``latest`` lists, at every boot; each further name would cost a request for data that are in
``network_data.json``. AWS's clients (botocore, ec2-metadata, amazon-ec2-net-utils) know the paths that they want.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from ipaddress import ip_address
from types import MappingProxyType

from eve_meta.documents.document import OCTETS, Document, lines, text
from eve_meta.documents.ec2_identity import dynamic
from eve_meta.documents.ec2_meta_data import meta_data
from eve_meta.documents.ec2_network import first_ipv4
from eve_meta.documents.listing import Entry, Listing, in_order, listing
from eve_meta.documents.paths import rules_below
from eve_meta.documents.versions import AWS_VERSIONS, EC2_VERSIONS, LATEST, resolve
from eve_meta.values.domain import Domain

SINCE: Mapping[tuple[str, ...], Mapping[str, str]] = MappingProxyType(
    {
        (): {name: rule.served_since for name, rule in rules_below("/<version>").items() if rule.served_since},
        ("meta-data",): {
            "ami-id": "1.0",
            "ami-launch-index": "1.0",
            "ami-manifest-path": "1.0",
            "block-device-mapping": "2007-12-15",
            "hostname": "1.0",
            "instance-action": "2008-09-01",
            "instance-id": "1.0",
            "instance-type": "2007-08-29",
            "kernel-id": "2007-12-15",
            "local-hostname": "2007-01-19",
            "local-ipv4": "1.0",
            "placement": "2008-02-01",
            "public-hostname": "2007-01-19",
            "public-ipv4": "2007-01-19",
            "public-keys": "1.0",
            "ramdisk-id": "2007-12-15",
            "reservation-id": "1.0",
            "security-groups": "1.0",
            # Names that nova does not have, by AWS's "Instance metadata categories".
            "instance-life-cycle": "2019-10-01",
            "ipv6": "2021-01-03",
            "mac": "2011-01-01",
            "network": "2011-01-01",
            "services": "2014-02-25",
            "tags": "2021-03-23",
        },
        ("meta-data", "placement"): {"region": "2020-08-24"},
    }
)
"""The first version that has each name, by the name's directory. A name without an entry is as old as its directory.
The document of a name is the same in all versions that have it."""

VERSION_LIST = lines((*EC2_VERSIONS, LATEST))

LOCAL_IPV4 = ("meta-data", "local-ipv4")


class Ec2:
    """The documents of one domain below ``/`` and ``/ec2``."""

    def __init__(self, domain: Domain) -> None:
        self._root = Listing(partial(_root, domain))

    def find(self, path: tuple[str, ...], peer: str) -> Document | None:
        """Return the document at *path* below ``/`` or ``/ec2``, None where there is none.

        :param peer: the IP address from which the guest asks.
        """
        if not path:
            return VERSION_LIST
        served = resolve(path[0], EC2_VERSIONS + AWS_VERSIONS)
        if served is None:
            return None
        listed = EC2_VERSIONS[-1] if path[0] == LATEST else served
        document = _find(self._root, path[1:], served, listed)
        if path[1:] == LOCAL_IPV4 and document is not None and not document.body:
            # Made for each answer: a guest may ask from any number of addresses, and none of these may be kept.
            return text(first_ipv4([ip_address(peer)]))
        return document


def _find(root: Listing, path: tuple[str, ...], served: str, listed: str) -> Document | None:
    """Return the document at *path* below *root*.

    :param served: the version of which names are served; newer names are not found.
    :param listed: the version of which names are listed; newer names are left out of listings.
    """
    entry: Entry = root
    for depth, name in enumerate(path):
        if not isinstance(entry, Listing) or name not in entry.entries:
            return None
        since = _since(path[:depth], name)
        if since > served:
            return None
        if since > listed:
            # A client that asks below an unlisted directory knows it; there, all that is served is listed.
            listed = served
        entry = entry.entries[name]
    if isinstance(entry, Document):
        return entry
    return listing({name: below for name, below in entry.entries.items() if _since(path, name) <= listed})


def _since(directory: tuple[str, ...], name: str) -> str:
    return SINCE.get(directory, {}).get(name, EC2_VERSIONS[0])


def _root(domain: Domain) -> dict[str, Entry]:
    entries: dict[str, Entry] = {
        "dynamic": Listing(partial(dynamic, domain)),
        "meta-data": Listing(partial(meta_data, domain)),
    }
    if domain.user_data is not None:
        # AWS's type, not nova's text/plain: by it Salt tells user data from a listing.
        entries["user-data"] = Document.of_content(domain.user_data, OCTETS)
    return in_order(entries)
