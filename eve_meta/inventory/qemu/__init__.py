"""The QEMU process behind each tap, found in /proc and kept up to date."""
