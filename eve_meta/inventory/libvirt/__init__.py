"""libvirt's domains, and the domain of each tap, asked of libvirtd."""
