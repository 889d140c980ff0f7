"""The daemon as the host's administrators see it: a socket that only root can open, metrics, and the audit."""
