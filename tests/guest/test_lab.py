"""scripts/lab as a user sees it, and whether its demo would notice a fault."""

from __future__ import annotations

import os
import subprocess
import sys

from harness import SCRIPTS, lab_guests
from harness.guests import leftovers
from harness.lab_demo import differences, look, table
from harness.lab_guests import PLANS
from tests.guest.scene import META_DATA, USER_DATA, eventually

GUESTS = ["alder", "birch", "cedar", "dogwood", "elder"]
SWAPPED, TOKENS, IPV6 = PLANS[1], PLANS[3], PLANS[4]


def lab(*arguments: str, typed: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``scripts/lab ARGUMENTS``; bootstrap is done already."""
    return subprocess.run(
        [sys.executable, "-B", SCRIPTS / "harness/lab.py", *arguments],
        input=typed,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(SCRIPTS), **environment},
    )


def rows(printed: str) -> dict[str, str]:
    """Return the table's lines by guest."""
    return {line.split(".")[0]: line for line in printed.splitlines() if line.split(".example.org ")[0] in GUESTS}


def test_the_demo_shows_that_each_of_five_guests_got_its_own() -> None:
    done = lab("demo")
    print(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    shown = rows(done.stdout)
    assert list(shown) == GUESTS
    assert all(line.endswith("  its own") for line in shown.values())
    assert [" 10.0.0.5 " in line for line in shown.values()] == [True] * 4 + [False]
    assert "  Ec2 (token)  " in shown["dogwood"]
    assert " fe80::f816:3eff:fe00:5 " in shown["elder"]
    assert "without one it gets 401" in done.stdout
    assert leftovers(lab_guests.NAME) == []


def test_a_lab_that_is_up_is_there_to_look_around_and_then_gone() -> None:
    try:
        up = lab("up")
        assert (up.returncode, up.stderr) == (0, "")
        assert "4 that all have 10.0.0.5, and elder with IPv6 only" in up.stdout
        status = lab("status")
        assert status.returncode == 0
        assert all(name in status.stdout for name in GUESTS)

        def ask(url: str, *options: str) -> str:
            command = f"curl -s -m 5 {' '.join(options)} '{url}/latest/meta-data/instance-id'\n"
            return lab("shell", "elder" if "[" in url else "dogwood", typed=command, SHELL="/bin/sh").stdout

        in_shell = "hostname; eve-meta list; eve-meta explain alder | head -n 2; command -v eve-meta\n"
        host = lab("shell", "host", typed=in_shell, SHELL="/bin/sh")
        assert "lab-host" in host.stdout.splitlines()
        assert all(f"{name}.yaml" in host.stdout for name in GUESTS), host.stdout + host.stderr
        assert "alder (1a831fa7-c50b-4693-a16e-000000000001) from" in host.stdout
        assert host.stdout.splitlines()[-1] == f"/run/{lab_guests.NAME}/bin/eve-meta"
        assert "cedar" in lab("shell", "cedar", typed="hostname\n", SHELL="/bin/sh").stdout.splitlines()

        # For a second or two the kernel checks that no other host has the guest's IPv6 address.
        eventually(lambda: ask("http://[fe80::a9fe:a9fe%25eth0]").endswith("i-00000005"), 10)
        assert "401 Unauthorized" in ask("http://169.254.169.254")
        assert lab("up").returncode == 1
    finally:
        down = lab("down")
    assert (down.returncode, down.stdout) == (0, "lab: the lab is removed\n")
    assert leftovers(lab_guests.NAME) == []
    assert lab("status").returncode == 1


def test_the_demo_notices_what_is_wrong() -> None:
    with lab_guests.running() as (daemon, guests):
        guests[IPV6].ip("address add 10.0.0.5/24 dev eth0")
        daemon.write_domain(TOKENS.name, {**TOKENS.domain, "tokens": "optional"})
        daemon.write_domain(SWAPPED.name, {**SWAPPED.domain, "user_data": "#!/bin/sh\necho this is alder\n"})
        eventually(lambda: guests[TOKENS].get(META_DATA).status == 200, 5)
        eventually(lambda: b"alder" in guests[SWAPPED].get(USER_DATA).body, 5)
        seen = look(daemon, guests)
        wrong = {plan.name: differences(plan, what) for plan, what in seen.items()}
        # Run a client that asks for no token in place of that of dogwood.
        ((_, without),) = look(daemon, {TOKENS._replace(datasource="OpenStack"): guests[TOKENS]}).items()
    print(shown := table(seen, {plan: wrong[plan.name] for plan in seen}))
    assert [line.endswith("  WRONG") for line in rows(shown).values()] == [False, True, False, True, True]
    assert (wrong["alder"], wrong["cedar"]) == ([], [])
    (about_user_data,) = wrong["birch"]
    assert about_user_data.startswith("user_data_sha256: expected ")
    assert "a request without a token: expected 401, got 200" in wrong["dogwood"]
    assert wrong["elder"] == ["eth0: expected no IPv4 address, got 10.0.0.5"]
    about_token = " / ".join(differences(TOKENS, without))
    assert "token: expected True, got False" in about_token
    assert "expected no request without a token through vnet3, got " in about_token
