"""BPF_PROG_TEST_RUN: a frame in, a verdict and a frame out, without any network device."""

from __future__ import annotations

import ctypes

from attrs import frozen

from eve_meta.steering.bpf.libbpf import _libbpf

TC_ACT_UNSPEC, TC_ACT_OK, TC_ACT_SHOT, TC_ACT_REDIRECT = -1, 0, 2, 7

LOOPBACK = 1
"""The ifindex that a test run gives its frame."""


class _Opts(ctypes.Structure):
    # struct bpf_test_run_opts of bpf/bpf.h
    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("data_in", ctypes.c_char_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_void_p),
        ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    )


_SKB_SIZE = 192
_SKB_MARK = 8
"""``struct __sk_buff`` of linux/bpf.h: its size, and the offset of its mark."""


@frozen
class Run:
    """What a program did with a frame, and the nanoseconds that a run took on average."""

    verdict: int
    frame: bytes
    mark: int
    duration: int


def run(program: int, frame: bytes, *, mark: int = 0, repeat: int = 1) -> Run:
    """Run a program on *frame*, which arrives with *mark*.

    :param program: the program's file descriptor.
    :param repeat: the number of runs; each gets the frame as the run before has left it.
    :raises OSError: when the kernel refuses the test run.
    """
    out = ctypes.create_string_buffer(len(frame) + 1024)
    context = ctypes.create_string_buffer(_SKB_SIZE)
    ctypes.c_uint32.from_buffer(context, _SKB_MARK).value = mark
    opts = _Opts(
        sz=ctypes.sizeof(_Opts),
        data_in=frame,
        data_out=ctypes.addressof(out),
        data_size_in=len(frame),
        data_size_out=len(out),
        ctx_in=ctypes.addressof(context),
        ctx_out=ctypes.addressof(context),
        ctx_size_in=_SKB_SIZE,
        ctx_size_out=_SKB_SIZE,
        repeat=repeat,
    )
    result = _libbpf().bpf_prog_test_run_opts(program, ctypes.byref(opts))
    if result < 0:
        raise OSError(ctypes.get_errno(), "bpf_prog_test_run_opts")
    verdict = ctypes.c_int32(opts.retval).value
    marked = ctypes.c_uint32.from_buffer(context, _SKB_MARK).value
    return Run(verdict, out.raw[: opts.data_size_out], marked, opts.duration)
