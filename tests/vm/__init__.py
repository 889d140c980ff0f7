"""Tests with VMs that boot an unmodified cloud-init."""
