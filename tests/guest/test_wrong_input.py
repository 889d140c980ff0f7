"""``eve-meta serve`` with a fault prints one line with the remedy, and leaves the host as it was.

Each case runs the command as a person would, with a real fault: programs are hidden by PATH, files by mounts in a mount
namespace of their own.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from attrs import field, frozen

from eve_meta.runtime.sandbox.identities import BLOCK, BLOCKS, FIRST
from harness.daemon import EVE_META
from harness.guests import BPFFS
from harness.namespace import ip_batch
from tests.guest.scene import Hosts, Identity, Scene, domain, eventually, scene

NAME = "emg-wrong"

START_TIME = 30.0


@pytest.fixture(scope="module")
def stage() -> Iterator[Scene]:
    with scene(NAME, {"vm1": domain(1, "vnet0")}, started=False) as stage:
        stage.lab.guest("vm1", tap="vnet0", bridge="br0")
        # The bridge comes up a moment after its port, and only then may the comparisons begin.
        eventually(lambda: "state UP" in stage.lab.host.run("ip", "link", "show", "dev", "br0").stdout, 2)
        yield stage


def with_mounts(*commands: str) -> list[str]:
    """Return the prefix that runs a program in a mount namespace of its own, after the shell's *commands*."""
    return ["unshare", "--mount", "--propagation", "private", "sh", "-ec", "; ".join((*commands, 'exec "$@"')), "sh"]


def hide(*folders: str | Path) -> str:
    """Return a command that mounts an empty folder over each of *folders*."""
    return "; ".join(f"mount -t tmpfs none {shlex.quote(str(folder))}" for folder in folders if Path(folder).is_dir())


def tools_without(folder: Path, *missing: str) -> Path:
    """Make a folder of links to all system programs but *missing*."""
    folder.mkdir()
    for directory in ("/usr/sbin", "/usr/bin", "/sbin", "/bin"):
        for program in Path(directory).iterdir():
            if program.name not in missing and not (folder / program.name).is_symlink():
                (folder / program.name).symlink_to(program)
    return folder


@frozen
class Wrong:
    """A start of the daemon that must fail.

    :ivar texts: the texts that the line on standard error must contain.
    """

    texts: Sequence[str]
    prefix: Sequence[str | Path] = ()
    environment: Mapping[str, str] = field(factory=dict)
    config: Path | None = None
    status: int = 1


def no_root(_stage: Scene, _tmp: Path) -> Wrong:
    # A user that may read everything: so the daemon does not fail for lack of access to a file.
    right = "+dac_override"
    user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    return Wrong(["serve needs root", "sudo"], [*user, f"--inh-caps={right}", f"--ambient-caps={right}"])


def unknown_key(stage: Scene, tmp: Path) -> Wrong:
    config = tmp / "eve-meta.toml"
    before = stage.daemon.config.read_text()
    config.write_text(before + "[web]\nworker = 2\n")
    line = before.count("\n") + 2
    return Wrong([f"{config}:{line}: web.worker: unknown key; did you mean 'workers'?"], config=config)


def not_toml(stage: Scene, tmp: Path) -> Wrong:
    config = tmp / "eve-meta.toml"
    before = stage.daemon.config.read_text()
    config.write_text(before + "[web\n")
    line = before.count("\n") + 1
    return Wrong([f"{config}:{line}:5: not TOML: Expected ']' at the end of a table declaration"], config=config)


def no_config(_stage: Scene, tmp: Path) -> Wrong:
    return Wrong(["missing.toml", "no such file"], config=tmp / "missing.toml")


def no_bcc(_stage: Scene, _tmp: Path) -> Wrong:
    spec = importlib.util.find_spec("bcc")
    assert spec is not None
    assert spec.origin is not None
    return Wrong(["bcc", "install", "python3-bpfcc"], with_mounts(hide(Path(spec.origin).parent)))


def no_headers(_stage: Scene, _tmp: Path) -> Wrong:
    if Path("/sys/kernel/kheaders.tar.xz").exists():
        pytest.skip("this kernel brings its headers along")
    return Wrong(["kernel headers", "install the package linux-headers"], with_mounts(hide("/usr/src", "/lib/modules")))


