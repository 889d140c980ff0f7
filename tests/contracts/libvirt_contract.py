"""The contract of a connection to libvirtd, for a real libvirtd and the tests' fake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol
from uuid import UUID

import pytest

from eve_meta.inventory.libvirt.connection import LibvirtConnection

UUID1 = "1a831fa7-c50b-4693-a16e-fb8171f1b69e"
UUID2 = "2a831fa7-c50b-4693-a16e-fb8171f1b69e"


class Recorder:
    """An observer that records each call: the method's name, then the arguments."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self.calls.append((name, *arguments))

    def last(self, name: str) -> tuple[Any, ...] | None:
        """Return the arguments of the last call of the method *name*."""
        return next((call[1:] for call in reversed(self.calls) if call[0] == name), None)


class Libvirtd(Protocol):
    """A libvirtd, real or not, with a connection to it and with what a person does to it."""

    connection: LibvirtConnection

    def until(self, condition: Callable[[], object]) -> None:
        """Let time pass until *condition* holds."""

    def rest(self) -> None:
        """Let whatever is under way finish."""

    def define(self, name: str, uuid: str) -> None: ...
    def begin(self, uuid: str) -> list[str]:
        """Start the domain; return its taps."""

    def plug(self, uuid: str) -> None: ...
    def set_metadata(self, uuid: str, text: str) -> None: ...
    def destroy(self, uuid: str) -> None: ...
    def undefine(self, uuid: str) -> None: ...
    def stop_daemon(self) -> None: ...
    def start_daemon(self) -> None: ...


class LibvirtContract:
    """The tests of a :class:`LibvirtConnection`. Whoever inherits them has the fixture *libvirtd*."""

    @pytest.fixture
    def observer(self, libvirtd: Libvirtd) -> Recorder:
        """An observer of the connection, which is open."""
        recorder = Recorder()
        libvirtd.connection.start(recorder)
        libvirtd.until(lambda: ("connected",) in recorder.calls)
        return recorder

    def test_all_domains_are_listed_whether_they_run_or_not(self, libvirtd: Libvirtd, observer: Recorder) -> None:
        libvirtd.define("web1", UUID1)
        libvirtd.define("web2", UUID2)
        libvirtd.begin(UUID2)
        libvirtd.connection.list_domains(7)
        libvirtd.until(lambda: observer.last("listed") == (7, frozenset({UUID(UUID1), UUID(UUID2)})))

    def test_a_domain_is_described_before_while_and_after_it_runs(self, libvirtd: Libvirtd, observer: Recorder) -> None:
        def look(number: int) -> Any:
            libvirtd.connection.look(UUID(UUID1), number)
            libvirtd.until(lambda: (observer.last("described") or (None, 0))[1] == number)
            uuid, _, description = observer.last("described") or ()
            assert uuid == UUID(UUID1)
            return description

        libvirtd.define("web1", UUID1)
        before = look(1)
        assert (before.name, before.uuid, before.active) == ("web1", UUID(UUID1), False)
        taps = libvirtd.begin(UUID1)
        running = look(2)
        assert running.active
        assert [nic.tap for nic in running.domain.nics] == taps
        assert len(taps) == 1
        libvirtd.destroy(UUID1)
        after = look(3)
        assert not after.active
        assert taps[0] not in [nic.tap for nic in after.domain.nics]
        libvirtd.undefine(UUID1)
        assert look(4) is None

    def test_of_two_requests_for_a_description_the_last_number_counts(
        self, libvirtd: Libvirtd, observer: Recorder
    ) -> None:
        libvirtd.define("web1", UUID1)
        libvirtd.connection.look(UUID(UUID1), 1)
        libvirtd.connection.look(UUID(UUID1), 2)
        libvirtd.until(lambda: (observer.last("described") or (None, 0))[1] == 2)
        numbers = [call[2] for call in observer.calls if call[0] == "described"]
        assert numbers in ([2], [1, 2])

    def test_every_change_of_a_domain_is_an_event(self, libvirtd: Libvirtd, observer: Recorder) -> None:
        for change in (
            lambda: libvirtd.define("web1", UUID1),
            lambda: libvirtd.begin(UUID1),
            lambda: libvirtd.plug(UUID1),
            lambda: libvirtd.set_metadata(UUID1, "hostname: h"),
            lambda: libvirtd.destroy(UUID1),
            lambda: libvirtd.undefine(UUID1),
        ):
            libvirtd.rest()
            observer.calls.clear()
            change()
            libvirtd.until(lambda: observer.last("changed") == (UUID(UUID1),))

    def test_the_connection_reopens_when_libvirtd_restarts(self, libvirtd: Libvirtd, observer: Recorder) -> None:
        libvirtd.define("web1", UUID1)
        taps = libvirtd.begin(UUID1)
        libvirtd.stop_daemon()
        libvirtd.until(lambda: observer.last("lost"))
        assert observer.last("lost") == ("libvirtd closed the connection",)
        observer.calls.clear()
        libvirtd.start_daemon()
        libvirtd.until(lambda: ("connected",) in observer.calls)
        libvirtd.connection.look(UUID(UUID1), 9)
        libvirtd.until(lambda: observer.last("described"))
        _, _, description = observer.last("described") or ()
        assert [nic.tap for nic in description.domain.nics] == taps

    def test_the_connection_opens_when_libvirtd_starts_later(self, libvirtd: Libvirtd) -> None:
        libvirtd.stop_daemon()
        recorder = Recorder()
        libvirtd.connection.start(recorder)
        libvirtd.until(lambda: recorder.last("lost"))
        assert ("connected",) not in recorder.calls
        libvirtd.start_daemon()
        libvirtd.until(lambda: ("connected",) in recorder.calls)

    def test_after_stop_the_observer_is_not_called(self, libvirtd: Libvirtd, observer: Recorder) -> None:
        libvirtd.connection.stop()
        observer.calls.clear()
        libvirtd.define("web1", UUID1)
        libvirtd.rest()
        assert observer.calls == []
