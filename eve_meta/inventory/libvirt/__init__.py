"""Domains and the owners of taps from libvirt."""
