"""libvirt as a source: which tap is which domain's, above all when libvirtd's answer is out of date."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from twisted.internet.task import Clock

from eve_meta.config import InventoryConfig
from eve_meta.inventory import Inventory
from eve_meta.inventory.libvirt.host import HostLibvirt
from eve_meta.inventory.libvirt.source import NOBODY_TIME, SEEK_TIME, SETTLE_TIME, SLOW_TIME, LibvirtSource
from eve_meta.inventory.vmm.process import Owner
from eve_meta.runtime.reactor import reactor
from eve_meta.values.problem import Problem
from tests.contracts.fake_libvirt import FakeLibvirt
from tests.contracts.fake_reader import FakeReader
from tests.contracts.libvirt_contract import UUID1, UUID2

XML1, XML2 = "libvirt XML of web1", "libvirt XML of web2"

QEMU = Owner(pid=7, start=1, uuid=UUID(UUID1))
USERS = Owner(pid=8, start=1, uuid=UUID(UUID1), uid=1000, trusted=False)
FOREIGN = Owner(pid=9, start=1, uuid=UUID(int=9))


class Scene:
    """A source, its libvirtd, and taps that come and go."""

    def __init__(self, host: HostLibvirt | None = None) -> None:
        self.clock = Clock()
        self.libvirtd = FakeLibvirt(self.clock)
        self.source = LibvirtSource(self.libvirtd, "qemu:///system", self.clock, host)
        self.changes = 0
        self.taps: list[str] = []
        # Every answer about a tap that there ever was.
        self.answers: set[tuple[str, tuple[str, ...]]] = set()

    def start(self) -> None:
        self.source.start(self._changed)
        self.rest()

    def _changed(self) -> None:
        self.changes += 1

    def rest(self, seconds: float = 0.5) -> None:
        """Let time pass."""
        for _ in range(round(seconds / 0.05)):
            self.clock.advance(0.05)
            self.answers |= {(tap, tuple(origins)) for tap, origins in self.source.answers().items()}

    def appear(self, tap: str) -> None:
        """Let a tap appear, with the calls that the supervisor makes then."""
        self.source.holder_may_have_changed(tap)
        self.taps.append(tap)
        self.source.taps_changed(self.taps)
        self.rest()

    def vanish(self, tap: str) -> None:
        self.taps.remove(tap)
        self.source.taps_changed(self.taps)
        self.rest()

    def awaited(self, tap: str, owner: Owner | None = None) -> bool:
        return self.source.awaited(tap, owner)

    def answer(self, tap: str) -> list[str] | None:
        origins = self.source.answers().get(tap)
        return None if origins is None else list(origins)

    def names(self) -> list[str | None]:
        return [domain.name for domain in self.source.layers()[1].domains.values()]

    def problems(self) -> list[str]:
        return [str(problem) for problem in self.source.problems()]

    def stop(self) -> None:
        """Stop the source, and assert that it changes nothing more."""
        self.source.stop()
        changes = self.changes
        self.rest(10)
        assert self.changes == changes


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    made.libvirtd.define("web1", UUID1)
    made.libvirtd.define("web2", UUID2)
    yield made
    made.stop()


def test_all_domains_are_read_at_the_start(scene: Scene) -> None:
    scene.start()
    assert scene.names() == ["web1", "web2"]
    assert scene.changes > 0
    assert scene.problems() == []


def test_a_domain_that_starts(scene: Scene) -> None:
    scene.start()
    scene.appear("vnet0")
    assert scene.answer("vnet0") is None
    scene.libvirtd.begin(UUID1, "vnet0")
    scene.rest()
    assert scene.answer("vnet0") == [XML1]


def test_domains_that_ran_before_the_daemon(scene: Scene) -> None:
    scene.libvirtd.begin(UUID1, "vnet0")
    scene.libvirtd.begin(UUID2, "vnet1", "vnet2")
    scene.start()
    for tap in ("vnet0", "vnet1", "vnet2"):
        scene.appear(tap)
    scene.rest(SETTLE_TIME)
    assert [scene.answer(tap) for tap in ("vnet0", "vnet1", "vnet2")] == [[XML1], [XML2], [XML2]]


def test_a_domains_event_that_arrives_before_its_tap_appears(scene: Scene) -> None:
    scene.start()
    scene.libvirtd.begin(UUID1, "vnet0")
    scene.rest()
    scene.appear("vnet0")
    assert scene.answer("vnet0") is None
    scene.rest(SETTLE_TIME)
    assert scene.answer("vnet0") == [XML1]


def test_a_nic_that_is_plugged_in_and_out(scene: Scene) -> None:
    scene.libvirtd.begin(UUID1, "vnet0")
    scene.start()
    scene.appear("vnet5")
    scene.libvirtd.plug(UUID1, "vnet5")
    scene.rest()
    assert scene.answer("vnet5") == [XML1]
    scene.libvirtd.domains[UUID(UUID1)].taps.remove("vnet5")
    scene.vanish("vnet5")
    assert scene.answer("vnet5") is None


def test_a_tap_that_comes_back_as_another_domains(scene: Scene) -> None:
    """libvirtd has not learned yet that the first QEMU ended, and still describes it with the tap."""
    scene.start()
    scene.appear("vnet0")
    scene.libvirtd.begin(UUID1, "vnet0")
    scene.rest()
    assert scene.answer("vnet0") == [XML1]
    scene.answers.clear()
    scene.vanish("vnet0")
    scene.appear("vnet0")
    assert scene.answer("vnet0") is None
    # Meanwhile an event of the old domain arrives, and libvirtd's description of it was true a moment ago.
    scene.libvirtd.destroy(UUID1)
    scene.libvirtd.begin(UUID2, "vnet0")
    scene.rest(NOBODY_TIME)
    assert scene.answers == {("vnet0", (XML2,))}


def test_a_tap_that_changes_hands_within_one_turn(scene: Scene) -> None:
    """Nobody saw the name vanish."""
    scene.start()
    scene.appear("vnet0")
    scene.libvirtd.begin(UUID1, "vnet0")
    scene.rest()
    scene.source.holder_may_have_changed("vnet0")
    assert scene.answer("vnet0") is None
    scene.libvirtd.destroy(UUID1)
    scene.libvirtd.begin(UUID2, "vnet0")
    scene.answers.clear()
    scene.rest(NOBODY_TIME)
    assert scene.answers == {("vnet0", (XML2,))}


def test_a_description_that_was_asked_for_before_the_tap_changed_does_not_count(scene: Scene) -> None:
    scene.start()
    scene.appear("vnet0")
    scene.libvirtd.begin(UUID1, "vnet0")
    scene.clock.advance(0)  # the event arrives, and the question is put
    scene.clock.advance(0)  # libvirtd answers
    scene.source.holder_may_have_changed("vnet0")
    scene.clock.advance(0.01)
    assert scene.answer("vnet0") is None
    scene.rest(SETTLE_TIME)
    assert scene.answer("vnet0") == [XML1]


def test_the_domain_that_had_the_tap_is_asked_again_only_after_a_while(scene: Scene) -> None:
    scene.start()
    scene.appear("vnet0")
    scene.libvirtd.begin(UUID1, "vnet0")
    scene.rest()
    scene.libvirtd.asked.clear()
    scene.source.holder_may_have_changed("vnet0")
    scene.rest(SETTLE_TIME - 0.1)
    assert scene.libvirtd.asked == []
    scene.rest(0.5)
    assert scene.libvirtd.asked == [UUID1]
    assert scene.answer("vnet0") == [XML1]


def test_a_tap_of_no_domain(scene: Scene) -> None:
    scene.start()
    scene.appear("tap9")
    scene.rest(NOBODY_TIME - 1)
    assert scene.answer("tap9") is None
    scene.rest(2)
    assert scene.answer("tap9") == []
    scene.libvirtd.begin(UUID1, "tap9")
    scene.rest()
    assert scene.answer("tap9") == [XML1]


def test_a_tap_that_two_domains_claim(scene: Scene) -> None:
    scene.start()
    scene.appear("vnet0")
    scene.libvirtd.begin(UUID1, "vnet0")
    scene.libvirtd.begin(UUID2, "vnet0")
    scene.rest()
    assert sorted(scene.answer("vnet0") or []) == [XML1, XML2]


def test_a_domain_that_does_not_run_claims_nothing(scene: Scene) -> None:
    scene.libvirtd.domains[UUID(UUID1)].taps = ["tap0"]
    scene.start()
    scene.appear("tap0")
    scene.rest(NOBODY_TIME + 1)
    assert scene.answer("tap0") == []


def test_a_libvirtd_that_restarts(scene: Scene) -> None:
    scene.start()
    scene.appear("vnet0")
    scene.libvirtd.begin(UUID1, "vnet0")
    scene.rest()
    scene.libvirtd.stop_daemon()
    scene.rest()
    assert scene.problems() == ["libvirt qemu:///system: warning: cannot connect: known domains are served as before"]
    assert not scene.awaited("vnet0")
    assert [scene.awaited("vnet1", owner) for owner in (None, USERS, QEMU)] == [True, True, False]
    # Known answers stay; a tap that appears now waits.
    assert scene.answer("vnet0") == [XML1]
    assert scene.names() == ["web2", "web1"]
    scene.libvirtd.domains[UUID(UUID2)].number, scene.libvirtd.domains[UUID(UUID2)].taps = 7, ["vnet1"]
    scene.appear("vnet1")
    scene.rest(NOBODY_TIME)
    assert scene.answer("vnet1") is None
    scene.libvirtd.set_metadata(UUID1, "hostname: h")  # no event arrives
    scene.libvirtd.start_daemon()
    scene.rest(2)
    assert scene.problems() == []
    assert (scene.answer("vnet0"), scene.answer("vnet1")) == ([XML1], [XML2])
    (metadata,) = scene.source.layers()[0].domains.values()
    assert metadata.hostname == "h"


def test_a_tap_of_a_known_domain_is_nobodys_only_after_another_listing(scene: Scene) -> None:
    """Its NIC was plugged in while libvirtd was away."""
    scene.libvirtd.begin(UUID1, "vnet0")
    scene.start()
    scene.libvirtd.stop_daemon()
    scene.rest()
    scene.libvirtd.domains[UUID(UUID1)].taps.append("vnet1")
    scene.appear("vnet1")
    scene.rest(NOBODY_TIME + 1)
    scene.libvirtd.start_daemon()
    scene.rest(2)
    assert {origins for tap, origins in scene.answers if tap == "vnet1"} == {(XML1,)}


def test_a_domain_that_is_gone_when_libvirtd_is_back(scene: Scene) -> None:
    scene.start()
    scene.libvirtd.stop_daemon()
    scene.rest()
    del scene.libvirtd.domains[UUID(UUID1)]
    scene.libvirtd.start_daemon()
    scene.rest(2)
    assert scene.names() == ["web2"]


def test_a_libvirtd_that_hangs_at_the_start(scene: Scene) -> None:
    scene.libvirtd.hanging = True
    scene.start()
    scene.rest(SLOW_TIME)
    assert scene.changes == 1
    assert scene.problems() == [
        "libvirt qemu:///system: warning: has not answered yet: known domains are served as before"
    ]


def test_broken_metadata_keep_the_last_good_ones(scene: Scene) -> None:
    def hostnames() -> list[str | None]:
        return [domain.hostname for domain in scene.source.layers()[0].domains.values()]

    scene.start()
    scene.libvirtd.set_metadata(UUID1, "hostname: a")
    scene.rest()
    assert hostnames() == ["a"]
    scene.libvirtd.set_metadata(UUID1, "hostname: '-'")
    scene.rest()
    assert hostnames() == ["a"]
    assert scene.problems() == [
        "libvirt metadata of web1:1: hostname: expected a host name such as web1.example.org, got '-'"
    ]
    scene.libvirtd.set_metadata(UUID1, None)
    scene.rest()
    assert (hostnames(), scene.problems()) == ([], [])


def test_a_domain_that_did_not_change_is_the_same_object(scene: Scene) -> None:
    scene.start()
    scene.libvirtd.set_metadata(UUID1, "hostname: a")
    scene.rest()
    before = [domain for layer in scene.source.layers() for domain in layer.domains.values()]
    scene.libvirtd.set_metadata(UUID1, "hostname: a")
    scene.rest()
    after = [domain for layer in scene.source.layers() for domain in layer.domains.values()]
    assert {id(domain) for domain in before} == {id(domain) for domain in after}


def test_a_domain_that_cannot_be_described_stays_as_it_was(scene: Scene) -> None:
    scene.start()
    scene.libvirtd.broken.add(UUID(UUID1))
    scene.libvirtd.set_metadata(UUID1, "hostname: a")
    scene.rest()
    assert scene.problems() == [f"libvirt domain {UUID1} (web1): cannot read its XML: no"]
    assert sorted(map(str, scene.names())) == ["web1", "web2"]
    scene.libvirtd.broken.clear()
    scene.libvirtd.set_metadata(UUID1, "hostname: b")
    scene.rest()
    assert scene.problems() == []


def test_a_name_that_another_domain_has_taken_over(scene: Scene) -> None:
    scene.start()
    scene.libvirtd.domains[UUID(UUID1)].name = "old"  # no event arrives
    scene.libvirtd.domains[UUID(UUID2)].name = "web1"
    scene.libvirtd.set_metadata(UUID2, "hostname: a")
    scene.rest()
    assert {str(domain.uuid): domain.name for domain in scene.source.layers()[1].domains.values()} == {
        UUID1: "old",
        UUID2: "web1",
    }


def test_nothing_is_asked_while_nothing_happens(scene: Scene) -> None:
    scene.start()
    scene.libvirtd.asked.clear()
    scene.rest(600)
    assert scene.libvirtd.asked == []


def test_a_tap_is_not_found_and_lost_while_the_daemon_starts(scene: Scene) -> None:
    """It waits for the first answer, although a trusted process holds it; then nothing takes its domain away."""
    scene.libvirtd.begin(UUID1, "vnet0")
    scene.source.start(scene._changed)
    scene.source.holder_may_have_changed("vnet0")
    scene.source.taps_changed(["vnet0"])
    awaited = [scene.awaited("vnet0", QEMU)]
    for _ in range(40):
        scene.clock.advance(0.05)
        awaited.append(scene.awaited("vnet0", QEMU))
    answered = awaited.index(False)
    assert answered > 0
    assert set(awaited[answered:]) == {False}
    assert scene.answer("vnet0") == [XML1]


def test_a_libvirtd_that_answers_late_takes_no_domain_away(scene: Scene) -> None:
    scene.libvirtd.begin(UUID1, "vnet0")
    scene.libvirtd.running = False
    scene.start()
    scene.appear("vnet0")
    assert not scene.awaited("vnet0", QEMU)
    scene.libvirtd.start_daemon()
    scene.libvirtd.hanging = True  # it is connected, and answers later
    scene.source.connected()
    assert not scene.awaited("vnet0", QEMU)
    assert scene.awaited("vnet0")
    # But a tap that comes only now, or whose holder may have changed, waits.
    scene.source.holder_may_have_changed("vnet1")
    scene.source.holder_may_have_changed("vnet0")
    assert scene.awaited("vnet0", QEMU)
    assert scene.awaited("vnet1", QEMU)


def test_a_qemu_that_is_not_libvirts_does_not_wait_for_libvirt(scene: Scene) -> None:
    scene.start()
    phase = scene.source.phase
    scene.appear("tap0")
    assert not scene.awaited("tap0", FOREIGN)
    assert scene.awaited("tap0", QEMU)
    assert scene.awaited("tap0")
    assert scene.awaited("tap0", Owner(pid=9, start=1, uuid=UUID(int=9), uid=1000, trusted=False))
    assert scene.source.phase == phase


def test_until_libvirts_domains_are_known_every_qemu_may_be_libvirts(scene: Scene) -> None:
    scene.libvirtd.hanging = True
    scene.source.start(scene._changed)
    scene.source.holder_may_have_changed("tap0")
    scene.source.connected()
    phase = scene.source.phase
    assert scene.awaited("tap0", FOREIGN)
    scene.source.listed(100, frozenset())
    assert not scene.awaited("tap0", FOREIGN)
    assert scene.source.phase != phase


# -- libvirt = "auto" --


class FakeHost(HostLibvirt):
    """A host whose libvirt appears when the test says so."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.module = True

    @property
    def has_module(self) -> bool:
        return self.module

    def appear(self) -> None:
        (self.directory / "libvirt-sock-ro").touch()


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path)


