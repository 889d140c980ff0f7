"""What a worker keeps when it is confined."""

from __future__ import annotations

from eve_meta.runtime.sandbox.policy import Policy

MAX_OPEN_FILES = 65536
"""File descriptors of a worker, where the hard limit allows it: 32 connections for each of 2,000 taps at once."""

WORKER = Policy(process="worker", open_files=MAX_OPEN_FILES)
