"""The results of cloud-init in each guest of the lab, and how they differ from the expected ones."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from harness import ROOT, SCRIPTS
from harness.daemon import Daemon
from harness.guests import Guest
from harness.lab_guests import Plan
from harness.output import columns

PYTHON = ROOT / ".venv/bin/python"

LINK_LOCAL = "fe80::a9fe:a9fe"
UNAUTHORIZED = 401


@frozen
class Observed:
    """The observations of one guest.

    :ivar found: the results of its cloud-init; ``error`` when cloud-init failed.
    :ivar tap: its tap in the daemon's status after cloud-init's end; None where the daemon has no such tap.
    :ivar ipv4: the IPv4 addresses of its NIC.
    :ivar ipv6: the IPv6 addresses of its NIC.
    :ivar routers: its default routes.
    :ivar without_token: the HTTP status of a request without a session token; None where no such request was made.
    """

    found: dict[str, Any]
    tap: dict[str, Any] | None
    ipv4: list[str]
    ipv6: list[str]
    routers: list[str]
    without_token: int | None


def look(daemon: Daemon, guests: Mapping[Plan, Guest]) -> dict[Plan, Observed]:
    """Run cloud-init in all guests at once, then observe each guest and its tap."""
    asked = {plan: ask_cloud_init(plan, guest) for plan, guest in guests.items()}
    found = {plan: finish_cloud_init(process) for plan, process in asked.items()}
    taps = {tap["tap"]: tap for tap in daemon.status()["taps"]}
    return {plan: _see(plan, guest, found[plan], taps.get(plan.tap)) for plan, guest in guests.items()}


def ask_cloud_init(plan: Plan, guest: Guest) -> subprocess.Popen[str]:
    """Start cloud-init's datasource in *guest*."""
    link_local = [] if plan.ipv4 else ["--link-local", "eth0"]
    return guest.popen(
        PYTHON,
        SCRIPTS / "harness/guest_cloud_init.py",
        "--datasource",
        plan.datasource,
        *link_local,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish_cloud_init(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for cloud-init and return what it found; ``error`` when it failed."""
    output, errors = process.communicate()
    if process.returncode == 0:
        return dict(json.loads(output), warnings=errors)
    return {"datasource": None, "error": errors}


def _see(plan: Plan, guest: Guest, found: dict[str, Any], tap: dict[str, Any] | None) -> Observed:
    (nic,) = json.loads(guest.run("ip", "-json", "address", "show", "dev", "eth0").stdout)
    addresses: dict[str, list[str]] = {"inet": [], "inet6": []}
    for address in nic["addr_info"]:
        addresses[address["family"]].append(address["local"])
    return Observed(
        found,
        tap,
        addresses["inet"],
        addresses["inet6"],
        [
            route["gateway"]
            for family in ("-4", "-6")
            for route in json.loads(guest.run("ip", "-json", family, "route", "show", "default").stdout)
        ],
        guest.get("/latest/meta-data/instance-id").status if plan.needs_token else None,
    )


def differences(plan: Plan, seen: Observed) -> list[str]:
    """List how the observations of a guest differ from its plan; empty when all is right."""
    found, tap, domain = seen.found, seen.tap, plan.domain
    if found["datasource"] is None:
        wrong = [found.get("error") or found.get("warnings") or "cloud-init found no datasource"]
    else:
        expected = {
            "datasource": plan.datasource,
            "token": plan.needs_token,
            "instance_id": plan.instance_id,
            "hostname": domain["hostname"],
            "public_keys": [plan.key],
            "user_data_sha256": hashlib.sha256(plan.user_data.encode()).hexdigest(),
        }
        wrong = [
            f"{key}: expected {value!r}, got {found[key]!r}" for key, value in expected.items() if found[key] != value
        ]
        if plan.mac not in json.dumps(found["network_config"]):
            wrong.append(f"network_config: expected {plan.mac} in it, got {found['network_config']!r}")
    if tap is None or tap["domain"] is None or tap["domain"]["uuid"] != domain["uuid"]:
        wrong.append(f"eve-meta status: expected domain {domain['uuid']} behind {plan.tap}, got {tap!r}")
    if plan.needs_token:
        wrong += _token_differences(plan, seen)
    if not plan.ipv4:
        wrong += _ipv6_differences(seen)
    return wrong


def _token_differences(plan: Plan, seen: Observed) -> list[str]:
    wrong = []
    # The daemon counts such requests, beside what cloud-init reports of itself.
    if bare := (seen.tap or {}).get("notes", {}).get("no_token"):
        wrong.append(f"eve-meta status: expected no request without a token through {plan.tap}, got {bare}")
    if seen.without_token != UNAUTHORIZED:
        wrong.append(f"a request without a token: expected {UNAUTHORIZED}, got {seen.without_token}")
    return wrong


def _ipv6_differences(seen: Observed) -> list[str]:
    wrong = []
    if seen.ipv4:
        wrong.append(f"eth0: expected no IPv4 address, got {', '.join(seen.ipv4)}")
    if seen.routers:
        wrong.append(f"expected no router, got {', '.join(seen.routers)}")
    address = seen.found.get("metadata_address") or "nothing"
    if not address.startswith(f"http://[{LINK_LOCAL}%"):
        wrong.append(f"metadata_address: expected {LINK_LOCAL} on a NIC, got {address}")
    return wrong


def table(seen: Mapping[Plan, Observed], wrong: Mapping[Plan, Sequence[str]]) -> str:
    """Return a table with a line for each guest, of 80 columns at most, and below it each difference."""
    rows = [("GUEST", "ADDRESS", "TAP", "DATASOURCE", "VERDICT")]
    for plan, what in seen.items():
        rows.append(
            (
                # Its host name, as cloud-init found it.
                what.found.get("hostname") or f"{plan.name} (unknown)",
                ",".join(what.ipv4 or what.ipv6) or "-",
                f"{plan.tap} {plan.bridge or 'routed'}",
                _datasource(what.found),
                "WRONG" if wrong[plan] else "its own",
            )
        )
    return "\n".join(
        columns(rows) + [f"{plan.name}: {reason}" for plan, reasons in wrong.items() for reason in reasons]
    )


def _datasource(found: Mapping[str, Any]) -> str:
    if found["datasource"] is None:
        return "-"
    return str(found["datasource"]) + (" (token)" if found["token"] else "")
