"""Steering as a whole: makes the path, gives every tap that appears its tag and filter, and removes all of it again.

The law: the observer (:class:`~eve_meta.steering.taps.tap.TapObserver`) learns a tap's tag before the first frame can
pass, and learns that a tag is withdrawn after the last frame has passed.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from attrs import evolve
from pyroute2.netlink.exceptions import NetlinkError
from twisted.internet.defer import Deferred
from twisted.internet.task import Cooperator
from twisted.logger import Logger

from eve_meta.config import SteeringConfig
from eve_meta.steering.bpf.maps import MAX_LOSSES, Reason, Sightings, TapDhcp
from eve_meta.steering.kernel import Kernel
from eve_meta.steering.path import filters
from eve_meta.steering.path.guard import PERIOD, GuardReactor, PathGuard, Restored
from eve_meta.steering.path.listening import WorkerSockets, end
from eve_meta.steering.taps.links import Link, LinkMonitor
from eve_meta.steering.taps.tags import TagAllocator
from eve_meta.steering.taps.tap import Tap, TapObserver, is_tap, unservable
from eve_meta.values.bypass import INSTEAD
from eve_meta.values.dhcp import DhcpTemplate
from eve_meta.values.problem import Problem

if TYPE_CHECKING:
    from eve_meta.steering.path.inspection import Inspection

RESTORE_DELAY = 0.2
"""Seconds from the loss of a tap's filter to its restoration, unless somebody adds a qdisc earlier. libvirt changes a
bandwidth limit with two commands, "del" and "add"; a qdisc of ours between them would make its "add" fail."""


class Steering:
    """All of steering, for the taps that *config* names.

    :param kernel: the pieces to work on.
    :ivar namespace: the private namespace.
    :ivar path_problem: why a missing piece of the path could not be restored; None while the path is whole.
    """

    _log = Logger()

    def __init__(self, reactor: GuardReactor, config: SteeringConfig, observer: TapObserver, kernel: Kernel) -> None:
        self._reactor = reactor
        self._config = config
        self._observer = observer
        self._kernel = kernel
        self._pins = self._kernel.pins
        self.namespace = self._kernel.namespace
        self._taps: dict[int, Tap] = {}
        self._adoptable: dict[int, int] = {}
        self._scheduled: set[int] = set()
        self._problems: dict[str, str] = {}
        self._unservable: dict[int, str] = {}
        self.path_problem: str | None = None
        self._cooperator = Cooperator(scheduler=lambda step: reactor.callLater(0, step))
        self._undo = contextlib.ExitStack()

    @property
    def problems(self) -> Mapping[str, str]:
        """The taps that could not be steered, and why, by name."""
        return self._problems

    def start(
        self, raise_if_terminated: Callable[[], None], workers: int, kept: Sequence[socket.socket]
    ) -> tuple[WorkerSockets, ...]:
        """Make the path and begin to watch for taps; return the sockets on which each worker accepts connections.

        Call it before the reactor runs, because it blocks for the two seconds that compiling takes.

        :param raise_if_terminated: called from time to time during the start, which ends when it raises an exception.
        :param workers: the number of workers.
        :param kept: the sockets of an earlier daemon; see :func:`eve_meta.steering.path.listening.listen`.
        :raises Problem: when that is impossible; then the host is as it was before.
        """
        with contextlib.ExitStack() as undo:
            maps = self._maps = self._pins.open(raise_if_terminated)
            undo.callback(self._pins.remove)
            undo.callback(maps.close)
            self._filter = self._kernel.filter(self._pins.program("tap_in"), "tap_in")
            undo.callback(self._filter.close)
            self._adoptable = maps.tags()
            undo.callback(self._abandon)
            self._host_ifindex = self.namespace.ensure()
            undo.callback(self.namespace.remove)
            listeners = self._listen(workers, kept)
            for listener in listeners:
                undo.callback(listener.close)
            settings = maps.settings()
            self._tags = TagAllocator(self._kernel.clock, settings.next_tag)
            for tag in self._adoptable.values():
                self._tags.adopt(tag)
            maps.write_settings(evolve(settings, host_ifindex=self._host_ifindex))
            self._guard = PathGuard(
                self._reactor,
                self.namespace,
                self._pins,
                self._kernel.inspect,
                restored=self._path_restored,
                failed=self._path_broken,
                whole=self._path_whole,
            )
            self._guard.start()
            undo.callback(self._guard.stop)
            undo.callback(self._forget_all)
            self._monitor = LinkMonitor(
                self._reactor,
                self._kernel.link_socket(),
                changed=self._link_changed,
                gone=self._link_gone,
                filter_lost=self._filter_lost,
                qdisc_added=self._restore,
                synced=self._synced,
                own_port=self._filter.port,
            )
            undo.callback(self._monitor.stop)
            self._monitor.start()
            self._undo = undo.pop_all()
        return listeners

    def _listen(self, workers: int, kept: Sequence[socket.socket]) -> tuple[WorkerSockets, ...]:
        """Return the sockets of each worker, to which connections are led from then on.

        They listen before a rule leads to them, and the sockets that nobody takes over end when none does any more: so
        a guest that connects meanwhile is never refused.
        """
        listening = self.namespace.listen(workers, kept, self._maps.places())
        try:
            self._maps.write_places([each.place for each in listening.workers])
            self.namespace.lead_to_workers()
        except BaseException:
            for each in listening.workers:
                each.close()
            raise
        for discarded in listening.discarded:
            end(discarded)
        return listening.workers

    def replace(self, number: int, damaged: WorkerSockets) -> WorkerSockets:
        """Return new sockets for the worker of that number, to which its guests are led from now on.

        :param damaged: its sockets until now, which end.
        :raises Problem: when that is impossible; then nothing has changed.
        """
        sockets = self.namespace.listen_again(number, damaged)
        places = list(self._maps.places())
        places[number] = sockets.place
        self._maps.write_places(places)
        damaged.end()
        return sockets

    def are_sound(self, sockets: WorkerSockets) -> bool:
        """Return whether *sockets* are as good as new ones."""
        return self.namespace.are_sound(sockets)

    def stop(self) -> None:
        """Remove everything that :meth:`start`, and the taps since, brought to the host."""
        self._cooperator.stop()
        self._undo.close()

    def leave(self) -> None:
        """End, and leave everything in place for the next daemon to adopt, as if this one had died."""
        self._cooperator.stop()
        self._undo.pop_all()

    def catch_up(self, now: float) -> float | None:
        """Act on the changes of links that wait to be read.

        :param now: the time, in seconds of a monotonic clock.
        :return: a time until which the observer knows all changes that the kernel had reported, None where there is
            none (:meth:`LinkMonitor.catch_up`).
        """
        return self._monitor.catch_up(now)

    def counters(self, tag: int) -> dict[Reason, int]:
        """Return the number of frames of *tag* by the reason of their verdict; empty when no tap has *tag*.

        Tag 0 counts the frames that belong to no tap.
        """
        return self._maps.counters(tag)

    def sightings(self, tag: int) -> Sightings:
        """Return what the programs saw the guest of *tag* do, and when; nothing when no tap has *tag*."""
        return self._maps.sightings(tag)

    def set_dhcp(self, tag: int, template: DhcpTemplate | None, *, deny_servers: bool) -> None:
        """Have the tap of *tag* answer its guest's DHCP by *template*; None lets the guest's DHCP pass.

        This holds for the tag, not for the link: it ends with the tag when the tap goes, is renamed or loses its
        carrier, so that another holder of the tap is never given the lease of the one before. It outlives the daemon,
        and the next one adopts it with the tag. Nothing happens when no tap has *tag* any more.

        :param deny_servers: whether the tap drops the frames of a guest that poses as a DHCP server.
        """
        if self._maps.tap(tag).ifindex:
            self._maps.write_dhcp(tag, TapDhcp(template, deny_servers))

    def dhcp(self, tag: int) -> TapDhcp:
        """Return what the tap of *tag* does with DHCP; it lets all of it pass when no tap has *tag*."""
        return self._maps.dhcp(tag)

    def inspect(self, names: Collection[str]) -> Inspection:
        """Return which pieces of the path are in place, and the filters on the links called *names*.

        Call it in a thread, because it takes some time.

        :raises Problem: see :func:`eve_meta.steering.path.inspection.inspect`.
        """
        return self._kernel.inspect(names)

    def restore(self) -> Deferred[None]:
        """Restore what is missing of the path now; the result comes when that has ended, whatever came of it.

        Filters of taps that are missing by now have been restored by then, too, unless the kernel refuses.
        """
        return self._guard.restore()

    @property
    def overruns(self) -> int:
        """The number of times that netlink messages were lost."""
        return self._monitor.overruns

    # -- links that come, change and go --

    def _link_changed(self, link: Link) -> None:
        if link.ifindex == self._host_ifindex and not (link.carrier and link.name == self.namespace.host_link):
            self._guard.suspect()
        self._note_unservable(link)
        tap = self._taps.get(link.ifindex)
        wanted = is_tap(link, self._config)
        if tap is not None and (not wanted or tap.name != link.name):
            # Renamed: the name may decide whose tap it is, so it begins anew with another tag.
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

    def _note_unservable(self, link: Link) -> None:
        name = self._unservable.get(link.ifindex)
        if name is not None and name != link.name:
            self._problems.pop(self._unservable.pop(link.ifindex), None)
        if (why := unservable(link, self._config)) is not None:
            self._unservable[link.ifindex] = link.name
            self._failed(link.name, f"{why}; {INSTEAD}")

    def _link_gone(self, ifindex: int) -> None:
        if (name := self._unservable.pop(ifindex, None)) is not None:
            self._problems.pop(name, None)
        tap = self._taps.get(ifindex)
        if tap is not None:
            self._forget(tap)
        elif ifindex == self._host_ifindex:
            self._guard.suspect()

    def _exists(self, link: Link) -> bool:
        """Return whether *link* exists at this moment.

        Messages about links wait to be read. A tap that is gone by then, about which a dozen messages may still come,
        would get a tag at each of them; where taps come and go fast, that takes so long that the next taps have to wait
        as well.
        """
        try:
            return self._kernel.link_name(link.ifindex) == link.name
        except OSError:
            return False

    def _add(self, link: Link) -> None:
        if not self._exists(link):
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
            since=self._kernel.clock(),
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
        """Give *tap*, which lost its carrier, a new tag: the next process that holds it may be another domain's.

        Everything known about the old tag is withdrawn at once. The worker learns that later, after the messages that
        were sent to it before; until then the old tag leads to no tap any more.
        """
        self._forget(tap)
        try:
            tag = self._new_tag(tap.ifindex, losses)
        except Problem as problem:
            self._failed(tap.name, str(problem))
            return
        tap = self._taps[tap.ifindex] = evolve(tap, tag=tag, since=self._kernel.clock(), carrier=False, losses=losses)
        self._observer.tap_appeared(tap)

    def _tag_for(self, link: Link) -> int:
        """Return the tag that an earlier daemon gave to *link*, otherwise a new one.

        A link that lost its carrier since then gets a new one, too: the earlier holder may have left connections that
        nobody has accepted yet.
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
        """Take filter and tag from a tap that still exists."""
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

    # -- after a restart, lost messages, or interference by somebody else --

    def _abandon(self) -> None:
        """Take filters and tags of an earlier daemon from links that are no taps any more."""
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
            # One of the lost messages may have reported the loss of a filter.
            self._cooperator.cooperate(self._restore_all())

    def _path_restored(self, restored: Restored) -> None:
        if restored.host_ifindex != self._host_ifindex:
            self._host_ifindex = restored.host_ifindex
            self._maps.write_settings(evolve(self._maps.settings(), host_ifindex=self._host_ifindex))
        for part, missing in restored.missing.items():
            self._observer.restored(part, "; ".join(missing))
        pieces = [piece for part in restored.missing.values() for piece in part]
        self._log.warn("pieces of the path were missing and have been restored: {pieces}", pieces="; ".join(pieces))

    def _path_broken(self, problem: str) -> None:
        if problem != self.path_problem:
            self._log.error(
                "a piece of the path to the metadata service is missing and cannot be restored: {problem}",
                problem=problem,
            )
        self.path_problem = problem

    def _path_whole(self) -> None:
        self.path_problem = None

    def _restore_all(self) -> Iterator[None]:
        for ifindex in list(self._taps):
            self._restore(ifindex)
            yield

    def _filter_lost(self, ifindex: int) -> None:
        if ifindex == self._host_ifindex:
            self._guard.suspect()
        elif ifindex in self._taps and ifindex not in self._scheduled:
            self._scheduled.add(ifindex)
            self._reactor.callLater(RESTORE_DELAY, self._restore, ifindex)

    def _restore(self, ifindex: int) -> None:
        """Restore the filter of a tap where it is missing."""
        self._scheduled.discard(ifindex)
        tap = self._taps.get(ifindex)
        if tap is None:
            return
        try:
            if self._filter.is_attached(ifindex):
                return
            self._filter.attach(ifindex)
        except NetlinkError as error:
            if error.code not in filters.GONE:
                self._failed(tap.name, f"cannot attach the filter again: {error}; its guest gets no metadata")
                self._scheduled.add(ifindex)
                self._reactor.callLater(PERIOD, self._restore, ifindex)
        else:
            self._problems.pop(tap.name, None)
            self._log.warn("tap {tap}: the filter was missing and has been restored", tap=tap.name)
            self._observer.restored("filter", tap.name)
