"""A hypervisor with five guests and eve-meta, all in network namespaces of this machine.

Four guests are on a bridge, one is behind a routed tap. Four have the same IP address, and one of these must send
session tokens; the fifth has IPv6 only. Each has a domain file of its own, and should get its own metadata and nobody
else's.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence

from harness import vm
from harness.daemon import EVE_META
from harness.guests import LabError, clean, directory_of, guest_command, holder_of, leftovers, lock
from harness.lab_demo import differences, look, table
from harness.lab_guests import NAME, PLANS, WHO, Plan, running
from harness.namespace import IpError, Namespace, names
from harness.output import say

DOWN_TIME = 40.0
"""Seconds in which the process that holds the lab must end after ``down``; its daemon may take half of them."""


def demo() -> int:
    """Run cloud-init in each guest; return 0 when each found its own metadata."""
    with running() as (daemon, guests):
        say(f"eve-meta runs on a host of its own, with {WHO}")
        say("running cloud-init in each guest, all at once:")
        for plan in PLANS:
            print(f"  {plan.name}: {how(plan)}", flush=True)
        seen = look(daemon, guests)
        wrong = {plan: differences(plan, what) for plan, what in seen.items()}
        print(table(seen, wrong))
        if any(wrong.values()):
            say(f"the end of eve-meta's log:\n{daemon.log_tail()}")
            return 1
        for plan, what in seen.items():
            if plan.needs_token:
                say(f"{plan.name} asked with a session token; without one it gets {what.without_token}")
    say("each guest got its own metadata; all is removed again")
    return 0


def how(plan: Plan) -> str:
    """Describe how cloud-init searches for its metadata in the guest of *plan*."""
    if plan.needs_token:
        return "the Ec2 datasource, since SMBIOS names AWS; eve-meta demands a session token (tokens: required)"
    if not plan.ipv4:
        # Debian 12's cloud-init tries 169.254.169.254 only.
        return (
            "the OpenStack datasource; only a link-local address, no router. Its setting metadata_urls names our IPv6\n"
            "    address, because not every cloud-init tries that by itself"
        )
    return "the OpenStack datasource, by " + ("its gateway" if plan.gateway else "its link")


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
    say(f"the lab is up: eve-meta and {WHO}\n{how_to_look()}")
    return 0


def hold(report: int) -> None:
    """Keep the lab until SIGTERM.

    :param report: a pipe that is closed when the lab is up; when it cannot be made, the reason is written to it first.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    nothing = os.open(os.devnull, os.O_RDWR)
    try:
        # Before any program starts: "scripts/lab up | less" ends only when nobody holds its standard output any more.
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
    """Return the commands to look around with, for people."""
    files = directory_of(NAME) / "eve-meta"
    inspect = f"scripts/inspect-steering --namespace {NAME}"
    return f"""\
  a guest's shell   scripts/lab shell {PLANS[0].name}
    in it           curl http://169.254.169.254/openstack/latest/meta_data.json
  the host's shell  scripts/lab shell host
    all taps        eve-meta status
    one guest       eve-meta explain {PLANS[0].name}
    every piece     {inspect}
    one tap         {inspect} --config {files}/eve-meta.toml --tap {PLANS[0].tap}
  domain files      {files}/domains.d
  daemon's log      {files}/log
  the end           scripts/lab down"""


def status() -> int:
    """Print whether the lab is up, and the daemon's status."""
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


# The host name is that of the shell alone: it says in the prompt which guest this is.
NAMED = 'hostname "$1" && shift && exec "$@"'


def shell(name: str) -> int:
    """Replace this process by a shell in a guest, or on the host."""
    namespace = f"{NAME}-{name}"
    if namespace not in names():
        raise LabError(
            f"there is no guest {name!r}; the guests of scripts/lab up: {', '.join(p.name for p in PLANS)}, host"
        )
    program = os.environ.get("SHELL", "/bin/sh")
    on_host = name == "host"
    hint = f"eve-meta status, eve-meta explain {PLANS[0].name}" if on_host else "curl http://169.254.169.254/openstack"
    say(f"a shell on {name}; try: {hint}; end it with: exit")
    there = Namespace(namespace).command([program]) if on_host else guest_command(namespace, [program])
    command = ["unshare", "--uts", "sh", "-c", NAMED, "sh", "lab-host" if on_host else name, *there]
    sys.stdout.flush()
    os.execvpe(command[0], command, {**os.environ, **environment(name)})


def environment(name: str) -> dict[str, str]:
    """Return the variables of a shell on *name*, in which ``eve-meta`` asks the lab's daemon."""
    directory = directory_of(NAME)
    # A folder with this one program: that of the virtual environment has a python3, too.
    programs = directory / "bin"
    programs.mkdir(exist_ok=True)
    if not (programs / EVE_META.name).exists():
        (programs / EVE_META.name).symlink_to(EVE_META)
    return {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "EVE_META_CONFIG": str(directory / "eve-meta/eve-meta.toml"),
        "PS1": f"{name}# ",  # of a shell whose own settings have none
    }


def down() -> int:
    """Remove everything of the lab and of its VMs, also what a killed process left."""
    left = [*leftovers(NAME), *leftovers(vm.NAME)]
    for name in (NAME, vm.NAME):
        remove(name)
    say("the lab is removed" if left else "there is no lab")
    return 0


def remove(name: str) -> None:
    """End the process that holds the lab *name*, and remove what the process leaves."""
    pid = holder_of(name)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + DOWN_TIME
        while holder_of(name) is not None:
            if time.monotonic() > deadline:
                raise LabError(f"process {pid}, which holds the lab, does not end; end it with: kill -KILL {pid}")
            time.sleep(0.05)
    with lock(name):
        clean(name)


def main(arguments: Sequence[str]) -> int:
    """Run the command that *arguments* name; return its exit status."""
    parser = argparse.ArgumentParser(prog="scripts/lab", description=__doc__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Callable[..., int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        return added

    command("up", up, "make the lab and leave it running")
    command("demo", demo, "make the lab, let cloud-init in each guest find its metadata, remove the lab")
    command(
        "vm", vm.demo, "boot Debian VMs under QEMU and libvirt, let their cloud-init find its metadata, remove them"
    )
    command("status", status, "show whether the lab is up, and its taps")
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
