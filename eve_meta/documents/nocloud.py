"""The tree below ``/nocloud``: cloud-init's NoCloud datasource over HTTP.

For images that know nothing else; the SMBIOS serial ``ds=nocloud;s=http://169.254.169.254/nocloud/`` makes them look
here. When the answer is 404, cloud-init (``util.read_seeded``) asks for a file eleven times, a second apart, and fails
without the first two. So all four are always there, and say nothing where there is nothing to say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from eve_meta.documents.document import Document, text
from eve_meta.documents.listing import Entry, Listing, listing
from eve_meta.documents.network_config import network_config
from eve_meta.values.domain import Domain

_NOT_IN_YAML = re.compile(r"[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


class NoCloud:
    """What one domain reads below ``/nocloud``."""

    def __init__(self, domain: Domain) -> None:
        self._files = Listing(partial(_files, domain))

    def find(self, path: tuple[str, ...]) -> Document | None:
        """The document at *path* below ``/nocloud``, None where there is none."""
        match path:
            case ():
                return listing(self._files.entries)
            case (name,):
                found = self._files.entries.get(name)
                return found if isinstance(found, Document) else None
        return None


def _files(domain: Domain) -> dict[str, Entry]:
    return {
        "meta-data": _yaml(_meta_data(domain)),
        "user-data": Document(domain.user_data or b""),
        "vendor-data": _vendor_data(domain),
        # cloud-init from 24.3 on reads it; before (Debian 12's 22.4), it looks for it in files and on disks only, and
        # guests get their network by DHCP. An empty mapping is "not said" to it: it falls back to DHCP as if the file
        # were not there.
        "network-config": _yaml(network_config(domain) or {}),
    }


def _meta_data(domain: Domain) -> dict[str, Any]:
    """The keys that ``DataSourceNoCloud`` and its base class read."""
    keys: dict[str, Any] = {
        # As in /openstack: an instance id that changed would make cloud-init set up the guest once more.
        "instance-id": str(domain.instance_uuid),
        "local-hostname": domain.guest_hostname,
        "launch-index": domain.launch_index or 0,
    }
    if domain.availability_zone is not None:
        keys["availability-zone"] = domain.availability_zone
    if domain.public_keys:
        keys["public-keys"] = dict(domain.public_keys)
    return keys


def _vendor_data(domain: Domain) -> Document:
    """What cloud-init's OpenStack datasource takes from ``vendor_data.json`` and ``vendor_data2.json``."""
    parts = [*_parts(domain.vendor_data), *_parts(domain.vendor_data2)]
    if len(parts) <= 1:
        return text("".join(parts))
    # NoCloud has room for one; an archive is one that holds several, each told by its first line ("#cloud-config",
    # "#!", …) as if it were alone.
    return text(f"#cloud-config-archive\n{_dump(parts)}")


def _parts(vendor_data: Mapping[str, Any]) -> Iterator[str]:
    # As cloudinit.sources.convert_vendordata(): a text or a list of them. What is neither makes it drop all of the
    # OpenStack datasource; here, it is only left out.
    parts = vendor_data.get("cloud-init")
    for part in parts if isinstance(parts, (list, tuple)) else (parts,):
        if isinstance(part, str) and part:
            # JSON can carry half a character; the bytes that guests read cannot.
            yield part.encode(errors="replace").decode()


def _yaml(value: Mapping[str, Any]) -> Document:
    return text(_dump(value))


def _dump(value: Any) -> str:
    """*value* as JSON that a reader of YAML takes for the same.

    YAML has no surrogate pairs, which JSON writes for characters beyond U+FFFF when it escapes them, so those stay as
    they are. So does all else that YAML can hold: PyYAML wants a mapping's key within 1,024 characters of source.
    """
    return _NOT_IN_YAML.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))
