"""The identity on Firecracker's command line: ``--id``, which the jailer passes on. Its guest sees nothing of it.

All the rest of a VM is told to its API, or in the file that ``--config-file`` names. Neither is read: the file's path
is the word of a process that may have less privileges than eve-meta, and what is in it has no identity anyway.
"""

from __future__ import annotations

from collections.abc import Sequence

from eve_meta.inventory.vmm.identity import Identity, as_uuid, only
from eve_meta.inventory.vmm.options import long_options

NO_ID = "anonymous-instance"
"""The id of each Firecracker that was given none (``DEFAULT_INSTANCE_ID``)."""


def identity(arguments: Sequence[str]) -> Identity | None:
    """Return the id as a uuid where it has the form of one, else as a name; None where there are several."""
    ids = [value for option, value in long_options(arguments[1:]) if option == "--id" and value != NO_ID]
    return only(map(as_uuid, ids), (each for each in ids if as_uuid(each) is None))
