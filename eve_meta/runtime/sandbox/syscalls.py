"""The system calls of a Python program that has imported everything: what every confined process may do.

The rule for this list: a call that touches nothing but the process itself may be here before it is seen to be needed,
because Python and libc differ from version to version (Debian 12 to 13, Ubuntu 22.04 to 24.04). A call that reaches
another process, opens anything, or leads into a rarely used part of the kernel is here only when a test needs it, and
then with its arguments where they matter.
"""

from __future__ import annotations

import errno
import mmap
import signal
from collections.abc import Iterable

from eve_meta.runtime.sandbox.policy import Call, Where

# linux/fcntl.h, which Python has in part
AT_EMPTY_PATH = 0x1000
F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC, F_GET_SEALS = 0, 1, 2, 3, 4, 1030, 1034

# asm-generic/ioctls.h
FIONBIO, FIONREAD, FIONCLEX, FIOCLEX = 0x5421, 0x541B, 0x5450, 0x5451
TCGETS, TCGETS2 = 0x5401, 0x802C_542A

# linux/prctl.h
PR_SET_NAME, PR_GET_NAME, PR_SET_VMA = 15, 16, 0x53564D41


def permit(*names: str) -> tuple[Call, ...]:
    """Return rules that permit the calls *names* whatever their arguments."""
    return tuple(map(Call, names))


def permit_options(name: str, argument: int, values: Iterable[int]) -> tuple[Call, ...]:
    """Return rules that permit the call *name* where its *argument* is one of *values*."""
    return tuple(Call(name, (Where(argument, value),)) for value in values)


def refuse(error: int, *names: str) -> tuple[Call, ...]:
    """Return rules that have the calls *names* fail with the errno *error*."""
    return tuple(Call(name, error=error) for name in names)


MEMORY = (
    *permit("brk", "madvise", "mremap", "munmap", "mlock", "munlock"),  # mlock fails by its limit, which is 0
    # Never memory that can be executed: what an attacker brings along must be put together from what is there.
    Call("mmap", (Where(2, 0, mmap.PROT_EXEC),)),
    Call("mmap2", (Where(2, 0, mmap.PROT_EXEC),)),  # where addresses are 32 bits
    Call("mprotect", (Where(2, 0, mmap.PROT_EXEC),)),
)

TIME = permit(
    *("clock_getres", "clock_gettime", "clock_nanosleep", "gettimeofday", "nanosleep", "time", "times"),
    *("clock_getres_time64", "clock_gettime64", "clock_nanosleep_time64"),  # where time was 32 bits
)

SELF = (
    *permit("exit", "exit_group", "restart_syscall", "rt_sigreturn", "sigreturn"),
    *permit("rt_sigaction", "rt_sigpending", "rt_sigprocmask", "sigaltstack"),
    *permit("futex", "futex_time64", "membarrier", "rseq", "sched_yield", "set_robust_list", "set_tid_address"),
    *permit("getegid", "geteuid", "getgid", "getgroups", "getpid", "getppid", "getresgid", "getresuid", "gettid"),
    *permit("getuid", "getegid32", "geteuid32", "getgid32", "getuid32"),
    *permit("getcpu", "getrandom", "getrlimit", "getrusage", "sched_getaffinity", "sysinfo", "ugetrlimit", "uname"),
    *permit_options("prctl", 0, (PR_SET_NAME, PR_GET_NAME, PR_SET_VMA)),  # names of threads and of memory
    # abort(): a broken heap must not look like a forbidden call. The process ends by it, or by what abort() does next.
    *permit_options("tgkill", 2, (signal.SIGABRT,)),
)

DESCRIPTORS = (
    *permit(
        "close",
        "close_range",
        "dup",
        "fstat",
        "fstat64",
        "lseek",
        "_llseek",
        "pread64",
        "read",
        "readv",
        "write",
        "writev",
    ),
    *permit("epoll_create", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait"),
    *permit("_newselect", "eventfd2", "poll", "ppoll", "ppoll_time64", "pselect6", "pselect6_time64", "select"),
    *permit_options("fcntl", 1, (F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GET_SEALS)),
    *permit_options("fcntl64", 1, (F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GET_SEALS)),
    *permit_options("ioctl", 1, (FIONBIO, FIONREAD, FIOCLEX, FIONCLEX)),
    *permit_options("ioctl", 1, (TCGETS, TCGETS2)),  # isatty(), from glibc 2.42 on by the second
    # fstat() of newer C libraries.
    Call("newfstatat", (Where(3, AT_EMPTY_PATH, AT_EMPTY_PATH),)),
    Call("fstatat64", (Where(3, AT_EMPTY_PATH, AT_EMPTY_PATH),)),
    Call("statx", (Where(2, AT_EMPTY_PATH, AT_EMPTY_PATH),)),
)

NO_FILES = (
    # No file can be opened. libc and Python try all the same, and do without: a traceback wants its source's lines, a
    # local time its zone, a second arena of malloc() the number of CPUs.
    *refuse(errno.ENOENT, "access", "faccessat", "faccessat2", "getcwd", "lstat", "lstat64", "open", "openat"),
    *refuse(errno.ENOENT, "openat2", "readlink", "readlinkat", "stat", "stat64"),
    Call("newfstatat", (Where(3, 0, AT_EMPTY_PATH),), errno.ENOENT),
    Call("fstatat64", (Where(3, 0, AT_EMPTY_PATH),), errno.ENOENT),
    Call("statx", (Where(2, 0, AT_EMPTY_PATH),), errno.ENOENT),
)

INTERPRETER = (*MEMORY, *TIME, *SELF, *DESCRIPTORS, *NO_FILES)
"""What every confined process may do: compute, keep time, read and write what it has open, and end."""
