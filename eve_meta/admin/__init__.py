"""The daemon as the host's administrators see it: sockets for root and for operators, metrics, and the audit."""
