"""The contract of steering with its observer, on a host whose kernel is real or the tests' fake."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from ipaddress import IPv4Address
from typing import Any, Protocol

import pytest

from eve_meta.steering.bpf.maps import TapDhcp
from eve_meta.steering.steering import Steering
from eve_meta.steering.taps.tap import Tap
from eve_meta.values.dhcp import DhcpTemplate

DAMAGES = {
    "rules": "rules",
    "route": "routes",
    "policy rule": "routes",
    "sysctl": "namespace",
    "meta0": "namespace",
    "host end": "namespace",
    "name": "namespace",
    "pin": "programs",
    "namespace filter": "programs",
    "host filter": "programs",
}
"""The pieces of the path that a host can :meth:`Host.damage`, and the part of the path to which each belongs."""


LEASE = DhcpTemplate(IPv4Address("10.0.0.5"), 3600, b"\x01\x04\xff\xff\xff\x00")


class Recorder:
    """An observer that records each call: the method's name, then the arguments.

    :ivar unfiltered: the taps that had no filter yet when they appeared, by tag.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self.calls: list[tuple[Any, ...]] = []
        self.unfiltered: dict[int, str] = {}

    def tap_appeared(self, tap: Tap) -> None:
        self.calls.append(("tap_appeared", tap.name, tap.tag))
        if not self._host.filters(tap.name):
            self.unfiltered[tap.tag] = tap.name

    def taps_complete(self) -> None:
        self.calls.append(("taps_complete",))

    def tap_gone(self, tap: Tap) -> None:
        self.calls.append(("tap_gone", tap.name, tap.tag))

    def holder_may_have_changed(self, tap: Tap) -> None:
        self.calls.append(("holder_may_have_changed", tap.name, tap.tag))

    def restored(self, piece: str, name: str) -> None:
        self.calls.append(("restored", piece, name))

    def of(self, method: str) -> list[tuple[Any, ...]]:
        """Return the arguments of each call of *method*."""
        return [call[1:] for call in self.calls if call[0] == method]


class Host(Protocol):
    """A host, real or not: what its hypervisor and its administrator do to it, and what a test can see on it.

    The names of its taps match *patterns*. Taps are persistent: they exist without a process that holds them.
    """

    patterns: tuple[str, ...]

    def start(self) -> tuple[Steering, Recorder]:
        """Start a daemon's steering; return it, and its observer, when all taps have appeared."""

    def crash(self) -> None:
        """End the daemon without letting it do anything."""

    def until(self, condition: Callable[[], object]) -> None:
        """Let time pass until *condition* holds; fail when it does not within ten seconds."""

    def rest(self) -> None:
        """Let a second pass."""

    def lost_messages(self) -> AbstractContextManager[None]:
        """Let the kernel drop the netlink messages about the changes that are made within the context."""

    def add_tap(self, name: str) -> None: ...
    def add_bridge(self, name: str) -> None: ...
    def rename(self, name: str, new: str) -> None: ...
    def delete(self, name: str) -> None: ...
    def hold(self, name: str) -> None:
        """Let a process open the tap: it gets its carrier."""

    def release(self, name: str) -> None:
        """Let that process end: the tap loses its carrier."""

    def delete_filter(self, name: str) -> None: ...
    def delete_qdisc(self, name: str) -> None: ...
    def add_qdisc(self, name: str) -> None: ...
    def add_foreign_filter(self, name: str) -> None: ...
    def filters(self, name: str) -> Sequence[str]:
        """Return "ours" and "foreign", for the filters on the ingress of a link."""

    def qdiscs(self, name: str) -> Sequence[str]:
        """Return the qdiscs on the ingress of a link."""

    def tags(self) -> Mapping[str, int]:
        """Return the tags that the programs know, by the names of their taps ("link 7" when link 7 is gone)."""

    def damage(self, piece: str) -> None:
        """Remove or change a piece of the path: a key of :data:`DAMAGES`."""

    def missing(self) -> Mapping[str, Sequence[str]]:
        """Return the missing pieces of the path by part."""

    def give_the_name_away(self) -> None:
        """Delete the private namespace's name and give it to another namespace."""

    def take_the_name_back(self) -> None:
        """Delete that other namespace."""

    def leftovers(self) -> Sequence[str]:
        """Return everything that steering has left behind on the host, which may keep its taps."""


