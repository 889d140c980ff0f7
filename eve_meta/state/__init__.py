"""What outlives the daemon, in ``[paths] state``: the secret of session tokens, the passwords and host keys that guests
posted, the instance ids of ``eve-meta rerun``, and the VMM processes that were trusted.

The supervisor alone reads and writes here; workers have no files.
"""
