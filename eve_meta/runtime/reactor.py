"""Twisted's reactor, without TLS.

Twisted imports pyOpenSSL wherever it finds it, which costs each process 6 MB of resident memory. We speak TLS nowhere;
and where cloud-init is installed, as on most hosts, pyOpenSSL is among what the virtual environment sees. So nothing of
ours imports ``twisted.internet.reactor`` but this module.
"""

from __future__ import annotations

import sys
import time
from typing import Any

sys.modules.setdefault("OpenSSL", None)  # type: ignore[arg-type]  # None makes "import OpenSSL" an ImportError

from twisted.internet import reactor as _reactor

reactor: Any = _reactor
"""The reactor; Any, because to mypy ``twisted.internet.reactor`` is a module."""

# Twisted's own is time.time: all timers would jump with the wall clock.
reactor.seconds = time.monotonic
