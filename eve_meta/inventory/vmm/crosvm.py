"""The identity on the command line of crosvm: ``--name`` and the uuid of ``--smbios``.

``src/crosvm/cmdline.rs`` of its sources has the options.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eve_meta.inventory.vmm.identity import Identity, as_uuid, only
from eve_meta.inventory.vmm.options import long_options, quoted_options

_TEXTS = ("-p", "--params")


def given(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each option of crosvm's *arguments*, with its value."""
    return long_options(arguments[1:], texts=_TEXTS)


def identity(arguments: Sequence[str]) -> Identity | None:
    """Return the uuid and the name among crosvm's *arguments*; None where several contradict each other."""
    options = list(given(arguments))
    return only(
        (as_uuid(quoted_options(value).get("uuid", "")) for option, value in options if option == "--smbios"),
        (value for option, value in options if option == "--name"),
    )
