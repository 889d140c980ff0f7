"""``eve-meta list``: every domain from anywhere, with a daemon and without."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

from eve_meta.admin.listing import listed
from eve_meta.admin.resolve import NamedDomain, Names
from eve_meta.inventory.vmm.process import Owner
from tests.unit.cli.conftest import Run

ONE, TWO, THREE, FOUR = (UUID(int=number) for number in range(1, 5))


def test_each_domain_is_listed_with_its_state_and_so_is_a_process_that_is_none_of_them() -> None:
    owners = {
        "vnet1": Owner(pid=11, start=1, uuid=ONE, name="web1"),
        "vnet3": Owner(pid=13, start=1, uuid=THREE, name="other"),
        "vnet8": Owner(pid=18, start=1, uuid=FOUR),
        "vnet9": Owner(pid=18, start=1, uuid=FOUR),
    }
    names = Names(
        domains=[
            NamedDomain(name="web1", uuid=ONE),
            NamedDomain(name="db1", uuid=TWO, taps=("vnet2",)),
            NamedDomain(name="mail", uuid=THREE),
        ],
        taps=["vnet1", "vnet3", "vnet8", "vnet9"],
        served={"vnet1": ONE},
        processes=owners,
    )
    origins = {ONE: ("/d/web1.yaml", "libvirt XML of web1"), TWO: ("/d/db1.yaml",)}
    rows = listed(names, origins, owners, names.taps)
    assert [(row["name"], row["state"], row["taps"], row["origins"]) for row in rows] == [
        (None, "not-served", ["vnet8", "vnet9"], ["QEMU process 18"]),
        ("db1", "off", ["vnet2"], ["/d/db1.yaml"]),
        ("mail", "not-served", ["vnet3"], []),
        ("web1", "served", ["vnet1"], ["/d/web1.yaml", "libvirt XML of web1"]),
    ]
    assert [row["uuid"] for row in rows] == [str(uuid) for uuid in (FOUR, TWO, THREE, ONE)]


def test_thousands_of_domains_take_no_longer_than_each_of_them() -> None:
    domains = [NamedDomain(name=f"vm{number}", uuid=UUID(int=number)) for number in range(1, 5001)]
    owners = {f"vnet{number}": Owner(pid=number, start=1, uuid=UUID(int=number)) for number in range(1, 5001)}
    served = {f"vnet{number}": UUID(int=number) for number in range(1, 5001)}
    names = Names(domains=domains, served=served, processes=owners, taps=list(owners))
    rows = listed(names, {}, owners, names.taps)  # seconds, if it looked at each tap for each domain
    assert all(row["state"] == "served" and len(row["taps"]) == 1 for row in rows)


def test_without_a_daemon_the_files_are_listed(run: Run, domains: Path, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(f'[inventory]\ndirectory = "{domains}"\n[admin]\nsocket = "{tmp_path}/s"\n')
    done = run("list", "--config", "c.toml")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0].split() == ["DOMAIN", "STATE", "TAPS", "FROM"]
    assert ["db1", "off", "-", "db1.yaml"] in [line.split() for line in done.stdout.splitlines()]
    assert done.stderr.endswith("; below are domain files and processes alone\n")
    (shown,) = (
        each for each in json.loads(run("list", "--config", "c.toml", "--json").stdout) if each["name"] == "web1"
    )
    assert shown["origins"] == [f"{domains}/web1.yaml"]


def test_every_line_fits_80_columns(run: Run, tmp_path: Path, answering: dict[str, Any]) -> None:
    answering["list"] = [
        {
            "name": "customer-with-a-long-name-production-frontend-0042",
            "uuid": str(ONE),
            "state": "not-served",
            "taps": [f"tap0123456789a{letter}" for letter in "bcd"],
            "origins": [f"/etc/eve-meta/domains.d/{'x' * 100}.yaml", "libvirt XML of customer"],
        },
        {"name": None, "uuid": None, "state": "not-served", "taps": ["vnet9"], "origins": ["QEMU process 18"]},
    ]
    (tmp_path / "c.toml").write_text(f'[admin]\nsocket = "{tmp_path}/daemon.sock"\n')
    done = run("list", "--config", "c.toml")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[2].split() == ["unknown", "not-served", "vnet9", "QEMU", "process", "18"]
    assert lines[-1] == "'eve-meta explain DOMAIN' says why a domain is not served."
