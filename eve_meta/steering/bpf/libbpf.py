"""The few functions of libbpf that work on pinned programs and maps.

libbpf is the kernel's own library, and iproute2 depends on it, so it is installed already. Importing bcc for this would
cost 72 MB of resident memory in a process that lives as long as the host.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TypeVar

from eve_meta.values.problem import Problem

BPF_ANY = 0
BPF_TCX_INGRESS = 46  # enum bpf_attach_type


@cache
def _libbpf() -> ctypes.CDLL:
    # 1: Debian 12 and later, Ubuntu 24.04; 0: Ubuntu 22.04. The functions that we call are the same in both.
    for name in ("libbpf.so.1", "libbpf.so.0"):
        try:
            return ctypes.CDLL(name, use_errno=True)
        except OSError:
            continue
    raise Problem("libbpf is not installed: install the package libbpf1 (Ubuntu 22.04: libbpf0)")


def _call(name: str, *arguments: object) -> int:
    # libbpf 1 returns -errno, libbpf 0 returns -1; both set errno.
    result: int = getattr(_libbpf(), name)(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def open_pin(path: Path) -> int:
    """Return a file descriptor of the program or map that is pinned at *path*.

    :raises OSError: when nothing is pinned there (ENOENT).
    """
    return _call("bpf_obj_get", os.fsencode(path))


def pin(descriptor: int, path: Path) -> None:
    """Pin the program or map of a file descriptor at *path*.

    :raises OSError: when a file is there already (EEXIST), or *path* is not on a BPF file system (EPERM).
    """
    _call("bpf_obj_pin", descriptor, os.fsencode(path))


def possible_cpus() -> int:
    """Return the number of values that a per-CPU map has for each key."""
    return _call("libbpf_num_possible_cpus")


def tcx_programs(ifindex: int) -> int:
    """Return the number of tcx programs on a link's ingress, which run before all tc filters; 0 before Linux 6.6.

    :raises OSError: when the kernel refuses the query.
    """
    count = ctypes.c_uint32(0)
    try:
        # Without room for their ids. The parameter target_fd takes the link's ifindex here.
        _call("bpf_prog_query", ifindex, BPF_TCX_INGRESS, 0, None, None, ctypes.byref(count))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return count.value


BPF_PROG_TYPE_SCHED_CLS = 3
BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_PERCPU_HASH = 1, 2, 5
"""Of enum bpf_prog_type and enum bpf_map_type (linux/bpf.h)."""


class ProgramInfo(ctypes.Structure):
    """The beginning of ``struct bpf_prog_info`` (linux/bpf.h); the kernel fills as much as it is given room for.

    :ivar type: of enum bpf_prog_type.
    :ivar created_by_uid: the user that loaded the program.
    :ivar name: its name, of 15 bytes at most.
    """

    type: int
    created_by_uid: int
    name: bytes
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("tag", ctypes.c_uint8 * 8),
        ("jited_prog_len", ctypes.c_uint32),
        ("xlated_prog_len", ctypes.c_uint32),
        ("jited_prog_insns", ctypes.c_uint64),
        ("xlated_prog_insns", ctypes.c_uint64),
        ("load_time", ctypes.c_uint64),
        ("created_by_uid", ctypes.c_uint32),
        ("nr_map_ids", ctypes.c_uint32),
        ("map_ids", ctypes.c_uint64),
        ("name", ctypes.c_char * 16),
    )


class MapInfo(ctypes.Structure):
    """The beginning of ``struct bpf_map_info``, as :class:`ProgramInfo`.

    :ivar type: of enum bpf_map_type.
    :ivar key_size: in bytes, as *value_size*.
    :ivar name: its name, of 15 bytes at most.
    """

    type: int
    key_size: int
    value_size: int
    name: bytes
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("name", ctypes.c_char * 16),
    )


Info = TypeVar("Info", ProgramInfo, MapInfo)


def info_of(descriptor: int, kind: type[Info]) -> Info:
    """Return what the kernel knows of the program or map of a file descriptor.

    :raises OSError: when it is neither. Which of the two it is, the kernel does not check: ask about :func:`is_program`
        first.
    """
    info = kind()
    size = ctypes.c_uint32(ctypes.sizeof(info))
    _call("bpf_obj_get_info_by_fd", descriptor, ctypes.byref(info), ctypes.byref(size))
    return info


def is_program(descriptor: int) -> bool:
    """Return whether a file descriptor is of a program, not of a map or a link."""
    return os.readlink(f"/proc/self/fd/{descriptor}") == "anon_inode:bpf-prog"


def is_map(descriptor: int) -> bool:
    """Return whether a file descriptor is of a map."""
    return os.readlink(f"/proc/self/fd/{descriptor}") == "anon_inode:bpf-map"


class Map:
    """A pinned map with keys and values of fixed sizes, in bytes. Whoever opens it closes it.

    :raises OSError: when no map is pinned there (ENOENT), or one of other sizes (EINVAL).
    """

    def __init__(self, path: Path, key_size: int, value_size: int, *, per_cpu: bool = False) -> None:
        self.fd = open_pin(path)
        info = info_of(self.fd, MapInfo) if is_map(self.fd) else MapInfo()
        if (info.key_size, info.value_size) != (key_size, value_size):
            # The pin of another build. The kernel would write as many bytes as the map has, not as many as fit here.
            os.close(self.fd)
            raise OSError(errno.EINVAL, f"{path} has keys of {info.key_size} and values of {info.value_size} bytes")
        self._key_size = key_size
        self._value_size = value_size
        # The kernel pads each CPU's value to 8 bytes (bpf_percpu_hash_copy()).
        self._cpus = possible_cpus() if per_cpu else 1
        self._stride = (value_size + 7) // 8 * 8 if per_cpu else value_size

    def close(self) -> None:
        os.close(self.fd)

    def get(self, key: bytes) -> bytes | None:
        """Return the value of *key*, or None; of a per-CPU map, the values of all CPUs, one after the other."""
        values = ctypes.create_string_buffer(self._stride * self._cpus)
        try:
            _call("bpf_map_lookup_elem", self.fd, key, values)
        except FileNotFoundError:
            return None
        raw = values.raw
        if self._stride == self._value_size:
            return raw
        return b"".join(raw[at : at + self._value_size] for at in range(0, len(raw), self._stride))

    def set(self, key: bytes, value: bytes) -> None:
        """Set the value of *key*; in a per-CPU map, for every CPU."""
        padded = value.ljust(self._stride, b"\0") * self._cpus
        _call("bpf_map_update_elem", self.fd, key, padded, ctypes.c_ulonglong(BPF_ANY))

    def delete(self, key: bytes) -> None:
        """Delete *key*, if the map has it."""
        with contextlib.suppress(FileNotFoundError):
            _call("bpf_map_delete_elem", self.fd, key)

    def __iter__(self) -> Iterator[bytes]:
        """Yield every key. The map must not change during the iteration, or the kernel begins again."""
        key: ctypes.Array[ctypes.c_char] | None = None
        while True:
            following = ctypes.create_string_buffer(self._key_size)
            try:
                _call("bpf_map_get_next_key", self.fd, key, following)
            except FileNotFoundError:
                return
            yield following.raw
            key = following
