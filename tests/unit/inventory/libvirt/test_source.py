"""libvirt as a source: which taps it gives to whom, above all when what it says is out of date."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from uuid import UUID

import pytest
from twisted.internet.task import Clock

from eve_meta.config import InventoryConfig
from eve_meta.inventory import Inventory
from eve_meta.inventory.libvirt.source import NOBODY_TIME, SETTLE_TIME, SLOW_TIME, LibvirtSource
from eve_meta.runtime.reactor import reactor
from eve_meta.values.problem import Problem
from tests.unit.inventory.fakelibvirt import FakeLibvirt
from tests.unit.inventory.libvirtcontract import UUID1, UUID2

XML1, XML2 = "libvirt XML of web1", "libvirt XML of web2"


class Scene:
    """A source, its libvirtd, and taps that come and go."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.virt = FakeLibvirt(self.clock)
        self.source = LibvirtSource(self.virt, "qemu:///system", self.clock)
        self.changes = 0
        self.taps: list[str] = []
        # Everything that it ever said of a tap.
        self.said: set[tuple[str, tuple[str, ...]]] = set()

    def start(self) -> None:
        self.source.start(self._changed)
        self.rest()

    def _changed(self) -> None:
        self.changes += 1

    def rest(self, seconds: float = 0.5) -> None:
        """Let time pass."""
        for _ in range(round(seconds / 0.05)):
            self.clock.advance(0.05)
            self.said |= {(tap, tuple(origins)) for tap, origins in self.source.answers().items()}

    def appear(self, tap: str) -> None:
        """As the supervisor tells it."""
        self.source.holder_may_have_changed(tap)
        self.taps.append(tap)
        self.source.taps_changed(self.taps)
        self.rest()

    def vanish(self, tap: str) -> None:
        self.taps.remove(tap)
        self.source.taps_changed(self.taps)
        self.rest()

    def answer(self, tap: str) -> list[str] | None:
        found = self.source.answers().get(tap)
        return None if found is None else list(found)

    def names(self) -> list[str | None]:
        return [domain.name for domain in self.source.layers()[1].domains.values()]

    def problems(self) -> list[str]:
        return [str(problem) for problem in self.source.problems()]


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    made.virt.define("web1", UUID1)
    made.virt.define("web2", UUID2)
    yield made
    made.source.stop()
    changes = made.changes
    made.rest(10)
    assert made.changes == changes


def test_all_domains_are_read_at_the_start(scene: Scene) -> None:
    scene.start()
    assert scene.names() == ["web1", "web2"]
    assert scene.changes > 0
    assert scene.problems() == []


def test_a_domain_that_starts(scene: Scene) -> None:
    scene.start()
    scene.appear("vnet0")
    assert scene.answer("vnet0") is None
    scene.virt.begin(UUID1, "vnet0")
    scene.rest()
    assert scene.answer("vnet0") == [XML1]


def test_domains_that_run_already(scene: Scene) -> None:
    scene.virt.begin(UUID1, "vnet0")
    scene.virt.begin(UUID2, "vnet1", "vnet2")
    scene.start()
    for tap in ("vnet0", "vnet1", "vnet2"):
        scene.appear(tap)
    scene.rest(SETTLE_TIME)
    assert [scene.answer(tap) for tap in ("vnet0", "vnet1", "vnet2")] == [[XML1], [XML2], [XML2]]


def test_an_event_that_comes_before_the_news_of_its_tap(scene: Scene) -> None:
    scene.start()
    scene.virt.begin(UUID1, "vnet0")
    scene.rest()
    scene.appear("vnet0")
    assert scene.answer("vnet0") is None
    scene.rest(SETTLE_TIME)
    assert scene.answer("vnet0") == [XML1]


def test_a_nic_that_is_plugged_in_and_out(scene: Scene) -> None:
    scene.virt.begin(UUID1, "vnet0")
    scene.start()
    scene.appear("vnet5")
    scene.virt.plug(UUID1, "vnet5")
    scene.rest()
    assert scene.answer("vnet5") == [XML1]
    scene.virt.domains[UUID(UUID1)].taps.remove("vnet5")
    scene.vanish("vnet5")
    assert scene.answer("vnet5") is None


