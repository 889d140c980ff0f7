"""Every verdict of ``eve-meta explain``, brought about by the facts of a host on which it is true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

import eve_meta
from eve_meta.explain.ds_identify import Dmi
from eve_meta.explain.facts import (
    AskedFacts,
    DhcpFacts,
    DiskFacts,
    DomainFacts,
    Facts,
    FaultFacts,
    FilterFacts,
    HostFacts,
    LinkFacts,
    MachineFacts,
    NicFacts,
    PathFacts,
    ProcessFacts,
    SeenFacts,
    TapFacts,
)
from eve_meta.explain.report import any_wrong, plain, steps
from eve_meta.explain.steps import State, Step, Verdict, ago
from eve_meta.values.domain import TokenPolicy

NOW = 1_780_000_000.0
FILE = "/etc/eve-meta/domains.d/web1.yaml"
CONFIG = "/etc/eve-meta/eve-meta.toml"
UUID = "1a831fa7-c50b-4693-a16e-fb8171f1b69e"

DOMAIN = DomainFacts(name="web1", uuid=UUID, origins=(FILE,), taps=("vnet0",), line=7)
UNTIED = attrs.evolve(DOMAIN, taps=(), line=None)
PROCESS = ProcessFacts(pid=4711, uuid=UUID, name="web1")
OURS = FilterFacts(priority=169, kind="bpf", name="eve-meta:tap_in", ours=True)
OTHER = FilterFacts(priority=1, kind="flower", name="", ours=False)


def asked(what: str, status: int, number: int = 1, before: float = 10.0) -> AskedFacts:
    return AskedFacts(what=what, status=status, count=number, first=NOW - before, last=NOW - before)


def seen(before: float) -> SeenFacts:
    return SeenFacts(count=1, first=NOW - before, last=NOW - before)


TAP = TapFacts(
    name="vnet0",
    tag=7,
    link=LinkFacts(ifindex=5, up=True, carrier=True, bridge="br0"),
    domain=DOMAIN,
    process=PROCESS,
    filters=(OURS,),
    seen={"arp": seen(60), "connection": seen(10)},
    frames_in=20,
    frames_out=15,
    asked=(asked("openstack/meta_data.json", 200), asked("openstack/user_data", 404)),
    tokens=TokenPolicy.OPTIONAL,
)
LEASE = DhcpFacts(address="10.0.0.6", since=NOW - 86_400, renewal_time=1800)
QUIET = attrs.evolve(TAP, seen={}, frames_in=0, frames_out=0, asked=())
PATH = PathFacts(namespace="eve-meta", workers=(100,))
MACHINE = MachineFacts(
    source="QEMU process 4711",
    machine="x86_64",
    dmi=Dmi(product_name="OpenStack Nova", product_uuid=UUID),
    disks=(DiskFacts(shown="/var/lib/web1.qcow2"),),
)


def facts(
    tap: TapFacts | None = TAP,
    *,
    domain: DomainFacts | None = DOMAIN,
    path: PathFacts | None = PATH,
    machine: MachineFacts | None = MACHINE,
    libvirt: bool = True,
    **host: Any,
) -> Facts:
    whole = HostFacts(
        asked_for="web1",
        now=NOW,
        path=path,
        domain=domain,
        taps=() if tap is None else (tap,),
        patterns=("vnet*", "tap*"),
        **host,
    )
    return Facts(host=whole, machine=machine, libvirt=libvirt, service=True)


def with_tap(tap: TapFacts = TAP, /, **changes: Any) -> Facts:
    return facts(attrs.evolve(tap, **changes))


def with_link(**changes: Any) -> Facts:
    assert TAP.link is not None
    return with_tap(link=attrs.evolve(TAP.link, **changes))


def with_path(**changes: Any) -> Facts:
    return facts(path=attrs.evolve(PATH, **changes))


def with_machine(**changes: Any) -> Facts:
    return facts(machine=attrs.evolve(MACHINE, **changes))


def with_dmi(whole: Facts | None = None, **changes: Any) -> Facts:
    whole = whole or facts()
    assert whole.machine is not None
    return attrs.evolve(whole, machine=attrs.evolve(whole.machine, dmi=Dmi(**changes)))


def unasked(whole: Facts) -> Facts:
    """Return *whole* without the requests of its guest."""
    (tap,) = whole.host.taps
    return attrs.evolve(whole, host=attrs.evolve(whole.host, taps=(attrs.evolve(tap, asked=()),)))


SERIAL = "ds=nocloud;s=http://169.254.169.254/nocloud/"
FAULT = FaultFacts(file=FILE, text=f"{FILE}:9: hostnme: expected one of the known keys")
REFUSED = "expected QEMU process 4711 behind vnet0 to have uuid 1, got 2: it is not served"

# The facts that bring a verdict about, and words of its text and of the command that fixes it.
CASES: dict[Verdict, tuple[Facts, tuple[str, ...]]] = {
    Verdict.DAEMON_RUNNING: (facts(), ("eve-meta",)),
    Verdict.DAEMON_NOT_RUNNING: (facts(path=None), ("→ systemctl start eve-meta",)),
    Verdict.DAEMON_NOT_READABLE: (with_path(problem="nsenter is not installed"), ("nsenter",)),
    Verdict.DOMAIN_KNOWN: (facts(), (UUID, f"{FILE}, line 7, which names vnet0")),
    Verdict.DOMAIN_OUTDATED: (
        facts(domain=attrs.evolve(DOMAIN, hostname="old.example.org", faults=(FAULT,))),
        (f"{FILE}:9: hostnme", "meanwhile web1 is served", "old.example.org", f"editor {FILE}"),
    ),
    Verdict.DOMAIN_BROKEN: (facts(None, domain=None, broken=(f"{FILE}:3: unknown key",)), (":3:", "eve-meta check")),
    Verdict.DOMAIN_MISTYPED: (facts(None, domain=None, near=("web2",)), ("web2", "eve-meta explain web2")),
    Verdict.DOMAIN_NONE: (facts(None, domain=None), ("eve-meta new web1",)),
    Verdict.DOMAIN_REFUSED: (
        with_tap(QUIET, domain=None, problems=(REFUSED,), mend=f"in {FILE}: uuid: 2"),
        (REFUSED, f"→ in {FILE}: uuid: 2"),
    ),
    Verdict.TAP_UP: (facts(), ("vnet0", "br0")),
    Verdict.TAP_NONE: (facts(None, domain=UNTIED, machine=None), ("virsh start web1",)),
    Verdict.TAP_MISSING: (
        facts(attrs.evolve(QUIET, link=None, tag=None, process=None), machine=None),
        ("vnet0", "virsh start web1"),
    ),
    Verdict.TAP_BYPASSED: (
        with_link(kind="macvtap"),
        ("vnet0 is a macvtap", "never come in", "virsh edit web1   # <interface type='bridge'>"),
    ),
    Verdict.TAP_UNMATCHED: (
        with_tap(QUIET, matched=False, tag=None),
        ("vnet* tap*", f'in {CONFIG}, below [steering]: taps = ["vnet*", "tap*", "vnet0"]; then: systemctl restart'),
    ),
    Verdict.TAP_DOWN: (with_link(up=False, carrier=False), ("ip link set vnet0 up",)),
    Verdict.TAP_NO_CARRIER: (with_link(carrier=False), ("virsh start web1",)),
    Verdict.TAP_NOT_STEERED: (with_tap(QUIET, tag=None), ("vnet0", "restart")),
    Verdict.PROCESS_KNOWN: (facts(), ("4711",)),
    Verdict.PROCESS_UNTRUSTED: (
        facts(attrs.evolve(QUIET, process=attrs.evolve(PROCESS, uid=1000, trusted=False)), domain=UNTIED),
        ("1000", f"in {FILE}: nics: [{{tap: vnet0}}]"),
    ),
    Verdict.PROCESS_UNKNOWN: (with_tap(process=None), ("the file names the tap",)),
    Verdict.FILTER_FIRST: (with_tap(filters=(OURS, attrs.evolve(OTHER, priority=49152))), ("vnet0",)),
    Verdict.FILTER_BEHIND: (
        with_tap(QUIET, filters=(OTHER, OURS)),
        ("flower", "tc filter delete dev vnet0 ingress pref 1"),
    ),
    Verdict.FILTER_BEHIND_BUT_SEES: (with_tap(filters=(OTHER, OURS)), ("flower",)),
    Verdict.FILTER_MISSING: (with_tap(filters=(OTHER,)), ("gone", "restart")),
    Verdict.PROGRAMS_LOADED: (facts(), ()),
    Verdict.PROGRAMS_MISSING: (with_path(programs=("the filter host_in on eve-meta0",)), ("host_in", "restart")),
    Verdict.NAMESPACE_THERE: (facts(), ("eve-meta",)),
    Verdict.NAMESPACE_MISSING: (with_path(links=("the link meta0",)), ("meta0", "restart")),
    Verdict.RULES_THERE: (facts(), ()),
    Verdict.RULES_MISSING: (
        with_path(rules=("iptables --table nat -A PREROUTING",), unrestored="iptables: out of order"),
        ("nat", "eve-meta cannot restore it: iptables: out of order", "restart"),
    ),
    Verdict.ROUTE_THERE: (facts(), ()),
    Verdict.ROUTE_MISSING: (with_path(routes=("the IPv4 route in table 169",)), ("169", "restart")),
    Verdict.WORKER_ALIVE: (with_path(workers=(100, None), restarts=3), ("100", "3 times")),
    Verdict.WORKER_DEAD: (with_path(workers=(None,)), ("restart",)),
    Verdict.DHCP_ANSWERED: (
        with_tap(dhcp=LEASE, seen={**TAP.seen, "dhcp": seen(90), "dhcp_offer": seen(90), "dhcp_ack": seen(60)}),
        ("the tap gives 10.0.0.6: 1 × offer, 1 × ack, the last 60 s ago",),
    ),
    Verdict.DHCP_RENEWAL_DUE: (
        with_tap(
            dhcp=attrs.evolve(LEASE, before="10.0.0.5", since=NOW - 180), seen={**TAP.seen, "dhcp_ack": seen(600)}
        ),
        ("DHCP gave 10.0.0.5 10 min ago; since 3 min ago it is 10.0.0.6", "after its next renewal, within 20 min"),
    ),
    Verdict.DHCP_NONE: (with_tap(QUIET, dhcp=LEASE), ("10.0.0.6", "not asked yet")),
    Verdict.DHCP_BOOTING: (
        with_tap(QUIET, dhcp=LEASE, seen={"dhcp": seen(1), "dhcp_offer": seen(1)}),
        ("10.0.0.6", "has just asked"),
    ),
    Verdict.DHCP_STATIC: (
        with_tap(dhcp=attrs.evolve(LEASE, link_local=True)),
        ("10.0.0.6, a link-local address", "never asked: its image has an address of its own"),
    ),
    Verdict.DHCP_NOT_TAKEN: (
        with_tap(
            QUIET,
            dhcp=LEASE,
            seen={"dhcp": seen(600), "dhcp_offer": seen(60)},
            drops={"dhcp_decline": 2, "dhcp_release": 1},
        ),
        ("does not take it: 1 × offer, the last 60 s ago", "2 × dhcp_decline, 1 × dhcp_release", "DHCP client logs"),
    ),
    Verdict.DHCP_DECLINED: (
        with_tap(
            QUIET,
            dhcp=LEASE,
            seen={"dhcp": seen(600), "dhcp_offer": seen(60), "dhcp_ack": seen(60)},
            drops={"dhcp_decline": 1},
        ),
        ("declined 10.0.0.6 as often as it was given (1 ×)", f"in {FILE}: another address"),
    ),
    Verdict.DHCP_OTHER_SERVER: (
        with_tap(QUIET, dhcp=LEASE, drops={"dhcp_other_server": 3}),
        ("another server's lease 3 times", "start it again"),
    ),
    Verdict.DHCP_OFF: (
        with_tap(QUIET, dhcp=DhcpFacts(), seen={"dhcp": seen(600)}),
        ("off", "asked for an address 10 min ago, and for no metadata", f"in {FILE}: dhcp: on"),
    ),
    Verdict.DHCP_SERVER_DENIED: (
        with_tap(drops={"dhcp_server": 4}),
        ("poses as a DHCP server: 4", "dhcp_server: allow"),
    ),
    Verdict.PACKETS_BOTH_WAYS: (facts(), ("ARP 60 s ago", "20 frames", "15 went")),
    Verdict.PACKETS_NONE: (facts(QUIET), ()),
    Verdict.PACKETS_BOOTING: (with_tap(QUIET, seen={"dhcp": seen(5)}), ("DHCP 5 s ago",)),
    Verdict.PACKETS_NO_ROUTE: (
        with_tap(QUIET, seen={"dhcp": seen(600)}),
        ("DHCP 10 min ago", "no route that covers 169.254.169.254", "ip route add"),
    ),
    Verdict.PACKETS_ARP_ALONE: (with_tap(QUIET, seen={"dhcp": seen(600), "arp": seen(590)}), ("ARP", "curl")),
    Verdict.PACKETS_DROPPED: (with_tap(QUIET, drops={"vlan": 9}), ("9 × vlan",)),
    Verdict.PACKETS_UNANSWERED: (with_tap(QUIET, frames_in=5, seen={"connection": seen(9)}), ("none", "restart")),
    Verdict.REQUESTS_ANSWERED: (facts(), ("openstack/meta_data.json 200 10 s ago", "openstack/user_data 404")),
    Verdict.REQUESTS_NONE: (facts(QUIET), ()),
    Verdict.REQUESTS_SILENT: (with_tap(asked=()), ("curl",)),
    Verdict.REQUESTS_WAITING: (
        facts(attrs.evolve(TAP, domain=None, asked=(asked("openstack", 503),)), domain=None),
        ("openstack 503", "eve-meta new web1"),
    ),
    Verdict.REQUESTS_NOT_FOUND: (with_tap(asked=(asked("openstack", 404), asked("openstack", 503))), ("virsh reset",)),
    Verdict.REQUESTS_REFUSED: (with_tap(asked=(asked("openstack", 401),)), ("401", f"in {FILE}: tokens: optional")),
    Verdict.REQUESTS_WRONG_HOST: (with_tap(asked=(asked("openstack", 403),), notes={"wrong_host": 1}), ("hosts",)),
    Verdict.REQUESTS_TOO_MANY: (with_tap(asked=(asked("openstack", 429),)), ("429",)),
    Verdict.REQUESTS_MALFORMED: (with_tap(asked=(asked("unread", 400),)), ("400",)),
    Verdict.TOKENS_NOT_NEEDED: (with_tap(tokens=TokenPolicy.OFF), ("off",)),
    Verdict.TOKENS_USED: (with_tap(tokens=TokenPolicy.REQUIRED, asked=(asked("token", 200),)), ("required",)),
    Verdict.TOKENS_NOT_TRIED: (with_tap(QUIET, tokens=TokenPolicy.REQUIRED), ("required",)),
    Verdict.TOKENS_CLIENT_CANNOT: (
        with_tap(tokens=TokenPolicy.REQUIRED, notes={"no_token": 5}, asked=(asked("openstack", 401),)),
        ("5 requests", "no IMDSv2", f"in {FILE}: tokens: optional"),
    ),
    Verdict.SMBIOS_OPENSTACK: (facts(), ("OpenStack Nova",)),
    Verdict.SMBIOS_NOCLOUD: (with_dmi(product_serial=SERIAL), (SERIAL,)),
    Verdict.SMBIOS_NOT_NEEDED: (with_dmi(chassis_asset_tag="eve-meta.zstack.io"), ("eve-meta.zstack.io",)),
    Verdict.SMBIOS_MISSING: (with_dmi(facts(QUIET)), ("eve-meta smbios web1 --apply",)),
    Verdict.SMBIOS_ELSEWHERE: (with_dmi(product_serial="ds=nocloud"), ("nowhere", "--datasource nocloud --apply")),
    Verdict.SMBIOS_UNKNOWN: (facts(machine=None), ()),
    Verdict.DISKS_NO_SEED: (facts(), ("one disk",)),
    Verdict.DISKS_SEED: (
        with_machine(disks=(DiskFacts(shown="/seed.iso", labels=("cidata",)),)),
        ("/seed.iso", "NoCloud", "virsh detach-disk web1 /seed.iso --config"),
    ),
    Verdict.DISKS_UNREAD: (with_machine(disks=(DiskFacts(shown="rbd:x", unread="elsewhere"),)), ("rbd:x: elsewhere",)),
    Verdict.DISKS_UNKNOWN: (facts(machine=None), ()),
    Verdict.IMDS_OURS: (
        with_dmi(bios_vendor="Amazon EC2", chassis_asset_tag="eve-meta.zstack.io"),
        ("systemd-imdsd", "bios vendor is 'Amazon EC2'", "systemd.imds.network=unlocked"),
    ),
    Verdict.IMDS_OFF: (
        with_machine(dmi=Dmi(bios_vendor="Amazon EC2"), command_line="systemd.imds=no"),
        ("systemd.imds=no",),
    ),
    Verdict.IMDS_ELSEWHERE: (
        with_machine(command_line="systemd.imds=1 systemd.imds.data_url=http://10.0.0.1/latest"),
        ("http://10.0.0.1/latest", "kernel command line", "eve-meta smbios web1 --datasource ec2 --apply"),
    ),
    Verdict.DATASOURCE_OURS: (facts(), ("OpenStack", "OpenStack Nova")),
    Verdict.DATASOURCE_OTHER: (
        with_machine(disks=(DiskFacts(shown="/c.img", labels=("config-2",)),)),
        ("ConfigDrive", "config-2", "virsh detach-disk"),
    ),
    Verdict.DATASOURCE_NONE: (with_dmi(facts(QUIET)), ("disabled", "eve-meta smbios web1 --apply")),
    Verdict.DATASOURCE_UNKNOWN: (facts(machine=None), ()),
}


def step_of(whole: Facts, verdict: Verdict) -> Step:
    (step,) = (step for step in steps(whole) if step.verdict is verdict)
    return step


def test_every_verdict_has_a_case() -> None:
    assert set(CASES) == set(Verdict)


@pytest.mark.parametrize("verdict", Verdict, ids=lambda verdict: verdict.label)
def test_each_verdict_comes_with_its_words(verdict: Verdict) -> None:
    whole, words = CASES[verdict]
    step = step_of(whole, verdict)
    shown = f"{step.text} → {step.mend}"
    assert all(word in shown for word in words), shown
    assert any_wrong(whole) == any(step.verdict.state is State.WRONG for step in steps(whole))


@pytest.mark.parametrize("verdict", Verdict, ids=lambda verdict: verdict.label)
def test_every_wrong_step_and_no_other_has_a_repair(verdict: Verdict) -> None:
    for step in steps(CASES[verdict][0]):
        assert (step.mend is not None) == (step.verdict.state is State.WRONG), step
        assert step.text
        assert "\n" not in step.text + (step.mend or "")


@pytest.mark.parametrize("verdict", Verdict, ids=lambda verdict: verdict.label)
def test_the_manual_explains_each_verdict(verdict: Verdict) -> None:
    manual = (Path(eve_meta.__file__).parent / "docs/explain.rst").read_text()
    assert f"``{verdict.label}``" in manual


def test_no_step_is_wrong_on_a_host_where_all_is_right() -> None:
    assert {step.verdict.state for step in steps(facts())} == {State.OK}


def test_a_guest_that_needs_no_dhcp_of_its_tap_has_no_step_about_it() -> None:
    for dhcp in (None, DhcpFacts()):
        assert "dhcp" not in {step.verdict.step for step in steps(with_tap(dhcp=dhcp))}
        # It has just asked: whoever answers may be about to.
        booting = with_tap(QUIET, dhcp=dhcp, seen={"dhcp": seen(5)})
        assert "dhcp" not in {step.verdict.step for step in steps(booting)}


def test_a_guest_that_has_taken_the_changed_address_has_nothing_due() -> None:
    changed = attrs.evolve(LEASE, before="10.0.0.5", since=NOW - 180)
    whole = with_tap(dhcp=changed, seen={**TAP.seen, "dhcp_nak": seen(61), "dhcp_ack": seen(60)})
    assert "1 × nak" in step_of(whole, Verdict.DHCP_ANSWERED).text


def test_where_no_file_describes_the_domain_the_configuration_can_switch_dhcp_on() -> None:
    described = attrs.evolve(DOMAIN, origins=("libvirt XML of web1",))
    asked_once = attrs.evolve(QUIET, seen={"dhcp": seen(600)})
    step = step_of(facts(asked_once, domain=described), Verdict.DHCP_OFF)
    assert step.mend == f'in {CONFIG}, below [steering]: dhcp = "on"; then: systemctl restart eve-meta'


def test_what_dhcp_does_not_tell_the_guest_is_named() -> None:
    missing = attrs.evolve(LEASE, missing=("search: DHCP leaves out the search domains",))
    whole = with_tap(dhcp=missing, seen={**TAP.seen, "dhcp_ack": seen(60)}, drops={"dhcp_server": 4})
    assert step_of(whole, Verdict.DHCP_ANSWERED).text.endswith(
        "; search: DHCP leaves out the search domains, 4 frames by which it poses as a DHCP server were dropped"
    )


def test_dropped_dhcp_alone_is_no_drop_on_the_way_to_the_service() -> None:
    quiet = with_tap(QUIET, dhcp=LEASE, drops={"dhcp_release": 1})
    assert step_of(quiet, Verdict.PACKETS_NONE)


def test_an_instance_id_that_was_given_is_told() -> None:
    whole = facts()
    assert whole.host.domain is not None
    renewed = attrs.evolve(whole.host.domain, instance_id=UUID)
    step = step_of(attrs.evolve(whole, host=attrs.evolve(whole.host, domain=renewed)), Verdict.DOMAIN_KNOWN)
    assert step.text.endswith(f"; 'eve-meta rerun' gave it the instance id {UUID}")


def test_each_tap_has_each_step_once() -> None:
    host = facts().host
    second = attrs.evolve(TAP, name="vnet1")
    both = attrs.evolve(facts(), host=attrs.evolve(host, taps=(TAP, second)))
    names = [(step.verdict.step, step.tap) for step in steps(both)]
    assert len(names) == len(set(names))
    assert {tap for step, tap in names if step in ("tap", "process", "filter", "packets", "requests", "tokens")} == {
        "vnet0",
        "vnet1",
    }


def test_the_report_for_programs_keeps_its_promises() -> None:
    report = plain(facts())
    assert report["asked_for"] == "web1"
    assert report["domain"] == {"name": "web1", "uuid": UUID, "origins": [FILE]}
    assert report["taps"] == ["vnet0"]
    assert report["datasource"] == {
        "predicted": "OpenStack",
        "found": ["OpenStack"],
        "why": "the DMI product name is 'OpenStack Nova'",
        "releases": [
            {
                "cloud_init": release,
                "predicted": "OpenStack",
                "found": ["OpenStack"],
                "why": "the DMI product name is 'OpenStack Nova'",
            }
            for release in ("22.4", "25.1")
        ],
    }
    assert report["imds"] == {"predicted": "nothing", "why": ""}
    assert set(report["steps"][0]) == {"step", "state", "verdict", "tap", "text", "mend"}
    assert report["requests"]["vnet0"][0]["what"] == "openstack/meta_data.json"
    assert plain(facts(machine=None))["datasource"]["predicted"] is None
    assert plain(with_dmi())["datasource"]["predicted"] == "None"


@pytest.mark.parametrize(
    ("machine", "predicted", "verdict"),
    [
        (MACHINE, "OpenStack", Verdict.DATASOURCE_OURS),
        (attrs.evolve(MACHINE, dmi=Dmi(product_serial=SERIAL)), "NoCloud", Verdict.DATASOURCE_OURS),
        (
            attrs.evolve(MACHINE, dmi=Dmi(product_serial=SERIAL), disks=(DiskFacts(shown="a", labels=("CIDATA",)),)),
            "NoCloud",
            Verdict.DATASOURCE_OTHER,
        ),
        (attrs.evolve(MACHINE, disks=(DiskFacts(shown="a", labels=("cidata",)),)), "NoCloud", Verdict.DATASOURCE_OTHER),
        (attrs.evolve(MACHINE, dmi=Dmi(), machine="aarch64"), "OpenStack", Verdict.DATASOURCE_NONE),
        (
            attrs.evolve(MACHINE, dmi=Dmi(product_name="OpenStack Nova"), machine="aarch64"),
            "OpenStack",
            Verdict.DATASOURCE_OURS,
        ),
        (attrs.evolve(MACHINE, dmi=Dmi(sys_vendor="Hetzner")), "Hetzner", Verdict.DATASOURCE_OTHER),
        (
            attrs.evolve(MACHINE, dmi=Dmi(product_uuid="EC2f8de0-a", product_serial="ec2F8de0-a")),
            "Ec2",
            Verdict.DATASOURCE_OURS,
        ),
        (attrs.evolve(MACHINE, dmi=Dmi()), "None", Verdict.DATASOURCE_NONE),
    ],
)
def test_the_datasource_that_follows_from_the_hardware(machine: MachineFacts, predicted: str, verdict: Verdict) -> None:
    whole = facts(QUIET, machine=machine)
    assert plain(whole)["datasource"]["predicted"] == predicted
    assert steps(whole)[-1].verdict is verdict


def test_where_releases_of_cloud_init_differ_each_is_named() -> None:
    whole = facts(QUIET, machine=attrs.evolve(MACHINE, dmi=Dmi(), machine="aarch64"))
    step = steps(whole)[-1]
    assert step.text.startswith("cloud-init 22.4 (Debian 12): OpenStack: on aarch64 ")
    assert "; cloud-init 25.1 (Debian 13): none: neither SMBIOS nor a disk " in step.text
    assert step.mend == "eve-meta smbios web1 --apply"
    missing = step_of(whole, Verdict.SMBIOS_MISSING)
    assert "so cloud-init 25.1 (Debian 13) does not ask eve-meta" in missing.text
    # What the guest did decides more than what its image might be.
    assert steps(facts(machine=whole.machine))[-1].verdict is Verdict.DATASOURCE_OURS


def test_a_guest_that_asks_without_smbios_needs_no_smbios() -> None:
    """Ignition and CirrOS ask wherever they are."""
    assert step_of(with_dmi(), Verdict.SMBIOS_NOT_NEEDED)


def of_vmm(vmm: str, **changes: Any) -> Facts:
    machine = attrs.evolve(MACHINE, source=f"{vmm} process 9", vmm=vmm, dmi=Dmi(), **changes)
    return facts(QUIET, machine=machine, libvirt=False)


@pytest.mark.parametrize(
    ("whole", "mend"),
    [
        (of_vmm("Cloud Hypervisor"), f"add to the guest's kernel command line (--cmdline): {SERIAL}"),
        (
            with_dmi(of_vmm("Cloud Hypervisor"), product_name="x"),
            f"add to the guest's --platform: serial_number={SERIAL}",
        ),
        (
            with_dmi(of_vmm("Cloud Hypervisor", command_line="quiet"), product_name="x"),
            f"add to the guest's kernel command line (--cmdline): {SERIAL}",
        ),
        (with_dmi(of_vmm("crosvm"), product_name="x"), f'add to the guest\'s --smbios: serial-number="{SERIAL}"'),
        (of_vmm("crosvm", command_line="quiet"), f"add to the guest's kernel command line (--params): {SERIAL}"),
    ],
)
def test_what_makes_the_guest_of_another_vmm_ask(whole: Facts, mend: str) -> None:
    assert steps(whole)[-1].mend == step_of(whole, Verdict.SMBIOS_MISSING).mend == mend
    assert whole.machine is not None
    # It helps: with it, each release of cloud-init asks eve-meta.
    value = mend.partition(": ")[2]
    seeded = {"command_line": value} if "kernel" in mend else {"dmi": Dmi(product_serial=SERIAL)}
    mended = attrs.evolve(whole, machine=attrs.evolve(whole.machine, **seeded))
    assert steps(mended)[-1].verdict is Verdict.DATASOURCE_OURS


@pytest.mark.parametrize("vmm", ["Firecracker", "Cloud Hypervisor"])
def test_what_no_command_line_tells_is_said_to_be_unknown_with_what_the_guest_needs(vmm: str) -> None:
    whole = of_vmm(vmm, untold="nobody tells")
    assert step_of(whole, Verdict.SMBIOS_UNKNOWN).text.startswith(f"{vmm} process 9: its ")
    assert SERIAL in step_of(whole, Verdict.SMBIOS_UNKNOWN).text
    assert step_of(whole, Verdict.DISKS_UNKNOWN).text == "nobody tells"
    assert step_of(whole, Verdict.DATASOURCE_UNKNOWN)
    assert plain(whole)["datasource"]["predicted"] is None
    asking = attrs.evolve(whole, host=facts(TAP).host)
    assert step_of(asking, Verdict.SMBIOS_NOT_NEEDED)


def test_a_process_without_an_identity_is_named_with_what_would_give_it_one() -> None:
    holder = ProcessFacts(pid=9, vmm="Cloud Hypervisor", trusted=False)
    step = step_of(with_tap(process=None, unidentified=holder), Verdict.PROCESS_UNKNOWN)
    assert step.text == (
        "Cloud Hypervisor process 9 holds vnet0, but has neither uuid nor name (--platform uuid=); "
        "the file names the tap"
    )
    alone = facts(attrs.evolve(TAP, process=None, unidentified=holder, domain=None), domain=None)
    assert "and Cloud Hypervisor process 9 has no uuid or name" in step_of(alone, Verdict.DOMAIN_NONE).text


def test_the_mend_of_broken_metadata_opens_them() -> None:
    where = "libvirt metadata of web1"
    fault = FaultFacts(file=where, text=f"{where}:2: hostnme: expected one of the known keys")
    known = attrs.evolve(UNTIED, origins=(where, "libvirt XML of web1"), faults=(fault,))
    step = step_of(facts(domain=known), Verdict.DOMAIN_OUTDATED)
    assert step.mend == "virsh metadata web1 urn:eve-meta:domain:1 --key eve --edit --live --config"


def test_a_broken_file_is_wrong_although_another_source_knows_the_domain() -> None:
    known = attrs.evolve(UNTIED, origins=("libvirt XML of web1",))
    step = step_of(facts(domain=known, broken=(f"{FILE}:3: unknown key",)), Verdict.DOMAIN_BROKEN)
    assert f"{FILE}:3: unknown key; nothing of this is served, only what libvirt XML of web1" in step.text


def test_one_refused_tap_is_wrong_although_another_is_served() -> None:
    host = facts().host
    second = attrs.evolve(QUIET, name="vnet1", domain=None, problems=(REFUSED,))
    both = attrs.evolve(facts(), host=attrs.evolve(host, taps=(TAP, second)))
    assert REFUSED in step_of(both, Verdict.DOMAIN_REFUSED).text


VHOST_USER = (NicFacts(kind="vhost-user NIC", shown="n0"),)


@pytest.mark.parametrize("tap", [None, attrs.evolve(QUIET, link=None, tag=None, process=None)])
def test_a_guest_that_runs_without_a_tap_is_told_so_and_not_that_it_should_start(tap: TapFacts | None) -> None:
    machine = attrs.evolve(MACHINE, nics=VHOST_USER)
    step = step_of(facts(tap, machine=machine, libvirt=False), Verdict.TAP_BYPASSED)
    assert "(QEMU process 4711): n0 is a vhost-user NIC: " in step.text
    assert step.mend == "start the guest with -netdev tap or -netdev bridge"


def test_a_file_that_names_another_tap_than_its_guest_has_is_to_be_edited() -> None:
    step = step_of(with_tap(QUIET, link=None, tag=None), Verdict.TAP_MISSING)
    assert "but its guest runs (QEMU process 4711)" in step.text
    assert step.mend == f"editor {FILE}"


def test_one_nic_with_a_tap_is_enough() -> None:
    machine = attrs.evolve(MACHINE, nics=(*VHOST_USER, NicFacts(kind="tap", shown="n1")))
    step = step_of(facts(None, machine=machine), Verdict.TAP_NONE)
    assert "its guest runs (QEMU process 4711), but its tap is unknown" in step.text
    assert step.mend == f"in {FILE}: nics: [{{tap: …}}]"


def test_a_guest_that_does_not_run_and_will_have_no_tap_need_not_be_started() -> None:
    machine = attrs.evolve(MACHINE, source="libvirt XML of web1", runs=False, nics=VHOST_USER)
    assert step_of(facts(None, domain=UNTIED, machine=machine), Verdict.TAP_BYPASSED)
    machine = attrs.evolve(machine, nics=(NicFacts(kind="tap", shown="vnet0"),))
    assert step_of(facts(None, domain=UNTIED, machine=machine), Verdict.TAP_NONE).mend == "virsh start web1"


def test_a_macvtap_is_named_whether_a_pattern_matches_it_or_not() -> None:
    (tap,) = with_link(kind="macvtap").host.taps
    assert step_of(with_tap(tap, matched=False, tag=None), Verdict.TAP_BYPASSED)


def test_for_the_process_of_an_unknown_domain_a_new_file_is_offered() -> None:
    process = attrs.evolve(PROCESS, name="db7", uuid=None)
    step = step_of(facts(attrs.evolve(QUIET, domain=None, process=process), domain=None), Verdict.DOMAIN_NONE)
    assert "db7" in step.text
    assert step.mend == "eve-meta new db7"


@pytest.mark.parametrize(
    ("there", "mend"),
    [
        # Where no file is named, none may exist.
        ({"service": False}, "eve-meta serve"),
        ({"service": True}, "systemctl start eve-meta"),
        ({"service": True, "config_named": True}, f"eve-meta serve --config {CONFIG}"),
    ],
)
def test_the_daemon_starts_with_the_configuration_that_there_is(there: dict[str, Any], mend: str) -> None:
    assert step_of(attrs.evolve(facts(path=None), **there), Verdict.DAEMON_NOT_RUNNING).mend == mend


def test_a_command_of_eve_meta_has_the_configuration_of_the_report() -> None:
    unknown = attrs.evolve(facts(None, domain=None), config="c.toml", config_named=True)
    assert step_of(unknown, Verdict.DOMAIN_NONE).mend == "eve-meta new web1 --config c.toml"


def test_the_name_of_a_guest_cannot_run_as_a_command() -> None:
    evil = attrs.evolve(UNTIED, name="$(reboot); x")
    assert step_of(facts(None, domain=evil, machine=None), Verdict.TAP_NONE).mend == "virsh start '$(reboot); x'"


@pytest.mark.parametrize(
    ("before", "text"), [(-1, "0 s"), (0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 d")]
)
def test_how_long_ago(before: float, text: str) -> None:
    assert ago(NOW - before, NOW) == f"{text} ago"
