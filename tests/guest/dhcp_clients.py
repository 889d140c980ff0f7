"""DHCP clients of others in a lab's guests: each configures the guest's NIC by a script that records what it was given.

The script is ours, because those of distributions also write the machine's ``/etc/resolv.conf``. It does with address
and routes what they do.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from attrs import field, frozen

from harness.guests import Guest
from tests.guest.scene import eventually

# Appends the environment of each call to the file "calls", one JSON object a line, with the client's own word for what
# happened as "reason".
_RECORD = """\
#!/usr/bin/python3
import json, os, subprocess, sys

def ip(*words):
    subprocess.run(["ip", *words], check=False, stderr=subprocess.DEVNULL)

env = dict(os.environ)
env.setdefault("reason", sys.argv[1] if len(sys.argv) > 1 else "")
"""

_RECORD_END = """\
with open({calls!r}, "a") as file:
    file.write(json.dumps(env) + "\\n")
"""

_DHCLIENT = """\
if env["reason"] == "PREINIT":
    ip("link", "set", env["interface"], "up")
elif env["reason"] in ("EXPIRE", "FAIL", "RELEASE", "STOP"):
    ip("-4", "address", "flush", "dev", env["interface"])
elif env["reason"] in ("BOUND", "RENEW", "REBIND", "REBOOT"):
    if env.get("old_ip_address", "") != env["new_ip_address"]:
        ip("-4", "address", "flush", "dev", env["interface"])
    mask = bin(int.from_bytes(map(int, env["new_subnet_mask"].split(".")), "big")).count("1")
    ip("address", "replace", env["new_ip_address"] + "/" + str(mask), "dev", env["interface"])
    numbers = list(map(int, env["new_rfc3442_classless_static_routes"].split()))
    while numbers:
        width, numbers = numbers[0], numbers[1:]
        size = (width + 7) // 8
        network, router, numbers = numbers[:size], numbers[size:size + 4], numbers[size + 4:]
        to = ".".join(map(str, network + [0] * (4 - size))) + "/" + str(width)
        via = ["via", ".".join(map(str, router))] if any(router) else []
        ip("route", "replace", to, *via, "dev", env["interface"])
"""

_UDHCPC = """\
if env["reason"] == "deconfig":
    ip("link", "set", env["interface"], "up")
    ip("-4", "address", "flush", "dev", env["interface"])
elif env["reason"] in ("bound", "renew"):
    if env["reason"] == "bound":
        ip("-4", "address", "flush", "dev", env["interface"])
    ip("address", "replace", env["ip"] + "/" + env["mask"], "dev", env["interface"])
    words = env["staticroutes"].split()
    for to, router in zip(words[::2], words[1::2]):
        via = ["via", router] if router != "0.0.0.0" else []
        ip("route", "replace", to, *via, "dev", env["interface"])
"""


class Client:
    """A client, and the script that it calls.

    :cvar program: its program.
    :cvar script: what its script does with the environment of a call.
    """

    program: ClassVar[str]
    script: ClassVar[str]

    @property
    def is_installed(self) -> bool:
        return shutil.which(self.program) is not None

    def command(self, folder: Path) -> list[str]:
        """Return the command that runs it in the foreground, with its files in *folder*."""
        raise NotImplementedError


class Dhclient(Client):
    """ISC's dhclient, which cloud-init 22.4 runs."""

    program, script = "dhclient", _DHCLIENT

    def command(self, folder: Path) -> list[str]:
        (folder / "dhclient.conf").write_text(
            "option rfc3442-classless-static-routes code 121 = array of unsigned integer 8;\n"
            "option ms-routes code 249 = array of unsigned integer 8;\n"
            "request subnet-mask, routers, domain-name, domain-name-servers, domain-search, host-name, interface-mtu,\n"
            "  rfc3442-classless-static-routes, ms-routes;\n"
            "timeout 30;\n"
        )
        files = (("-sf", "script"), ("-cf", "dhclient.conf"), ("-lf", "leases"), ("-pf", "pid"))
        return ["dhclient", "-d", *(word for flag, name in files for word in (flag, str(folder / name))), "eth0"]


class Udhcpc(Client):
    """busybox' udhcpc, which asks again at SIGUSR1."""

    program, script = "busybox", _UDHCPC

    def command(self, folder: Path) -> list[str]:
        options = (word for name in ("staticroutes", "search", "mtu") for word in ("-O", name))
        return ["busybox", "udhcpc", "-f", "-i", "eth0", "-s", str(folder / "script"), "-t", "20", "-T", "1", *options]


@frozen
class Running:
    """A client that runs in a guest.

    :ivar calls: the file of :data:`_RECORD`.
    """

    guest: Guest
    process: subprocess.Popen[bytes] = field(repr=False)
    _calls: Path

    def calls(self) -> list[dict[str, str]]:
        """Return the environment of each call of the script, the oldest first."""
        return [json.loads(line) for line in self._calls.read_text().splitlines()] if self._calls.exists() else []

    def call(self, *reasons: str, after: int = 0, within: float = 30) -> dict[str, str]:
        """Return the first call with one of *reasons*, of those after the first *after*."""
        return (
            eventually(lambda: next((call for call in self.calls()[after:] if call["reason"] in reasons), None), within)
            or {}
        )

    def renew(self) -> None:
        """Have udhcpc renew its lease now."""
        self.process.send_signal(signal.SIGUSR1)


@contextlib.contextmanager
def running(client: Client, guest: Guest, folder: Path) -> Iterator[Running]:
    """Run *client* in *guest*, with its files in *folder*, which may have those of an earlier run."""
    folder.mkdir(exist_ok=True)
    calls = folder / "calls"
    calls.unlink(missing_ok=True)
    script = folder / "script"
    script.write_text(_RECORD + client.script + _RECORD_END.format(calls=str(calls)))
    script.chmod(0o755)
    with open(folder / "log", "ab") as log:
        process = guest.popen(*client.command(folder), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        yield Running(guest, process, calls)
    finally:
        process.kill()
        process.wait()
