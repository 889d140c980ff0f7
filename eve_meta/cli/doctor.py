"""``eve-meta doctor``: can this host run the daemon, and does anything interfere?"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import attrs
import click

from eve_meta.cli import terminal
from eve_meta.cli.options import config_option
from eve_meta.config import AUTO, DEFAULT_PATH, MAX_WORKERS, Config, load_config
from eve_meta.explain.nics import bypassing
from eve_meta.inventory.libvirt.host import URI, HostLibvirt
from eve_meta.inventory.vmm.process import ProcessTable, trusted_uids
from eve_meta.machine.running import running
from eve_meta.runtime.sandbox import landlock
from eve_meta.runtime.sandbox.identities import find_ids
from eve_meta.runtime.sandbox.rehearsal import rehearse
from eve_meta.runtime.sandbox.seccomp import import_seccomp
from eve_meta.steering.bpf.packages import install
from eve_meta.steering.doctor.examination import examine
from eve_meta.steering.doctor.finding import Finding, State, ok, warning, wrong
from eve_meta.values.bypass import INSTEAD
from eve_meta.values.problem import Problem

PROC = Path("/proc")

INDENT = 9
"""The column at which the text of a finding begins."""

EXAMPLES = """\
\b
Examples:
  eve-meta doctor
  eve-meta doctor --json | jq '.findings[] | select(.state != "ok")'
"""


@click.command(epilog=EXAMPLES)
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON, for programs.")
@click.pass_context
def doctor(ctx: click.Context, config: Path | None, as_json: bool) -> None:
    """Examine this host: its kernel, its packages, and other programs that handle the taps of its guests.

    Nothing on the host is changed, and the daemon may run meanwhile: what must be tried is tried in a temporary network
    namespace. Each line begins with "ok", "warning" (this may do harm) or "wrong" (guests get no metadata); below a
    line that is not ok is the command that fixes it. The exit status is 1 if anything is wrong. Needs root.
    """
    findings: list[Finding] = []
    for finding in _findings(config):
        findings.append(finding)
        if not as_json:
            text = terminal.indented(f"{finding.check}: {finding.text}", INDENT)
            click.echo(f"{terminal.paint(finding.state.value, INDENT)}{text}")
            if finding.mend:
                # Never wrapped, so that it can be copied.
                click.echo(f"{' ' * INDENT}{terminal.paint('→')} {finding.mend}")
    bad = any(finding.state is State.WRONG for finding in findings)
    if as_json:
        shown = [attrs.asdict(finding) | {"state": finding.state.value} for finding in findings]
        click.echo(json.dumps({"ok": not bad, "findings": shown}, indent=2))
    ctx.exit(1 if bad else 0)


def _findings(path: Path | None) -> Iterator[Finding]:
    config = Config()
    try:
        config = load_config(path)
    except Problem as problem:
        yield wrong("configuration", str(problem).splitlines()[0], f"eve-meta check --config {path or DEFAULT_PATH}")
    else:
        read = path or (DEFAULT_PATH if DEFAULT_PATH.exists() else None)
        yield ok("configuration", str(read) if read else "there is no file: every key has its default")
    yield from _sandbox(config.web.workers or MAX_WORKERS)
    yield _libvirt(config.inventory.libvirt)
    yield from _nics(config)
    yield from examine(config.steering, config.admin.metrics)


def _sandbox(workers: int) -> Iterator[Finding]:
    """Check what workers are confined with, and, as root, confine a process as a worker is."""
    try:
        import_seccomp()
    except Problem as problem:
        yield wrong("seccomp", str(problem), install("seccomp"))
        return
    yield ok("seccomp", "Python finds libseccomp's binding")
    try:
        ids = find_ids(workers)
    except Problem as problem:
        yield wrong("user", str(problem), "run eve-meta on the host itself, where nobody else has these ids")
        return
    yield ok("user", f"nobody else has the ids from {ids.start} on, as which workers run")
    yield _landlock()
    if os.geteuid() == 0:
        yield _confinement(ids.start)


def _landlock() -> Finding:
    version = landlock.abi()
    if not version:
        return warning(
            "landlock",
            "this kernel has no Landlock, which would be the workers' second wall before files, network and signals",
            "boot with a kernel that has CONFIG_SECURITY_LANDLOCK, and 'landlock' among lsm=",
        )
    return ok("landlock", f"version {version} denies {landlock.denied(version)}")


def _confinement(uid: int) -> Finding:
    name, remedy = "confinement", "run eve-meta on the host itself, with the rights that its systemd unit grants"
    try:
        in_force = rehearse(uid)
    except (OSError, Problem) as problem:
        return wrong(name, str(problem), remedy)
    if in_force.missing:
        return wrong(name, f"a worker would be without: {', '.join(in_force.missing)}", remedy)
    return ok(name, "a child that confined itself as a worker lacks nothing of it")


def _libvirt(configured: str) -> Finding:
    name, host = "libvirt", HostLibvirt()
    if not configured:
        return ok(name, 'not asked: [inventory] libvirt is ""')
    auto, socket = configured == AUTO, host.socket
    if auto and socket is None:
        return ok(name, f"not asked: it has no socket in {host.directory}")
    if host.has_module:
        return ok(name, f"{URI} is asked: {socket} is there" if auto else f"{configured} is asked")
    if auto:
        text = f"{socket} is there, but it is not asked: Python finds no libvirt module"
        return warning(name, text, install(name))
    return wrong(name, "[inventory] libvirt is set, but Python finds no libvirt module", install(name))


def _nics(config: Config) -> Iterator[Finding]:
    """Look for guests that run, and of whose NICs none has a tap."""
    table = ProcessTable(PROC, trusted_uids(config.inventory.process_users))
    for guest in table.guests():
        with suppress(OSError, ValueError):  # it has ended, or this is not root
            if why := bypassing(running(guest.pid, table, PROC).hardware.nic_facts):
                name = guest.name or str(guest.uuid)
                yield warning("NICs", f"{name} ({guest}) cannot be served: {why}", INSTEAD)
