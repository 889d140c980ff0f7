"""Compiles ``bpf/`` with bcc and pins its programs and maps, in a process of its own that then ends.

Importing bcc costs 72 MB of resident memory and compiling 127 MB, which no long-lived process should carry. Run as
``python -m eve_meta.steering.bpf.loader PINS``; a failure is one line on standard error and exit status 1.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import eve_meta
from eve_meta.steering.bpf.maps import MAPS, PROGRAMS, Maps, Settings
from eve_meta.steering.bpf.packages import package
from eve_meta.values.problem import Problem
from eve_meta.values.tag import MIN_TAG

SOURCES = ("shared.h", "parse.h", "addresses.h", "checksum.h", "nd.h", "dhcp.h", "guest.h", "steer.c")


def source_directory() -> Path:
    """Return the directory of ``bpf/steer.c``: ``bpf/`` beside the package in a checkout, else where pip installed it.

    :raises Problem: when it is in neither place.
    """
    checkout = Path(eve_meta.__file__).parent.parent / "bpf"
    installed = Path(sysconfig.get_path("data")) / "share" / "eve-meta" / "bpf"
    for directory in (checkout, installed):
        if (directory / "steer.c").is_file():
            return directory
    raise Problem(f"the BPF sources are missing: expected steer.c in {checkout} or {installed}; install eve-meta again")


def build_id(sources: Path) -> int:
    """Return a number that changes with the sources, by which a daemon knows the pins of another build."""
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update((sources / name).read_bytes())
    return int.from_bytes(digest.digest()[:8], "big")


@contextlib.contextmanager
def kernel_headers() -> Iterator[str]:
    """Make sure that bcc finds kernel headers for as long as the context lasts; yield their path.

    bcc reads ``BCC_KERNEL_SOURCE``, then looks for the headers of the running kernel. Any headers serve us, because the
    programs use only the stable user API. So where bcc would find none, it gets those that the distribution installed.
    Debian splits its headers over two folders, while bcc reads one: links join them.

    :raises Problem: when no headers are installed.
    """
    release = platform.release()
    if "BCC_KERNEL_SOURCE" in os.environ:
        source = Path(os.environ["BCC_KERNEL_SOURCE"])
        if not (source / "include" / "linux" / "kconfig.h").is_file():
            raise Problem(
                f"BCC_KERNEL_SOURCE is {str(source)!r}, where there are no kernel headers: unset it or correct it"
            )
        yield str(source)
        return
    for running in (Path(f"/lib/modules/{release}/build"), Path("/sys/kernel/kheaders.tar.xz")):
        if running.exists():
            yield str(running)
            return
    trees = _installed_headers(Path("/usr/src"))
    if not trees:
        raise Problem(
            f"bcc needs kernel headers, and neither those of this kernel ({release}) nor any others are installed: "
            f"install the package {package('headers')}"
        )
    with tempfile.TemporaryDirectory(prefix="eve-meta-headers-") as merged:
        for tree in trees:
            for folder in (tree / "include", *tree.glob("arch/*/include")):
                target = Path(merged) / folder.relative_to(tree)
                target.mkdir(parents=True, exist_ok=True)
                for child in folder.iterdir():
                    (target / child.name).symlink_to(child)
        os.environ["BCC_KERNEL_SOURCE"] = merged
        try:
            yield " and ".join(map(str, trees))
        finally:
            del os.environ["BCC_KERNEL_SOURCE"]


def _installed_headers(source: Path) -> list[Path]:
    """Return the trees below *source* that together are the newest kernel headers; empty when there are none."""
    for generated in sorted(source.glob("linux-headers-*/include/generated/autoconf.h"), reverse=True):
        tree = generated.parents[2]
        if (tree / "include" / "linux" / "kconfig.h").exists():  # Ubuntu: links into the common tree
            return [tree]
        common = source / f"{tree.name.rpartition('-')[0]}-common"  # Debian
        if (common / "include" / "linux" / "kconfig.h").is_file():
            return [common, tree]
    return []


def import_bcc() -> tuple[Any, Any]:
    """Return bcc's ``BPF`` and ``lib``.

    :raises Problem: when bcc is not installed for this Python.
    """
    # Imported only here: its absence becomes one line, and no process but the loader's pays for it.
    try:
        from bcc import BPF, lib
    except ImportError as error:
        raise Problem(
            f"{sys.executable} cannot import bcc ({error}): install the distribution's package {package('bcc')}, "
            "and make the virtual environment from /usr/bin/python3 with --system-site-packages "
            "(PyPI's bcc is another program)"
        ) from None
    return BPF, lib


def load(pins: Path) -> None:
    """Compile and load the programs, and pin them and their maps in the directory *pins*, or leave it empty.

    Pins that are there already are replaced. The settings' build is written last: pins without it are incomplete.

    :raises Problem: when bcc or kernel headers are missing, or the compiler or the kernel refuses the programs.
    """
    BPF, lib = import_bcc()
    sources = source_directory()
    with kernel_headers():
        try:
            module = BPF(src_file=os.fsencode(sources / "steer.c"), cflags=[f"-I{sources}"])
            programs = {name: module.load_func(name, BPF.SCHED_CLS) for name in PROGRAMS}
        except Exception as error:  # bcc raises bare Exceptions; the compiler's messages are on standard error already
            raise Problem(f"the BPF programs in {sources} do not load: {error}") from None
    unpin(pins)
    try:
        for name, program in programs.items():
            _pin(lib, program.fd, pins / name)
        for name in MAPS:
            _pin(lib, module[name].map_fd, pins / name)
        with contextlib.closing(Maps(pins)) as maps:
            maps.count_untagged()
            maps.write_settings(Settings(host_ifindex=0, next_tag=MIN_TAG, build=build_id(sources)))
    except BaseException:
        unpin(pins)
        raise


def _pin(lib: Any, fd: int, path: Path) -> None:
    if lib.bpf_obj_pin(fd, os.fsencode(path)) != 0:
        raise Problem(f"cannot pin {path.name}: is a BPF file system mounted? Try: mount -t bpf bpf /sys/fs/bpf")


def unpin(pins: Path) -> None:
    """Remove all pins from the directory *pins*. The kernel keeps attached programs until they are detached."""
    for name in (*PROGRAMS, *MAPS):
        (pins / name).unlink(missing_ok=True)


def main() -> int:
    try:
        load(Path(sys.argv[1]))
    except Problem as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
