"""Debian VMs that boot under QEMU, started by libvirt, and whose own cloud-init should find its metadata.

The network is a hypervisor's: each VM has a bridge of its own with a DHCP server and router on it, and gets the same
address there as every other VM.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harness.daemon import Daemon
from harness.guests import Lab, LabError
from harness.libvirtd import Libvirtd
from harness.output import columns, say
from harness.vm_image import Image, image
from harness.vm_plans import ADDRESS, FIRST, PLANS, ROUTER, SECOND, Boot, Plan, differences

NAME = "emvm"

BOOT_TIME = 600.0
"""Seconds that VMs may take to boot; two take 90 on two idle cores."""

PREDICT_TIME = 30.0
"""Seconds until the daemon has assigned a domain to the tap of a VM that libvirt has just started."""

EXPLAIN_TIME = 75.0
"""Seconds for which ``eve-meta explain`` may report a VM that sent nothing but DHCP as booting, and some more."""

POLL = 1.0


class Booted(NamedTuple):
    """A VM that has booted.

    :ivar boot: the content of its console.
    :ivar tap: the tap that libvirt gave it.
    :ivar predicted: the datasource that ``eve-meta explain`` predicted before its kernel had started.
    :ivar verdicts: the verdicts of ``explain`` at the end, and the state of each.
    :ivar status: its tap in the output of ``status`` at the end.
    """

    plan: Plan
    boot: Boot
    tap: str
    predicted: str
    verdicts: dict[str, str]
    status: dict[str, Any]

    @property
    def wrong(self) -> list[str]:
        """The differences from the plan; empty when all is right."""
        wrong = differences(self.plan, self.boot)
        if self.predicted != self.plan.predicted:
            wrong.append(f"eve-meta explain: expected to predict {self.plan.predicted}, got {self.predicted}")
        if (self.status["domain"] or {}).get("uuid") != self.plan.uuid:
            wrong.append(f"eve-meta status: expected domain {self.plan.uuid} behind its tap, got {self.status}")
        return wrong


class Hypervisor:
    """The host: eve-meta, libvirtd, and a bridge for each VM."""

    def __init__(self, lab: Lab, daemon: Daemon, libvirtd: Libvirtd, files: Image) -> None:
        self.lab = lab
        self.daemon = daemon
        self.libvirtd = libvirtd
        self._image = files

    def boot(self, plans: Sequence[Plan]) -> list[Booted]:
        """Boot VMs at once, wait until cloud-init in each has finished, and end them.

        :raises LabError: when a VM ends before that, or takes longer than :data:`BOOT_TIME`.
        """
        consoles = {plan: self._start(plan) for plan in plans}
        predicted = {plan: self._predict(plan) for plan in plans}
        deadline = time.monotonic() + BOOT_TIME
        announced: dict[Plan, set[str]] = {plan: set() for plan in plans}
        boots: dict[Plan, Boot] = {}
        while any(plan not in boots for plan in plans):
            time.sleep(POLL)
            for plan in plans:
                alive = plan.name in self.libvirtd.virsh("list", "--name").split()
                boot = Boot.read(consoles[plan].read_text(errors="replace"))
                for stage in boot.stages.keys() - announced[plan]:
                    say(f"{plan.name}: cloud-init {stage}, {boot.stages[stage]:.0f} s after its kernel started")
                    announced[plan].add(stage)
                if boot.datasource is not None:
                    boots[plan] = boot
                elif not alive or time.monotonic() > deadline:
                    why = f"did not boot within {BOOT_TIME:.0f} s" if alive else "ended"
                    raise LabError(f"{plan.name} {why}; {self._story(boot)}")
        found = [self._look(plan, boots[plan], predicted[plan]) for plan in plans]
        for plan in plans:
            self.libvirtd.virsh("destroy", plan.name)
        return found

    def _start(self, plan: Plan) -> Path:
        folder = self.lab.directory / plan.name
        folder.mkdir()
        disk, drive, console = folder / "disk.qcow2", folder / "drive.iso", folder / "console"
        _run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", self._image.disk, disk)
        if plan.drive:
            seed = folder / "seed"
            seed.mkdir()
            for name, text in plan.seed().items():
                (seed / name).write_text(text)
            _run("genisoimage", "-quiet", "-output", drive, "-volid", "cidata", "-joliet", "-rock", seed)
        console.touch()
        xml = folder / "domain.xml"
        xml.write_text(
            plan.xml(self._image, disk=str(disk), console=str(console), drive=str(drive) if plan.drive else None)
        )
        self.libvirtd.virsh("create", xml)
        return console

    def _predict(self, plan: Plan) -> str:
        deadline = time.monotonic() + PREDICT_TIME
        while (predicted := self._explain(plan)["datasource"]["predicted"]) is None:
            if time.monotonic() > deadline:
                raise LabError(f"eve-meta explain {plan.name} predicts no datasource; {self.logs()}")
            time.sleep(POLL)
        return str(predicted)

    def _look(self, plan: Plan, boot: Boot, predicted: str) -> Booted:
        (tap,) = self.libvirtd.taps(plan.name)
        deadline = time.monotonic() + EXPLAIN_TIME
        # On a fast machine the guest gives up while explain still grants it time to boot.
        while "packets-booting" in (verdicts := self._verdicts(plan)) and time.monotonic() < deadline:
            time.sleep(POLL)
        taps = {status["tap"]: status for status in self.daemon.status()["taps"]}
        return Booted(plan, boot, tap, predicted, verdicts, taps[tap])

    def _verdicts(self, plan: Plan) -> dict[str, str]:
        return {step["verdict"]: step["state"] for step in self._explain(plan)["steps"]}

    def _explain(self, plan: Plan) -> dict[str, Any]:
        # Its exit status is 1 when a step is wrong.
        asked = subprocess.run(
            self.lab.host.command(self.daemon.command("explain", plan.name, "--json")),
            capture_output=True,
            text=True,
            check=False,
        )
        if asked.returncode not in (0, 1) or not asked.stdout:
            raise LabError(f"eve-meta explain {plan.name}: {asked.stderr.strip()}")
        return dict(json.loads(asked.stdout))

    def _story(self, boot: Boot) -> str:
        return f"the end of its console:\n{boot.tail()}\n{self.logs()}"

    def logs(self) -> str:
        """Return the end of the daemon's log and of libvirtd's."""
        return (
            f"the end of eve-meta's log:\n{self.daemon.log_tail()}\nthe end of libvirtd's:\n{self.libvirtd.log_tail()}"
        )


@contextlib.contextmanager
def running() -> Iterator[Hypervisor]:
    """Start the hypervisor, without a VM; remove it at the end."""
    files = image()
    with Lab(NAME) as lab, contextlib.ExitStack() as stack:
        for plan in PLANS:
            lab.bridge(plan.bridge, f"{ROUTER}/24")
            stack.enter_context(_dhcp_server(lab, plan))
        libvirtd = stack.enter_context(Libvirtd(lab))
        daemon = Daemon(lab, inventory=f"libvirt = {json.dumps(libvirtd.uri)}\n")
        for plan in PLANS:
            if not plan.in_libvirt:
                daemon.write_domain(plan.name, plan.domain)
        stack.enter_context(daemon)
        yield Hypervisor(lab, daemon, libvirtd, files)


@contextlib.contextmanager
def _dhcp_server(lab: Lab, plan: Plan) -> Iterator[None]:
    log = lab.directory / f"dhcp-{plan.bridge}.log"
    with log.open("wb") as file:
        server = lab.host.popen(
            *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root", "--port=0"),
            *("--log-facility=-", "--leasefile-ro"),
            *(f"--interface={plan.bridge}", "--except-interface=lo", "--bind-interfaces"),
            *(f"--dhcp-range={ADDRESS},static,255.255.255.0", f"--dhcp-host={plan.mac},{ADDRESS}"),
            # Its ping would find the address taken, by the VM on the next bridge, which has the same.
            "--no-ping",
            # The option without a value: announce no router.
            *(() if plan.router else ("--dhcp-option=option:router",)),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        yield
    finally:
        server.terminate()
        server.wait()


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise LabError(f"{command[0]}: {done.stderr.strip()}")


# -- the command --


def demo() -> int:
    """Boot the VMs; return 0 when each has the identity that it should have."""
    began = time.monotonic()
    with running() as hypervisor:
        say(f"{_named(FIRST)} boot at once; both get {ADDRESS} by DHCP")
        booted = hypervisor.boot(FIRST)
        say(f"{_named(SECOND)} boot: one with a NoCloud drive, one without a router")
        booted += hypervisor.boot(SECOND)
        print_table(booted)
        if any(vm.wrong for vm in booted):
            say(hypervisor.logs())
            return 1
    say(f"each VM has its own identity; all is removed again, after {time.monotonic() - began:.0f} s")
    return 0


def _named(plans: Sequence[Plan]) -> str:
    return " and ".join(plan.name for plan in plans)


def print_table(booted: Sequence[Booted]) -> None:
    """Print a table with a line for each VM, and below it each difference with the end of the VM's console."""
    rows = [("GUEST", "ADDRESS", "TAP", "PREDICTED", "DATASOURCE", "HOSTNAME", "KEY", "USER DATA", "VERDICT")]
    for vm in booted:
        boot = vm.boot
        rows.append(
            (
                vm.plan.name,
                boot.address or "-",
                vm.tap,
                vm.predicted,
                (boot.datasource or "-").removeprefix("DataSource"),
                boot.hostname or "-",
                ",".join(key.split()[-1] for key in boot.keys) or "-",
                ",".join(boot.user_data) or "-",
                "WRONG" if vm.wrong else vm.plan.verdict,
            )
        )
    print("\n".join(columns(rows)))
    for vm in booted:
        for reason in vm.wrong:
            print(f"{vm.plan.name}: {reason}")
        if vm.wrong:
            print(f"{vm.plan.name}: the end of its console:\n{vm.boot.tail()}")
