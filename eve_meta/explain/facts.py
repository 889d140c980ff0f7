"""What is known of a guest and its way to its metadata, as plain values that travel as JSON.

All times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from eve_meta.explain.ds_identify import Dmi
from eve_meta.values.domain import TokenPolicy


@frozen(kw_only=True)
class DomainFacts:
    """A domain.

    :ivar origins: the places that know it, the most important first: a file's path, a hypervisor's word.
    :ivar taps: those that a file names.
    :ivar line: where in the first place the tap stands, or None.
    """

    name: str
    uuid: str
    origins: tuple[str, ...]
    taps: tuple[str, ...] = ()
    line: int | None = None


@frozen(kw_only=True)
class ProcessFacts:
    """The QEMU process behind a tap.

    :ivar trusted: whether what it says of itself may give its tap a domain.
    """

    pid: int
    uuid: str | None = None
    name: str | None = None
    uid: int = 0
    trusted: bool = True


@frozen(kw_only=True)
class LinkFacts:
    """A network device of the host.

    :ivar bridge: the one that it is on, "" for none, None where nobody could look.
    """

    ifindex: int
    up: bool
    carrier: bool
    bridge: str | None = None


@frozen(kw_only=True)
class FilterFacts:
    """A tc filter on a tap's ingress; the lowest *priority* sees a frame first."""

    priority: int
    kind: str
    name: str
    ours: bool


@frozen(kw_only=True)
class SeenFacts:
    """How often a guest was seen doing something, and when at first and at last."""

    count: int
    first: float
    last: float


@frozen(kw_only=True)
class AskedFacts:
    """How often a guest asked for *what* with the result *status*."""

    what: str
    status: int
    count: int
    first: float
    last: float


@frozen(kw_only=True)
class TapFacts:
    """A tap.

    :ivar matched: whether ``[steering] taps`` names it.
    :ivar tag: None where it is not steered.
    :ivar link: None where there is none of this name.
    :ivar filters: None where nobody could look; by whoever sees a frame first.
    :ivar seen: of "arp", "nd", "connection", "dhcp" and "dhcp6", what its guest did since the tap has its tag.
    :ivar drops: frames of its guest that were dropped, by reason.
    :ivar notes: of requests beside their status: no_token, invalid_token, wrong_host.
    :ivar tokens: whether its requests need a session token; None without a domain.
    :ivar problems: what keeps it from being served, in words.
    """

    name: str
    matched: bool = True
    tag: int | None = None
    link: LinkFacts | None = None
    domain: DomainFacts | None = None
    process: ProcessFacts | None = None
    filters: tuple[FilterFacts, ...] | None = None
    seen: Mapping[str, SeenFacts] = {}
    frames_in: int = 0
    frames_out: int = 0
    drops: Mapping[str, int] = {}
    asked: tuple[AskedFacts, ...] = ()
    notes: Mapping[str, int] = {}
    tokens: TokenPolicy | None = None
    problems: tuple[str, ...] = ()


@frozen(kw_only=True)
class WayFacts:
    """What all taps share: what is missing of it, in words; and the workers' processes, None for one that is not there.

    :ivar problem: why it could not be looked at; "" where it was.
    """

    namespace: str
    programs: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    workers: tuple[int | None, ...] = ()
    restarts: int = 0
    problem: str = ""


@frozen(kw_only=True)
class HostFacts:
    """What the host knows of a name, a uuid or a tap.

    :ivar way: None where no daemon runs.
    :ivar domain: the domain that is meant, None where there is none.
    :ivar taps: its taps, or the one that is meant.
    :ivar near: names of domains that may be meant where there is none.
    :ivar broken: problems of files that may be the one that is meant.
    :ivar patterns: ``[steering] taps``.
    """

    asked_for: str
    now: float
    way: WayFacts | None = None
    domain: DomainFacts | None = None
    taps: tuple[TapFacts, ...] = ()
    near: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()


@frozen(kw_only=True)
class DiskFacts:
    """A disk of the guest, the labels of its file systems, and why those are not known, if so."""

    shown: str
    labels: tuple[str, ...] = ()
    cd_labels: tuple[str, ...] = ()
    unread: str = ""


@frozen(kw_only=True)
class MachineFacts:
    """What the guest sees of its machine.

    :ivar said_by: who says so: "QEMU process 4711", "libvirt XML of web1".
    :ivar running: whether it is said of the guest as it runs.
    """

    said_by: str
    machine: str
    dmi: Dmi
    disks: tuple[DiskFacts, ...] = ()
    command_line: str = ""
    running: bool = True


@frozen(kw_only=True)
class Facts:
    """All of it.

    :ivar machine: None where nobody says.
    :ivar libvirt: whether the guest is libvirt's, so that ``virsh`` can mend it.
    :ivar config: the configuration file, to be named in a command.
    :ivar service: whether systemd runs the daemon.
    """

    host: HostFacts
    machine: MachineFacts | None = None
    libvirt: bool = False
    config: str = "/etc/eve-meta/eve-meta.toml"
    service: bool = False
