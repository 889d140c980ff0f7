"""The tree below ``/openstack``: which version lists and serves what.

As nova 34 answers it, but for nova's accidents: whatever nova answers with 500, and ``/openstack/<version>/version``,
is 404 here.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Mapping

from eve_meta.documents.document import HTML, JSON, Document, PerVersion, dump, lines
from eve_meta.documents.meta_data import CONTENT_NAME, meta_data
from eve_meta.documents.network_data import network_data
from eve_meta.documents.paths import rules_below
from eve_meta.documents.versions import LATEST, OPENSTACK_VERSIONS, resolve
from eve_meta.values.domain import Domain

META_DATA = "meta_data.json"

_NAMES = rules_below("/openstack/<version>")
"""The names below a version, in the order of nova's listing."""


@functools.lru_cache(maxsize=2)
def version_list(today: datetime.date) -> Document:
    """The listing of ``/openstack``, from which cloud-init picks the newest version that it knows.

    :param today: the date in UTC; later versions are served but not listed.
    """
    return lines([*(version for version in OPENSTACK_VERSIONS if version <= today.isoformat()), LATEST])


class OpenStack:
    """What one domain reads below ``/openstack``."""

    def __init__(self, domain: Domain, password: str | None) -> None:
        self._meta_data = PerVersion(lambda version: meta_data(domain, version))
        self._content = {CONTENT_NAME.format(i): Document(file.content) for i, file in enumerate(domain.files)}
        others = self._others = {
            "user_data": None if domain.user_data is None else Document(domain.user_data),
            # A password that was never set reads as empty, not as 404: that is how cloudbase-init learns that it may
            # post one.
            "password": Document((password or "").encode(), HTML),
            "vendor_data.json": Document(dump(domain.vendor_data), JSON),
            "network_data.json": network_data(domain),
            # The mapping as it is. nova puts what it was configured with below "static" and each dynamic target below
            # the target's name. cloud-init acts on the key "cloud-init" at the top alone, which in nova only a target
            # of that name can fill; a wrapper of ours would hide the domain's own. Who needs "static" can write it.
            "vendor_data2.json": Document(dump(domain.vendor_data2), JSON),
        }
        self._listings = PerVersion(lambda version: _listing(version, others))

    def find(self, path: tuple[str, ...], today: datetime.date) -> Document | None:
        """The document at *path* below ``/openstack``, None where there is none.

        :param today: the date in UTC.
        """
        match path:
            case ():
                return version_list(today)
            case ("content", name):
                return self._content.get(name)
            case (name,) if version := resolve(name, OPENSTACK_VERSIONS):
                return self._listings.get(version)
            case (name, leaf) if version := resolve(name, OPENSTACK_VERSIONS):
                return self._leaf(version, leaf)
        return None

    def _leaf(self, version: str, name: str) -> Document | None:
        rule = _NAMES.get(name)
        if rule is None or version < rule.served_since:
            return None
        return self._meta_data.get(version) if name == META_DATA else self._others[name]


def _listing(version: str, others: Mapping[str, Document | None]) -> Document:
    there = {META_DATA, *(name for name, document in others.items() if document is not None)}
    return lines(name for name, rule in _NAMES.items() if rule.listed_since <= version and name in there)
