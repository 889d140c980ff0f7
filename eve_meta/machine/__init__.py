"""What explain and the commands read of a VM's hardware on this host: its SMBIOS, its disks, its links.

``qemu.py`` reads a QEMU's command line, ``libvirt.py`` a libvirt domain's XML, which ``smbios_xml.py`` changes.
``disks.py`` reads the labels on disks, by way of ``images.py`` and ``filesystems.py``. ``links.py`` reads the host's
links.
"""
