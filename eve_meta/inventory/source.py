"""What a source of the inventory is, and how it says what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

from attrs import frozen

from eve_meta.values.domain import Domain


@frozen(kw_only=True)
class InventoryProblem:
    """Something wrong in a file that a person wrote, or that keeps a tap from having its domain.

    :ivar file: its path, or what else says it, such as a libvirt domain's metadata; "" where it is about none.
    :ivar line: counted from 1, or None where it is about the file as a whole.
    :ivar field: the way to the field, such as ``nics[0].mac``; "" for none.
    :ivar message: one line: what was expected, what was got.
    :ivar warning: whether eve-meta works all the same.
    """

    file: str
    message: str
    line: int | None = None
    field: str = ""
    warning: bool = False

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        parts = (where, "warning" if self.warning else "", self.field, self.message)
        return ": ".join(part for part in parts if part)


@frozen(kw_only=True)
class Layer:
    """The domains that one kind of place knows.

    :ivar domains: each by where it is said: a file's path, "libvirt XML of web1". No two have one uuid or name.
    :ivar written: whether people wrote it. Then a tap in it ties the domain to that tap, and to no other. The taps in
        what a hypervisor says tie nothing: which are whose now, only :meth:`Hypervisor.answers` says.
    :ivar identified: whether uuid and name are said there. Otherwise they are those of the domain to which it belongs,
        of which a later layer of the same source says them.
    """

    domains: Mapping[str, Domain]
    written: bool
    identified: bool = True


class Source(Protocol):
    """Something that knows domains: a directory of files, libvirt, EVE.

    Each says what it knows; where several know the same domain, ``merge.py`` makes one of it.
    """

    def start(self, changed: Callable[[], None]) -> None:
        """Begin to read and to watch; call *changed* once when everything has been read, then after every change.

        A source that cannot be read at present says so among its :meth:`problems`, and calls *changed*, too.
        """

    def stop(self) -> None:
        """End watching."""

    def layers(self) -> Sequence[Layer]:
        """What it knows, the most important first. What was given once never changes.

        A domain that did not change is the same object as the last time: it is taken for unchanged by that.
        """

    def problems(self) -> tuple[InventoryProblem, ...]:
        """What is wrong at present."""


class Hypervisor(Source, Protocol):
    """A source that also knows whose a tap is at present.

    It is believed as root is, but it may be out of date: a tap that goes and comes back under the same name may be
    another domain's. So what it says of a tap counts only where it was asked after the tap appeared, and after its
    carrier last changed, which is when another process opens it.
    """

    def taps_changed(self, names: Iterable[str]) -> None:
        """*names* are all taps that there are now. Nothing is known of one that was not there the last time."""

    def holder_may_have_changed(self, tap: str) -> None:
        """*tap* may be another domain's than before; it may be one that :meth:`taps_changed` has not named yet."""

    def answers(self) -> Mapping[str, Collection[str]]:
        """Whose each tap is: where the domain is said, a key of :attr:`Layer.domains`, or nothing for nobody's.

        Several are a contradiction. A tap that is missing is one of which this cannot be said yet. Whenever a tap's
        answer comes or becomes another, *changed* is called; not when it is lost by one of the two calls above.
        """

    @property
    def away(self) -> bool:
        """Whether it cannot be asked at present: then the process behind a tap may be believed without it."""
