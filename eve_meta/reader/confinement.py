"""The confinement of the reader: it keeps its channel, and nothing that leads anywhere else."""

from __future__ import annotations

import socket

from eve_meta.runtime.sandbox.policy import Call, Policy, Where
from eve_meta.runtime.sandbox.syscalls import INTERPRETER, permit
from eve_meta.wire.reading import DOCUMENT_MEMORY

MAX_OPEN_FILES = 16
"""File descriptors of the reader: its channel, standard error, and what the interpreter holds."""

CALLS = (
    *INTERPRETER,
    # No socket() and no accept(): there is the one end of a socket pair that it was born with.
    *permit("recvfrom", "sendto", "shutdown"),
    *(Call("getsockopt", (Where(1, socket.SOL_SOCKET), Where(2, option))) for option in (socket.SO_TYPE,)),
)

READER = Policy(process="reader", calls=CALLS, open_files=MAX_OPEN_FILES, memory=DOCUMENT_MEMORY)
