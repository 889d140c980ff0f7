"""Where domains come from, and which domain is behind which tap.

``inventory.py`` is the part that the daemon uses; it joins all others. ``source.py`` defines a source of domains, and a
hypervisor, which is a source that also knows the domain of each tap. Three rooms have a source each:

* ``files/``, the directory of domain files. ``reading.py`` reads any file, ``yaml_document.py`` YAML with the line of
  each value, ``domain_file.py`` one domain file, and ``directory.py`` all of them; commands use these without Twisted.
  ``watch.py`` follows the changes of files while the daemon runs, also for ``eve/``.
* ``libvirt/``: ``connection.py`` asks libvirtd, ``domain_xml.py`` reads its XML, ``source.py`` is the hypervisor.
* ``eve/``: ``pubsub.py`` reads what EVE-OS's agents publish, ``published.py`` turns it into values and ``domain.py``
  these into domains, ``source.py`` is the hypervisor.

``qemu/`` finds the process that holds a tap, with its uuid and name: ``process.py`` reads /proc, ``options.py`` a
QEMU's arguments, ``owners.py`` keeps the result up to date.

``merge.py`` makes one domain of several sources' descriptions of it. ``tap_domains.py`` decides which domain is behind
a tap, by what people wrote, what hypervisors answered and which process holds the tap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eve_meta.inventory.inventory import Inventory

__all__ = ["Inventory"]


def __getattr__(name: str) -> Any:
    # Imported at its first use: Inventory needs Twisted, whose import takes longer than a whole "eve-meta check".
    if name == "Inventory":
        from eve_meta.inventory.inventory import Inventory

        return Inventory
    raise AttributeError(name)
