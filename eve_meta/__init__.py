"""eve-meta: instance metadata for every VM of a hypervisor, told apart by tap device."""
