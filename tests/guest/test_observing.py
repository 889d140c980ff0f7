"""What the host sees of its guests while they boot: metrics, audit, events and the timeline."""

from __future__ import annotations

import json
import stat
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from harness import ROOT, SCRIPTS
from harness.namespace import inside
from tests.guest.scene import META_DATA, ROUTER, SERVICE, USER_DATA, Scene, domain, eventually, scene, uuid_of

NAME = "emobserv"
PYTHON = ROOT / ".venv/bin/python"
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJKOEWEDN3K5WzKNk4Q5Ql1ZFgGQxNQ3Cw0u2mT9yZ9s"
METRICS = "127.0.0.1:9169"

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
def stage() -> Iterator[Scene]:
    """The guests of web1 and web2; the second needs tokens."""
    domains = {"vm1": domain(1, "vnet1"), "vm2": domain(2, "vnet2", tokens="required"), "vm3": domain(3, "vnet3")}
    with scene(NAME, domains, started=False) as stage:
        stage.daemon.set_admin(f'metrics = "{METRICS}"\naudit = "{audit(stage)}"\n')
        stage.daemon.start()
        for number in (1, 2, 3):
            stage.lab.guest(f"vm{number}", tap=f"vnet{number}", bridge="br0", gateway=ROUTER)
        stage.wait_until_known(vnet1=1, vnet2=2, vnet3=3)
        yield stage


def audit(stage: Scene) -> Path:
    """Return the path of the audit file."""
    return stage.daemon.directory / "audit"


def audited(stage: Scene, tap: str) -> list[dict[str, Any]]:
    """Return the audit's lines about *tap*."""
    lines = [json.loads(line) for line in audit(stage).read_text().splitlines()]
    return [line for line in lines if line["tap"] == tap]


def events(stage: Scene) -> list[dict[str, Any]]:
    """Return what ``eve-meta events --json`` prints."""
    shown = stage.lab.host.run(*stage.daemon.command("events", "--json")).stdout
    return [json.loads(line) for line in shown.splitlines()]


