"""The facts about a guest and its path to its metadata, as values that travel as JSON.

All times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from eve_meta.explain.ds_identify import Dmi
from eve_meta.values.domain import TokenPolicy


@frozen(kw_only=True)
class FaultFacts:
    """A mistake in a file or in metadata.

    :ivar file: the path of the file, or "libvirt metadata of web1".
    :ivar text: where the mistake is, and what was expected there.
    """

    file: str
    text: str


@frozen(kw_only=True)
class DomainFacts:
    """A domain.

    :ivar origins: the places that describe it, the most important first: the path of a file, "libvirt XML of web1".
    :ivar taps: the taps that people wrote into its files or metadata.
    :ivar line: the line of the first origin on which the NICs begin; None where that origin is no file or has no NICs.
    :ivar by_name: whether its name alone tells its process, because nobody gave it a uuid.
    :ivar hostname: the host name that its guest reads.
    :ivar instance_id: the id that ``eve-meta rerun`` gave it, "" for its own.
    :ivar faults: what is wrong at present with its files or metadata; its guest reads what they contained before.
    """

    name: str
    uuid: str
    origins: tuple[str, ...]
    taps: tuple[str, ...] = ()
    line: int | None = None
    by_name: bool = False
    hostname: str = ""
    instance_id: str = ""
    faults: tuple[FaultFacts, ...] = ()


@frozen(kw_only=True)
class ProcessFacts:
    """The VMM process that holds a tap.

    :ivar uuid: the uuid that it was given, such as QEMU's ``-uuid``.
    :ivar name: the name that it was given, such as QEMU's ``-name``.
    :ivar uid: the user who started it.
    :ivar trusted: whether its uuid and name may assign a domain to its tap.
    :ivar vmm: the name of the VMM.
    """

    pid: int
    uuid: str | None = None
    name: str | None = None
    uid: int = 0
    trusted: bool = True
    vmm: str = "QEMU"

    def __str__(self) -> str:
        return f"{self.vmm} process {self.pid}"


@frozen(kw_only=True)
class LinkFacts:
    """A network device of the host.

    :ivar bridge: the bridge of which it is a port, "" for none, None where that is unknown.
    :ivar kind: its kind, such as "tun" or "macvtap" (IFLA_INFO_KIND); "" where it has none or that is unknown.
    """

    ifindex: int
    up: bool
    carrier: bool
    bridge: str | None = None
    kind: str = ""


@frozen(kw_only=True)
class FilterFacts:
    """A tc filter on a tap's ingress; the filter of the lowest *priority* sees a frame first."""

    priority: int
    kind: str
    name: str
    ours: bool


@frozen(kw_only=True)
class SeenFacts:
    """How many frames of one kind a guest sent, and when it sent the first and the last of them."""

    count: int
    first: float
    last: float


@frozen(kw_only=True)
class AskedFacts:
    """How often a guest asked for *what* and was answered *status*, and when for the first and the last time.

    :ivar what: a value of :class:`eve_meta.values.request_kind.RequestKind`.
    """

    what: str
    status: int
    count: int
    first: float
    last: float


@frozen(kw_only=True)
class DhcpFacts:
    """What a tap does with its guest's DHCP.

    :ivar address: the address that it offers, "" where the guest's DHCP passes.
    :ivar link_local: whether that is a made one, because no address is known for the NIC.
    :ivar before: the address that it offered until *since*, "" for none.
    :ivar since: when its address became this one.
    :ivar renewal_time: the seconds after which a guest asks again.
    :ivar missing: what the guest does not get by DHCP, as text for people.
    """

    address: str = ""
    link_local: bool = False
    before: str = ""
    since: float = 0.0
    renewal_time: int = 0
    missing: tuple[str, ...] = ()


@frozen(kw_only=True)
class TapFacts:
    """A tap.

    :ivar matched: whether ``[steering] taps`` matches its name.
    :ivar tag: None where it is not steered.
    :ivar link: None where there is no link of this name.
    :ivar domain: the domain that is served behind it, None for none.
    :ivar process: the process that holds it, if that has a uuid or a name.
    :ivar unidentified: the process that holds it, if that has neither; None for none, or one that cannot be seen.
    :ivar filters: in the order in which they see a frame; None where they could not be read.
    :ivar seen: the frames that its guest has sent since the tap got its tag, by kind: "arp", "nd", "connection",
        "dhcp", "dhcp6", and what was answered, "dhcp_offer", "dhcp_ack" and "dhcp_nak"
        (:class:`eve_meta.steering.bpf.maps.Sightings`).
    :ivar frames_in: frames that came for the service.
    :ivar frames_out: frames that went back.
    :ivar drops: frames of its guest that were dropped, by reason.
    :ivar asked: the requests of its guest, in the order of their first times.
    :ivar notes: the counts of facts about requests that their status does not show: no_token, invalid_token,
        too_much_unread, wrong_host.
    :ivar tokens: whether its requests need a session token; None without a domain.
    :ivar dhcp: None where that is not decided yet.
    :ivar problems: why no domain is served behind it, as text for people.
    :ivar mend: what removes the first of these, "" where that is not known.
    :ivar unsteered: why it has no tag or no filter, as text for people; "" where nothing is known to be wrong.
    """

    name: str
    matched: bool = True
    tag: int | None = None
    link: LinkFacts | None = None
    domain: DomainFacts | None = None
    process: ProcessFacts | None = None
    unidentified: ProcessFacts | None = None
    filters: tuple[FilterFacts, ...] | None = None
    seen: Mapping[str, SeenFacts] = {}
    frames_in: int = 0
    frames_out: int = 0
    drops: Mapping[str, int] = {}
    asked: tuple[AskedFacts, ...] = ()
    notes: Mapping[str, int] = {}
    tokens: TokenPolicy | None = None
    dhcp: DhcpFacts | None = None
    problems: tuple[str, ...] = ()
    mend: str = ""
    unsteered: str = ""


