"""Debian or Ubuntu installed into a folder, and a cache of the things that are built from it.

Each thing is built once and kept in :data:`CACHE`, in a folder whose name is a hash of the thing's recipe: a changed
recipe makes another folder. A build works in a folder of its own there and renames its result at the very end, so that
the cache has either the whole thing or nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from harness.guests import LabError

CACHE = Path("/var/cache/eve-meta-lab")

UNUSED_TIME = 14 * 86400.0
"""Seconds after which the next build removes a thing that nobody has used, such as one of an older checkout."""

RUN_TIME = 900.0
"""Seconds that each program of a build may take; mmdebstrap takes one minute where the mirror is near."""

DEBIAN_ELSEWHERE = "bookworm"
"""The release of Debian to install on a machine that has another distribution; a Debian installs its own release."""

KEYRINGS = {
    "debian": "/usr/share/keyrings/debian-archive-keyring.gpg",
    "ubuntu": "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
}


def built_once(kind: str, made_of: Sequence[str], build: Callable[[Path], Path]) -> Path:
    """Return the folder with a thing from the cache; build the thing where it is missing.

    :param kind: the beginning of the folder's name.
    :param made_of: the recipe: everything on which the content of the thing depends.
    :param build: builds the thing: it gets an empty folder to work in, and returns the folder within it to keep.
    :raises LabError: when the thing cannot be built.
    """
    key = hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:16]
    wanted = CACHE / f"{kind}-{key}"
    CACHE.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked():
        if not wanted.is_dir():
            _remove_old()
            print(f"building once, in a minute or two: {wanted}", flush=True)
            work = Path(tempfile.mkdtemp(prefix="building-", dir=CACHE))
            try:
                build(work).rename(wanted)
            finally:
                shutil.rmtree(work)
        os.utime(wanted)
    return wanted


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Hold the lock that makes two simultaneous runs build a thing once. The lock ends with this process."""
    descriptor = os.open(CACHE, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_old() -> None:
    for path in CACHE.iterdir():
        killed = path.name.startswith("building-")
        if killed or time.time() - path.stat().st_mtime > UNUSED_TIME:
            shutil.rmtree(path)


def own_distribution() -> str:
    """Return the distribution of this machine, by the name that :func:`install` and mmdebstrap take."""
    return platform.freedesktop_os_release()["ID"]


def release(distribution: str) -> str:
    """Return the code name of the release that :func:`install` installs."""
    system = platform.freedesktop_os_release()
    return system["VERSION_CODENAME"] if system["ID"] == distribution else DEBIAN_ELSEWHERE


def install(tree: Path, distribution: str, *options: str, suite: str | None = None) -> None:
    """Install a *distribution*, this machine's own or "debian", into the folder *tree*.

    :param options: more options of mmdebstrap.
    :param suite: the code name of the release; None: that of :func:`release`.
    :raises LabError: when the installation fails.
    """
    suite = suite or release(distribution)
    # In namespaces of its own: mmdebstrap's mounts and processes end with it, however it ends.
    alone = ("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc")
    settings = [f"--aptopt={setting}" for setting in _apt_settings()]
    command = (*alone, "mmdebstrap", "--mode=root", "--format=directory", "--variant=minbase", *options, *settings)
    run(*command, suite, tree, *_mirrors(distribution, suite))


def _mirrors(distribution: str, wanted: str) -> list[str]:
    """Return the sources of *distribution* in the configuration of this machine's apt, for the release *wanted*.

    Where there are none, mmdebstrap uses Debian's own mirror.
    """
    shown = "$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)"
    command = ["apt-get", "indextargets", "--format", shown, "Identifier: Packages"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = dict.fromkeys(found.stdout.splitlines())  # one for each architecture
    targets = [line.split() for line in lines if line.lower().startswith(f"{distribution} ")]
    return [
        f"deb [signed-by={KEYRINGS[distribution]}] {uri} {suite.replace(release(distribution), wanted)} {component}"
        for _, uri, suite, component in targets
        if suite.partition("-")[0] == release(distribution)
    ]


def _apt_settings() -> list[str]:
    """Return the settings by which this machine's apt reaches its mirrors, such as a proxy; mmdebstrap ignores them."""
    settings = subprocess.run(["apt-config", "dump", "Acquire"], capture_output=True, text=True, check=False).stdout
    wanted = re.compile(r'Acquire::(https?::|Check-|Retries)\S* "[^"]+";')
    return [line.rstrip(";") for line in settings.splitlines() if wanted.fullmatch(line)]


def run(*command: str | Path) -> None:
    """Run a program of a build.

    :raises LabError: when the program fails; the message has the end of its output.
    """
    try:
        subprocess.run(
            command,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=RUN_TIME,
        )
    except FileNotFoundError as error:
        raise LabError(f"{error.filename} is missing: run scripts/bootstrap") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"cannot build it: {command[0]} does not end within {RUN_TIME:.0f} s") from None
    except subprocess.CalledProcessError as error:
        end = "\n".join(error.stdout.splitlines()[-30:])
        raise LabError(f"cannot build it (does the network work, and apt-get update?): {end}") from None
