"""A hypervisor with three guests and eve-meta, all in network namespaces of this machine.

Two guests are on a bridge, one is behind a routed tap, and all have the same IP address. Each has a domain file of its
own, and is to get its own metadata and nobody else's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from daemon import EVE_META, Daemon
from guests import HERE, Guest, Lab, LabError, clean, directory_of, guest_command, holder_of, leftovers, lock
from namespace import IpError, Namespace, names

NAME = "emlab"
ADDRESS = "10.0.0.5"
ROUTER = "10.0.0.1"
PYTHON = HERE.parent / ".venv/bin/python"

DOWN_TIME = 40.0
"""Seconds that ``down`` gives the process that holds the lab; the daemon may take half of it."""


class Plan(NamedTuple):
    """A guest of the lab: its tap, its way to the service, and what its domain file says."""

    name: str
    tap: str
    bridge: str | None
    gateway: str | None
    number: int

    @property
    def mac(self) -> str:
        return f"fa:16:3e:00:00:{self.number:02x}"

    @property
    def key(self) -> str:
        return f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{self.number:043d} {self.name}@lab"

    @property
    def user_data(self) -> str:
        return f"#!/bin/sh\necho this is {self.name}\n"

    @property
    def domain(self) -> dict[str, Any]:
        """The domain file."""
        subnet = {"type": "ipv4", "address": f"{ADDRESS}/24"}
        if self.gateway is not None:
            subnet["gateway"] = self.gateway
        return {
            "uuid": f"1a831fa7-c50b-4693-a16e-0000000000{self.number:02x}",
            "name": self.name,
            "hostname": f"{self.name}.example.org",
            "public_keys": {self.name: self.key},
            "user_data": self.user_data,
            "nics": [{"tap": self.tap, "mac": self.mac, "subnets": [subnet]}],
        }


PLANS = (
    Plan("alder", tap="vnet0", bridge="br0", gateway=ROUTER, number=1),
    Plan("birch", tap="vnet1", bridge="br0", gateway=None, number=2),
    Plan("cedar", tap="vnet2", bridge=None, gateway=None, number=3),
)


@contextmanager
def running() -> Iterator[tuple[Daemon, dict[Plan, Guest]]]:
    """The lab with its daemon and guests."""
    with Lab(NAME) as lab:
        lab.bridge("br0", f"{ROUTER}/24")
        daemon = Daemon(lab)
        for plan in PLANS:
            daemon.write_domain(plan.name, plan.domain)
        with daemon:
            guests = {
                plan: lab.guest(
                    plan.name,
                    tap=plan.tap,
                    bridge=plan.bridge,
                    address=f"{ADDRESS}/24",
                    gateway=plan.gateway,
                    mac=plan.mac,
                )
                for plan in PLANS
            }
            yield daemon, guests


# -- demo --


def demo() -> int:
    """Run cloud-init in each guest; 0 when each found its own."""
    with running() as (daemon, guests):
        say(f"eve-meta runs on a host of its own, with {len(PLANS)} guests that all have {ADDRESS}")
        say("running cloud-init's OpenStack datasource in each guest, all at once")
        asked = {plan: ask_cloud_init(guest) for plan, guest in guests.items()}
        found = {plan: finish_cloud_init(process) for plan, process in asked.items()}
        taps = {tap["tap"]: tap for tap in daemon.status()["taps"]}
        wrong = {plan: differences(plan, found[plan], taps.get(plan.tap)) for plan in PLANS}
        print_table(found, taps, wrong)
        if any(wrong.values()):
            say(f"the end of eve-meta's log:\n{daemon.log_tail()}")
            return 1
    say("each guest got its own metadata; all is removed again")
    return 0


def ask_cloud_init(guest: Guest) -> subprocess.Popen[str]:
    """Start cloud-init's datasource in *guest*."""
    return guest.popen(PYTHON, HERE / "guest_cloud_init.py", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish_cloud_init(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What it found; ``error`` when it failed."""
    output, errors = process.communicate()
    if process.returncode == 0:
        return dict(json.loads(output), warnings=errors)
    return {"datasource": None, "error": errors}


def differences(plan: Plan, found: dict[str, Any], tap: dict[str, Any] | None) -> list[str]:
    """How what a guest found and what the daemon knows differ from its domain file; nothing when all is right."""
    domain = plan.domain
    if found["datasource"] is None:
        return [found.get("error") or "cloud-init found no datasource"]
    expected = {
        "instance_id": domain["uuid"],
        "hostname": domain["hostname"],
        "public_keys": [plan.key],
        "user_data_sha256": hashlib.sha256(plan.user_data.encode()).hexdigest(),
    }
    wrong = [f"{key}: expected {value!r}, got {found[key]!r}" for key, value in expected.items() if found[key] != value]
    if not _mentions(found["network_config"], plan.mac):
        wrong.append(f"network_config: expected {plan.mac} in it, got {found['network_config']!r}")
    if tap is None or tap["domain"] is None or tap["domain"]["uuid"] != domain["uuid"]:
        wrong.append(f"eve-meta status: expected domain {domain['uuid']} behind {plan.tap}, got {tap!r}")
    return wrong


def _mentions(config: Any, text: str) -> bool:
    return text in json.dumps(config)


def print_table(
    found: dict[Plan, dict[str, Any]], taps: dict[str, dict[str, Any]], wrong: dict[Plan, list[str]]
) -> None:
    """A line for each guest, and below it what was wrong."""
    header = ("GUEST", "ADDRESS", "TAP", "TAG", "DOMAIN", "DATASOURCE", "HOSTNAME", "KEYS", "VERDICT")
    rows = [header]
    for plan, what in found.items():
        tap = taps.get(plan.tap, {"tag": "-", "domain": None})
        keys = [key.split()[-1] for key in what.get("public_keys", [])]
        rows.append(
            (
                plan.name,
                ADDRESS,
                f"{plan.tap} ({plan.bridge or 'routed'})",
                str(tap["tag"]),
                (tap["domain"] or {"name": "-"})["name"],
                what["datasource"] or "-",
                what.get("hostname", "-"),
                ",".join(keys) or "-",
                "WRONG" if wrong[plan] else "its own",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for plan, reasons in wrong.items():
        for reason in reasons:
            print(f"{plan.name}: {reason}")


# -- up, status, shell, down --


def up() -> int:
    """Leave the lab running, held by a process in the background."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(reading)
        os.setsid()
        hold(writing)
        os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as report:
        problem = report.read()
    if problem:
        raise LabError(problem)
    say(f"the lab is up: eve-meta and {len(PLANS)} guests that all have {ADDRESS}\n{how_to_look()}")
    return 0


def hold(report: int) -> None:
    """Keep the lab until SIGTERM; *report* closes when it is up, after the problem if there was one."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    nothing = os.open(os.devnull, os.O_RDWR)
    try:
        # Before anything is started: "scripts/lab up | less" ends when nobody holds its standard output any more.
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        with running():
            os.close(report)
            while True:
                signal.pause()
    except (LabError, IpError) as error:
        os.write(report, str(error).encode())
    except SystemExit:
        pass


def how_to_look() -> str:
    """The commands to look around with."""
    files = directory_of(NAME) / "eve-meta"
    inspect = f"scripts/inspect-steering --namespace {NAME}"
    return f"""\
  a guest's shell   scripts/lab shell {PLANS[0].name}
    in it           curl http://169.254.169.254/openstack/latest/meta_data.json
  the host's shell  scripts/lab shell host
    every piece     {inspect}
    one tap         {inspect} --config {files}/eve-meta.toml --tap {PLANS[0].tap}
  domain files      {files}/domains.d
  daemon's log      {files}/log
  the end           scripts/lab down"""


def status() -> int:
    """Say what is up."""
    pid = holder_of(NAME)
    if pid is None:
        left = leftovers(NAME)
        say(
            "the lab is not up"
            + (f"; left by a killed one (scripts/lab down removes it): {', '.join(left)}" if left else "")
        )
        return 1
    say(f"the lab is up, held by process {pid}\n{how_to_look()}\n")
    config = directory_of(NAME) / "eve-meta/eve-meta.toml"
    return Namespace(f"{NAME}-host").popen(EVE_META, "status", "--config", config).wait()


def shell(name: str) -> int:
    """Become a shell in a guest, or on the host."""
    namespace = f"{NAME}-{name}"
    if namespace not in names():
        raise LabError(
            f"there is no guest {name!r}; the guests of scripts/lab up: {', '.join(p.name for p in PLANS)}, host"
        )
    program = os.environ.get("SHELL", "/bin/sh")
    say(f"a shell on {name}; end it with: exit")
    command = Namespace(namespace).command([program]) if name == "host" else guest_command(namespace, [program])
    sys.stdout.flush()
    os.execvp(command[0], command)


def down() -> int:
    """Remove everything of the lab, whatever became of who made it."""
    left = leftovers(NAME)
    pid = holder_of(NAME)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + DOWN_TIME
        while holder_of(NAME) is not None:
            if time.monotonic() > deadline:
                raise LabError(f"process {pid}, which holds the lab, does not end; end it with: kill -KILL {pid}")
            time.sleep(0.05)
    with lock(NAME):
        clean(NAME)
    say("the lab is removed" if left else "there is no lab")
    return 0


def say(message: str) -> None:
    """Tell the user."""
    print(f"lab: {message}", flush=True)


def main(arguments: Sequence[str]) -> int:
    """Run the command that *arguments* name."""
    parser = argparse.ArgumentParser(prog="scripts/lab", description=__doc__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Callable[..., int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        return added

    command("up", up, "make the lab and leave it running")
    command("demo", demo, "make the lab, let cloud-init in each guest find its metadata, remove the lab")
    command("status", status, "say what is up")
    command("shell", shell, "a shell in a guest, or on the host").add_argument("name", metavar="NAME")
    command("down", down, "remove the lab, also what a killed one left")
    options = vars(parser.parse_args(arguments))
    run = options.pop("run")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return int(run(**options))
    except (LabError, IpError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted; all is removed again", file=sys.stderr)
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
