"""The interfaces of sources of domains: a source, a hypervisor, the layers of both and their problems."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

from attrs import asdict, frozen

from eve_meta.inventory.vmm.process import Owner
from eve_meta.values.domain import Domain


@frozen(kw_only=True)
class InventoryProblem:
    """A mistake in something that a person wrote, or a reason why a tap does not have its domain.

    :ivar file: the path of the file, or the name of another place, such as "libvirt metadata of web1"; "" for none.
    :ivar line: the line, counted from 1, or None when the problem concerns the file as a whole.
    :ivar column: the column, counted from 1, or None when the problem concerns the line as a whole.
    :ivar field: the path to the field, such as ``nics[0].mac``; "" for none.
    :ivar message: one line: what was expected, and what was got.
    :ivar warning: whether eve-meta works in spite of the problem.
    :ivar mend: what removes the problem, such as a line to write; "" where the message says all.
    """

    file: str
    message: str
    line: int | None = None
    field: str = ""
    warning: bool = False
    mend: str = ""
    column: int | None = None

    def __str__(self) -> str:
        where = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        parts = (where, "warning" if self.warning else "", self.field, self.message)
        return ": ".join(part for part in parts if part)

    @property
    def plain(self) -> dict[str, Any]:
        """The problem as an object of JSON: its fields, and as ``text`` the line for people."""
        return {**asdict(self), "text": str(self)}


def unreadable(directory: object, error: OSError) -> InventoryProblem:
    """Return the problem of a *directory* that cannot be listed."""
    return InventoryProblem(file=str(directory), message=f"cannot read this directory: {error.strerror}")


@frozen(kw_only=True)
class Layer:
    """The domains that a source has from one kind of place.

    :ivar domains: each domain by its origin, the place that describes it: a file's path, or "libvirt XML of web1". No
        two domains of a layer have the same uuid or name.
    :ivar written: whether people wrote the domains. Then the taps that a domain names tie the domain to these taps and
        to no others. The taps in a hypervisor's description tie nothing: only :meth:`Hypervisor.answers` has the domain
        of a tap at present.
    :ivar identified: whether the places themselves have uuid and name. Otherwise the domains of this layer have the
        uuid and name of the domains to which they belong, which a later layer of the same source has.
    :ivar lines: by the same origins, the lines of fields that a problem may name, such as ``profiles[0]``.
    """

    domains: Mapping[str, Domain]
    written: bool
    identified: bool = True
    lines: Mapping[str, Mapping[str, int]] = MappingProxyType({})


class Source(Protocol):
    """Something that knows domains: a directory of files, libvirt, EVE-OS.

    Where several sources know the same domain, ``merge.py`` makes one domain of their descriptions.
    """

    def start(self, changed: Callable[[], None]) -> None:
        """Begin to read and to watch.

        :param changed: called once when everything has been read, then after each change. A source that cannot be read
            at present calls it, too, and has the reason among its :meth:`problems`.
        """

    def stop(self) -> None:
        """End watching."""

    def layers(self) -> Sequence[Layer]:
        """Return what the source knows, the most important layer first. A layer once returned never changes.

        A domain that has not changed is the same object as the last time, by which callers recognise it.
        """

    def problems(self) -> tuple[InventoryProblem, ...]:
        """Return what is wrong at present."""


class Hypervisor(Source, Protocol):
    """A source that also knows the domain of each tap at present.

    A hypervisor is trusted as root is, but its knowledge may be out of date: a tap that goes and comes back under the
    same name may belong to another domain. So an answer about a tap counts only if the hypervisor was asked after the
    tap appeared and after the tap's carrier last changed, which happens when another process opens it.
    """

    def taps_changed(self, names: Iterable[str]) -> None:
        """Take note that *names* are all taps that exist now. A tap that is new has no answer yet."""

    def holder_may_have_changed(self, tap: str) -> None:
        """Take note that *tap* may belong to another domain than before.

        :param tap: possibly one that :meth:`taps_changed` has not named yet.
        """

    def answers(self) -> Mapping[str, Collection[str]]:
        """Return, by tap, the origins of the tap's domain (keys of :attr:`Layer.domains`), none for no domain's tap.

        Several origins are a contradiction. A tap that is missing has no answer yet. Whenever a tap gets an answer, or
        another one, the callback of :meth:`Source.start` is called, but not when :meth:`taps_changed` or
        :meth:`holder_may_have_changed` withdraws an answer.
        """

    def awaited(self, tap: str, owner: Owner | None) -> bool:
        """Return whether the domain of *tap* is unknown until the hypervisor answers about the tap.

        It is not where there is an answer, and where a domain that is known without it is no other guest's: for example
        where the hypervisor cannot be asked, and a trusted process holds the tap.

        :param owner: the process behind the tap, None where none is known.
        """

    @property
    def phase(self) -> object:
        """A value that changes when :meth:`awaited` may have changed for taps whose answers have not."""
