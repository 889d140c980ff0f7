"""The QEMU process that holds a tap, and the domain that it runs."""