@frozen(kw_only=True)
class PathFacts:
    """The part of the path that all taps share.

    :ivar programs: BPF programs that are not pinned or not attached, as text for people; so are the next three.
    :ivar links: links and sysctls that are missing, of the private network namespace and to it.
    :ivar rules: iptables rules that are missing.
    :ivar routes: routes and rules of policy routing that are missing.
    :ivar workers: the process of each worker, None for a worker that does not run.
    :ivar restarts: how often workers were started again.
    :ivar unrestored: why the daemon cannot restore what is missing; "" where it can, or has not tried yet.
    :ivar problem: why the path could not be inspected; "" where it was.
    """

    namespace: str
    programs: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    workers: tuple[int | None, ...] = ()
    restarts: int = 0
    unrestored: str = ""
    problem: str = ""


@frozen(kw_only=True)
class HostFacts:
    """What the host knows of a NAME (:mod:`eve_meta.admin.resolve`).

    :ivar now: when the facts were gathered.
    :ivar path: None where no daemon runs.
    :ivar domain: the domain that the NAME means, None where it is unknown.
    :ivar taps: the taps of the domain, or the tap that the NAME means.
    :ivar near: names that the NAME resembles, where it means nothing.
    :ivar broken: problems of files, of which no version was ever good, that are called as the NAME or the domain is.
    :ivar patterns: ``[steering] taps``.
    """

    asked_for: str
    now: float
    path: PathFacts | None = None
    domain: DomainFacts | None = None
    taps: tuple[TapFacts, ...] = ()
    near: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()


@frozen(kw_only=True)
class DiskFacts:
    """A disk of the guest (:class:`eve_meta.machine.disks.Disk`).

    :ivar shown: its path, or what else describes it.
    :ivar labels: the labels of its file systems.
    :ivar cd_labels: the labels of ISO 9660 file systems in a CD drive.
    :ivar unread: why some or all of its labels are unknown; "" where all are known.
    """

    shown: str
    labels: tuple[str, ...] = ()
    cd_labels: tuple[str, ...] = ()
    unread: str = ""


@frozen(kw_only=True)
class NicFacts:
    """A NIC of the guest, as the host has it.

    :ivar kind: "tap", or a key of :data:`eve_meta.values.bypass.BYPASSES`.
    :ivar shown: its tap, its link, its id, or what else describes it.
    """

    kind: str
    shown: str


@frozen(kw_only=True)
class MachineFacts:
    """The virtual hardware of the guest.

    :ivar source: the source of these facts: "QEMU process 4711", "libvirt XML of web1".
    :ivar runs: whether the guest runs.
    :ivar machine: the architecture, as ``uname -m`` prints it.
    :ivar command_line: the kernel's command line, "" where the guest's boot loader sets it.
    :ivar vmm: the name of the VMM.
    :ivar untold: why disks, NICs and the kernel's command line are unknown; "" where they are known.
    """

    source: str
    runs: bool = True
    machine: str
    dmi: Dmi
    disks: tuple[DiskFacts, ...] = ()
    nics: tuple[NicFacts, ...] = ()
    command_line: str = ""
    vmm: str = "QEMU"
    untold: str = ""


@frozen(kw_only=True)
class Facts:
    """All facts of one report.

    :ivar machine: None where it is unknown.
    :ivar libvirt: whether libvirt runs the guest, so that a repair can be a ``virsh`` command.
    :ivar config: the configuration file.
    :ivar config_named: whether commands have to name it, because it is not the one that is read when none is named.
    :ivar service: whether systemd runs the daemon.
    """

    host: HostFacts
    machine: MachineFacts | None = None
    libvirt: bool = False
    config: str = "/etc/eve-meta/eve-meta.toml"
    config_named: bool = False
    service: bool = False
