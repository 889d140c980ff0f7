"""The Debian package on a clean host with systemd. The tests build on one another, from installation to purge."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.guests import Lab
from harness.machine import Machine
from tests.guest.asking import PATIENCE, AskingGuests
from tests.guest.scene import META_DATA, USER_DATA, Identity, KeepAlive, domain, eventually, proc_status, uuid_of
from tests.package.packaged import assert_completions, assert_documents, assert_python_packages, install

PASSWORD = "/openstack/2013-04-04/password"
BYSTANDERS = ("/var/lib/dpkg/", "/var/lib/apt/", "/var/log/", "/var/cache/", "/var/lib/systemd/", "/etc/systemd/system")
"""Paths that the system itself writes to, whatever is installed."""

LOGS = "/var/log/eve-meta"

OLD = "0.0.1"


@pytest.fixture(scope="module")
def old(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An earlier version of the package, with one more file."""
    tree = tmp_path_factory.mktemp("old") / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", deb, tree], check=True)
    control = tree / "DEBIAN/control"
    lines = control.read_text().splitlines()
    control.write_text("".join(f"Version: {OLD}\n" if line.startswith("Version:") else f"{line}\n" for line in lines))
    (tree / "usr/lib/eve-meta/from-old-version").touch()
    subprocess.run(["dpkg-deb", "-Znone", "--root-owner-group", "--build", tree, tree.parent], check=True)
    (made,) = tree.parent.glob("*.deb")
    return made


@pytest.fixture(scope="module", autouse=True)
def files_before(machine: Machine) -> set[str]:
    return files(machine)


def files(machine: Machine) -> set[str]:
    """Return the paths of all files on the host's disk, except the system's own records."""
    shown = machine.run("find", "/", "-xdev", "-printf", "%p\\n").stdout.splitlines()
    return {path for path in shown if path.startswith(LOGS) or not path.startswith(BYSTANDERS)}


def main_pid(machine: Machine) -> int:
    return int(machine.run("systemctl", "show", "--property=MainPID", "--value", "eve-meta").stdout)


def outer_pid(machine: Machine) -> int:
    """Return the daemon's process id in this process's namespace; 0 while no daemon runs."""
    inner = str(main_pid(machine))
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                pids = proc_status(int(entry.name))["NSpid"].split()
            except (OSError, KeyError):
                continue
            if len(pids) > 1 and pids[-1] == inner and "eve_meta.daemon.main" in (entry / "cmdline").read_text():
                return int(entry.name)
    return 0


def write_domain(machine: Machine, number: int, tap: str) -> None:
    machine.run(
        "sh", "-c", f"cat > /etc/eve-meta/domains.d/vm{number}.yaml <<'EOF'\n{json.dumps(domain(number, tap))}\nEOF"
    )


def test_installing_the_package_starts_the_daemon(machine: Machine, old: Path) -> None:
    install(machine, old)
    # apt-get waited for READY=1, so the daemon runs already.
    assert machine.run("systemctl", "is-active", "eve-meta").stdout == "active\n"
    assert machine.run("systemctl", "is-enabled", "eve-meta").stdout == "enabled\n"
    assert machine.run("eve-meta", "--version").stdout.startswith("eve-meta ")
    assert machine.run("eve-meta", "check").stdout == "0 files, 0 good, 0 problems\n"
    assert machine.run("stat", "--format=%a %U", "/etc/eve-meta/domains.d").stdout == "700 root\n"
    assert machine.run("stat", "--format=%a %U", "/var/lib/eve-meta").stdout == "700 root\n"
    assert machine.run("stat", "--format=%a %U", "/run/eve-meta").stdout == "711 root\n"
    assert machine.run("getent", "passwd", "eve-meta", check=False).stdout == ""  # workers' ids have no name
    assert machine.run("stat", "--format=%a %U %G", "/run/eve-meta/admin.sock").stdout == "600 root root\n"
    # The group was there before the service started.
    assert machine.run("stat", "--format=%a %U %G", "/run/eve-meta/admin-ro.sock").stdout == "660 root eve-meta-admin\n"
    operator = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--groups=eve-meta-admin", "eve-meta", "status")
    assert machine.run(*operator).stdout.startswith("TAP")


def test_the_daemon_serves_a_guest(machine: Machine, lab: Lab) -> None:
    write_domain(machine, 0, "vnet0")
    guest = lab.guest("vm0", tap="vnet0", bridge="br0")
    eventually(lambda: guest.get(META_DATA).status == 200, 10)
    assert Identity.asked_by(guest) == Identity.of(0)
    assert guest.get(PASSWORD, method="POST", body=b"secret").status in (200, 204)
    assert machine.run("eve-meta", "password", "vm0").stdout == "secret\n"
    assert "taps: 1, of a known domain: 1; workers: 1, that accept: 1" in eventually(lambda: status(machine), 20)


