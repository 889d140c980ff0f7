"""The distribution's packages that the daemon runs, imports, or compiles against."""

from __future__ import annotations

import os
import subprocess
import sys

from eve_meta.steering.bpf.loader import import_bcc, kernel_headers
from eve_meta.steering.bpf.packages import install
from eve_meta.steering.doctor.finding import Finding, ok, wrong
from eve_meta.values.problem import Problem


def iptables() -> Finding:
    """Check that iptables runs, and show which of its two variants it is; steering works with both."""
    try:
        done = subprocess.run(["iptables-restore", "--version"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return wrong("iptables", "iptables-restore is not installed", install("iptables"))
    output = " ".join((done.stdout or done.stderr).split())
    if done.returncode != 0:
        return wrong("iptables", f"iptables-restore does not run: {output}", install("iptables"))
    return ok("iptables", output)


def bcc() -> Finding:
    """Check that this Python can import the distribution's bcc."""
    try:
        module, _ = import_bcc()
    except Problem as problem:
        return wrong("bcc", str(problem), install("bcc"))
    return ok("bcc", f"{os.path.dirname(sys.modules[module.__module__].__file__ or '')} of {sys.executable}")


def headers() -> Finding:
    """Check that bcc will find kernel headers, and show which."""
    try:
        with kernel_headers() as paths:
            return ok("kernel headers", paths)
    except Problem as problem:
        is_set = "BCC_KERNEL_SOURCE" in os.environ
        return wrong("kernel headers", str(problem), "unset BCC_KERNEL_SOURCE" if is_set else install("headers"))
