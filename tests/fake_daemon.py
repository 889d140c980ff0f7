"""A daemon's end of an admin socket, for tests of commands."""

from __future__ import annotations

import contextlib
import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def answering_on(path: Path, answer: Callable[[Any], object]) -> Iterator[None]:
    """Listen on *path*, and reply to each question with what *answer* makes of it, while the context lasts."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(json.dumps(answer(json.loads(self.rfile.readline())), default=str).encode() + b"\n")

    with socketserver.UnixStreamServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
