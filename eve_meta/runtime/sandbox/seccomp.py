"""The system call filter of a confined process, made by libseccomp from its policy (seccomp(2)).

A call that is not among the policy's kills the process with SIGSYS, on which its parent acts; the kernel's log has the
call's number (``journalctl -k``, "audit: type=1326 … syscall=NUMBER"). So a compromised process that probes the kernel
ends, and so does a sound one that needs a call which its policy forgot: neither hangs.

libseccomp's Python binding comes from the distribution, as bcc does: it must match the distribution's libseccomp.
"""

from __future__ import annotations

from types import ModuleType
from typing import cast

from eve_meta.runtime.sandbox.policy import Call, Policy
from eve_meta.values.problem import Problem

PACKAGE = "python3-seccomp"
"""Debian's and Ubuntu's name for the binding."""

BINARY_TREE = 2
"""For ``SCMP_FLTATR_CTL_OPTIMIZE``: the kernel finds a call's rule by its number's halves, in eight comparisons and not
a hundred. For calls that are permitted whatever their arguments it looks at no rule at all, since Linux 5.11."""


def import_seccomp() -> ModuleType:
    """Return libseccomp's binding.

    :raises Problem: when this Python cannot import it.
    """
    try:
        # Only here, so that whoever lacks it reads what to install.
        import seccomp
    except ImportError as error:
        raise Problem(f"cannot import seccomp, the binding of libseccomp: {error}; install {PACKAGE}") from None
    return cast(ModuleType, seccomp)


def number_of(name: str) -> int:
    """Return the number of the system call *name* on this machine; negative where it has no such call."""
    binding = import_seccomp()
    return int(binding.resolve_syscall(binding.Arch(), name))


class CallFilter:
    """The filter of *policy*, made while the process may still do everything.

    :raises Problem: when this Python cannot import libseccomp's binding.
    """

    def __init__(self, policy: Policy) -> None:
        binding = import_seccomp()
        # A call of a foreign ABI of this machine (32 bits, x32) has other numbers, and none is permitted.
        self._filter = binding.SyscallFilter(defaction=binding.KILL_PROCESS)
        self._filter.set_attr(binding.Attr.ACT_BADARCH, binding.KILL_PROCESS)
        self._filter.set_attr(binding.Attr.CTL_NNP, 0)  # it is set already
        self._filter.set_attr(binding.Attr.CTL_OPTIMIZE, BINARY_TREE)
        for call in policy.calls:
            self._add(binding, call)

    def _add(self, binding: ModuleType, call: Call) -> None:
        number = binding.resolve_syscall(binding.Arch(), call.name)
        if number < 0:
            return  # newer than this libseccomp, or of another architecture
        self._filter.add_rule(
            binding.ERRNO(call.error) if call.error else binding.ALLOW,
            number,
            *(binding.Arg(where.argument, binding.MASKED_EQ, where.mask, where.value) for where in call.where),
        )

    def load(self) -> None:
        """Put the filter into force for this process, for good.

        :raises OSError: when the kernel refuses.
        """
        try:
            self._filter.load()
        except RuntimeError as error:  # the binding's, with the errno in its text
            raise OSError(f"seccomp: {error}") from None
