"""eve-meta: instance metadata for every VM of a hypervisor, told apart by tap device."""

__version__ = "0.1.0"
