"""Where guests ask. ``bpf/addresses.h`` has the same for the programs."""

from __future__ import annotations

SERVICE_IPV4 = "169.254.169.254"
"""OpenStack's and EC2's."""

SERVICE_IPV6 = ("fe80::a9fe:a9fe", "fd00:ec2::254")
"""OpenStack's, which is on each guest's link, and EC2's."""
