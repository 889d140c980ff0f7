"""A trial of the confinement on this host, for ``eve-meta doctor``."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from eve_meta.runtime.sandbox.birth import own_pid_namespace
from eve_meta.runtime.sandbox.confine import confine
from eve_meta.runtime.sandbox.inspection import InForce, inspect
from eve_meta.runtime.sandbox.policy import Identity, Policy
from eve_meta.runtime.sandbox.syscalls import INTERPRETER
from eve_meta.values.problem import Problem

POLICY = Policy(process="worker", calls=INTERPRETER, open_files=64, memory=1 << 31)
"""What every confined process keeps, and nothing more."""

_CONFINED = b"confined"


def rehearse(uid: int) -> InForce:
    """Confine a child of this process, which has one thread, as a worker is; return what the kernel shows of it.

    :param uid: an id that nobody has.
    :raises Problem: when the kernel refuses a step.
    """
    with tempfile.TemporaryDirectory(prefix="eve-meta-") as folder:
        root = Path(folder)
        root.chmod(0o755)
        readable, writable = os.pipe()
        ending, hold = os.pipe()
        with own_pid_namespace():
            child = os.fork()
            if not child:
                with contextlib.suppress(BaseException):
                    os.close(hold)
                    _be_confined(Identity(uid=uid, gid=uid, root=root), writable, ending)
                os._exit(1)
        try:
            os.close(writable)
            with open(readable, "rb") as pipe:
                outcome = pipe.read(4096)
            if outcome != _CONFINED:
                raise Problem(outcome.decode() or "a child that confined itself was killed for it")
            return inspect(child, uid)
        finally:
            os.close(ending)
            os.close(hold)
            os.waitpid(child, 0)


def _be_confined(identity: Identity, writable: int, ending: int) -> None:
    try:
        confine(POLICY, identity)
    except Problem as problem:
        os.write(writable, str(problem).encode())
        return
    os.write(writable, _CONFINED)
    os.close(writable)
    os.read(ending, 1)  # until the parent has looked