def test_a_tap_that_comes_back_as_another_domains(scene: Scene) -> None:
    """libvirtd has not heard yet that the first QEMU ended, and gives its XML with the tap in it."""
    scene.start()
    scene.appear("vnet0")
    scene.virt.begin(UUID1, "vnet0")
    scene.rest()
    assert scene.answer("vnet0") == [XML1]
    scene.said.clear()
    scene.vanish("vnet0")
    scene.appear("vnet0")
    assert scene.answer("vnet0") is None
    # Something else about the old one comes to light meanwhile, and what libvirtd says of it was true a moment ago.
    scene.virt.destroy(UUID1)
    scene.virt.begin(UUID2, "vnet0")
    scene.rest(NOBODY_TIME)
    assert scene.said == {("vnet0", (XML2,))}


def test_a_tap_that_changes_hands_within_one_turn(scene: Scene) -> None:
    """Its name never vanished, as far as anybody saw."""
    scene.start()
    scene.appear("vnet0")
    scene.virt.begin(UUID1, "vnet0")
    scene.rest()
    scene.source.holder_may_have_changed("vnet0")
    assert scene.answer("vnet0") is None
    scene.virt.destroy(UUID1)
    scene.virt.begin(UUID2, "vnet0")
    scene.said.clear()
    scene.rest(NOBODY_TIME)
    assert scene.said == {("vnet0", (XML2,))}


def test_an_answer_that_was_asked_for_before_the_tap_changed_does_not_count(scene: Scene) -> None:
    scene.start()
    scene.appear("vnet0")
    scene.virt.begin(UUID1, "vnet0")
    scene.clock.advance(0)  # the event is told, and the question asked
    scene.clock.advance(0)  # libvirtd answers
    scene.source.holder_may_have_changed("vnet0")
    scene.clock.advance(0.01)
    assert scene.answer("vnet0") is None
    scene.rest(SETTLE_TIME)
    assert scene.answer("vnet0") == [XML1]


def test_the_old_owner_is_asked_only_when_libvirtd_has_had_time(scene: Scene) -> None:
    scene.start()
    scene.appear("vnet0")
    scene.virt.begin(UUID1, "vnet0")
    scene.rest()
    scene.virt.asked.clear()
    scene.source.holder_may_have_changed("vnet0")
    scene.rest(SETTLE_TIME - 0.1)
    assert scene.virt.asked == []
    scene.rest(0.5)
    assert scene.virt.asked == [UUID1]
    assert scene.answer("vnet0") == [XML1]


def test_a_tap_of_no_domain(scene: Scene) -> None:
    scene.start()
    scene.appear("tap9")
    scene.rest(NOBODY_TIME - 1)
    assert scene.answer("tap9") is None
    scene.rest(2)
    assert scene.answer("tap9") == []
    scene.virt.begin(UUID1, "tap9")
    scene.rest()
    assert scene.answer("tap9") == [XML1]


def test_a_tap_that_two_domains_claim(scene: Scene) -> None:
    scene.start()
    scene.appear("vnet0")
    scene.virt.begin(UUID1, "vnet0")
    scene.virt.begin(UUID2, "vnet0")
    scene.rest()
    assert sorted(scene.answer("vnet0") or []) == [XML1, XML2]


def test_a_domain_that_does_not_run_claims_nothing(scene: Scene) -> None:
    scene.virt.domains[UUID(UUID1)].taps = ["tap0"]
    scene.start()
    scene.appear("tap0")
    scene.rest(NOBODY_TIME + 1)
    assert scene.answer("tap0") == []


def test_a_libvirtd_that_restarts(scene: Scene) -> None:
    scene.start()
    scene.appear("vnet0")
    scene.virt.begin(UUID1, "vnet0")
    scene.rest()
    scene.virt.stop_daemon()
    scene.rest()
    assert scene.problems() == [
        "libvirt qemu:///system: warning: cannot connect: domains that are known are served as before"
    ]
    assert scene.source.away
    # What was known stays; a tap that comes now waits.
    assert scene.answer("vnet0") == [XML1]
    assert scene.names() == ["web2", "web1"]
    scene.virt.domains[UUID(UUID2)].number, scene.virt.domains[UUID(UUID2)].taps = 7, ["vnet1"]
    scene.appear("vnet1")
    scene.rest(NOBODY_TIME)
    assert scene.answer("vnet1") is None
    scene.virt.set_metadata(UUID1, "hostname: h")  # which nobody tells us
    scene.virt.start_daemon()
    scene.rest(2)
    assert (scene.problems(), scene.source.away) == ([], False)
    assert (scene.answer("vnet0"), scene.answer("vnet1")) == ([XML1], [XML2])
    (metadata,) = scene.source.layers()[0].domains.values()
    assert metadata.hostname == "h"


