"""Steering's and its guard's decisions, on a host in memory."""

from __future__ import annotations

import errno
from unittest import mock

import pytest

from eve_meta.steering.path.guard import PERIOD
from eve_meta.steering.path.listening import WorkerSockets
from eve_meta.steering.steering import RESTORE_DELAY
from eve_meta.steering.taps.links import CATCH_UP
from eve_meta.steering.taps.tags import QUARANTINE
from eve_meta.values.problem import Problem
from tests.contracts.fake_kernel import FakeHost, FakeLink
from tests.contracts.steering_contract import SteeringContract


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


class TestOnAFakeKernel(SteeringContract):
    """The contract, in memory."""


def test_a_tag_is_free_again_after_its_quarantine(host: FakeHost) -> None:
    with mock.patch("eve_meta.steering.taps.tags.MAX_TAG", 2):
        steering, _ = host.start()
        for name in ("vnet0", "vnet1"):
            host.add_tap(name)
        host.until(lambda: host.tags() == {"vnet0": 1, "vnet1": 2})
        host.delete("vnet0")
        host.add_tap("vnet2")
        host.rest()
        assert host.tags() == {"vnet1": 2}
        assert "no tag is free" in steering.problems["vnet2"]
        host.now += QUARANTINE
        host.hold("vnet2")
        host.until(lambda: host.tags() == {"vnet1": 2, "vnet2": 1})
        assert steering.problems == {}


def test_the_guests_of_a_worker_are_led_to_its_new_sockets(host: FakeHost) -> None:
    steering, _ = host.start()
    assert host.open_maps().places() == (1,)
    new = steering.replace(0, WorkerSockets(1, ()))
    assert (new.place, host.open_maps().places()) == (2, (2,))
    assert (steering.replace(0, new).place, host.open_maps().places()) == (1, (1,))


def test_a_filter_that_cannot_be_attached_leaves_no_tag_and_is_a_problem(host: FakeHost) -> None:
    host.add_tap("vnet0")
    host.refused[host.ifindex("vnet0")] = errno.ENOMEM
    steering, recorder = host.start()
    assert recorder.calls == [("tap_appeared", "vnet0", 1), ("tap_gone", "vnet0", 1), ("taps_complete",)]
    assert "cannot attach the filter" in steering.problems["vnet0"]
    assert host.tags() == {}


def test_a_filter_that_cannot_be_restored_is_tried_again(host: FakeHost) -> None:
    host.add_tap("vnet0")
    steering, recorder = host.start()
    ifindex = host.ifindex("vnet0")
    host.refused[ifindex] = errno.ENOMEM
    host.delete_filter("vnet0")
    host.until(lambda: "cannot attach the filter again" in steering.problems.get("vnet0", ""))
    host.refused.clear()
    host.run(PERIOD + 1)
    assert (steering.problems, host.filters("vnet0")) == ({}, ["ours"])
    assert recorder.of("restored") == [("filter", "vnet0")]


def test_a_lost_filter_returns_only_after_the_time_that_libvirt_needs_for_its_qdisc(host: FakeHost) -> None:
    host.add_tap("vnet0")
    host.start()
    host.delete_qdisc("vnet0")
    host.run(RESTORE_DELAY / 2)
    assert host.qdiscs("vnet0") == []
    host.add_qdisc("vnet0")
    host.run(0.05)
    assert host.filters("vnet0") == ["ours"]


def test_tags_of_adopted_taps_are_not_given_again(host: FakeHost) -> None:
    with mock.patch("eve_meta.steering.taps.tags.MAX_TAG", 2):
        for name in ("vnet0", "vnet1"):
            host.add_tap(name)
        host.start()
        host.crash()
        host.add_tap("vnet2")
        steering, _ = host.start()
        assert host.tags() == {"vnet0": 1, "vnet1": 2}
        assert "no tag is free" in steering.problems["vnet2"]


def test_a_restoration_that_fails_is_tried_again_though_nothing_changes(host: FakeHost) -> None:
    steering, _ = host.start()
    host.iptables_fail = True
    host.damage("rules")
    host.until(lambda: steering.path_problem == "iptables-restore refused the rules")
    host.run(PERIOD * 2)
    host.iptables_fail = False
    host.until(lambda: steering.path_problem is None)
    assert host.missing() == {}