@pytest.fixture
def auto(host: FakeHost) -> Iterator[Scene]:
    made = Scene(host)
    made.libvirtd.define("web1", UUID1)
    yield made
    made.stop()


def test_a_host_without_libvirt_waits_for_nothing(auto: Scene) -> None:
    auto.start()
    assert auto.changes == 1
    auto.appear("vnet0")
    assert [auto.awaited("vnet0", owner) for owner in (None, USERS, QEMU)] == [False, False, False]
    auto.rest(60)
    assert (auto.names(), auto.problems(), auto.answer("vnet0")) == ([], [], None)


def test_a_libvirt_that_is_there_is_used(auto: Scene, host: FakeHost) -> None:
    host.appear()
    auto.libvirtd.begin(UUID1, "vnet0")
    auto.start()
    assert auto.names() == ["web1"]
    auto.appear("vnet0")
    auto.rest(SETTLE_TIME)
    assert (auto.answer("vnet0"), auto.problems()) == ([XML1], [])


def test_a_libvirt_that_is_started_later_is_used_and_takes_no_domain_away(auto: Scene, host: FakeHost) -> None:
    auto.start()
    auto.appear("tap0")
    host.appear()
    auto.libvirtd.begin(UUID1, "vnet0")
    awaited = []
    for _ in range(round((SEEK_TIME + NOBODY_TIME + 1) / 0.05)):
        auto.clock.advance(0.05)
        awaited.append(auto.awaited("tap0"))
    assert set(awaited) == {False}
    assert auto.names() == ["web1"]
    auto.appear("vnet0")
    auto.rest(SETTLE_TIME)
    assert auto.answer("vnet0") == [XML1]


