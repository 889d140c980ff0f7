"""The lab's hypervisor: eve-meta, five guests, and the metadata of each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from harness.daemon import Daemon
from harness.guests import Guest, Lab

NAME = "emlab"
ADDRESS = "10.0.0.5"
ROUTER = "10.0.0.1"


DOMAIN_FILE = """\
# The guest {name}, behind the tap {tap}. See "A domain file" in README.rst.
uuid: {uuid}
name: {name}
hostname: {name}.example.org
{tokens}
public_keys:
  {name}: {key}

user_data: |
  #!/bin/sh
  echo this is {name}

ec2: {{instance_id: {instance_id}}}

nics:
- tap: {tap}
  mac: {mac}
  subnets:
  - {{{subnet}}}
"""
"""A domain file as a person writes it: people look around in the lab."""


class Plan(NamedTuple):
    """A guest of the lab: its tap, its path to the service, its image's datasource, and its domain file.

    :ivar bridge: None for a routed tap.
    :ivar gateway: None for a guest that has a route to the link-local network on its NIC instead.
    :ivar ipv4: whether it has the IPv4 address that all the others have; if not, it has IPv6 only.
    :ivar datasource: cloud-init's datasource. "Ec2" asks for a session token first, and the domain requires one.
    """

    name: str
    tap: str
    bridge: str | None
    number: int
    gateway: str | None = None
    ipv4: bool = True
    datasource: str = "OpenStack"

    @property
    def mac(self) -> str:
        return f"fa:16:3e:00:00:{self.number:02x}"

    @property
    def key(self) -> str:
        return f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{self.number:043d} {self.name}@lab"

    @property
    def user_data(self) -> str:
        return f"#!/bin/sh\necho this is {self.name}\n"

    @property
    def needs_token(self) -> bool:
        return self.datasource == "Ec2"

    @property
    def instance_id(self) -> str:
        """The instance id that cloud-init should find."""
        domain = self.domain
        return str(domain["ec2"]["instance_id"] if self.datasource == "Ec2" else domain["uuid"])

    @property
    def subnet(self) -> dict[str, str]:
        """The subnet of its NIC."""
        if not self.ipv4:
            return {"type": "ipv6", "address": f"2001:db8::{self.number}/64"}
        return {
            "type": "ipv4",
            "address": f"{ADDRESS}/24",
            **({"gateway": self.gateway} if self.gateway is not None else {}),
        }

    @property
    def domain(self) -> dict[str, Any]:
        """The content of the domain file."""
        return {
            "uuid": f"1a831fa7-c50b-4693-a16e-0000000000{self.number:02x}",
            "name": self.name,
            "hostname": f"{self.name}.example.org",
            "public_keys": {self.name: self.key},
            "user_data": self.user_data,
            "ec2": {"instance_id": f"i-{self.number:08x}"},
            **({"tokens": "required"} if self.needs_token else {}),
            "nics": [{"tap": self.tap, "mac": self.mac, "subnets": [self.subnet]}],
        }

    @property
    def file(self) -> str:
        """The domain file, which holds :attr:`domain`."""
        return DOMAIN_FILE.format(
            name=self.name,
            tap=self.tap,
            uuid=self.domain["uuid"],
            tokens="tokens: required  # requests without a session token get 401\n" if self.needs_token else "",
            key=self.key,
            instance_id=self.domain["ec2"]["instance_id"],
            mac=self.mac,
            # Quotes, because YAML would take the end of an IPv6 address such as "::" for a key.
            subnet=", ".join(
                f'{key}: "{value}"' if "::" in value else f"{key}: {value}" for key, value in self.subnet.items()
            ),
        )


PLANS = (
    Plan("alder", tap="vnet0", bridge="br0", gateway=ROUTER, number=1),
    Plan("birch", tap="vnet1", bridge="br0", number=2),
    Plan("cedar", tap="vnet2", bridge=None, number=3),
    Plan("dogwood", tap="vnet3", bridge="br0", gateway=ROUTER, number=4, datasource="Ec2"),
    Plan("elder", tap="vnet4", bridge="br0", number=5, ipv4=False),
)

WHO = (
    f"{len(PLANS)} guests: {sum(plan.ipv4 for plan in PLANS)} that all have {ADDRESS}, "
    f"and {', '.join(plan.name for plan in PLANS if not plan.ipv4)} with IPv6 only"
)


@contextmanager
def running() -> Iterator[tuple[Daemon, dict[Plan, Guest]]]:
    """Make the lab with its daemon and guests; remove them at the end."""
    with Lab(NAME) as lab:
        lab.bridge("br0", f"{ROUTER}/24")
        daemon = Daemon(lab)
        for plan in PLANS:
            daemon.write_domain_file(plan.name, plan.file)
        with daemon:
            guests = {
                plan: lab.guest(
                    plan.name,
                    tap=plan.tap,
                    bridge=plan.bridge,
                    address=f"{ADDRESS}/24" if plan.ipv4 else None,
                    gateway=plan.gateway,
                    mac=plan.mac,
                )
                for plan in PLANS
            }
            yield daemon, guests