def test_a_macvtap_that_matches_a_pattern_gets_no_tag_and_is_a_problem(host: FakeHost) -> None:
    host.add(FakeLink("vnet0", kind="macvtap", carrier=True))
    host.add(FakeLink("elsewhere", kind="macvtap", carrier=True))
    steering, _ = host.start()
    assert host.tags() == {}
    (problem,) = steering.problems.items()
    assert problem[0] == "vnet0"
    assert "it is a macvtap: its guest's frames go straight to the link below" in problem[1]
    assert "use a tap: <interface type='bridge'>" in problem[1]
    host.rename("vnet0", "vnet1")
    host.until(lambda: set(steering.problems) == {"vnet1"})
    host.rename("vnet1", "other")
    host.until(lambda: steering.problems == {})
    host.rename("other", "vnet0")
    host.until(lambda: set(steering.problems) == {"vnet0"})
    host.delete("vnet0")
    host.until(lambda: steering.problems == {})


def test_whoever_asks_for_a_restoration_learns_when_it_has_ended(host: FakeHost) -> None:
    steering, _ = host.start()
    host.damaged.add("sysctl")  # which nothing reports
    found: list[tuple[set[str], str | None]] = []

    def note(_: None) -> None:
        found.append((set(host.missing()), steering.path_problem))

    steering.restore().addCallback(note)
    assert found == []
    host.until(lambda: found)
    assert found == [(set(), None)]

    host.iptables_fail = True
    host.damage("rules")
    for _ in range(2):
        steering.restore().addCallback(note)
    host.until(lambda: len(found) == 3)
    assert found[1:] == [({"rules"}, "iptables-restore refused the rules")] * 2

    host.iptables_fail = False
    steering.restore().addCallback(note)
    host.until(lambda: len(found) == 4)
    assert found[3] == (set(), None)


def test_a_restoration_of_which_nothing_comes_because_steering_stops_ends_all_the_same(host: FakeHost) -> None:
    steering, _ = host.start()
    ended: list[None] = []
    steering.restore().addCallback(ended.append)
    steering.stop()
    steering.restore().addCallback(ended.append)
    assert ended == [None, None]


def test_a_tap_that_went_before_its_message_is_read_gets_no_tag(host: FakeHost) -> None:
    _, recorder = host.start()
    host.add_tap("vnet0")
    host.delete("vnet0")
    host.rest()
    assert recorder.of("tap_appeared") == []
    host.add_tap("vnet1")
    host.until(host.tags)
    assert host.tags() == {"vnet1": 1}


def test_a_start_that_fails_leaves_nothing(host: FakeHost) -> None:
    host.add_tap("vnet0")
    host.out_of_sockets = True
    with pytest.raises(OSError, match="Too many"):
        host.start()
    assert host.leftovers() == []


def test_a_second_daemon_does_not_start_and_changes_nothing(host: FakeHost) -> None:
    host.add_tap("vnet0")
    host.start()
    with pytest.raises(Problem, match="another eve-meta runs"):
        host.start()
    assert (host.tags(), host.filters("vnet0"), host.missing()) == ({"vnet0": 1}, ["ours"], {})


def test_a_guard_that_is_stopped_restores_nothing(host: FakeHost) -> None:
    steering, recorder = host.start()
    host.damage("rules")
    host.run(0.1)  # the guard knows, and waits for the end of the changes
    steering.stop()
    host.run(PERIOD * 2)
    assert recorder.of("restored") == []
    assert host.leftovers() == []
    assert host.reactor.getDelayedCalls() == []


def test_one_attempt_to_catch_up_reads_a_bounded_number_of_messages(host: FakeHost) -> None:
    """A guest's owner may make links faster than they are read, and the reactor has other things to do."""
    steering, _ = host.start()
    for number in range(CATCH_UP + 1):
        host.add_tap(f"vnet{number}")
    assert steering.catch_up(1.0) is None
    assert len(host.tags()) == CATCH_UP
    host.until(lambda: steering.catch_up(2.0) is not None)
    assert len(host.tags()) == CATCH_UP + 1


def test_a_queue_that_never_becomes_empty_is_read_up_to_a_moment_all_the_same(host: FakeHost) -> None:
    """What the kernel had reported until a moment is known once it was read, whatever has been reported since."""
    steering, _ = host.start()
    for number in range(CATCH_UP):
        host.add_tap(f"vnet{number}")
    assert steering.catch_up(1.0) is None
    host.add_tap("tap0")
    while steering.catch_up(2.0) is None:
        host.add_tap(f"tap{len(host.tags())}")
    assert len(host.tags()) >= CATCH_UP
    assert steering.catch_up(3.0) in (1.0, 2.0)
