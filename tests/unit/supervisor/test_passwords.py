"""What becomes of the passwords that guests post, and what is not taken from a worker that a guest took over."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from attrs import field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from eve_meta.state.passwords import Passwords
from eve_meta.steering.taps.tap import Tap
from eve_meta.supervisor.passwords import RETRY_TIME, PostedPasswords
from eve_meta.supervisor.tap_state import TapState
from eve_meta.supervisor.tap_table import TapTable
from eve_meta.values.domain import Domain
from eve_meta.wire.password import Outcome

WEB = Domain(uuid=UUID(int=1), name="web1")
DB = Domain(uuid=UUID(int=2), name="db1")


@frozen
class Scene:
    """Two workers and four taps: 1 and 3 are web1's, 2 is db1's, and 4 is nobody's; all workers know of it at once."""

    clock: Clock
    passwords: PostedPasswords
    failing: list[bool] = field(factory=lambda: [False])

    def post(self, tag: int, text: str = "secret", worker: int | None = None) -> list[Outcome]:
        """What a worker, its own if none is named, is answered to a password by now."""
        answers: list[Outcome] = []
        self.passwords.posted(tag % 2 if worker is None else worker, tag, text, answers.append)
        return answers


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    clock, table, failing = Clock(), TapTable(2), [False]

    def run(change: Any) -> Deferred[None]:
        if failing[0]:
            failed: Deferred[None] = Deferred()
            failed.errback(OSError(28, "No space left on device"))
            return failed
        return succeed(change())

    for tag, domain in enumerate((WEB, DB, WEB, None), 1):
        table.add(TapState(Tap(name=f"vnet{tag}", ifindex=100 + tag, tag=tag, since=0.0, carrier=True), domain))
    passwords = PostedPasswords(clock, table, Passwords(tmp_path, run, clock.seconds), lambda _: succeed(None))
    return Scene(clock, passwords, failing)


def test_a_worker_that_was_taken_over_replaces_no_password(scene: Scene) -> None:
    assert scene.post(1) == [Outcome.STORED]
    assert scene.post(1, "other") == [Outcome.ALREADY_SET]
    assert scene.post(3, "other") == [Outcome.ALREADY_SET]
    assert scene.passwords.get(WEB.instance_uuid) == "secret"


def test_a_worker_that_was_taken_over_sets_none_for_anothers_guest(scene: Scene) -> None:
    assert scene.post(1, worker=0) == [Outcome.FAILED]
    assert scene.passwords.get(WEB.instance_uuid) is None


@pytest.mark.parametrize("tag", [0, -1, 4, 5, 99999])
def test_a_worker_that_was_taken_over_fills_the_disk_with_nothing(scene: Scene, tag: int, tmp_path: Path) -> None:
    assert scene.post(tag) == [Outcome.FAILED]
    assert list((tmp_path / "passwords").iterdir()) == []


def test_a_guest_keeps_no_full_disk_busy(scene: Scene) -> None:
    scene.failing[0] = True
    assert scene.post(1) == [Outcome.FAILED]
    scene.failing[0] = False
    for _ in range(100):
        assert scene.post(1) == [Outcome.FAILED]
    scene.post(2)
    assert scene.passwords.get(DB.instance_uuid) == "secret"  # its neighbour does not wait
    scene.clock.advance(RETRY_TIME)
    scene.post(1)
    assert scene.passwords.get(WEB.instance_uuid) == "secret"


def test_one_that_was_cleared_can_be_posted_again(scene: Scene) -> None:
    scene.post(1)
    scene.passwords.clear(WEB.instance_uuid)
    assert scene.passwords.get(WEB.instance_uuid) is None
    assert scene.post(3, "other") == [Outcome.STORED]
