"""A VM's hardware as the host sees it: QEMU's arguments, libvirt's XML, and labels on disks."""
