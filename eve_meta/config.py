"""The configuration: ``/etc/eve-meta/eve-meta.toml``.

Every key has a default, so that an empty file and no file work; an unknown key is an error that names it.
"""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from eve_meta.domain import TokenPolicy


@frozen(kw_only=True)
class InventoryConfig:
    """Where domains come from."""

    directory: Path = Path("/etc/eve-meta/domains.d")
    libvirt: str = ""
    eve: str = ""
    process: bool = True


@frozen(kw_only=True)
class SteeringConfig:
    """Which links are taps (shell patterns of their names), and the private namespace."""

    taps: tuple[str, ...] = ("vnet*", "tap*", "nbu*", "vif*")
    namespace: str = "eve-meta"


@frozen(kw_only=True)
class WebConfig:
    """What guests get. *domain_wait* is how long, in seconds, a tap whose domain is unknown is told to come back."""

    workers: int = 1
    tokens: TokenPolicy = TokenPolicy.OPTIONAL
    hop_limit: int = 1
    domain_wait: int = 60


@frozen(kw_only=True)
class AdminConfig:
    """How the host's side asks: a unix socket for root, and metrics on an address:port ("" is off)."""

    socket: Path = Path("/run/eve-meta/admin.sock")
    metrics: str = ""


@frozen(kw_only=True)
class PathsConfig:
    """Where the daemon keeps what ends with a boot (*run*) and what does not (*state*)."""

    run: Path = Path("/run/eve-meta")
    state: Path = Path("/var/lib/eve-meta")


@frozen(kw_only=True)
class Config:
    """The whole configuration."""

    inventory: InventoryConfig = InventoryConfig()
    steering: SteeringConfig = SteeringConfig()
    web: WebConfig = WebConfig()
    admin: AdminConfig = AdminConfig()
    paths: PathsConfig = PathsConfig()