def status(machine: Machine) -> str:
    text = machine.run("systemctl", "show", "--property=StatusText", "--value", "eve-meta").stdout
    return text if "taps: 1" in text else ""


def test_the_service_is_confined_and_the_host_sees_its_network_namespace_and_pins(machine: Machine) -> None:
    confined = proc_status(outer_pid(machine))
    assert (confined["NoNewPrivs"], confined["Seccomp"]) == ("1", "2")
    assert confined["CapEff"] == confined["CapBnd"] != proc_status(machine.init)["CapEff"]
    assert has_mounts_of_its_own(machine)
    assert "meta0" in machine.run("ip", "-n", "eve-meta", "link", "show", "meta0").stdout
    assert machine.run("ip", "netns", "exec", "eve-meta", "true").returncode == 0
    assert "tap_in" in machine.run("ls", "/sys/fs/bpf/eve-meta").stdout


def has_mounts_of_its_own(machine: Machine) -> bool:
    return os.readlink(f"/proc/{outer_pid(machine)}/ns/mnt") != os.readlink(f"/proc/{machine.init}/ns/mnt")


def test_user_data_of_a_home_is_read_and_of_tmp_is_not(machine: Machine, lab: Lab) -> None:
    guest = lab.guests["vm0"]
    plain = {key: value for key, value in domain(0, "vnet0").items() if key != "user_data"}
    for folder in ("home", "tmp"):
        machine.run("sh", "-c", f"echo '#!of-{folder}' > /{folder}/script")
        text = json.dumps({**plain, "user_data_file": f"/{folder}/script"})
        machine.run("sh", "-c", f"cat > /etc/eve-meta/domains.d/vm0.yaml <<'EOF'\n{text}\nEOF")
        if folder == "home":
            eventually(lambda: guest.get(USER_DATA).body == b"#!of-home\n", 10)
    assert eventually(lambda: journal(machine, "cannot read '/tmp/script': the host has it, but the service"), 10)
    assert guest.get(USER_DATA).body == b"#!of-home\n"
    write_domain(machine, 0, "vnet0")
    machine.run("rm", "/home/script", "/tmp/script")


def test_the_doctor_finds_nothing_wrong_while_the_daemon_runs(machine: Machine) -> None:
    report = json.loads(machine.run("eve-meta", "doctor", "--json").stdout)
    assert [finding for finding in report["findings"] if finding["state"] != "ok"] == []


def test_the_manual_page_and_the_change_log_are_there(machine: Machine) -> None:
    for page in ("man8/eve-meta.8", "man5/eve-meta-domain.5", "man5/eve-meta.toml.5"):
        assert machine.run("test", "-s", f"/usr/share/man/{page}.gz").returncode == 0
    assert "/usr/share/doc/eve-meta/changelog.gz" in machine.run("dpkg-query", "--listfiles", "eve-meta").stdout


def test_the_documents_are_where_texts_say(machine: Machine) -> None:
    assert_documents(machine)


def test_bash_completes_commands(machine: Machine) -> None:
    assert_completions(machine)


def test_python_packages_are_the_distributions_or_pinned_and_in_the_sbom(machine: Machine) -> None:
    system = platform.freedesktop_os_release()
    assert_python_packages(machine, f"{system['ID']}-{system['VERSION_ID']}")


def test_check_compares_cloud_config_with_the_distributions_schema(machine: Machine) -> None:
    path = "/etc/eve-meta/domains.d/typo.yaml"
    machine.run(
        "sh", "-c", f"umask 077; printf 'name: typo\\nuser_data: |\\n  #cloud-config\\n  packges: [a]\\n' >{path}"
    )
    shown = machine.run("eve-meta", "check").stdout
    machine.run("rm", path)
    assert f"{path}:4: warning: user_data: this key is not in cloud-init's schema; did you mean 'packages'?" in shown


def test_new_names_the_schema_of_domain_files(machine: Machine) -> None:
    machine.run("eve-meta", "new", "web9")
    first = machine.run("head", "-n", "1", "/etc/eve-meta/domains.d/web9.yaml").stdout
    machine.run("rm", "/etc/eve-meta/domains.d/web9.yaml")
    schema = first.strip().removeprefix("# yaml-language-server: $schema=")
    assert machine.run("test", "-s", schema).returncode == 0


def test_the_journal_has_the_broken_file_with_its_priority(machine: Machine) -> None:
    machine.run("sh", "-c", "echo 'name: [' > /etc/eve-meta/domains.d/broken.yaml")
    entry = eventually(lambda: journal(machine, "broken.yaml"), 10)
    assert entry["PRIORITY"] == "4"
    assert "warn" not in entry["MESSAGE"]  # the journal has the level and the time
    machine.run("rm", "/etc/eve-meta/domains.d/broken.yaml")
    assert journal(machine, "has tag")["PRIORITY"] == "6"


