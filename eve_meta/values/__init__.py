"""Values that all processes share: domains, NICs, tags, addresses, and the checks that guard them; no I/O."""
