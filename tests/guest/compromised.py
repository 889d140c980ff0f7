"""Attacks from within: Python that runs in a worker's place, with a worker's confinement."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
from attrs import frozen

from eve_meta.runtime.sandbox.identities import FIRST
from harness.guests import Guest
from tests.guest.compromised_process import PATH
from tests.guest.scene import Scene, scene

SCRIPT = Path(__file__).with_name("compromised_process.py")

SERVE = (sys.executable, "-I", str(SCRIPT), "serve")
"""The command of a daemon whose workers run the Python that guests post (``Daemon(serve=…)``)."""


@contextlib.contextmanager
def compromised_scene(name: str, domains: Mapping[str, Mapping[str, Any]], **options: Any) -> Iterator[Scene]:
    """Make a scene whose daemon has compromised workers; otherwise as :func:`tests.guest.scene.scene`."""
    with scene(name, domains, serve=SERVE, **options) as stage:
        yield stage


def post_python(guest: Guest, code: str, *, timeout: float = 10) -> str:
    """Have the worker that answers *guest* run *code*, and return what the code printed.

    The code can import nothing. It has the modules of :data:`~tests.guest.compromised_process.MODULES`, the function
    ``syscall(name, …)``, and the worker's own ``worker``, ``answering`` and ``tag``.

    :raises OSError: when the worker dies of it.
    """
    try:
        answer = guest.get(PATH, method="POST", body=code.encode(), timeout=timeout)
    except http.client.HTTPException as error:
        raise ConnectionResetError(f"the worker is gone: {error!r}") from None
    assert answer.status == 200, answer
    return answer.body.decode()


@frozen
class Attack:
    """Python that a confined process runs.

    :ivar permitted: system calls that its filter permits all the same, to try what stands behind the filter.
    :ivar process: whose confinement it has, "worker" or "reader".
    """

    code: str
    permitted: tuple[str, ...] = ()
    process: str = "worker"


@frozen
class Outcome:
    """What came of an attack.

    :ivar output: what the code printed, and the exception with which it ended.
    :ivar status: the exit status, or a negative number: of the signal that ended the process.
    """

    output: str
    status: int


def try_attacks(root: Path, attacks: Mapping[str, Attack]) -> dict[str, Outcome]:
    """Run each of *attacks* in a process of its own, whose whole file system is *root*, and return their outcomes."""
    done = subprocess.run(
        [sys.executable, "-I", SCRIPT, "attacks", root, str(FIRST + 1000)],
        input=json.dumps({name: attrs.asdict(each) for name, each in attacks.items()}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {name: Outcome(**outcome) for name, outcome in json.loads(done.stdout).items()}
