"""What a compromised worker or reader tries against the kernel, the host and others, each from within its confinement.

Two walls stand before most of it. The first is the system call filter, whose answer is the worker's death. The second
(namespaces, the user, limits, Landlock) is tried by processes whose filter lets the call pass.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
from collections.abc import Iterator

import pytest

from eve_meta.runtime.sandbox import landlock
from eve_meta.runtime.sandbox.libc import call, system_call
from eve_meta.runtime.sandbox.seccomp import number_of
from tests.guest.compromised import Attack, Outcome, compromised_scene, post_python, try_attacks
from tests.guest.scene import Identity, Scene, domain, eventually, proc_status

RESTART_TIME = 8.0
"""Seconds within which a worker that died a few times is back."""

# -- the first wall: a system call that no worker makes is its end --

KILLED = {
    # Parts of the kernel that a worker has no use for, and in which others found their way in.
    "io_uring": "syscall('io_uring_setup', 8, ctypes.create_string_buffer(120))",
    "userfaultfd": "syscall('userfaultfd', 1)",
    "bpf": "syscall('bpf', 0, 0, 0)",
    "perf events": "syscall('perf_event_open', 0, 0, -1, -1, 0)",
    "a keyring": "syscall('keyctl', 0, -3, 0)",
    "a key": "syscall('add_key', b'user', b'x', b'x', 1, -3)",
    "memfd": "os.memfd_create('x')",
    "inotify": "syscall('inotify_init1', 0)",
    "fanotify": "syscall('fanotify_init', 0, 0)",
    "signalfd": "syscall('signalfd4', -1, ctypes.create_string_buffer(8), 8, 0)",
    "timerfd": "syscall('timerfd_create', 1, 0)",
    "splice": "syscall('splice', 0, 0, 1, 0, 1, 0)",
    "file handles": "syscall('open_by_handle_at', -100, 0, 0)",
    # Sockets of its own.
    "vsock": "socket.socket(40, socket.SOCK_STREAM)",
    "MPTCP": "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)",
    "TCP": "socket.socket()",
    "UDP": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "a unix socket": "socket.socket(socket.AF_UNIX)",
    "a socket pair": "socket.socketpair()",
    "packets": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "crypto": "socket.socket(38, socket.SOCK_SEQPACKET)",
    "connect": "syscall('connect', 0, 0, 0)",
    "bind": "syscall('bind', 0, 0, 0)",
    "listen": "syscall('listen', 0, 0)",
    **{
        f"netlink {name}": f"socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, {family})"
        for name, family in {
            "route": 0,
            "sock_diag": 4,
            "xfrm": 6,
            "audit": 9,
            "netfilter": 12,
            "uevent": 15,
            "generic": 16,
        }.items()
    },
    # Options that attach programs, or hand out what the socket's other end is.
    **{
        f"setsockopt {name}": f"syscall('setsockopt', 0, {level}, {option}, bytes(16), 16)"
        for name, level, option in (
            ("SO_ATTACH_FILTER", 1, 26),
            ("SO_DETACH_FILTER", 1, 27),
            ("SO_LOCK_FILTER", 1, 44),
            ("SO_ATTACH_BPF", 1, 50),
            ("SO_ATTACH_REUSEPORT_CBPF", 1, 51),
            ("SO_ATTACH_REUSEPORT_EBPF", 1, 52),
            ("SO_DETACH_REUSEPORT_BPF", 1, 68),
            ("SO_MARK", 1, 36),
            ("SO_RCVBUFFORCE", 1, 33),
            ("SO_ZEROCOPY", 1, 60),
            ("TCP_CONGESTION", 6, 13),
            ("TCP_REPAIR", 6, 19),
            ("TCP_MD5SIG", 6, 14),
            ("TCP_ULP", 6, 31),
            ("IP_OPTIONS", 0, 4),
            ("IPT_SO_SET_REPLACE", 0, 64),
            ("an option of another level", 263, 1),
        )
    },
    "getsockopt SO_PEERPIDFD": "syscall('getsockopt', 0, 1, 77, bytes(16), bytes(4))",
    "getsockopt TCP_ZEROCOPY_RECEIVE": "syscall('getsockopt', 0, 6, 35, bytes(16), bytes(4))",
    # System V and POSIX IPC.
    "shared memory": "syscall('shmget', 7, 4096, 0o1777)",
    "a semaphore": "syscall('semget', 7, 1, 0o1777)",
    "a message queue": "syscall('msgget', 7, 0o1777)",
    "a POSIX message queue": "syscall('mq_open', b'q', 0o102, 0o777, 0)",
    # Other processes: one may be the other worker, the parent the supervisor.
    "kill everybody": "os.kill(-1, signal.SIGSTOP)",
    "stop itself": "os.kill(os.getpid(), signal.SIGSTOP)",
    "signal a thread": "syscall('tgkill', 1, 1, signal.SIGSTOP)",
    "queue a signal": "syscall('rt_sigqueueinfo', 1, signal.SIGSTOP, bytes(128))",
    "prlimit": "resource.prlimit(1, resource.RLIMIT_NOFILE, (0, 0))",
    "setpriority": "os.setpriority(os.PRIO_USER, 0, 19)",
    "sched_setaffinity": "os.sched_setaffinity(0, [0])",
    "sched_setscheduler": "os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))",
    "ioprio": "syscall('ioprio_set', 1, 0, 0)",
    "pidfd_open": "os.pidfd_open(1)",
    "pidfd_getfd": "syscall('pidfd_getfd', 3, 0, 0)",
    "ptrace": "syscall('ptrace', 16, 1, 0, 0)",
    "process_vm_readv": "syscall('process_vm_readv', 1, 0, 0, 0, 0, 0)",
    "process_madvise": "syscall('process_madvise', 3, 0, 0, 0, 0)",
    "kcmp": "syscall('kcmp', 1, 1, 0, 0, 0)",
    "signals by fcntl": "syscall('fcntl', 0, 8, 1)",  # F_SETOWN
    "input for a terminal": "syscall('ioctl', 0, 0x5412, b'x')",  # TIOCSTI
    # New processes, programs, memory that can be executed.
    "fork": "os.fork()",
    "vfork": "syscall('vfork')",
    "clone3": "syscall('clone3', bytes(88), 88)",
    "a thread": "threading.Thread(target=print).start()",
    "exec": "os.execv('/bin/sh', ['sh'])",
    "exec of a descriptor": "syscall('execveat', 0, b'', 0, 0, 0x1000)",
    "executable memory": "mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)",
    "memory made executable": "syscall('mprotect', 0, 4096, mmap.PROT_READ | mmap.PROT_EXEC)",
    "personality": "syscall('personality', 0x0400000)",  # READ_IMPLIES_EXEC
    # What it gave up.
    "become root": "os.setuid(0)",
    "chroot": "os.chroot('/')",
    "unshare": "syscall('unshare', 0x10000000)",  # CLONE_NEWUSER
    "setns": "syscall('setns', 0, 0)",
    "mount": "syscall('mount', b'none', b'/', b'tmpfs', 0, 0)",
    "capset": "syscall('capset', 0, 0)",
    "core files again": "syscall('prctl', 4, 1)",  # PR_SET_DUMPABLE
    "another filter": "syscall('prctl', 22, 2, 0)",  # PR_SET_SECCOMP
    "limits again": "resource.setrlimit(resource.RLIMIT_NPROC, (9, 9))",
}

REFUSED = {
    "open a file": ("open('/etc/passwd')", errno.ENOENT),
    "write a file": ("open('/file', 'w')", errno.ENOENT),
    "list a folder": ("os.listdir('/proc')", errno.ENOENT),
    "look for a file": ("os.stat('/proc/1')", errno.ENOENT),
    "read a link": ("os.readlink('/proc/self/exe')", errno.ENOENT),
}
"""Calls that fail and do not kill: libc and Python make them, too, and do without."""

# -- the second wall --

OPEN = ("open", "openat", "stat", "newfstatat", "getdents64")

BEHIND = {
    # The empty folder, which has one file here, and Landlock.
    "open a file of the host": (Attack("open('/etc/passwd')", OPEN), (errno.ENOENT, errno.EACCES)),
    "write a file": (Attack("open('/new', 'w')", OPEN), (errno.EACCES,)),
    # The user and the capabilities.
    "become root": (Attack("os.setuid(0)", ("setuid",)), (errno.EPERM,)),
    "chroot": (Attack("os.chroot('/')", ("chroot",)), (errno.EPERM,)),
    "raw socket": (Attack("socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", ("socket",)), (errno.EPERM,)),
    "SO_MARK": (
        Attack("socket.socket().setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 7)", ("socket", "setsockopt")),
        (errno.EPERM,),
    ),
    "unshare": (Attack("syscall('unshare', 0x20000)", ("unshare",)), (errno.EPERM,)),  # CLONE_NEWNS
    # Limits.
    "fork": (Attack("os.fork() or os._exit(0)", ("clone", "clone3", "fork")), (errno.EAGAIN,)),
    "lock memory": (Attack("syscall('mlock', ctypes.addressof(ctypes.create_string_buffer(9)), 9)"), (errno.EPERM,)),
    "raise a limit": (
        Attack("syscall('prlimit64', 0, 6, struct.pack('2Q', 9, 9), 0)", ("prlimit64",)),  # RLIMIT_NPROC
        (errno.EPERM,),
    ),
    "lower its nice value": (Attack("os.setpriority(os.PRIO_PROCESS, 0, -1)", ("setpriority",)), (errno.EACCES,)),
    "a POSIX message queue": (
        Attack("syscall('mq_open', b'q', 0o102, 0o777, 0)", ("mq_open",)),
        (errno.EMFILE, errno.EACCES, errno.EPERM),
    ),
    # The pid namespace: there is nobody else.
    "signal the parent": (Attack("os.kill(os.getppid() or 2, 0)", ("kill",)), (errno.ESRCH,)),
    "stop everybody": (Attack("os.kill(-1, signal.SIGSTOP)", ("kill",)), (errno.ESRCH,)),
    "prlimit": (
        Attack("syscall('prlimit64', 2, 7, struct.pack('2Q', 0, 0), 0)", ("prlimit64",)),
        (errno.ESRCH,),
    ),
    "pidfd": (Attack("os.pidfd_open(2)", ("pidfd_open",)), (errno.ESRCH, errno.EINVAL)),
    "affinity": (Attack("os.sched_setaffinity(2, [0])", ("sched_setaffinity",)), (errno.ESRCH,)),
    "ptrace": (Attack("syscall('ptrace', 16, 2, 0, 0)", ("ptrace",)), (errno.ESRCH,)),
    # The ipc namespace: a segment of the parent's is not there.
    "shared memory of the host": (Attack("syscall('shmget', 0x5EED, 1, 0)", ("shmget",)), (errno.ENOENT,)),
    # The session keyring: a key of the parent's is not there.
    "root's session keyring": (
        Attack("syscall('keyctl', 10, -3, b'user', b'eve-meta-canary', 0)", ("keyctl",)),  # KEYCTL_SEARCH
        (errno.ENOKEY, errno.EACCES),
    ),
}

LANDLOCKED = {
    "open a file of its folder": (1, Attack("open('/file')", OPEN), errno.EACCES),
    "list its folder": (1, Attack("os.listdir('/')", OPEN), errno.EACCES),
    "connect": (4, Attack("socket.socket().connect(('127.0.0.1', 9))", ("socket", "connect")), errno.EACCES),
    "bind": (4, Attack("socket.socket().bind(('127.0.0.1', 999))", ("socket", "bind")), errno.EACCES),
    "an abstract unix socket of another": (
        6,
        Attack(
            "socket.socket(socket.AF_UNIX).connect(chr(0) + 'eve-meta-canary')",
            ("socket", "connect"),
        ),
        errno.EPERM,
    ),
}
"""What Landlock alone stands before: by the version that is needed, with the errno."""

SOCKETS = ("socket", "bind", "connect", "getsockname", "getpeername", "recvmsg", "ioctl")

OFFLINE = {
    "a packet to its host": (
        Attack("socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('127.0.0.1', 9))", SOCKETS, "reader"),
        errno.ENETUNREACH,
    ),
    # Abstract names are a network namespace's own.
    "an abstract unix socket of its host": (
        Attack("socket.socket(socket.AF_UNIX).connect(chr(0) + 'eve-meta-canary')", SOCKETS, "reader"),
        errno.ECONNREFUSED,
    ),
    "the links of its host": (Attack("print(len(socket.if_nameindex()))", SOCKETS, "reader"), 1),
}
"""What the reader finds of a network, and the errno or the number of links: the loopback link is there, and is down."""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Outcome]]:
    """Run every attack on a host that has a file, shared memory, a socket and a key which none may reach."""
    root = tmp_path_factory.mktemp("root")
    for folder in (root, *root.parents):
        folder.chmod(folder.stat().st_mode | 0o011)
    root.chmod(0o755)
    (root / "file").write_text("canary")
    (root / "file").chmod(0o644)
    segment = call("shmget", 0x5EED, 4096, 0o1666)
    canary = _abstract_listener("eve-meta-canary")
    system_call("keyctl", number_of("keyctl"), 1, None)  # a session keyring, as a login has one
    description = b"eve-meta-canary"
    system_call(
        "add_key",
        number_of("add_key"),
        ctypes.create_string_buffer(b"user"),
        ctypes.create_string_buffer(description),
        ctypes.create_string_buffer(b"secret"),
        6,
        -3,
    )
    attacks = {
        **{f"killed {name}": Attack(code) for name, code in KILLED.items()},
        **{f"refused {name}": Attack(code) for name, (code, _) in REFUSED.items()},
        **{f"behind {name}": attack for name, (attack, _) in BEHIND.items()},
        **{f"landlock {name}": attack for name, (_, attack, _) in LANDLOCKED.items()},
        **{f"reader killed {name}": Attack(code, process="reader") for name, code in KILLED.items()},
        **{f"reader offline {name}": attack for name, (attack, _) in OFFLINE.items()},
        "memory": Attack("print(len(bytearray(1 << 30))); print(len(bytearray(2 << 30)))"),
        "abort": Attack("os.abort()"),
    }
    try:
        yield try_attacks(root, attacks)
    finally:
        call("shmctl", segment, 0, None)  # IPC_RMID
        canary.close()


def _abstract_listener(name: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0{name}")
    listener.listen()
    return listener


@pytest.mark.parametrize("name", KILLED)
def test_a_system_call_that_no_worker_makes_ends_the_worker(outcomes: dict[str, Outcome], name: str) -> None:
    assert outcomes[f"killed {name}"] == Outcome("", -signal.SIGSYS)


@pytest.mark.parametrize("name", KILLED)
def test_no_system_call_that_ends_a_worker_is_the_readers(outcomes: dict[str, Outcome], name: str) -> None:
    assert outcomes[f"reader killed {name}"] == Outcome("", -signal.SIGSYS)


@pytest.mark.parametrize("name", OFFLINE)
def test_the_reader_has_no_network(outcomes: dict[str, Outcome], name: str) -> None:
    outcome = outcomes[f"reader offline {name}"]
    assert outcome.status == 0, outcome
    number = OFFLINE[name][1]
    assert f"[Errno {number}]" in outcome.output or outcome.output == str(number), outcome


@pytest.mark.parametrize("name", REFUSED)
def test_a_worker_opens_nothing(outcomes: dict[str, Outcome], name: str) -> None:
    outcome = outcomes[f"refused {name}"]
    assert (outcome.status, f"[Errno {REFUSED[name][1]}]" in outcome.output) == (0, True), outcome


@pytest.mark.parametrize("name", BEHIND)
def test_what_stands_behind_the_filter_of_system_calls(outcomes: dict[str, Outcome], name: str) -> None:
    outcome = outcomes[f"behind {name}"]
    assert outcome.status == 0, outcome
    assert any(f"[Errno {number}]" in outcome.output for number in BEHIND[name][1]), outcome


@pytest.mark.parametrize("name", LANDLOCKED)
def test_what_landlock_denies(outcomes: dict[str, Outcome], name: str) -> None:
    needed, _, number = LANDLOCKED[name]
    if landlock.abi() < needed:
        pytest.skip(f"this kernel's Landlock is {landlock.abi()}, and {needed} is needed")
    outcome = outcomes[f"landlock {name}"]
    assert (outcome.status, f"[Errno {number}]" in outcome.output) == (0, True), outcome


def test_a_worker_takes_no_more_memory_than_its_share(outcomes: dict[str, Outcome]) -> None:
    assert outcomes["memory"] == Outcome(f"{1 << 30}\nMemoryError:", 0)


def test_a_broken_heap_does_not_look_like_a_forbidden_call(outcomes: dict[str, Outcome]) -> None:
    assert outcomes["abort"].status in (-signal.SIGABRT, -signal.SIGSEGV)


# -- in a daemon with two workers --

COUNT = 6


@pytest.fixture(scope="module")
def stage() -> Iterator[Scene]:
    domains = {f"vm{number}": domain(number, f"vnet{number}") for number in range(COUNT)}
    with compromised_scene("emg-sandbox", domains, settings="[web]\nworkers = 2\n") as stage:
        for number in range(COUNT):
            stage.lab.guest(f"vm{number}", tap=f"vnet{number}", bridge="br0")
        stage.wait_until_known(**{f"vnet{number}": number for number in range(COUNT)})
        yield stage


def is_answered(stage: Scene, number: int) -> bool:
    try:
        return Identity.asked_by(stage.lab.guests[f"vm{number}"]) == Identity.of(number)
    except OSError:
        return False


def test_every_part_of_the_confinement_is_in_force_and_status_shows_it(stage: Scene) -> None:
    for worker in stage.daemon.status()["workers"]:
        assert set(worker["confinement"].values()) == {True}, worker


def test_a_worker_with_a_misleading_name_hides_nothing_from_status(stage: Scene) -> None:
    code = "ctypes.CDLL(None).prctl(15, b'\\xff\\x85\\nUid:\\t0', 0, 0, 0)"  # PR_SET_NAME
    assert post_python(stage.lab.guests["vm0"], code) == ""
    for worker in stage.daemon.status()["workers"]:
        assert set(worker["confinement"].values()) == {True}, worker


def test_two_workers_share_neither_user_nor_namespace(stage: Scene) -> None:
    pids = [worker["pid"] for worker in stage.daemon.status()["workers"]]
    users = {proc_status(pid)["Uid"] for pid in pids}
    namespaces = {os.readlink(f"/proc/{pid}/ns/{kind}") for pid in pids for kind in ("pid", "ipc")}
    assert (len(users), len(namespaces)) == (2, 4)
    for pid in pids:
        assert proc_status(pid)["NSpid"].split() == [str(pid), "1"]


def test_a_forbidden_call_is_counted_named_and_hurts_nobody_else(stage: Scene) -> None:
    mine = stage.lab.guests["vm0"]
    assert post_python(mine, "print('hello')") == "hello"
    before = stage.daemon.status()["workers"]
    with pytest.raises(OSError):
        post_python(mine, "os.kill(-1, signal.SIGSTOP)")
    eventually(lambda: is_answered(stage, 0), RESTART_TIME)
    after = stage.daemon.status()["workers"]
    changed = [number for number, worker in enumerate(after) if worker["pid"] != before[number]["pid"]]
    assert [after[number]["forbidden_calls"] for number in changed] == [1]
    log = stage.daemon.log.read_text()
    assert f"worker {changed[0]} (pid {before[changed[0]]['pid']}) was killed for a system call that no worker" in log
    events = stage.lab.host.run(*stage.daemon.command("events", "--json")).stdout
    assert '"event": "forbidden-call"' in events
    assert all(is_answered(stage, number) for number in range(COUNT))


def test_a_worker_that_takes_all_that_it_may_answers_its_guests_again(stage: Scene) -> None:
    code = "hoard = []\nwhile True:\n    hoard.append(mmap.mmap(-1, 64 << 20))"
    assert post_python(stage.lab.guests["vm1"], code).endswith("Cannot allocate memory")
    eventually(lambda: is_answered(stage, 1), RESTART_TIME)