def iptables_fails(_stage: Scene, tmp: Path) -> Wrong:
    fake = tmp / "iptables-restore"
    fake.write_text("#!/bin/sh\necho 'iptables-restore: line 2 failed: no CT target' >&2\nexit 4\n")
    fake.chmod(0o755)
    return Wrong(
        ["iptables-restore refused the rules", "no CT target"], environment={"PATH": f"{tmp}:{os.environ['PATH']}"}
    )


def no_iptables(_stage: Scene, tmp: Path) -> Wrong:
    path = tools_without(tmp / "bin", "iptables-restore")
    return Wrong(["iptables is not installed", "install the package iptables"], environment={"PATH": str(path)})


def no_nsenter(_stage: Scene, tmp: Path) -> Wrong:
    path = tools_without(tmp / "bin", "nsenter")
    return Wrong(["nsenter is not installed", "install the package util-linux"], environment={"PATH": str(path)})


def no_seccomp(_stage: Scene, tmp: Path) -> Wrong:
    spec = importlib.util.find_spec("seccomp")
    assert spec is not None
    assert spec.origin is not None
    nothing = tmp / "nothing"
    nothing.touch()
    return Wrong(["seccomp", "install python3-seccomp"], with_mounts(f"mount --bind {nothing} {spec.origin}"))


def no_free_ids(_stage: Scene, tmp: Path) -> Wrong:
    passwd = tmp / "passwd"
    taken = (f"u{first}:x:{first}:0::/:/bin/sh\n" for first in range(FIRST, FIRST + BLOCKS * BLOCK, BLOCK))
    passwd.write_text(Path("/etc/passwd").read_text() + "".join(taken))
    return Wrong(["ids that nobody else has"], with_mounts(f"mount --bind {passwd} /etc/passwd"))


def run_directory_is_a_file(stage: Scene, tmp: Path) -> Wrong:
    (tmp / "run").touch()
    config = tmp / "eve-meta.toml"
    config.write_text(stage.daemon.config.read_text().replace(f"{stage.daemon.directory}/run", f"{tmp}/run"))
    return Wrong([f"{tmp}/run"], config=config)


def no_place_for_the_socket(stage: Scene, tmp: Path) -> Wrong:
    config = tmp / "eve-meta.toml"
    config.write_text(stage.daemon.config.read_text().replace("admin.sock", "missing/admin.sock"))
    return Wrong(["missing/admin.sock"], config=config)


WAYS: dict[str, Callable[[Scene, Path], Wrong]] = {
    "no root": no_root,
    "an unknown configuration key": unknown_key,
    "a configuration that is not TOML": not_toml,
    "no such configuration": no_config,
    "no bcc": no_bcc,
    "no kernel headers": no_headers,
    "an iptables that fails": iptables_fails,
    "no iptables": no_iptables,
    "no nsenter": no_nsenter,
    "no binding of libseccomp": no_seccomp,
    "no user ids that nobody has": no_free_ids,
    "a file in the place of the run directory": run_directory_is_a_file,
    "no directory for the admin socket": no_place_for_the_socket,
}


def start(stage: Scene, wrong: Wrong) -> subprocess.CompletedProcess[str]:
    """Run ``eve-meta serve`` on the hypervisor until it gives up."""
    config = wrong.config or stage.daemon.config
    environment = {"PATH": os.environ["PATH"], **wrong.environment}
    command = [*wrong.prefix, EVE_META, "serve", "--config", config]
    # Not env=: nsenter would be looked up by that PATH as well.
    variables = [f"{name}={value}" for name, value in environment.items()]
    return stage.lab.host.run(shutil.which("env") or "env", "-i", *variables, *command, check=False, timeout=START_TIME)


def left(stage: Scene) -> list[Path]:
    """Return the daemon's files, except those that must outlive it."""
    directory = stage.daemon.directory
    return [path for path in sorted(directory.rglob("*")) if not path.is_relative_to(directory / "state")]


def refuses(stage: Scene, wrong: Wrong) -> None:
    """Assert that the daemon reports the fault and leaves nothing behind."""
    before = Hosts.read(stage.lab)
    files = left(stage)
    done = start(stage, wrong)
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert [line for line in lines if line.startswith("eve-meta: ")] == lines, lines
    assert len(lines) == 1, lines
    assert all(text in lines[0] for text in wrong.texts), lines
    assert (done.returncode, done.stdout) == (wrong.status, "")
    assert before.changes(patience=3) == []
    assert left(stage) == files


