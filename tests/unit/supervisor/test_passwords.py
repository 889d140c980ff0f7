"""The fate of the passwords that guests post, and of those that a compromised worker makes up."""

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
    """Two workers and four taps: 1 and 3 are web1's, 2 is db1's, 4 has no domain; all workers know changes at once."""

    clock: Clock
    passwords: PostedPasswords
    failing: list[bool] = field(factory=lambda: [False])

    def post(self, tag: int, text: str = "secret", worker: int | None = None) -> list[Outcome]:
        """Post a password through the tap's own worker, if no other is given; return the answers by now."""
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


def test_a_compromised_worker_replaces_no_password(scene: Scene) -> None:
    assert scene.post(1) == [Outcome.STORED]
    assert scene.post(1, "other") == [Outcome.ALREADY_SET]
    assert scene.post(3, "other") == [Outcome.ALREADY_SET]
    assert scene.passwords.get(WEB.instance_uuid) == "secret"


def test_a_compromised_worker_sets_no_password_for_the_guest_of_another(scene: Scene) -> None:
    assert scene.post(1, worker=0) == [Outcome.FAILED]
    assert scene.passwords.get(WEB.instance_uuid) is None


@pytest.mark.parametrize("tag", [0, -1, 4, 5, 99999])
def test_a_compromised_worker_stores_nothing_for_a_tag_without_a_domain(scene: Scene, tag: int, tmp_path: Path) -> None:
    assert scene.post(tag) == [Outcome.FAILED]
    assert list((tmp_path / "passwords").iterdir()) == []


def test_a_guest_does_not_keep_a_full_disk_busy(scene: Scene) -> None:
    scene.failing[0] = True
    assert scene.post(1) == [Outcome.FAILED]
    scene.failing[0] = False
    for _ in range(100):
        assert scene.post(1) == [Outcome.FAILED]
    scene.post(2)
    assert scene.passwords.get(DB.instance_uuid) == "secret"  # another tap does not wait
    scene.clock.advance(RETRY_TIME)
    scene.post(1)
    assert scene.passwords.get(WEB.instance_uuid) == "secret"


def test_a_guest_can_post_another_password_when_its_own_is_cleared(scene: Scene) -> None:
    scene.post(1)
    scene.passwords.clear(WEB.instance_uuid)
    assert scene.passwords.get(WEB.instance_uuid) is None
    assert scene.post(3, "other") == [Outcome.STORED]