def journal(machine: Machine, text: str) -> dict[str, str]:
    shown = machine.run("journalctl", "--unit=eve-meta", "--output=json", "--no-pager").stdout
    entries = [json.loads(line) for line in shown.splitlines()]
    return next((entry for entry in entries if text in entry["MESSAGE"]), {})


def private_namespace(machine: Machine) -> str:
    return machine.run("stat", "--format=%i", "/run/netns/eve-meta").stdout


@contextlib.contextmanager
def nobody_is_refused(lab: Lab) -> Iterator[None]:
    """Assert that no request is refused while the context lasts.

    One guest sends requests without pause and without retries on new connections, another on one kept connection.
    """
    asking = AskingGuests(lab)
    with asking.running(0, keeping=1):
        eventually(lambda: asking.answered > 20, 10)
        yield
        answered = asking.answered
        eventually(lambda: asking.answered > answered + 20, PATIENCE)
    print(f"\nthe longest wait of {asking.answered}: {asking.longest:.2f} s")
    assert asking.wrong == []


def test_a_restart_refuses_nobody(machine: Machine, lab: Lab) -> None:
    write_domain(machine, 1, "vnet1")
    guest = lab.guest("vm1", tap="vnet1", bridge="br0")
    eventually(lambda: guest.get(META_DATA).status == 200, 10)
    namespace = private_namespace(machine)
    # To a unit without mounts of its own, as version 0.1 has it, and back.
    for lines in (NO_MOUNTS_OF_ITS_OWN, ""):
        change_unit(machine, lines)
        before = main_pid(machine)
        with nobody_is_refused(lab):
            machine.run("systemctl", "restart", "eve-meta")
            assert main_pid(machine) not in (0, before)
        assert has_mounts_of_its_own(machine) != bool(lines)
        assert private_namespace(machine) == namespace
        assert machine.run("ip", "netns", "exec", "eve-meta", "true").returncode == 0
    assert journal(machine, "handing over to the next daemon; until it has started, new connections wait")


NO_MOUNTS_OF_ITS_OWN = "".join(
    f"{key}=no\n"
    for key in (
        *("PrivateMounts", "PrivateDevices", "PrivateTmp", "ProtectSystem", "ProtectHome", "ProtectControlGroups"),
        *("ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules", "ProtectKernelTunables"),
    )
)
NO_MOUNTS_OF_ITS_OWN += "ReadWritePaths=\n"


def change_unit(machine: Machine, lines: str) -> None:
    """Add *lines* to the unit's section [Service], in place of those that were added before."""
    drop_in = "/etc/systemd/system/eve-meta.service.d"
    command = f"mkdir -p {drop_in}; cat >{drop_in}/test.conf" if lines else f"rm -rf {drop_in}"
    machine.run("sh", "-c", f"{command} <<'EOF'\n[Service]\n{lines}EOF")
    machine.run("systemctl", "daemon-reload")


def test_a_stop_removes_everything_and_keeps_no_socket(machine: Machine, lab: Lab) -> None:
    machine.run("systemctl", "stop", "eve-meta")
    assert machine.run("systemctl", "show", "--property=NFileDescriptorStore", "--value", "eve-meta").stdout == "0\n"
    assert machine.run("ip", "netns", "list").stdout == ""
    assert "tap_in" not in lab.host.run("tc", "filter", "show", "dev", "vnet0", "ingress", check=False).stdout
    machine.run("systemctl", "start", "eve-meta")
    assert machine.run("systemctl", "show", "--property=NFileDescriptorStore", "--value", "eve-meta").stdout == "2\n"
    eventually(lambda: answered(lab), 10)


def test_a_daemon_that_dies_is_started_again_and_takes_everything_over(machine: Machine, lab: Lab) -> None:
    """An answer that has begun is finished, and a guest that connects before the next daemon starts waits for it."""
    namespace = private_namespace(machine)
    large = "0123456789abcdef" * 65536
    (machine.root / "etc/eve-meta/domains.d/vm1.yaml").write_text(json.dumps(domain(1, "vnet1", user_data=large)))
    eventually(lambda: len(lab.guests["vm1"].get(USER_DATA).body) == len(large), 10)
    died = outer_pid(machine)
    with contextlib.ExitStack() as undo:
        reader, slow = (undo.enter_context(KeepAlive(lab.guests["vm1"])) for _ in range(2))
        for connection in (reader, slow):
            connection.ask(USER_DATA)
            assert connection.socket.recv(12, socket.MSG_PEEK | socket.MSG_WAITALL) == b"HTTP/1.1 200"
        os.kill(died, signal.SIGKILL)
        time.sleep(0.5)  # systemd knows of it by then
        assert reader.answer().body == large.encode()
        with KeepAlive(lab.guests["vm0"], timeout=PATIENCE) as early:
            assert json.loads(early.get(META_DATA).body)["uuid"] == uuid_of(0)
        assert len(slow.rest()) < len(large)
    eventually(lambda: outer_pid(machine) not in (0, died), 30)
    assert private_namespace(machine) == namespace


