"""The entries of taps that workers are sent."""

from __future__ import annotations

from pathlib import Path
from typing import cast
from uuid import UUID

import pytest
from attrs import frozen
from twisted.internet.defer import maybeDeferred

from eve_meta.state.passwords import Passwords
from eve_meta.state.tokenkeys import TokenKeys
from eve_meta.steering.taps.tap import Tap
from eve_meta.supervisor.tap_state import TapState
from eve_meta.supervisor.worker_entry import WorkerEntries
from eve_meta.values.domain import Domain, TokenPolicy
from eve_meta.wire.messages import PutTap

KEYS = TokenKeys(bytes(32), UUID(int=7))
WEB = Domain(uuid=UUID(int=1), name="web1")
DB = Domain(uuid=UUID(int=2), name="db1", tokens=TokenPolicy.REQUIRED)


@frozen
class Scene:
    entries: WorkerEntries
    passwords: Passwords

    def entry_of(self, tag: int, domain: Domain | None) -> PutTap:
        tap = Tap(name=f"vnet{tag}", ifindex=100 + tag, tag=tag, since=0.0, carrier=True)
        return cast(PutTap, self.entries.entry_of(TapState(tap, domain)).message)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    passwords = Passwords(tmp_path, maybeDeferred, lambda: 0.0)
    return Scene(WorkerEntries(TokenPolicy.OPTIONAL, KEYS, passwords), passwords)


def test_each_tap_of_a_domain_has_a_token_key_of_its_own(scene: Scene) -> None:
    keys = [scene.entry_of(1, WEB).token_key, scene.entry_of(2, DB).token_key, scene.entry_of(3, WEB).token_key]
    assert keys == [KEYS.of(101, WEB.instance_uuid), KEYS.of(102, DB.instance_uuid), KEYS.of(103, WEB.instance_uuid)]
    assert len(set(keys)) == 3


def test_a_domains_token_policy_overrides_the_daemons(scene: Scene) -> None:
    assert [scene.entry_of(1, domain).tokens.value for domain in (WEB, DB)] == ["optional", "required"]


def test_a_password_goes_into_the_entries_of_its_own_domain_alone(scene: Scene) -> None:
    scene.passwords.set(WEB.instance_uuid, "secret")
    assert [scene.entry_of(1, domain).password for domain in (WEB, DB)] == ["secret", None]


def test_a_tap_whose_domain_is_unknown_has_no_key_and_no_password(scene: Scene) -> None:
    assert scene.entry_of(4, None) == PutTap(tag=4, tap="vnet4", since=0.0)