@pytest.mark.parametrize("way", WAYS)
def test_serve_refuses_with_one_line_and_leaves_nothing(stage: Scene, tmp_path: Path, way: str) -> None:
    refuses(stage, WAYS[way](stage, tmp_path))


# -- things of the same name that belong to other programs and must stay --


@contextlib.contextmanager
def foreign_namespace(_stage: Scene) -> Iterator[None]:
    ip_batch([f"netns add {NAME}"])
    ip_batch(["link set lo up", "address add 192.0.2.1/32 dev lo"], namespace=NAME)
    try:
        yield
    finally:
        ip_batch([f"netns delete {NAME}"])


@contextlib.contextmanager
def foreign_link(stage: Scene) -> Iterator[None]:
    stage.lab.host.ip(f"link add {NAME}0 type bridge", f"address add 192.0.2.1/24 dev {NAME}0", f"link set {NAME}0 up")
    try:
        yield
    finally:
        stage.lab.host.ip(f"link delete {NAME}0")


@contextlib.contextmanager
def foreign_file_in_the_root(stage: Scene) -> Iterator[None]:
    """Put a file into the folder that is to be the workers' empty file system."""
    root = stage.daemon.directory / "run" / "root"
    root.mkdir(parents=True)
    (root / "secret").write_text("of somebody")
    try:
        yield
    finally:
        shutil.rmtree(root.parent)


FOREIGN: dict[str, tuple[Callable[[Scene], AbstractContextManager[None]], Sequence[str]]] = {
    "a namespace": (foreign_namespace, [f"namespace '{NAME}'", "not eve-meta's", f"ip netns delete {NAME}"]),
    "a link": (foreign_link, [f"link '{NAME}0'", "not eve-meta's", f"ip link delete {NAME}0"]),
    "a file": (foreign_file_in_the_root, ["is not empty", "remove what is in it"]),
}


@pytest.mark.parametrize("thing", FOREIGN)
def test_what_belongs_to_another_program_is_named_and_left_alone(stage: Scene, thing: str) -> None:
    there, texts = FOREIGN[thing]
    with there(stage):
        refuses(stage, Wrong(texts))


# -- what must not stop the daemon --


def serves(stage: Scene, prefix: Sequence[str | Path] = ()) -> None:
    """Assert that the daemon starts, answers its guest, and leaves nothing behind."""
    before = Hosts.read(stage.lab)
    stage.daemon.start(prefix)
    try:
        stage.wait_until_known(vnet0=1)
        assert Identity.asked_by(stage.lab.guests["vm1"]) == Identity.of(1)
    finally:
        stage.daemon.stop()
    assert before.changes() == []


def test_the_daemon_starts_without_a_mounted_bpf_file_system(stage: Scene) -> None:
    # In a mount namespace of its own, so that the mount is not visible to this machine.
    serves(stage, with_mounts(f"umount {BPFFS}" if BPFFS.is_mount() else ":"))


def test_the_daemon_starts_in_a_directory_that_a_guest_could_have_filled(stage: Scene, tmp_path: Path) -> None:
    """The daemon, as root, imports no module from the current directory."""
    for name in ("eve_meta", "twisted", "attrs", "json", "bcc", "pyroute2"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the current directory')")
    serves(stage, ["env", "-C", tmp_path])


@pytest.mark.parametrize("kind", ["missing", "a loop"])
def test_a_domain_directory_that_cannot_be_read_is_a_problem_until_it_can(stage: Scene, kind: str) -> None:
    """The daemon starts before the directory is ready: it reports that, and serves the files as they appear."""
    domains = stage.daemon.domains
    aside = domains.rename(domains.with_name("aside"))
    try:
        if kind == "a loop":
            domains.symlink_to(domains)
        stage.daemon.start()
        (problem,) = stage.daemon.problems()
        assert problem.startswith(f"{domains}: ")
        domains.unlink(missing_ok=True)
        aside.rename(domains)
        stage.wait_until_known(vnet0=1)
        assert stage.daemon.problems() == []
        assert Identity.asked_by(stage.lab.guests["vm1"]) == Identity.of(1)
    finally:
        stage.daemon.stop()
        if aside.exists():
            domains.unlink(missing_ok=True)
            aside.rename(domains)
