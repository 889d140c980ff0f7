"""The addresses of the metadata service, as guests ask for it; ``bpf/addresses.h`` has them for the BPF programs."""

from __future__ import annotations

SERVICE_IPV4 = "169.254.169.254"
"""The address that OpenStack and EC2 share."""

SERVICE_IPV6 = ("fe80::a9fe:a9fe", "fd00:ec2::254")
"""OpenStack's address, which is link-local, and EC2's."""
