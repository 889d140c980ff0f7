"""A VM's hardware as explain and the commands read it on this host: SMBIOS, disks, NICs, links.

``qemu.py`` reads a QEMU's command line, ``running.py`` that of a process, and ``libvirt.py`` a libvirt domain's XML,
which ``smbios_xml.py`` changes. ``nics.py`` reads what is behind NICs, ``disks.py`` the labels on disks, with the help
of ``images.py`` and ``filesystems.py``, and ``links.py`` the host's links.
"""
