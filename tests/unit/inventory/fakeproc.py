"""A procfs made of files, for processes that no test machine has."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

NETNS = "net:[4026531840]"


class FakeProc:
    """``/proc`` with the files that the inventory reads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "self/ns").mkdir(parents=True)
        (path / "self/ns/net").symlink_to(NETNS)

    def add(
        self,
        pid: int,
        *arguments: str,
        taps: Iterable[str] = (),
        exe: str | None = "/usr/bin/qemu-system-x86_64",
        comm: str = "qemu-system-x86",
        start: int = 100,
        netns: str = NETNS,
        uids: tuple[int, int, int, int] = (0, 0, 0, 0),
    ) -> Path:
        """Add a process that holds *taps*, beside other descriptors.

        :param exe: the path of its program; None where that may not be read.
        :param uids: its real, effective, saved and file system user.
        """
        base = self.path / str(pid)
        for name in ("ns", "fd", "fdinfo"):
            (base / name).mkdir(parents=True)
        (base / "ns/net").symlink_to(netns)
        (base / "comm").write_text(f"{comm}\n")
        if exe is not None:
            (base / "exe").symlink_to(exe)
        self.set_cmdline(pid, *arguments)
        self.set_uids(pid, *uids)
        # The name may contain what looks like the end of its field.
        (base / "stat").write_text(f"{pid} (a) b) S 1 {'0 ' * 17}{start} 0 0\n")
        links = ["/dev/null", "socket:[5]", *["/dev/net/tun"] * len(list(taps))]
        infos = ["", "", *(f"iff:\t{tap}\n" for tap in taps)]
        for number, (link, info) in enumerate(zip(links, infos, strict=True)):
            (base / f"fd/{number}").symlink_to(link)
            (base / f"fdinfo/{number}").write_text(f"pos:\t0\nflags:\t02\nmnt_id:\t9\n{info}")
        return base

    def set_cmdline(self, pid: int, *arguments: str) -> None:
        """Give the process another command line, as it could do itself."""
        (self.path / str(pid) / "cmdline").write_bytes(b"".join(argument.encode() + b"\0" for argument in arguments))

    def set_uids(self, pid: int, *uids: int) -> None:
        """Give the process to other users: real, effective, saved and file system user."""
        (self.path / str(pid) / "status").write_text("Name:\tx\nUid:\t{}\t{}\t{}\t{}\nGid:\t0\t0\t0\t0\n".format(*uids))
