"""What a link to libvirtd tells, the real one and the tests' fake alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol
from uuid import UUID

import pytest

from eve_meta.inventory.libvirt.connection import LibvirtConnection

UUID1 = "1a831fa7-c50b-4693-a16e-fb8171f1b69e"
UUID2 = "2a831fa7-c50b-4693-a16e-fb8171f1b69e"


class Recorder:
    """An observer that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self.told.append((name, *arguments))

    def last(self, name: str) -> tuple[Any, ...] | None:
        """The last of what was told under this name."""
        return next((each[1:] for each in reversed(self.told) if each[0] == name), None)


class Hypervisor(Protocol):
    """A libvirtd, real or not, with a link to it."""

    link: LibvirtConnection

    def until(self, what: Callable[[], object]) -> None:
        """Let time pass until *what* holds."""

    def rest(self) -> None:
        """Let pass what is under way."""

    def define(self, name: str, uuid: str) -> None: ...
    def begin(self, uuid: str) -> list[str]: ...
    def plug(self, uuid: str) -> None: ...
    def set_metadata(self, uuid: str, text: str) -> None: ...
    def destroy(self, uuid: str) -> None: ...
    def undefine(self, uuid: str) -> None: ...
    def stop_daemon(self) -> None: ...
    def start_daemon(self) -> None: ...


class LinkContract:
    """Inherited by the tests of each; they have the fixture *virt*."""

    @pytest.fixture
    def told(self, virt: Hypervisor) -> Recorder:
        """What the link has told since it was started."""
        recorder = Recorder()
        virt.link.start(recorder)
        virt.until(lambda: ("connected",) in recorder.told)
        return recorder

    def test_all_domains_running_or_not(self, virt: Hypervisor, told: Recorder) -> None:
        virt.define("web1", UUID1)
        virt.define("web2", UUID2)
        virt.begin(UUID2)
        virt.link.list_domains(7)
        virt.until(lambda: told.last("listed") == (7, frozenset({UUID(UUID1), UUID(UUID2)})))

    def test_a_domain_before_it_runs_while_it_runs_and_after(self, virt: Hypervisor, told: Recorder) -> None:
        def look(number: int) -> Any:
            virt.link.look(UUID(UUID1), number)
            virt.until(lambda: (told.last("described") or (None, 0))[1] == number)
            uuid, _, description = told.last("described") or ()
            assert uuid == UUID(UUID1)
            return description

        virt.define("web1", UUID1)
        before = look(1)
        assert (before.name, before.uuid, before.active) == ("web1", UUID(UUID1), False)
        taps = virt.begin(UUID1)
        running = look(2)
        assert running.active
        assert [nic.tap for nic in running.domain.nics] == taps
        assert len(taps) == 1
        virt.destroy(UUID1)
        after = look(3)
        assert not after.active
        assert taps[0] not in [nic.tap for nic in after.domain.nics]
        virt.undefine(UUID1)
        assert look(4) is None

    def test_the_last_number_counts(self, virt: Hypervisor, told: Recorder) -> None:
        virt.define("web1", UUID1)
        virt.link.look(UUID(UUID1), 1)
        virt.link.look(UUID(UUID1), 2)
        virt.until(lambda: (told.last("described") or (None, 0))[1] == 2)
        numbers = [each[2] for each in told.told if each[0] == "described"]
        assert numbers in ([2], [1, 2])

    def test_whatever_happens_to_a_domain_is_told(self, virt: Hypervisor, told: Recorder) -> None:
        for what in (
            lambda: virt.define("web1", UUID1),
            lambda: virt.begin(UUID1),
            lambda: virt.plug(UUID1),
            lambda: virt.set_metadata(UUID1, "hostname: h"),
            lambda: virt.destroy(UUID1),
            lambda: virt.undefine(UUID1),
        ):
            virt.rest()
            told.told.clear()
            what()
            virt.until(lambda: told.last("changed") == (UUID(UUID1),))

    def test_a_libvirtd_that_restarts(self, virt: Hypervisor, told: Recorder) -> None:
        virt.define("web1", UUID1)
        taps = virt.begin(UUID1)
        virt.stop_daemon()
        virt.until(lambda: told.last("lost"))
        assert told.last("lost") == ("libvirtd closed the connection",)
        told.told.clear()
        virt.start_daemon()
        virt.until(lambda: ("connected",) in told.told)
        virt.link.look(UUID(UUID1), 9)
        virt.until(lambda: told.last("described"))
        _, _, description = told.last("described") or ()
        assert [nic.tap for nic in description.domain.nics] == taps

    def test_a_libvirtd_that_is_not_there_at_the_start(self, virt: Hypervisor) -> None:
        virt.stop_daemon()
        recorder = Recorder()
        virt.link.start(recorder)
        virt.until(lambda: recorder.last("lost"))
        assert ("connected",) not in recorder.told
        virt.start_daemon()
        virt.until(lambda: ("connected",) in recorder.told)

    def test_after_stop_nothing_is_told(self, virt: Hypervisor, told: Recorder) -> None:
        virt.link.stop()
        told.told.clear()
        virt.define("web1", UUID1)
        virt.rest()
        assert told.told == []
