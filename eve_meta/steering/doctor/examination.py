"""All checks, each after those that it depends on."""

from __future__ import annotations

import os
from collections.abc import Iterator

from eve_meta.config import SteeringConfig
from eve_meta.steering.doctor import kernel, neighbours, software
from eve_meta.steering.doctor.finding import Finding, State, ok, wrong
from eve_meta.steering.doctor.rehearsal import rehearse


def examine(config: SteeringConfig, metrics: str) -> Iterator[Finding]:
    """Examine this host, which takes some five seconds; a daemon that runs here is not disturbed.

    :param metrics: the address at which the configuration publishes the metrics.
    """
    yield kernel.release()
    yield kernel.lockdown()
    yield software.iptables()
    needed = (software.bcc(), software.headers())
    yield from needed
    if os.geteuid() != 0:
        yield wrong("root", "you are not root, and only root can examine the rest", "sudo eve-meta doctor")
        return
    yield ok("root", "you are root")
    yield kernel.capabilities()
    yield kernel.bpf_file_system()
    # Without bcc and headers nothing compiles, which their own findings report.
    yield from rehearse(programs=all(finding.state is State.OK for finding in needed))
    yield from neighbours.look(config, metrics)
