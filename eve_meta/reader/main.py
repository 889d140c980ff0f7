"""The reader's process: answers one document after the other until its parent hangs up.

It needs no reactor. It sends :data:`~eve_meta.wire.reading.READY` when it is confined.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from eve_meta.reader.answers import answer
from eve_meta.reader.confinement import PR_SET_PDEATHSIG, READER
from eve_meta.runtime.sandbox.confine import confine
from eve_meta.runtime.sandbox.libc import call
from eve_meta.runtime.sandbox.policy import Identity
from eve_meta.values.problem import Problem
from eve_meta.wire.reading import CHANNEL_FD, OUT_OF_MEMORY, READY, Frames, pack

if TYPE_CHECKING:
    from eve_meta.reader.advice import Adviser

_CHUNK = 256 * 1024


def main() -> int:
    """Run the reader. Its parent gives it its arguments.

    :return: the exit status.
    """
    parser = argparse.ArgumentParser(description="The reader of eve-meta; only eve-meta itself can start it.")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--uid", type=int)
    parser.add_argument("--gid", type=int)
    parser.add_argument("--advise", metavar="SCHEMA", type=Path)
    arguments = parser.parse_args()
    # Out of the session: away from the terminal and its Ctrl-C. The parent decides when this process ends.
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGABRT, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    identity = None
    if arguments.root is not None:
        identity = Identity(uid=arguments.uid, gid=arguments.gid, root=arguments.root)
    # What Python imports and makes at first use: afterwards there are no files.
    answer({"kind": "domain"}, b"name: a\nfiles: [{path: /a, content: a}, {path: b}]\ntapp: \xc3\xa9\n")
    answer({"kind": "domain"}, b"\xff")
    answer({"kind": "eve", "topic": "device", "key": ""}, b"[]")
    answer({"kind": "libvirt"}, b"<domain/>")
    adviser = None if arguments.advise is None else _adviser(arguments.advise)
    channel = socket.socket(fileno=CHANNEL_FD)
    try:
        confine(READER, identity)
        # Only now: the kernel forgets it when a process changes its user. A document that never ends would otherwise
        # keep an orphan busy for ever.
        call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)
    except Problem as problem:
        print(f"eve-meta: {problem}", file=sys.stderr)
        return 1
    return serve(channel, adviser)


def _adviser(schema: Path) -> Adviser:
    # jsonschema and cryptography cost 20 MB, which no daemon's reader shall carry.
    from eve_meta.reader.advice import Adviser

    adviser = Adviser(schema.read_bytes() if schema.exists() else None)
    adviser.load_modules()
    return adviser


def serve(channel: socket.socket, adviser: Adviser | None = None) -> int:
    """Answer what comes over *channel* until it is closed; return the exit status."""
    frames = Frames(lambda head, parts: True)
    try:
        channel.sendall(READY)
        while data := channel.recv(_CHUNK):
            for head, content in frames.feed(data):
                answered, parts = answer(json.loads(head), content, adviser)
                channel.sendall(pack(answered, parts))
    except MemoryError:
        return OUT_OF_MEMORY
    except ConnectionError:
        pass  # the parent has gone
    return 0


if __name__ == "__main__":
    sys.exit(main())
