"""A VM's hardware as explain and the commands read it on this host: SMBIOS, disks, NICs, links.

``hardware.py`` has the values. ``qemu.py``, ``cloud_hypervisor.py``, ``firecracker.py`` and ``crosvm.py`` read a VMM's
command line, ``running.py`` that of a process, and ``libvirt.py`` a libvirt domain's XML, which ``smbios_xml.py``
changes. ``nics.py`` reads what is behind NICs, ``disks.py`` the labels on disks, with the help of ``images.py`` and
``filesystems.py``, and ``links.py`` the host's links.
"""
