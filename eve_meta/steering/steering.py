"""Steering as a whole: makes the path, gives every tap that appears its tag and filter, and takes all of it away again.

The law: a tap's tag is told to whoever serves it (:class:`~eve_meta.steering.taps.tap.TapObserver`) before the first
frame can pass, and a tag that is taken back is told after the last one has.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from attrs import evolve
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from twisted.internet.task import Cooperator
from twisted.logger import Logger

from eve_meta.config import SteeringConfig
from eve_meta.steering.bpf.maps import MAX_LOSSES, Reason, Sightings
from eve_meta.steering.bpf.pins import Pins
from eve_meta.steering.path import filters
from eve_meta.steering.path.guard import PERIOD, GuardReactor, PathGuard, Restored
from eve_meta.steering.path.namespace import PrivateNamespace
from eve_meta.steering.taps.links import Link, LinkMonitor
from eve_meta.steering.taps.tags import TagAllocator
from eve_meta.steering.taps.tap import Tap, TapObserver, is_tap
from eve_meta.steering.taps.tapfilter import TapFilter
from eve_meta.values.problem import Problem

if TYPE_CHECKING:
    from eve_meta.steering.path.inspection import Inspection

MEND_DELAY = 0.2
"""Seconds from the loss of a tap's filter to its return, where nobody adds a qdisc first. libvirt changes a bandwidth
limit with two commands, "del" and "add"; a qdisc of ours between them would make its "add" fail."""


def _is_still(link: Link) -> bool:
    """Whether there is such a link at this moment.

    What is told of links waits to be read. A tap that went meanwhile, of which a dozen messages may still come, would
    be given a tag by each; where taps come and go fast that takes so long that the next ones have to wait as well.
    """
    try:
        return socket.if_indextoname(link.ifindex) == link.name
    except OSError:
        return False


class Steering:
    """All of steering, for the taps that *config* names.

    :ivar path_problem: why a piece of the path that is missing could not be given back; None while all is there.
    """

    _log = Logger()

    def __init__(self, reactor: GuardReactor, config: SteeringConfig, observer: TapObserver) -> None:
        self._reactor = reactor
        self._config = config
        self._observer = observer
        self._pins = Pins(config.namespace)
        self.namespace = PrivateNamespace(config.namespace, self._pins.directory)
        self._taps: dict[int, Tap] = {}
        self._adoptable: dict[int, int] = {}
        self._mending: set[int] = set()
        self._problems: dict[str, str] = {}
        self.path_problem: str | None = None
        self._cooperator = Cooperator(scheduler=lambda step: reactor.callLater(0, step))
        self._undo = contextlib.ExitStack()

    @property
    def problems(self) -> Mapping[str, str]:
        """Taps that could not be steered, and why."""
        return self._problems

    def start(
        self, raise_if_terminated: Callable[[], None], workers: int, kept: Sequence[socket.socket]
    ) -> tuple[socket.socket, ...]:
        """Makes the path and begins to watch for taps; returns the sockets on which workers accept guests' connections.

        Blocks for the two seconds that compiling takes, so it is called before the reactor runs.

        :param raise_if_terminated: called now and then meanwhile; what it raises ends the start.
        :param workers: how many there will be; see :meth:`eve_meta.steering.path.namespace.PrivateNamespace.listen`.
        :param kept: such sockets of an earlier daemon; those that are as they should be are taken.
        :raises Problem: when that is impossible; then the host is as it was.
        """
        with contextlib.ExitStack() as undo:
            maps = self._maps = self._pins.open(raise_if_terminated)
            undo.callback(self._pins.remove)
            undo.callback(maps.close)
            self._ipr = undo.enter_context(IPRoute())
            self._filter = TapFilter(self._pins.program("tap_in"), "tap_in")
            undo.callback(self._filter.close)
            self._adoptable = maps.tags()
            undo.callback(self._abandon)
            self._host_ifindex = self.namespace.ensure()
            undo.callback(self.namespace.remove)
            listeners = self.namespace.listen(workers, kept)
            for listener in listeners:
                undo.callback(listener.close)
            settings = maps.settings()
            self._tags = TagAllocator(time.monotonic, settings.next_tag)
            for tag in self._adoptable.values():
                self._tags.adopt(tag)
            maps.write_settings(evolve(settings, host_ifindex=self._host_ifindex))
            self._guard = PathGuard(
                self._reactor,
                self.namespace,
                self._pins,
                mended=self._path_mended,
                failed=self._path_broken,
                whole=self._path_whole,
            )
            self._guard.start()
            undo.callback(self._guard.stop)
            undo.callback(self._forget_all)
            self._monitor = LinkMonitor(
                self._reactor,
                changed=self._link_changed,
                gone=self._link_gone,
                filter_lost=self._filter_lost,
                qdisc_added=self._mend,
                synced=self._synced,
                ours=self._filter.port,
            )
            self._monitor.start()
            undo.callback(self._monitor.stop)
            self._undo = undo.pop_all()
        return listeners

    def stop(self) -> None:
        """Removes everything from the host that :meth:`start` and the taps since brought there."""
        self._cooperator.stop()
        self._undo.close()

    def leave(self) -> None:
        """Ends, and leaves everything in its place for the next daemon to adopt, as if this one had died."""
        self._cooperator.stop()
        self._undo.pop_all()

    def counters(self, tag: int) -> dict[Reason, int]:
        """What the programs did with frames of *tag*, 0 for those that no tap sent; empty when it has no tap."""
        return self._maps.counters(tag)

    def sightings(self, tag: int) -> Sightings:
        """What the guest of *tag* was seen doing, and when; nothing when it has no tap."""
        return self._maps.sightings(tag)

    def inspect(self, names: Collection[str]) -> Inspection:
        """What is in place, of the path and on links of these *names*. Takes some time: call it in a thread.

        :raises Problem: as :func:`eve_meta.steering.path.inspection.inspect`.
        """
        # Only for whoever asks: it takes memory.
        from eve_meta.steering.path.inspection import inspect

        return inspect(self.namespace, self._pins, names)

    @property
    def overruns(self) -> int:
        """How often netlink messages were lost."""
        return self._monitor.overruns

    # -- links, as they come and go --

    def _link_changed(self, link: Link) -> None:
        if link.ifindex == self._host_ifindex and not (link.carrier and link.name == self.namespace.host_link):
            self._guard.suspect()
        tap = self._taps.get(link.ifindex)
        wanted = is_tap(link, self._config)
        if tap is not None and (not wanted or tap.name != link.name):
            # Renamed: whose it is may hang on the name, so it begins anew with another tag.
            self._remove(tap)
            tap = None
        if tap is None:
            if wanted:
                self._add(link)
            return
        if tap.carrier and (not link.carrier or link.losses != tap.losses):
            self._retag(tap, link.losses)
            tap = self._taps.get(link.ifindex)
        if tap is not None and link.carrier and not tap.carrier:
            if link.losses != tap.losses:
                self._maps.write_losses(tap.tag, link.losses)
            tap = self._taps[tap.ifindex] = evolve(tap, carrier=True, losses=link.losses)
            self._observer.holder_may_have_changed(tap)

    def _link_gone(self, ifindex: int) -> None:
        tap = self._taps.get(ifindex)
        if tap is not None:
            self._forget(tap)
        elif ifindex == self._host_ifindex:
            self._guard.suspect()

    def _add(self, link: Link) -> None:
        if not _is_still(link):
            return
        try:
            tag = self._tag_for(link)
        except Problem as problem:
            self._failed(link.name, str(problem))
            return
        tap = Tap(
            name=link.name,
            ifindex=link.ifindex,
            tag=tag,
            since=time.monotonic(),
            carrier=link.carrier,
            losses=link.losses,
        )
        self._taps[tap.ifindex] = tap
        self._observer.tap_appeared(tap)
        try:
            self._filter.attach(tap.ifindex)
        except NetlinkError as error:
            self._forget(tap)
            if error.code not in filters.GONE:
                self._failed(tap.name, f"cannot attach the filter: {error}; its guest gets no metadata")
            return
        self._problems.pop(tap.name, None)

    def _retag(self, tap: Tap, losses: int) -> None:
        """What was at the other end of *tap* is gone; what comes next may be another domain.

        With the old tag goes all that was said of it, at once: the worker may still have much to read until it hears.
        """
        self._forget(tap)
        try:
            tag = self._new_tag(tap.ifindex, losses)
        except Problem as problem:
            self._failed(tap.name, str(problem))
            return
        tap = self._taps[tap.ifindex] = evolve(tap, tag=tag, since=time.monotonic(), carrier=False, losses=losses)
        self._observer.tap_appeared(tap)

    def _tag_for(self, link: Link) -> int:
        """The tag that *link* has already, from before a restart, else a new one.

        Also where its carrier went meanwhile: what was at the other end left connections that nobody has accepted yet.
        """
        tag = self._adoptable.pop(link.ifindex, None)
        if tag is not None:
            if self._maps.tap(tag).losses == link.losses & MAX_LOSSES:
                return tag
            self._maps.remove_tap(tag, link.ifindex)
            self._tags.release(tag)
        return self._new_tag(link.ifindex, link.losses)

    def _new_tag(self, ifindex: int, losses: int) -> int:
        tag = self._tags.take()
        self._maps.write_settings(evolve(self._maps.settings(), next_tag=self._tags.following))
        self._maps.add_tap(tag, ifindex, losses)
        return tag

    def _remove(self, tap: Tap) -> None:
        """Takes filter and tag from a tap that is still there."""
        try:
            self._filter.detach(tap.ifindex)
        except NetlinkError as error:
            self._failed(tap.name, f"cannot detach the filter: {error}")
        self._forget(tap)

    def _forget(self, tap: Tap) -> None:
        self._maps.remove_tap(tap.tag, tap.ifindex)
        self._tags.release(tap.tag)
        del self._taps[tap.ifindex]
        self._problems.pop(tap.name, None)
        self._observer.tap_gone(tap)

    def _forget_all(self) -> None:
        for tap in list(self._taps.values()):
            self._remove(tap)

    def _failed(self, name: str, message: str) -> None:
        if self._problems.get(name) != message:
            self._log.error("tap {tap}: {message}", tap=name, message=message)
        self._problems[name] = message

    # -- after a restart, lost messages, or somebody else's hand --

    def _abandon(self) -> None:
        """Takes from links what an earlier daemon left there, where they are no taps any more."""
        for ifindex, tag in self._adoptable.items():
            try:
                self._filter.detach(ifindex)
            except NetlinkError as error:
                self._log.error("cannot detach the filter of link {ifindex}: {error}", ifindex=ifindex, error=error)
            self._maps.remove_tap(tag, ifindex)
        self._adoptable = {}

    def _synced(self) -> None:
        for tag in self._adoptable.values():
            self._tags.release(tag)
        self._abandon()
        self._pins.forget_old(self._maps)
        self._observer.taps_complete()
        if self._monitor.overruns:
            # The loss of a filter may have been among the lost messages.
            self._cooperator.cooperate(self._mend_all())

    def _path_mended(self, mended: Restored) -> None:
        if mended.host_ifindex != self._host_ifindex:
            self._host_ifindex = mended.host_ifindex
            self._maps.write_settings(evolve(self._maps.settings(), host_ifindex=self._host_ifindex))
        for part, missing in mended.missing.items():
            self._observer.healed(part, "; ".join(missing))
        pieces = [piece for part in mended.missing.values() for piece in part]
        self._log.warn("missing, and back now: {pieces}", pieces="; ".join(pieces))

    def _path_broken(self, problem: str) -> None:
        if problem != self.path_problem:
            self._log.error(
                "a piece of the way to the metadata service is missing and cannot be given back: {problem}",
                problem=problem,
            )
        self.path_problem = problem

    def _path_whole(self) -> None:
        self.path_problem = None

    def _mend_all(self) -> Iterator[None]:
        for ifindex in list(self._taps):
            self._mend(ifindex)
            yield

    def _filter_lost(self, ifindex: int) -> None:
        if ifindex == self._host_ifindex:
            self._guard.suspect()
        elif ifindex in self._taps and ifindex not in self._mending:
            self._mending.add(ifindex)
            self._reactor.callLater(MEND_DELAY, self._mend, ifindex)

    def _mend(self, ifindex: int) -> None:
        self._mending.discard(ifindex)
        tap = self._taps.get(ifindex)
        if tap is None:
            return
        try:
            if filters.is_attached(self._ipr, ifindex):
                return
            self._filter.attach(tap.ifindex)
        except NetlinkError as error:
            if error.code not in filters.GONE:
                self._failed(tap.name, f"cannot attach the filter again: {error}; its guest gets no metadata")
                self._mending.add(ifindex)
                self._reactor.callLater(PERIOD, self._mend, ifindex)
        else:
            self._problems.pop(tap.name, None)
            self._log.warn("tap {tap}: the filter was taken away; it is back", tap=tap.name)
            self._observer.healed("filter", tap.name)
