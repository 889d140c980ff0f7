"""The distribution's packages that the daemon runs, imports or compiles with."""

from __future__ import annotations

import os
import subprocess
import sys

from eve_meta.steering.bpf.loader import import_bcc, kernel_headers
from eve_meta.steering.bpf.packages import install
from eve_meta.steering.doctor.finding import Finding, ok, wrong
from eve_meta.values.problem import Problem


def iptables() -> Finding:
    """Whether the rules can be loaded, and which iptables does; both do."""
    try:
        done = subprocess.run(["iptables-restore", "--version"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return wrong("iptables", "iptables-restore is not installed", install("iptables"))
    said = " ".join((done.stdout or done.stderr).split())
    if done.returncode != 0:
        return wrong("iptables", f"iptables-restore does not run: {said}", install("iptables"))
    return ok("iptables", said)


def bcc() -> Finding:
    """Whether this Python finds the distribution's bcc."""
    try:
        module, _ = import_bcc()
    except Problem as problem:
        return wrong("bcc", str(problem), install("bcc"))
    return ok("bcc", f"{os.path.dirname(sys.modules[module.__module__].__file__ or '')} of {sys.executable}")


def headers() -> Finding:
    """Which kernel headers bcc will take."""
    try:
        with kernel_headers() as where:
            return ok("kernel headers", where)
    except Problem as problem:
        named = "BCC_KERNEL_SOURCE" in os.environ
        return wrong("kernel headers", str(problem), "unset BCC_KERNEL_SOURCE" if named else install("headers"))