def test_the_first_tap_of_a_libvirt_that_was_just_started_waits_for_it(auto: Scene, host: FakeHost) -> None:
    auto.start()
    host.appear()
    auto.libvirtd.begin(UUID1, "vnet0")
    auto.source.holder_may_have_changed("vnet0")
    assert auto.awaited("vnet0", QEMU)
    auto.rest(0.1)
    assert auto.answer("vnet0") == [XML1]


@pytest.mark.parametrize("hanging", [False, True])
def test_a_socket_behind_which_nobody_answers_keeps_no_tap_waiting(auto: Scene, host: FakeHost, hanging: bool) -> None:
    host.appear()
    auto.libvirtd.running, auto.libvirtd.hanging = False, hanging
    auto.start()
    auto.appear("vnet0")
    auto.rest(SLOW_TIME)
    assert not auto.awaited("vnet0")
    why = "has not answered yet" if hanging else "cannot connect"
    alone = "files and processes alone decide which domain a tap has"
    assert auto.problems() == [f"libvirt qemu:///system: warning: {why}: {alone}"]


def test_a_libvirt_that_was_there_once_is_waited_for(auto: Scene, host: FakeHost) -> None:
    host.appear()
    auto.start()
    auto.libvirtd.stop_daemon()
    auto.rest()
    auto.appear("vnet0")
    assert [auto.awaited("vnet0", owner) for owner in (None, QEMU)] == [True, False]


