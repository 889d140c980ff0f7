"""The tree below ``/nocloud``: cloud-init's NoCloud datasource over HTTP.

It serves images that know no other datasource; the SMBIOS serial ``ds=nocloud;s=http://169.254.169.254/nocloud/``
directs them here. When the answer is 404, cloud-init (``util.read_seeded``) asks for a file eleven times, a second
apart, and fails without the first two. So all four files always exist, and are empty where the domain has no data.
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
    """The documents of one domain below ``/nocloud``."""

    def __init__(self, domain: Domain) -> None:
        self._files = Listing(partial(_files, domain))

    def find(self, path: tuple[str, ...]) -> Document | None:
        """Return the document at *path* below ``/nocloud``, None where there is none."""
        match path:
            case ():
                return listing(self._files.entries)
            case (name,):
                file = self._files.entries.get(name)
                return file if isinstance(file, Document) else None
        return None


def _files(domain: Domain) -> dict[str, Entry]:
    return {
        "meta-data": _yaml(_meta_data(domain)),
        "user-data": Document(b"") if domain.user_data is None else Document.of_content(domain.user_data),
        "vendor-data": _vendor_data(domain),
        # cloud-init reads this file from 24.3 on. Earlier versions (Debian 12's 22.4) look for it in files and on disks
        # only, and their guests use DHCP. An empty mapping means "not given": cloud-init falls back to DHCP as without
        # the file.
        "network-config": _yaml(network_config(domain) or {}),
    }


def _meta_data(domain: Domain) -> dict[str, Any]:
    """Return the keys that ``DataSourceNoCloud`` and its base class read."""
    keys: dict[str, Any] = {
        # The same as in /openstack: another instance id would make cloud-init set up the guest once more.
        "instance-id": str(domain.guest_uuid),
        "local-hostname": domain.guest_hostname,
        "launch-index": domain.launch_index or 0,
    }
    if domain.availability_zone is not None:
        keys["availability-zone"] = domain.availability_zone
    if domain.public_keys:
        keys["public-keys"] = dict(domain.public_keys)
    return keys


def _vendor_data(domain: Domain) -> Document:
    """Make the vendor data that cloud-init's OpenStack datasource takes from both ``vendor_data`` files of nova."""
    parts = [*_parts(domain.vendor_data), *_parts(domain.vendor_data2)]
    if len(parts) <= 1:
        return text("".join(parts))
    # NoCloud has room for one document. An archive is one document that holds several parts, and cloud-init recognises
    # each by its first line ("#cloud-config", "#!", …), as it does outside an archive.
    return text(f"#cloud-config-archive\n{_dump(parts)}")


def _parts(vendor_data: Mapping[str, Any]) -> Iterator[str]:
    # A text or a list of texts, as cloudinit.sources.convert_vendordata() takes it. Anything else makes cloud-init drop
    # the whole OpenStack datasource; here, only that value is left out.
    parts = vendor_data.get("cloud-init")
    for part in parts if isinstance(parts, (list, tuple)) else (parts,):
        if isinstance(part, str) and part:
            # JSON can carry half a character (a lone surrogate); UTF-8, which guests read, cannot.
            yield part.encode(errors="replace").decode()


def _yaml(value: Mapping[str, Any]) -> Document:
    return text(_dump(value))


def _dump(value: Any) -> str:
    """Encode *value* as JSON that is also YAML with the same meaning.

    JSON escapes characters beyond U+FFFF as surrogate pairs, which YAML does not have, so those are not escaped. Nor is
    any other character that YAML can hold: PyYAML wants the key of a mapping within 1,024 characters of source.
    """
    return _NOT_IN_YAML.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))
