"""The tree below ``/openstack``: the documents that each version lists and serves.

It answers as nova 34 does, but for nova's accidents: the paths that nova answers with 500, and
``/openstack/<version>/version``, are 404 here.
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
    """Make the listing of ``/openstack``, from which cloud-init picks the newest version that it knows.

    :param today: the date in UTC; later versions are served but not listed.
    """
    return lines([*(version for version in OPENSTACK_VERSIONS if version <= today.isoformat()), LATEST])


class OpenStack:
    """The documents of one domain below ``/openstack``."""

    def __init__(self, domain: Domain, password: str | None) -> None:
        self._meta_data = PerVersion(lambda version: meta_data(domain, version))
        self._content = {
            CONTENT_NAME.format(i): Document.of_content(file.content) for i, file in enumerate(domain.files)
        }
        others = self._others = {
            "user_data": None if domain.user_data is None else Document.of_content(domain.user_data),
            # A password that is not set is an empty document, not a 404: it tells cloudbase-init that it may post one.
            "password": Document((password or "").encode(), HTML),
            "vendor_data.json": Document(dump(domain.vendor_data), JSON),
            "network_data.json": network_data(domain),
            # The mapping as it is. nova puts its configured data below "static" and each dynamic target's below the
            # target's name. cloud-init reads only the key "cloud-init" at the top, which in nova only a target of that
            # name can fill; a wrapper would hide the domain's own key. Whoever needs "static" can write it.
            "vendor_data2.json": Document(dump(domain.vendor_data2), JSON),
        }
        self._listings = PerVersion(lambda version: _listing(version, others))

    def find(self, path: tuple[str, ...], today: datetime.date) -> Document | None:
        """Return the document at *path* below ``/openstack``, None where there is none.

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
    existing = {META_DATA, *(name for name, document in others.items() if document is not None)}
    return lines(name for name, rule in _NAMES.items() if rule.listed_since <= version and name in existing)
