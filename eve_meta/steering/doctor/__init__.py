"""Whether steering can work on this host, examined before a daemon runs; nothing on the host is changed.

The law: whatever can be tried is tried, by the daemon's own code, in namespaces that no other process is in and that
vanish with the process that tries (``rehearsal.py``). Only other programs' use of the host has to be looked up
(``neighbours.py``).
"""
