"""What outlives the daemon, in ``[paths] state``: the secret of session tokens, and the passwords that guests posted.

The supervisor alone reads and writes here; workers have no files.
"""
