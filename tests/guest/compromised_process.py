"""Processes in an attacker's hands, with the confinement of honest ones; :mod:`tests.guest.compromised` starts them.

``serve --config FILE``
    The daemon, but that its workers are those of the next line. SIGUSR2 keeps its supervisor from doing anything for
    :data:`BLOCKED_TIME` seconds.
``worker …``
    A worker that runs the Python which a guest posts to :data:`PATH`, and answers with what the code printed.
``attacks ROOT UID``
    Runs each attack of a list on standard input, each in a process that is confined as a worker or the reader is.

It is a script and no module of the tests, because workers import eve_meta alone (``python -I``).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import io
import json
import mmap
import os
import resource
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import attrs

from eve_meta.runtime.sandbox.birth import own_pid_namespace
from eve_meta.runtime.sandbox.confine import confine
from eve_meta.runtime.sandbox.policy import Identity, Policy
from eve_meta.runtime.sandbox.seccomp import number_of
from eve_meta.runtime.sandbox.syscalls import permit

PATH = "/run-python"

BLOCKED_TIME = 5.0

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long


def syscall(name: str, *arguments: Any) -> int:
    """Make the system call *name*; raise OSError where it fails."""
    result = int(_LIBC.syscall(ctypes.c_long(_NUMBERS[name]), *(_register(each) for each in arguments)))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _register(argument: Any) -> Any:
    return ctypes.c_long(argument) if isinstance(argument, int) else argument


class _Numbers(dict[str, int]):
    """The numbers of system calls by name. libseccomp finds them without a system call, so also when confined."""

    def __missing__(self, name: str) -> int:
        self[name] = number_of(name)
        assert self[name] >= 0, f"{name}: this machine's libseccomp does not know it"
        return self[name]


_NUMBERS = _Numbers()

MODULES = {
    module.__name__: module
    for module in (ctypes, errno, gc, mmap, os, resource, select, signal, socket, struct, sys, threading, time)
}
"""What an attack's code finds under these names: it can import nothing."""


def run(code: str, **names: Any) -> str:
    """Run *code* with *names*, and return what it printed, and last the exception with which it ended."""
    output = io.StringIO()
    try:
        exec(code, {**MODULES, "print": partial(print, file=output), "syscall": syscall, **names})
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=output)
    return output.getvalue().strip()


# -- the daemon, and its workers --


def serve() -> int:
    from eve_meta.daemon.main import main
    from eve_meta.supervisor import worker_process

    # Python runs the handler in the thread of the reactor.
    signal.signal(signal.SIGUSR2, lambda *_: time.sleep(BLOCKED_TIME))
    worker_process.PROGRAM = ("-I", __file__, "worker")
    return main()


def worker() -> int:
    from eve_meta.web import worker as honest
    from eve_meta.web.answering import Answering
    from eve_meta.web.response import Response

    respond = Answering.respond

    def compromised(self: Answering, allowance: Any, request: Any, peer: str, port: int) -> Any:
        if request.target != PATH.encode():
            return respond(self, allowance, request, peer, port)
        workers = (each for each in gc.get_objects() if isinstance(each, honest.Worker))
        output = run(request.body.decode(), answering=self, tag=allowance.tag, worker=next(workers))
        return Response(HTTPStatus.OK, output.encode())

    Answering.respond = compromised  # type: ignore[method-assign]
    return honest.main()


# -- attacks, each in a process of its own --


def attacks(root: str, uid: str) -> int:
    from eve_meta.reader.confinement import READER
    from eve_meta.web.confinement import WORKER

    policies = {policy.process: policy for policy in (WORKER, READER)}
    identity = Identity(uid=int(uid), gid=int(uid), root=Path(root))
    outcomes = {}
    for name, attack in json.load(sys.stdin).items():
        outcomes[name] = _outcome(_with(policies[attack["process"]], attack["permitted"]), identity, attack["code"])
    json.dump(outcomes, sys.stdout)
    return 0


def _with(policy: Policy, permitted: list[str]) -> Policy:
    """Return *policy* without what its system call filter has on the calls *permitted*: what stands behind it?"""
    others = (call for call in policy.calls if call.name not in permitted)
    return attrs.evolve(policy, calls=(*others, *permit(*permitted)))


def _outcome(policy: Policy, identity: Identity, code: str) -> dict[str, Any]:
    readable, writable = os.pipe()
    with own_pid_namespace():
        child = os.fork()
        if not child:
            with contextlib.suppress(BaseException):
                os.setsid()
                try:
                    confine(policy, identity)
                    output = run(code)
                except BaseException:
                    output = traceback.format_exc()
                os.write(writable, output.encode())
            os._exit(0)
    os.close(writable)
    with open(readable, "rb") as pipe:
        output = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    return {"output": output, "status": os.waitstatus_to_exitcode(status)}


if __name__ == "__main__":
    role = sys.argv.pop(1)
    sys.exit({"serve": serve, "worker": worker}[role]() if role != "attacks" else attacks(*sys.argv[1:]))