def scrape(stage: Scene, path: str = "/metrics") -> Series:
    """Return what Prometheus reads: the values, by series name and labels."""
    time.sleep(1.1)  # longer than an answer is cached
    with inside(stage.lab.host.name), urllib.request.urlopen(f"http://{METRICS}{path}", timeout=10) as answer:
        text = answer.read().decode()
    families = text_string_to_metric_families(text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(series: Series, name: str, **labels: str) -> float:
    """Return the value of the only series of *name* that has these *labels* among its own."""
    (found,) = [v for (n, of), v in series.items() if n == f"eve_meta_{name}" and of >= set(labels.items())]
    return found


def test_a_scraper_sees_what_guests_did(stage: Scene) -> None:
    one, two = stage.lab.guests["vm1"], stage.lab.guests["vm2"]
    for _ in range(3):
        assert one.get(META_DATA).status == 200
    assert one.get("/openstack/latest/nothing?tap=x%22%7D").status == 404
    assert two.get(META_DATA).status == 401
    ttl = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    assert two.get("/latest/api/token", method="PUT", headers=ttl).status == 200
    found = scrape(stage)
    of_one = {"tap": "vnet1", "domain": "vm1"}
    assert value(found, "tap_info", **of_one, uuid=uuid_of(1)) == 1
    assert value(found, "requests_total", **of_one, document="openstack/meta_data.json", status="200") == 3
    assert value(found, "requests_total", **of_one, document="openstack", status="404") == 1
    assert value(found, "requests_total", tap="vnet2", document="openstack/meta_data.json", status="401") == 1
    assert value(found, "tokens_total", tap="vnet2", domain="vm2", result="issued") == 1
    assert value(found, "tokens_total", tap="vnet2", domain="vm2", result="no_token") == 1
    assert value(found, "request_duration_seconds_count", **of_one) == 4
    assert 0 < value(found, "request_duration_seconds_sum", **of_one) < 4
    assert value(found, "frames_total", **of_one, direction="out") > 4
    # It has not a byte of what the guest sent.
    assert not any("nothing" in text or "x%22" in text for _, labels in found for _, text in labels)


def test_what_a_domain_read_first_is_in_the_audit_once(stage: Scene) -> None:
    one = stage.lab.guests["vm1"]
    began = time.time()
    for path in (USER_DATA, USER_DATA, META_DATA, "/latest/meta-data/instance-id", "/nothing"):
        one.get(path)
    eventually(lambda: len(audited(stage, "vnet1")) >= 3, 5)
    time.sleep(1.5)  # by now a second line would have been written
    lines = {line["document"]: line for line in audited(stage, "vnet1")}
    assert sorted(lines) == ["ec2/meta-data", "openstack/meta_data.json", "openstack/user_data"]
    assert len(audited(stage, "vnet1")) == 3
    read = lines["openstack/user_data"]
    status = stage.status_of("vnet1")
    assert abs(datetime.fromisoformat(read.pop("time").replace("Z", "+00:00")).timestamp() - began) < 2
    assert read == {
        "tap": "vnet1",
        "tag": status["tag"],
        "ifindex": status["ifindex"],
        "uuid": uuid_of(1),
        "name": "vm1",
        "document": "openstack/user_data",
        "status": 200,
        "worker": 0,
    }
    # A refused request is not recorded.
    assert [line["document"] for line in audited(stage, "vnet2")] == ["token"]
    assert stat.S_IMODE(audit(stage).stat().st_mode) == 0o600
    fetches = [event for event in events(stage) if event["event"] == "first-fetch" and event["tap"] == "vnet1"]
    assert len(fetches) == 3
    assert any(event["event"] == "refused" and event["tap"] == "vnet2" for event in events(stage))


def test_a_read_just_before_the_tap_goes_or_the_daemon_ends_is_in_the_audit(stage: Scene) -> None:
    stage.daemon.write_domain("vm4", domain(4, "vnet4"))
    four = stage.lab.guest("vm4", tap="vnet4", bridge="br0", gateway=ROUTER)
    stage.wait_until_known(vnet4=4)
    assert four.get(USER_DATA).status == 200
    four.unplug()
    eventually(lambda: [line["name"] for line in audited(stage, "vnet4")] == ["vm4"], 5)
    stage.lab.remove(four)
    assert stage.lab.guests["vm3"].get("/openstack").status == 200
    stage.daemon.stop()
    assert [line["document"] for line in audited(stage, "vnet3")] == ["openstack"]
    stage.daemon.start()
    stage.wait_until_known(vnet1=1, vnet2=2, vnet3=3)


def test_events_are_followed_as_they_happen(stage: Scene) -> None:
    following = stage.lab.host.popen(
        *stage.daemon.command("events", "--follow", "--json"), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    lines: IO[bytes] = following.stdout  # type: ignore[assignment]  # a pipe
    try:
        seen: list[dict[str, Any]] = []

        def until(kind: str, tap: str) -> dict[str, Any]:
            while True:
                seen.append(json.loads(lines.readline()))
                if (seen[-1]["event"], seen[-1].get("tap")) == (kind, tap):
                    return seen[-1]

        until("tap-appeared", "vnet1")  # skip earlier events
        five = stage.lab.guest("vm5", tap="vnet5", bridge="br0", gateway=ROUTER)
        until("tap-appeared", "vnet5")
        stage.daemon.write_domain("vm5", domain(5, "vnet5"))
        assert until("domain-found", "vnet5")["uuid"] == uuid_of(5)
        stage.wait_until_known(vnet5=5)
        assert five.get(META_DATA).status == 200
        assert until("first-fetch", "vnet5")["document"] == "openstack/meta_data.json"
        (stage.daemon.domains / "vm5.yaml").unlink()
        until("domain-lost", "vnet5")
        stage.lab.remove(five)
        until("tap-gone", "vnet5")
    finally:
        following.terminate()
        following.wait(10)
        lines.close()
    people = stage.lab.host.run(*stage.daemon.command("events")).stdout
    assert "domain-found    vnet5 vm5" in people


def test_a_boot_is_a_timeline_with_the_reports_of_cloud_init(stage: Scene, tmp_path: Path) -> None:
    stage.daemon.write_domain("vm6", domain(6, "vnet6"))
    (tmp_path / "key.pub").write_text(f"{HOST_KEY} root@github.com\n")
    one = stage.lab.guest("vm6", tap="vnet6", bridge="br0")  # without a gateway it asks by ARP for the service
    stage.wait_until_known(vnet6=6)
    for path in ("/openstack", META_DATA, USER_DATA):
        assert one.get(path).status == 200
    done = one.run(PYTHON, SCRIPTS / "harness/guest_reports.py", uuid_of(6), tmp_path / "key.pub", check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert one.get("/eve-meta/v1/report").status == 405
    assert stage.lab.guests["vm2"].get("/eve-meta/v1/report", method="POST", body=b"{}").status == 401
    shown = stage.lab.host.run(*stage.daemon.command("timeline", "vm6", "--json"), check=False)
    assert (shown.returncode, shown.stderr) == (0, ""), stage.daemon.log_tail()
    (timeline,) = json.loads(shown.stdout)
    moments = {moment["what"]: moment["after"] for moment in timeline["moments"]}
    whole = ["tap up", "first ARP", "first SYN", "first request", "meta_data", "user_data", "last request"]
    assert [moments[what] for what in whole] == sorted(moments[what] for what in whole)
    assert [(r["what"], r["name"], r["result"]) for r in timeline["reports"]] == [
        ("start", "init-network", None),
        ("start", "init-network/?[2Jconfig", None),
        ("finish", "init-network/?[2Jconfig", "FAIL"),
        ("finish", "init-network", "SUCCESS"),
    ]
    assert moments["user_data"] < timeline["reports"][0]["after"] < timeline["phone_home"]["after"]
    assert timeline["phone_home"]["fqdn"] == "guest.example.org"
    picture = stage.lab.host.run(*stage.daemon.command("timeline", uuid_of(6))).stdout
    assert "init-network/?[2Jconfig FAIL" in picture
    assert "phone home guest.example.org" in picture
    # None of it is in the audit, or in a label.
    assert not {"report", "phone-home"} & {line["document"] for line in audited(stage, "vnet6")}
    # The name is the host's word for the guest, and the key the guest's word.
    known = stage.daemon.command("known-hosts", "vm6")
    assert eventually(lambda: stage.lab.host.run(*known, check=False).stdout != "", 10)
    assert stage.lab.host.run(*known).stdout == f"vm6.example.org {HOST_KEY}\n"
    nobody = stage.lab.host.run(*stage.daemon.command("timeline", "nobody"), check=False)
    assert (nobody.returncode, "Traceback" in nobody.stderr) == (1, False)
    stage.lab.remove(one)


def test_no_guest_reaches_the_metrics(stage: Scene) -> None:
    one = stage.lab.guests["vm1"]
    for address in (SERVICE, ROUTER):
        with pytest.raises(OSError, match=r"refused|timed out"):
            one.connect(address, 9169, timeout=1)
    assert one.get("/metrics").status == 404
    assert one.get("/metrics", headers={"Host": METRICS}).status == 403
    # It is a frame to the service that is no request: counted, and dropped.
    assert value(scrape(stage), "dropped_frames_total", tap="vnet1", reason="not_http") > 0


def test_restored_pieces_are_counted_and_taps_that_went_have_no_series(stage: Scene) -> None:
    assert stage.lab.guests["vm3"].get(USER_DATA).status == 200
    stage.lab.host.run("tc", "filter", "delete", "dev", "vnet3", "ingress")
    eventually(lambda: "tap_in" in stage.filters("vnet3"), 5)
    stage.lab.remove(stage.lab.guests["vm3"])
    (worker,) = stage.daemon.status()["workers"]
    subprocess.run(["kill", "-KILL", str(worker["pid"])], check=True)
    eventually(lambda: stage.daemon.status()["workers"][0]["pid"] not in (None, worker["pid"]), 5)
    found = scrape(stage)
    assert value(found, "heals_total", piece="filter") == 1
    assert value(found, "worker_restarts_total", worker="0") == 1
    assert value(found, "worker_up", worker="0") == 1
    assert not any(("tap", "vnet3") in labels for _, labels in found)
    assert value(found, "taps") == 2


def test_there_is_nothing_beside_the_metrics(stage: Scene) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        scrape(stage, "/")


def test_a_local_user_who_opens_thousands_of_connections_takes_few_descriptors(stage: Scene) -> None:
    pid = stage.daemon.process.pid if stage.daemon.process else 0
    descriptors = Path(f"/proc/{pid}/fd")
    before = len(list(descriptors.iterdir()))
    code = (
        "import socket, sys, time\n"
        "opened = []\n"
        "for _ in range(3000):\n"
        "    each = socket.socket()\n"
        "    each.setblocking(False)\n"
        f"    each.connect_ex(('127.0.0.1', {METRICS.rpartition(':')[2]}))\n"
        "    opened.append(each)\n"
        "    time.sleep(0.001)\n"
        "print('opened', flush=True)\n"
        "sys.stdin.read()\n"
    )
    user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    limits = ["prlimit", "--nofile=4000:4000", "--"]
    flood = stage.lab.host.popen(
        *limits, *user, "/usr/bin/python3", "-c", code, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert flood.stdout is not None
        assert flood.stdout.readline() == b"opened\n"
        for _ in range(20):
            assert len(list(descriptors.iterdir())) < before + 60
            time.sleep(0.1)
        assert stage.daemon.status()["taps"]
    finally:
        flood.kill()
        flood.communicate()
    assert eventually(lambda: len(list(descriptors.iterdir())) <= before + 5, 60)

    def is_scraped() -> bool:
        try:
            return value(scrape(stage), "tap_info", tap="vnet1", domain="vm1") == 1
        except ConnectionError:
            return False  # new connections are still as many as there may be in a second

    assert eventually(is_scraped, 10)
