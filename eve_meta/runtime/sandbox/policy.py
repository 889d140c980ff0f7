"""What a confined process keeps: its policy, which its program states, and its identity, which its parent chooses."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen


@frozen(kw_only=True)
class Policy:
    """What the processes of one kind keep of what every process has.

    :ivar process: what messages call such a process, "worker" for example.
    :ivar open_files: file descriptors at most (``RLIMIT_NOFILE``).
    """

    process: str
    open_files: int


@frozen(kw_only=True)
class Identity:
    """Who one process is, and what it sees of the file system.

    :ivar uid: its user.
    :ivar gid: its only group.
    :ivar root: the empty folder that becomes its whole file system.
    """

    uid: int
    gid: int
    root: Path