class SteeringContract:
    """The tests of :class:`Steering` and its guard. Whoever inherits them has the fixture *host*."""

    def test_taps_get_tag_and_filter_when_they_appear(self, host: Host) -> None:
        host.add_tap("vnet0")
        _, recorder = host.start()
        assert recorder.calls == [("tap_appeared", "vnet0", 1), ("taps_complete",)]
        host.add_tap("vnet1")
        host.until(lambda: host.filters("vnet1"))
        assert host.filters("vnet0") == host.filters("vnet1") == ["ours"]
        assert host.tags() == {"vnet0": 1, "vnet1": 2}
        assert recorder.of("tap_appeared")[1:] == [("vnet1", 2)]

    def test_the_observer_knows_a_tag_before_the_filter_lets_a_frame_pass(self, host: Host) -> None:
        host.add_tap("vnet0")
        _, recorder = host.start()
        host.add_tap("vnet1")
        host.until(lambda: host.filters("vnet1"))
        assert recorder.unfiltered == {1: "vnet0", 2: "vnet1"}

    def test_other_links_are_left_alone(self, host: Host) -> None:
        host.add_tap("other0")
        host.add_bridge("vnet9")
        _, recorder = host.start()
        host.rest()
        assert recorder.calls == [("taps_complete",)]
        assert host.filters("other0") == host.filters("vnet9") == []
        assert host.tags() == {}

    def test_a_deleted_tap_is_gone_and_its_tag_is_not_given_again(self, host: Host) -> None:
        host.add_tap("vnet0")
        _, recorder = host.start()
        host.delete("vnet0")
        host.until(lambda: recorder.of("tap_gone"))
        assert recorder.of("tap_gone") == [("vnet0", 1)]
        assert host.tags() == {}
        host.add_tap("vnet0")
        host.until(host.tags)
        assert host.tags() == {"vnet0": 2}

    def test_a_renamed_tap_gets_a_new_tag(self, host: Host) -> None:
        host.add_tap("vnet0")
        _, recorder = host.start()
        host.rename("vnet0", "vnet1")
        host.until(lambda: host.filters("vnet1") and host.tags() == {"vnet1": 2})
        assert recorder.of("tap_gone") == [("vnet0", 1)]
        assert recorder.of("tap_appeared") == [("vnet0", 1), ("vnet1", 2)]

    def test_a_tap_that_gets_the_name_of_another_link_loses_tag_and_filter(self, host: Host) -> None:
        host.add_tap("vnet0")
        _, recorder = host.start()
        host.rename("vnet0", "other0")
        host.until(lambda: recorder.of("tap_gone"))
        assert (host.filters("other0"), host.qdiscs("other0"), host.tags()) == ([], [], {})

    def test_a_tap_that_loses_its_carrier_gets_a_new_tag_at_once(self, host: Host) -> None:
        """A request of the next holder is never taken for one of the holder before."""
        host.add_tap("vnet0")
        host.hold("vnet0")
        _, recorder = host.start()
        assert recorder.of("holder_may_have_changed") == []
        host.release("vnet0")
        host.until(lambda: host.tags() == {"vnet0": 2})
        assert recorder.calls[2:] == [("tap_gone", "vnet0", 1), ("tap_appeared", "vnet0", 2)]
        host.hold("vnet0")
        host.until(lambda: recorder.of("holder_may_have_changed"))
        assert recorder.of("holder_may_have_changed") == [("vnet0", 2)]
        assert (host.tags(), host.filters("vnet0")) == ({"vnet0": 2}, ["ours"])

    def test_the_first_carrier_leaves_a_tap_its_tag(self, host: Host) -> None:
        host.add_tap("vnet0")
        _, recorder = host.start()
        host.hold("vnet0")
        host.until(lambda: recorder.of("holder_may_have_changed"))
        assert host.tags() == {"vnet0": 1}
        assert recorder.of("tap_gone") == []

    def test_a_carrier_that_goes_and_comes_unseen_still_brings_a_new_tag(self, host: Host) -> None:
        host.add_tap("vnet0")
        host.hold("vnet0")
        steering, _ = host.start()
        with host.lost_messages():
            host.release("vnet0")
            host.hold("vnet0")
        host.until(lambda: host.tags() == {"vnet0": 2})
        assert steering.overruns > 0

    def test_dhcp_is_answered_under_the_tag_until_it_is_changed(self, host: Host) -> None:
        host.add_tap("vnet0")
        host.add_tap("vnet1")
        steering, _ = host.start()
        assert steering.dhcp(1) == TapDhcp()
        steering.set_dhcp(1, LEASE, deny_servers=True)
        steering.set_dhcp(2, None, deny_servers=True)
        assert [steering.dhcp(tag) for tag in (1, 2)] == [TapDhcp(LEASE, True), TapDhcp(None, True)]
        steering.set_dhcp(1, LEASE, deny_servers=False)
        steering.set_dhcp(2, None, deny_servers=False)
        assert [steering.dhcp(tag) for tag in (1, 2)] == [TapDhcp(LEASE, False), TapDhcp()]

    def test_the_next_holder_of_a_tap_is_never_given_the_lease_of_the_one_before(self, host: Host) -> None:
        host.add_tap("vnet0")
        host.hold("vnet0")
        steering, _ = host.start()
        steering.set_dhcp(1, LEASE, deny_servers=True)
        host.release("vnet0")
        host.until(lambda: host.tags() == {"vnet0": 2})
        # Whoever has not noticed yet that the tap has another tag, gives the lease to nobody.
        steering.set_dhcp(1, LEASE, deny_servers=True)
        assert [steering.dhcp(tag) for tag in (1, 2)] == [TapDhcp(), TapDhcp()]

    def test_a_deleted_tap_takes_its_lease_with_it(self, host: Host) -> None:
        host.add_tap("vnet0")
        steering, recorder = host.start()
        steering.set_dhcp(1, LEASE, deny_servers=True)
        host.delete("vnet0")
        host.until(lambda: recorder.of("tap_gone"))
        assert steering.dhcp(1) == TapDhcp()

    def test_leases_outlive_the_daemon_like_the_tags_that_they_belong_to(self, host: Host) -> None:
        for tap in ("vnet0", "vnet1", "vnet2"):
            host.add_tap(tap)
            host.hold(tap)
        steering, _ = host.start()
        for tag in (1, 2, 3):
            steering.set_dhcp(tag, LEASE, deny_servers=True)
        host.crash()
        host.release("vnet1")
        host.hold("vnet1")
        host.delete("vnet2")
        steering, _ = host.start()
        assert host.tags() == {"vnet0": 1, "vnet1": 4}
        assert [steering.dhcp(tag) for tag in (1, 2, 3, 4)] == [TapDhcp(LEASE, True), *[TapDhcp()] * 3]

    def test_lost_messages_hide_neither_new_taps_nor_deleted_ones(self, host: Host) -> None:
        host.add_tap("vnet0")
        steering, recorder = host.start()
        with host.lost_messages():
            host.delete("vnet0")
            host.add_tap("vnet1")
        host.until(lambda: host.tags() == {"vnet1": 2} and len(recorder.of("taps_complete")) > 1)
        assert recorder.of("tap_gone") == [("vnet0", 1)]
        assert host.filters("vnet1") == ["ours"]
        assert steering.overruns > 0

    def test_who_has_caught_up_knows_the_new_holder_of_a_tap(self, host: Host) -> None:
        """Without a turn of the reactor, which may have much else to do first."""
        host.add_tap("vnet0")
        host.hold("vnet0")
        steering, recorder = host.start()
        host.release("vnet0")
        host.hold("vnet0")
        # A real kernel reports carriers from a thread of its own: in one message, or the loss before the return.
        calls = [("tap_appeared", "vnet0", 2), ("holder_may_have_changed", "vnet0", 2)]
        deadline = time.monotonic() + 5
        while recorder.calls[-2:] != calls and time.monotonic() < deadline:
            time.sleep(0.01)
            steering.catch_up(1.0)
        assert recorder.calls[-2:] == calls
        assert host.tags() == {"vnet0": 2}
        assert steering.catch_up(2.0) == 2.0

    def test_after_lost_messages_nothing_is_caught_up_until_all_links_were_read_again(self, host: Host) -> None:
        host.add_tap("vnet0")
        host.hold("vnet0")
        steering, _ = host.start()
        assert steering.catch_up(1.0) == 1.0
        with host.lost_messages():
            host.release("vnet0")
            host.hold("vnet0")
        assert steering.catch_up(2.0) is None
        assert host.tags() == {"vnet0": 1}
        host.until(lambda: steering.catch_up(3.0) == 3.0)
        assert host.tags() == {"vnet0": 2}

    def test_lost_messages_do_not_hide_the_loss_of_a_filter(self, host: Host) -> None:
        host.add_tap("vnet0")
        _, recorder = host.start()
        with host.lost_messages():
            host.delete_filter("vnet0")
        host.until(lambda: recorder.of("restored"))
        assert recorder.of("restored") == [("filter", "vnet0")]
        assert host.filters("vnet0") == ["ours"]

    @pytest.mark.parametrize("delete", ["filter", "qdisc"])
    def test_a_filter_that_somebody_deletes_is_restored_and_the_tag_stays(self, host: Host, delete: str) -> None:
        host.add_tap("vnet0")
        _, recorder = host.start()
        (host.delete_filter if delete == "filter" else host.delete_qdisc)("vnet0")
        host.until(lambda: recorder.of("restored"))
        assert recorder.of("restored") == [("filter", "vnet0")]
        assert (host.filters("vnet0"), host.tags()) == (["ours"], {"vnet0": 1})

    def test_somebody_may_replace_the_qdisc_with_one_of_their_own(self, host: Host) -> None:
        """libvirt's bandwidth limits: our qdisc must not return between its "del" and its "add"."""
        host.add_tap("vnet0")
        _, recorder = host.start()
        host.delete_qdisc("vnet0")
        host.add_qdisc("vnet0")
        host.until(lambda: recorder.of("restored"))
        assert (host.filters("vnet0"), host.qdiscs("vnet0")) == (["ours"], ["ingress"])

    def test_filters_of_others_survive(self, host: Host) -> None:
        host.add_tap("vnet0")
        host.add_qdisc("vnet0")
        host.add_foreign_filter("vnet0")
        steering, _ = host.start()
        assert sorted(host.filters("vnet0")) == ["foreign", "ours"]
        steering.stop()
        assert (host.filters("vnet0"), host.qdiscs("vnet0")) == (["foreign"], ["ingress"])

    def test_stopping_leaves_nothing(self, host: Host) -> None:
        host.add_tap("vnet0")
        host.add_tap("vnet1")
        steering, recorder = host.start()
        assert host.missing() == {}
        assert host.leftovers() != []
        steering.stop()
        assert sorted(recorder.of("tap_gone")) == [("vnet0", 1), ("vnet1", 2)]
        assert host.leftovers() == []
        for tap in ("vnet0", "vnet1"):
            assert (host.filters(tap), host.qdiscs(tap)) == ([], [])

    def test_a_daemon_adopts_what_one_that_died_left(self, host: Host) -> None:
        """Each tap keeps its tag; a tap that is gone has none any more; counting goes on."""
        for tap in ("vnet0", "vnet1", "vnet2"):
            host.add_tap(tap)
        host.hold("vnet2")
        host.start()
        host.crash()
        assert (host.filters("vnet0"), host.tags()) == (["ours"], {"vnet0": 1, "vnet1": 2, "vnet2": 3})
        host.delete("vnet1")
        host.add_tap("vnet3")
        _, recorder = host.start()
        assert sorted(recorder.of("tap_appeared")) == [("vnet0", 1), ("vnet2", 3), ("vnet3", 4)]
        assert host.tags() == {"vnet0": 1, "vnet2": 3, "vnet3": 4}
        assert host.missing() == {}

    def test_a_tap_that_lost_its_carrier_while_no_daemon_ran_gets_a_new_tag(self, host: Host) -> None:
        for tap in ("vnet0", "vnet1"):
            host.add_tap(tap)
            host.hold(tap)
        host.start()
        host.crash()
        host.release("vnet0")
        host.hold("vnet0")
        host.start()
        assert host.tags() == {"vnet0": 3, "vnet1": 2}

    def test_a_link_that_is_no_tap_any_more_loses_filter_and_tag(self, host: Host) -> None:
        host.add_tap("vnet0")
        host.add_tap("other0")
        host.patterns = ("vnet*", "other*")
        host.start()
        assert host.filters("other0") == ["ours"]
        host.crash()
        host.patterns = ("vnet*",)
        host.start()
        assert (host.filters("other0"), host.qdiscs("other0")) == ([], [])
        assert host.tags().keys() == {"vnet0"}

    @pytest.mark.parametrize("piece", DAMAGES)
    def test_a_missing_piece_of_the_path_is_restored_and_reported(self, host: Host, piece: str) -> None:
        host.add_tap("vnet0")
        steering, recorder = host.start()
        host.damage(piece)
        host.until(lambda: DAMAGES[piece] in {part for part, _ in recorder.of("restored")})
        assert host.missing() == {}
        assert steering.path_problem is None
        assert (host.filters("vnet0"), host.tags()) == (["ours"], {"vnet0": 1})

    def test_a_path_that_is_whole_is_left_alone(self, host: Host) -> None:
        _, recorder = host.start()
        for _ in range(4):
            host.rest()
        assert recorder.of("restored") == []

    def test_a_piece_that_cannot_be_restored_is_a_problem_until_it_can(self, host: Host) -> None:
        steering, _ = host.start()
        host.give_the_name_away()
        host.until(lambda: steering.path_problem is not None)
        assert "gave it to another namespace" in str(steering.path_problem)
        host.take_the_name_back()
        host.until(lambda: steering.path_problem is None)
        assert host.missing() == {}
