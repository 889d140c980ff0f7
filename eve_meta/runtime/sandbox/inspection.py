"""What of its confinement is in force for a process, as the kernel shows it; the process itself is not asked."""

from __future__ import annotations

import resource
from pathlib import Path

from attrs import asdict, frozen

from eve_meta.runtime.sandbox.limits import NOTHING

_SELF = Path("/proc/self")

_NAMES = {
    resource.RLIMIT_CORE: "Max core file size",
    resource.RLIMIT_FSIZE: "Max file size",
    resource.RLIMIT_MEMLOCK: "Max locked memory",
    resource.RLIMIT_MSGQUEUE: "Max msgqueue size",
    resource.RLIMIT_NICE: "Max nice priority",
    resource.RLIMIT_NPROC: "Max processes",
    resource.RLIMIT_RTPRIO: "Max realtime priority",
}
"""The limits that are zero, as ``/proc/PID/limits`` names them."""


@frozen(kw_only=True)
class InForce:
    """The parts of a process's confinement; each is True where it is in force.

    What cannot be seen from outside (Landlock, the session keyring) is part of the same steps: a process whose system
    call filter is in force has taken all of them, as the filter is the last.

    :ivar user: it runs as a user and group that nobody else has, with no other group.
    :ivar capabilities: it has none, and no_new_privs keeps it from regaining any.
    :ivar file_system: its root is not its parent's.
    :ivar pid_namespace: it is the first process of a pid namespace of its own.
    :ivar ipc_namespace: its ipc namespace is not its parent's.
    :ivar system_calls: a system call filter is in force beside those that it may have inherited.
    :ivar limits: it can write no file, start no process, and take no more memory than its policy grants.
    :ivar oom_score: the kernel ends it before its parent when memory runs out.
    """

    user: bool
    capabilities: bool
    file_system: bool
    pid_namespace: bool
    ipc_namespace: bool
    system_calls: bool
    limits: bool
    oom_score: bool

    @property
    def plain(self) -> dict[str, bool]:
        """The parts as an object of JSON."""
        return asdict(self)

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of the parts that are not in force, in words."""
        return tuple(name.replace("_", " ") for name, holds in self.plain.items() if not holds)


def inspect(pid: int, uid: int) -> InForce:
    """Return what is in force for this process's child *pid*, which is to run as *uid*.

    :raises OSError: when there is no such process, or this one may not look at it.
    """
    process = Path(f"/proc/{pid}")
    status, own = _status(process), _status(_SELF)
    limits = {line[:26].strip(): line[26:].split()[:2] for line in (process / "limits").read_text().splitlines()}
    return InForce(
        user=status["Uid"].split() == status["Gid"].split() == [str(uid)] * 4 and not status["Groups"].strip(),
        capabilities=status["NoNewPrivs"] == "1"
        and not any(int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")),
        file_system=not (process / "root").samefile(_SELF / "root"),
        pid_namespace=status["NSpid"].split()[-1] == "1" and _namespace(process, "pid") != _namespace(_SELF, "pid"),
        ipc_namespace=_namespace(process, "ipc") != _namespace(_SELF, "ipc"),
        # Seccomp_filters is there since Linux 5.9.
        system_calls=status["Seccomp"] == "2" and int(status["Seccomp_filters"]) > int(own["Seccomp_filters"]),
        limits=all(limits[_NAMES[kind]] == ["0", "0"] for kind in NOTHING)
        and limits["Max address space"][1] != "unlimited",
        oom_score=_oom_score(process) > _oom_score(_SELF),
    )


def _status(process: Path) -> dict[str, str]:
    # A process chooses its name, the first line: any bytes but a line feed, which the kernel escapes.
    text = (process / "status").read_bytes().decode(errors="replace")
    lines = (line.partition(":") for line in text.split("\n"))
    return {key: value.strip() for key, _, value in lines}


def _namespace(process: Path, kind: str) -> str:
    return str((process / "ns" / kind).readlink())


def _oom_score(process: Path) -> int:
    return int((process / "oom_score_adj").read_text())
