"""The worker process, which has no privileges: parses what guests send, and answers."""