def test_a_host_with_libvirt_but_without_its_module_is_told_so(auto: Scene, host: FakeHost) -> None:
    host.module = False
    host.appear()
    auto.start()
    auto.appear("vnet0")
    assert not auto.awaited("vnet0")
    (problem,) = auto.problems()
    assert problem.startswith("libvirt qemu:///system: warning: Python finds no module libvirt: install the package")
    assert problem.endswith('; or write libvirt = "" below [inventory], to do without libvirt')
    host.module = True  # it is installed
    auto.rest(SEEK_TIME + 0.5)
    assert (auto.names(), auto.problems()) == (["web1"], [])


# -- without libvirt's module --


def test_a_missing_module_is_a_problem_that_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libvirt", None)
    with pytest.raises(Problem, match="install the package python3-libvirt"):
        Inventory(InventoryConfig(libvirt="qemu:///system"), reactor, FakeReader())


def test_libvirt_is_imported_only_where_it_is_there_and_parsers_of_what_tenants_wrote_never() -> None:
    text = (
        "import sys; from eve_meta.config import InventoryConfig; from eve_meta.inventory import Inventory; "
        "from eve_meta.inventory.readers.process import ReaderProcess; "
        "from eve_meta.runtime.reactor import reactor; "
        "Inventory(InventoryConfig(), reactor, ReaderProcess(reactor, None)); "
        "print([name for name in ('libvirt', 'yaml', 'xml') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", text], capture_output=True, check=True).stdout == b"[]\n"
