"""Profiles: descriptions that any number of domains share, each known by its name.

A domain has the profiles that ``profiles`` in its file or metadata names, and those that the configuration names for
all. Of two profiles of one domain the one that is named later is the more important, as with LXD's; those for all are
the least. A profile is held as a :class:`~eve_meta.values.domain.Domain` whose name is the profile's, and counts for
nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType

from attrs import frozen

from eve_meta.values.domain import Domain
from eve_meta.values.text import suggestion


@frozen(eq=False)
class Profile:
    """A profile that can be used.

    :ivar origin: the path of its file.
    :ivar part: what it describes.
    """

    origin: str
    part: Domain


@frozen(kw_only=True)
class Profiles:
    """The profiles that can be used at present.

    :ivar directory: where their files are.
    :ivar known: the profiles by name. One that has not changed is the same object as before.
    :ivar broken: the files of those that were never good, by name.
    :ivar for_all: the names of those that all domains have.
    :ivar unread: whether the files have not been read yet. Then nothing is known to be missing.
    """

    directory: str = ""
    known: Mapping[str, Profile] = MappingProxyType({})
    broken: Mapping[str, str] = MappingProxyType({})
    for_all: tuple[str, ...] = ()
    unread: bool = False

    def wanted(self, own: tuple[str, ...]) -> Mapping[str, Profile | None]:
        """Return the profiles of a domain that itself names *own*, the most important first; None for a missing one."""
        # The later of two mentions counts.
        return {name: self.known.get(name) for name in reversed((*self.for_all, *own))}

    def path(self, name: str) -> str:
        """Return the path of the file of the profile *name*, or of the one that could be made."""
        profile = self.known.get(name)
        return (
            self.broken.get(name, os.path.join(self.directory, f"{name}.yaml")) if profile is None else profile.origin
        )

    def why_missing(self, name: str) -> str:
        """Return why there is no profile *name*."""
        if name in self.broken:
            return f"{self.path(name)} is broken"
        near = suggestion(name, self.known)
        return f"there is no {self.path(name)}" + (f" ({near})" if near else "")


NO_PROFILES = Profiles()
