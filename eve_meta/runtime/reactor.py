"""Twisted's reactor, without TLS.

Twisted imports pyOpenSSL wherever it finds it, which costs each process 6 MB of resident memory. eve-meta speaks TLS
nowhere; and where cloud-init is installed, as on most hosts, the virtual environment sees the system's pyOpenSSL. So no
other module of eve-meta imports ``twisted.internet.reactor``.
"""

from __future__ import annotations

import sys
import time
from typing import Any

sys.modules.setdefault("OpenSSL", None)  # type: ignore[arg-type]  # None makes "import OpenSSL" an ImportError

from twisted.internet import reactor as _reactor

reactor: Any = _reactor
"""The reactor. It is typed as Any because mypy takes ``twisted.internet.reactor`` for a module."""

# Twisted's own clock is time.time: all timers would jump with the wall clock.
reactor.seconds = time.monotonic