def test_a_tap_of_a_known_domain_is_nobodys_only_when_that_was_asked_again(scene: Scene) -> None:
    """Its NIC was plugged in while libvirtd was away."""
    scene.virt.begin(UUID1, "vnet0")
    scene.start()
    scene.virt.stop_daemon()
    scene.rest()
    scene.virt.domains[UUID(UUID1)].taps.append("vnet1")
    scene.appear("vnet1")
    scene.rest(NOBODY_TIME + 1)
    scene.virt.start_daemon()
    scene.rest(2)
    assert {said for tap, said in scene.said if tap == "vnet1"} == {(XML1,)}


def test_a_domain_that_is_gone_when_libvirtd_is_back(scene: Scene) -> None:
    scene.start()
    scene.virt.stop_daemon()
    scene.rest()
    del scene.virt.domains[UUID(UUID1)]
    scene.virt.start_daemon()
    scene.rest(2)
    assert scene.names() == ["web2"]


def test_a_libvirtd_that_hangs_at_the_start(scene: Scene) -> None:
    scene.virt.hanging = True
    scene.start()
    scene.rest(SLOW_TIME)
    assert scene.changes == 1
    assert scene.problems() == [
        "libvirt qemu:///system: warning: has not answered yet: domains that are known are served as before"
    ]


def test_broken_metadata_keep_the_last_good_ones(scene: Scene) -> None:
    def hostnames() -> list[str | None]:
        return [domain.hostname for domain in scene.source.layers()[0].domains.values()]

    scene.start()
    scene.virt.set_metadata(UUID1, "hostname: a")
    scene.rest()
    assert hostnames() == ["a"]
    scene.virt.set_metadata(UUID1, "hostname: '-'")
    scene.rest()
    assert hostnames() == ["a"]
    assert scene.problems() == [
        "libvirt metadata of web1:1: hostname: expected a host name such as web1.example.org, got '-'"
    ]
    scene.virt.set_metadata(UUID1, None)
    scene.rest()
    assert (hostnames(), scene.problems()) == ([], [])


def test_what_did_not_change_is_the_same_object(scene: Scene) -> None:
    scene.start()
    scene.virt.set_metadata(UUID1, "hostname: a")
    scene.rest()
    before = [domain for layer in scene.source.layers() for domain in layer.domains.values()]
    scene.virt.set_metadata(UUID1, "hostname: a")
    scene.rest()
    after = [domain for layer in scene.source.layers() for domain in layer.domains.values()]
    assert {id(domain) for domain in before} == {id(domain) for domain in after}


def test_a_domain_that_cannot_be_read_stays_what_it_was(scene: Scene) -> None:
    scene.start()
    scene.virt.broken.add(UUID(UUID1))
    scene.virt.set_metadata(UUID1, "hostname: a")
    scene.rest()
    assert scene.problems() == [f"libvirt domain {UUID1}: cannot read its XML: no"]
    assert sorted(map(str, scene.names())) == ["web1", "web2"]
    scene.virt.broken.clear()
    scene.virt.set_metadata(UUID1, "hostname: b")
    scene.rest()
    assert scene.problems() == []


def test_a_name_that_another_domain_has_now(scene: Scene) -> None:
    scene.start()
    scene.virt.domains[UUID(UUID1)].name = "old"  # of which no event has told
    scene.virt.domains[UUID(UUID2)].name = "web1"
    scene.virt.set_metadata(UUID2, "hostname: a")
    scene.rest()
    assert {str(domain.uuid): domain.name for domain in scene.source.layers()[1].domains.values()} == {
        UUID1: "old",
        UUID2: "web1",
    }


def test_questions_are_not_more_than_what_happens(scene: Scene) -> None:
    scene.start()
    scene.virt.asked.clear()
    scene.rest(600)
    assert scene.virt.asked == []


# -- without libvirt's module --


def test_a_module_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libvirt", None)
    with pytest.raises(Problem, match="install the package python3-libvirt"):
        Inventory(InventoryConfig(libvirt="qemu:///system"), reactor)


def test_nothing_of_libvirt_is_imported_unless_configured() -> None:
    text = (
        "import sys; from eve_meta.config import InventoryConfig; from eve_meta.inventory import Inventory; "
        "from eve_meta.runtime.reactor import reactor; Inventory(InventoryConfig(), reactor); "
        "print('libvirt' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", text], capture_output=True, check=True).stdout == b"False\n"
