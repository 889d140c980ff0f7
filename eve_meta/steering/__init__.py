"""Steering: brings a guest's packet to the worker and the answer back. The only code that touches the kernel."""

import sys

# pyroute2 imports psutil wherever that is installed, for a list of sockets that nobody here needs. It costs 650 KB of
# resident memory.
sys.modules.setdefault("psutil", None)  # type: ignore[arg-type]  # None makes "import psutil" an ImportError
