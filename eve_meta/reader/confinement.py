"""The confinement of the reader: it keeps its channel, and nothing that leads anywhere else."""

from __future__ import annotations

import socket

from eve_meta.runtime.sandbox.policy import Call, Policy, Where
from eve_meta.runtime.sandbox.syscalls import INTERPRETER, permit, permit_options
from eve_meta.wire.reading import DOCUMENT_MEMORY

PR_SET_PDEATHSIG = 1  # linux/prctl.h

MAX_OPEN_FILES = 16
"""File descriptors of the reader: its channel, standard error, and what the interpreter holds."""

CALLS = (
    *INTERPRETER,
    # No socket() and no accept(): there is the one end of a socket pair that it was born with.
    *permit("recvfrom", "sendto", "shutdown"),
    # Its own end with its parent's: an unprivileged call about itself.
    *permit_options("prctl", 0, (PR_SET_PDEATHSIG,)),
    *(Call("getsockopt", (Where(1, socket.SOL_SOCKET), Where(2, option))) for option in (socket.SO_TYPE,)),
)

READER = Policy(process="reader", calls=CALLS, open_files=MAX_OPEN_FILES, memory=DOCUMENT_MEMORY, offline=True)
