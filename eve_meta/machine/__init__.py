"""A VM's hardware as explain and the commands read it on this host: SMBIOS, disks, links.

``qemu.py`` reads a QEMU's command line and ``libvirt.py`` a libvirt domain's XML, which ``smbios_xml.py`` changes.
``disks.py`` reads the labels on disks, with the help of ``images.py`` and ``filesystems.py``. ``links.py`` reads the
host's links.
"""
