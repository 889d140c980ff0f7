"""Whether this host can steer, found out before anything is wrong; nothing on it is changed.

The law: what can be tried is tried, by the daemon's own code, in namespaces that nobody else is in and that vanish with
the process that tries (``rehearsal.py``). Only who else is on this host must be looked for (``neighbours.py``).
"""
