"""eve-meta: instance metadata for every VM of a hypervisor, identified by its tap device."""

__version__ = "0.1.0"
