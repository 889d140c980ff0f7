"""Where domains come from, and which domain is behind which tap.

``inventory.py`` is what the daemon uses: it holds all the rest together. ``source.py`` defines what a source of domains
is, and a hypervisor, which is a source that also knows the domain of each tap. Three rooms have a source each:

* ``files/``, the directory of domain files. ``reading.py`` reads any file, ``yaml_document.py`` YAML with the line of
  each value, ``domain_file.py`` one domain file, and ``directory.py`` all of them; commands use these without Twisted.
  ``watch.py`` keeps the files of a running daemon up to date, EVE-OS's, too.
* ``libvirt/``: ``connection.py`` asks libvirtd, ``domain_xml.py`` reads its XML, ``source.py`` is the hypervisor.
* ``eve/``: ``pubsub.py`` reads what EVE-OS's agents publish, ``published.py`` makes values of it and ``domain.py``
  domains, ``source.py`` is the hypervisor.

``qemu/`` finds the process that holds a tap, with its uuid and name: ``process.py`` reads /proc, ``options.py`` a
QEMU's arguments, ``owners.py`` keeps the result up to date.

``merge.py`` makes one domain of what several sources say about it. ``tap_domains.py`` decides which domain is behind a
tap, from what people wrote, hypervisors answered and processes are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eve_meta.inventory.inventory import Inventory

__all__ = ["Inventory"]


def __getattr__(name: str) -> Any:
    # Only now: Inventory needs Twisted, whose import takes longer than a whole "eve-meta check".
    if name == "Inventory":
        from eve_meta.inventory.inventory import Inventory

        return Inventory
    raise AttributeError(name)
