"""The filter of system calls, as it is made; tests/guest/test_sandbox.py has what it does."""

from __future__ import annotations

import builtins
from collections import Counter
from typing import Any

import pytest

from eve_meta.runtime.sandbox.policy import Call, Policy
from eve_meta.runtime.sandbox.seccomp import CallFilter, import_seccomp, number_of
from eve_meta.runtime.sandbox.syscalls import INTERPRETER
from eve_meta.values.problem import Problem
from eve_meta.web.confinement import WORKER

ANYWHERE = {"close_range", "futex_waitv", "epoll_pwait2", "sendfile64", "statx"}
"""Calls that some machine or libseccomp lacks."""


def test_a_call_that_libseccomp_does_not_know_is_passed_over() -> None:
    calls = (*INTERPRETER, Call("a_call_of_a_kernel_to_come"))
    CallFilter(Policy(process="test", calls=calls, open_files=1, memory=1))


def test_no_name_is_misspelt() -> None:
    """A name that nobody knows would be passed over, and its call would kill."""
    of_other_machines = {
        "_llseek",
        "_newselect",
        "accept4",
        "fcntl64",
        "fstat64",
        "fstatat64",
        "lstat64",
        "mmap2",
        "recv",
    }
    of_other_machines |= {"send", "sendfile64", "sigreturn", "stat64", "ugetrlimit"}
    of_other_machines |= {name for name in map(_name, WORKER.calls) if name.endswith(("32", "_time64", "gettime64"))}
    unknown = {call.name for call in WORKER.calls if number_of(call.name) == -1}
    assert unknown <= ANYWHERE
    absent = {call.name for call in WORKER.calls if number_of(call.name) < -1}
    assert absent <= of_other_machines


def _name(call: Call) -> str:
    return call.name


def test_a_call_is_permitted_either_whatever_its_arguments_or_by_them() -> None:
    """A rule without conditions would make those with conditions, which stand beside it, void."""
    free = Counter(call.name for call in WORKER.calls if not call.where)
    assert {name for name, count in free.items() if count > 1} == set()
    assert free.keys() & {call.name for call in WORKER.calls if call.where} == set()


def test_without_the_binding_the_problem_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def fails(name: str, *arguments: Any) -> Any:
        if name == "seccomp":
            raise ImportError("No module named 'seccomp'")
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", fails)
    with pytest.raises(Problem, match=r"cannot import seccomp.* install python3-seccomp"):
        import_seccomp()
