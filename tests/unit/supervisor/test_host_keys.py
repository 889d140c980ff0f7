"""Which host keys of a phone_home count: those of the instance that the guest reads that it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest
from attrs import evolve, frozen
from twisted.internet.defer import maybeDeferred

from eve_meta.documents.ec2_ids import instance_id
from eve_meta.state.host_keys import HostKeys, KeptKeys
from eve_meta.supervisor.host_keys import ReportedHostKeys
from eve_meta.values.domain import Domain, Ec2
from eve_meta.values.host_key import read_host_key
from eve_meta.wire.boot_reports import read_phone_home
from tests.unit.values.test_host_key import made

UUID1 = UUID("1a831fa7-c50b-4693-a16e-fb8171f1b69e")
WEB = Domain(uuid=UUID1, name="web1")
LINES = {line.split()[0]: line for line in made()}
ED25519, ECDSA, RSA = LINES["ssh-ed25519"], LINES["ecdsa-sha2-nistp256"], LINES["ssh-rsa"]


@frozen
class Scene:
    keys: ReportedHostKeys

    def phone_home(self, domain: Domain = WEB, **fields: str) -> KeptKeys | None:
        """Phone home as the guest of *domain*, as cloud-init would; return the keys that are kept then."""
        posted = {"instance_id": str(domain.guest_uuid), "hostname": "vm", **fields}
        self.keys.phoned_home(domain, read_phone_home(urlencode(posted).encode(), 5.0))
        found: list[dict[UUID, KeptKeys]] = []
        self.keys.all().addCallback(found.append)
        return found[0].get(domain.instance_uuid)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(ReportedHostKeys(HostKeys(tmp_path, maybeDeferred, lambda: 0.0), lambda: 1_700_000_000.0))


def test_the_keys_that_cloud_init_posts_are_kept_the_best_type_first(scene: Scene) -> None:
    kept = scene.phone_home(
        pub_key_rsa=f"{RSA} root@vm\n",
        pub_key_dsa="N/A",
        pub_key_ecdsa=f"{ECDSA} root@vm\n",
        pub_key_ed25519=f"{ED25519} root@vm\n",
    )
    assert kept is not None
    assert list(map(str, kept.keys)) == [ED25519, ECDSA, RSA]
    assert (kept.instance, kept.at) == (UUID1, 1_700_000_000.0)


def test_without_a_key_nothing_is_kept(scene: Scene) -> None:
    assert scene.phone_home() is None
    assert scene.phone_home(pub_key_rsa="N/A", pub_key_ed25519="") is None


@pytest.mark.parametrize(
    "fields",
    [
        {"pub_key_ed25519": f"@cert-authority * {ED25519}"},
        {"pub_key_ed25519": f"*,github.com {ED25519}"},
        {"pub_key_ed25519": f"{ED25519}\nweb2 {ED25519}".replace("\n", "\r\n")},
        {"pub_key_ed25519": f"# {ED25519}"},
        # A key in the field of another type, and one in a field that no key has.
        {"pub_key_rsa": ED25519},
        {"pub_key_dsa": ED25519},
        {"hostname": f"*.example.org {ED25519}"},
    ],
)
def test_a_hostile_guest_has_no_key(scene: Scene, fields: dict[str, Any]) -> None:
    kept = scene.phone_home(**fields)
    # What follows a good key is its comment.
    assert kept is None or list(map(str, kept.keys)) == [ED25519]


def test_what_a_guest_says_of_its_name_is_not_kept(scene: Scene, tmp_path: Path) -> None:
    scene.phone_home(hostname="github.com", fqdn="*.example.org", pub_key_ed25519=f"{ED25519} github.com")
    (path,) = (tmp_path / "host-keys").iterdir()
    assert "github" not in path.read_text()
    assert "*" not in path.read_text()


@pytest.mark.parametrize("given", [None, UUID(int=7)])
@pytest.mark.parametrize("ec2", [Ec2(), Ec2(instance_id="i-mine")])
def test_the_instance_is_one_that_the_guest_reads(scene: Scene, given: UUID | None, ec2: Ec2) -> None:
    domain = evolve(WEB, ec2=ec2, instance_id=given)
    for wrong in ("", "i-1", str(UUID(int=8)), str(UUID1).upper()):
        assert scene.phone_home(domain, instance_id=wrong, pub_key_ed25519=ED25519) is None
    if given is not None:
        # The machine as it was before "eve-meta rerun": its keys are not those of the new one.
        for former in (str(UUID1), instance_id(evolve(domain, instance_id=None))):
            assert scene.phone_home(domain, instance_id=former, pub_key_ed25519=ED25519) is None
    kept = scene.phone_home(domain, instance_id=instance_id(domain), pub_key_ed25519=ED25519)
    assert kept == KeptKeys(domain.guest_uuid, 1_700_000_000.0, (read_host_key(ED25519),))
