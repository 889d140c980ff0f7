"""The resource limits of a confined process, and its place among those that the kernel kills when memory runs out."""

from __future__ import annotations

import resource
from pathlib import Path

from eve_meta.runtime.sandbox.policy import Policy

NOTHING = (
    resource.RLIMIT_CORE,  # a core file would hold the guests' secrets
    resource.RLIMIT_FSIZE,  # no file grows, whichever descriptor leads to it
    resource.RLIMIT_MEMLOCK,  # no memory is kept from being swapped; it also bounds what BPF and io_uring may take
    resource.RLIMIT_MSGQUEUE,  # no POSIX message queue
    resource.RLIMIT_NICE,  # no better place with the scheduler
    resource.RLIMIT_NPROC,  # no child and no thread: fork() fails for any user but root
    resource.RLIMIT_RTPRIO,
)
"""Limits that are set to zero."""

OOM_SCORE_ADJUSTMENT = 250
"""Added to the parent's ``oom_score_adj``, in thousandths of the machine's memory: when it runs out, the kernel ends a
worker, which is started again at once, before the supervisor, without which no tap gets its domain."""

_OOM = Path("/proc/self/oom_score_adj")
_OOM_MAX = 1000


def limit(policy: Policy) -> None:
    """Set the limits of *policy* and those that all confined processes have.

    :raises OSError: when the kernel refuses one.
    """
    for kind in NOTHING:
        resource.setrlimit(kind, (0, 0))
    _lower(resource.RLIMIT_NOFILE, policy.open_files)
    _lower(resource.RLIMIT_AS, policy.memory)
    if policy.cpu is not None:
        _lower(resource.RLIMIT_CPU, policy.cpu)


def prefer_for_oom_killer() -> None:
    """Raise the process's ``oom_score_adj`` above its parent's; that needs no privilege, and lowering it does."""
    _OOM.write_text(str(min(_OOM_MAX, int(_OOM.read_text()) + OOM_SCORE_ADJUSTMENT)))


def _lower(kind: int, value: int) -> None:
    # Lowering needs no capability; raising does, and a container's root may lack CAP_SYS_RESOURCE.
    hard = resource.getrlimit(kind)[1]
    lowered = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (lowered, lowered))