def answered(lab: Lab) -> bool:
    try:
        return lab.guests["vm0"].get(META_DATA, timeout=1).status == 200
    except OSError:
        return False


def test_a_daemon_whose_reactor_is_blocked_is_started_again(machine: Machine, lab: Lab) -> None:
    change_unit(machine, "WatchdogSec=3\n")
    machine.run("systemctl", "restart", "eve-meta")
    blocked = outer_pid(machine)
    time.sleep(5)  # longer than the watchdog's time
    assert outer_pid(machine) == blocked
    os.kill(blocked, signal.SIGSTOP)
    eventually(lambda: outer_pid(machine) not in (0, blocked), 30)
    eventually(lambda: answered(lab), 30)
    assert journal(machine, "Watchdog timeout")
    change_unit(machine, "")


def test_an_upgrade_keeps_what_is_yours(machine: Machine, lab: Lab, deb: Path) -> None:
    machine.run("sh", "-c", "printf '[web]\\nhosts = [\"metadata.example.org\"]\\n' > /etc/eve-meta/eve-meta.toml")
    before = main_pid(machine)
    with nobody_is_refused(lab):
        install(machine, deb)
    assert machine.run("dpkg-query", "--show", "--showformat=${Version}", "eve-meta").stdout != OLD
    assert main_pid(machine) != before
    eventually(lambda: answered(lab), 10)
    assert Identity.asked_by(lab.guests["vm0"]) == Identity.of(0)
    assert machine.run("eve-meta", "password", "vm0").stdout == "secret\n"
    assert "metadata.example.org" in machine.run("cat", "/etc/eve-meta/eve-meta.toml").stdout
    assert machine.run("test", "-e", "/usr/lib/eve-meta/from-old-version", check=False).returncode == 1


def test_commands_that_root_runs_write_nothing_that_a_removal_would_miss(machine: Machine) -> None:
    listed = ("find", "/usr/lib/eve-meta", "-printf", "%p %T@\\n")
    before = set(machine.run(*listed).stdout.splitlines())
    for arguments in (["check"], ["render", "vm0", "/latest/meta-data"], ["status"], ["doctor"]):
        machine.run("eve-meta", *arguments)
    assert set(machine.run(*listed).stdout.splitlines()) == before


def test_a_removal_leaves_what_is_yours(machine: Machine, lab: Lab, files_before: set[str]) -> None:
    machine.run("apt-get", "-y", "remove", "eve-meta")
    assert machine.run("ip", "netns", "list").stdout == ""
    assert "tap_in" not in lab.host.run("tc", "filter", "show", "dev", "vnet0", "ingress", check=False).stdout
    assert machine.run("ls", "/sys/fs/bpf").stdout.split() in ([], ["maps.debug", "progs.debug"])
    yours = {
        "/etc/eve-meta",
        "/etc/eve-meta/eve-meta.toml",
        "/etc/eve-meta/domains.d",
        "/etc/eve-meta/domains.d/vm0.yaml",
        "/etc/eve-meta/domains.d/vm1.yaml",
        "/etc/eve-meta/profiles.d",
        "/var/lib/eve-meta",
        LOGS,
    }
    left = files(machine) - files_before
    assert {path for path in left if not path.startswith("/var/lib/eve-meta/")} - ACCOUNTS == yours
    assert any(uuid_of(0) in path for path in left)


ACCOUNTS = {
    f"/etc/{name}{old}" for name in ("passwd", "group", "shadow", "gshadow", "subuid", "subgid") for old in ("", "-")
}
ACCOUNTS |= {"/etc/.pwd.lock"}


def test_a_purge_leaves_nothing(machine: Machine, files_before: set[str]) -> None:
    # Version 0.1.0 made a user for its workers, and only a purge may delete what it left.
    machine.run("useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", "eve-meta")
    machine.run("apt-get", "-y", "purge", "eve-meta")
    assert files(machine) - files_before - ACCOUNTS == set()
    assert machine.run("getent", "passwd", "eve-meta", check=False).stdout == ""
    assert machine.run("getent", "group", "eve-meta-admin", check=False).stdout == ""
    found = machine.run("find", "/etc", "/usr", "/var/lib", "/var/log", "-name", "*eve-meta*").stdout
    assert found == ""
    assert machine.run("systemctl", "list-unit-files", "--no-legend", "eve-meta*", check=False).stdout == ""
