"""Where domains come from, and which domain is behind which tap.

``inventory.py`` is the part that the daemon uses; it joins all others. ``source.py`` defines a source of domains, and a
hypervisor, which is a source that also knows the domain of each tap. Three rooms have a source each:

* ``files/``, the directory of domain files. ``reading.py`` opens any file, ``domain_file.py`` is one domain file, and
  ``directory.py`` all of them, with the profiles of ``profiles.py``; commands use these without Twisted. ``watch.py``
  keeps the files of a running daemon up to date, EVE-OS's, too.
* ``libvirt/``: ``connection.py`` asks libvirtd, ``description.py`` is a domain as libvirtd's XML describes it,
  ``source.py`` is the hypervisor.
* ``eve/``: ``pubsub.py`` has the files of EVE-OS's agents, ``domain.py`` makes domains of their values, ``source.py``
  is the hypervisor.

None of them looks into text that tenants wrote: ``readers/`` hands it to the reader, a process without privileges
(``eve_meta/reader``), and takes the values back.

``vmm/`` finds the process that holds a tap, with its uuid and name: ``process.py`` reads /proc, ``vmms.py`` has the
VMMs that are known, each with a module for its arguments, ``owners.py`` keeps the result up to date.

``grouping.py`` decides which of the sources' descriptions are of one domain. ``merge.py`` makes that domain of them
and of its profiles (``profiles.py``), field by field as ``overlay.py`` has the rules. ``tap_domains.py`` decides which
domain is behind a tap, by what people wrote (``written_taps.py``), by the hypervisors' answers and by the process that
holds the tap. All of them work on what has changed alone.
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
