"""The VMM process behind each tap: QEMU, Cloud Hypervisor, Firecracker or crosvm, found in /proc and kept up to date.

``process.py`` finds the process and decides what it may claim, ``owners.py`` keeps the result up to date. ``vmms.py``
is the table of the VMMs (virtual machine monitors); each has a module that reads the identity of its VM from its
command line. Nothing but the command line is asked: ``docs/host.rst`` says why.
"""
