"""cloud-init's datasources, as this Debian packages them, with a tree in place of the network."""

from __future__ import annotations

import inspect
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from eve_meta.documents.tree import Tree
from eve_meta.values.domain import Domain
from tests.unit.documents.reading import SEED, find

url_helper = pytest.importorskip("cloudinit.url_helper", reason="cloud-init is not installed")

TAKES_URL = "url" in inspect.signature(url_helper.StringResponse).parameters
"""Whether this cloud-init's responses know their URL: Debian 13's (25.1.4) do, Debian 12's (22.4.2) do not."""


class Wire:
    """A replacement of cloud-init's network: the documents of *domain*.

    :ivar asked: the paths that were asked for, in order.
    """

    def __init__(self, domain: Domain) -> None:
        self._tree = Tree(domain)
        self.asked: list[str] = []

    def readurl(self, url: str, **_options: Any) -> Any:
        """``cloudinit.url_helper.readurl``, but for its retries."""
        path = unquote(urlsplit(url).path)
        self.asked.append(path)
        document = find(self._tree, path)
        if document is None:
            raise url_helper.UrlError(OSError("404"), code=404, url=url)
        return url_helper.StringResponse(document.render(SEED), code=200, **({"url": url} if TAKES_URL else {}))


def plug_in(monkeypatch: pytest.MonkeyPatch, domain: Domain) -> Wire:
    """Make the wire of *domain*, to which all of cloud-init's requests go from now on."""
    wire = Wire(domain)
    monkeypatch.setattr(url_helper, "readurl", wire.readurl)
    return wire
