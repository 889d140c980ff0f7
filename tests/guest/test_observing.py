"""What the host sees of its guests while they boot: metrics, audit, events and the timeline."""

from __future__ import annotations

import subprocess
import time
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from namespace import inside
from tests.guest.scene import META_DATA, ROUTER, SERVICE, USER_DATA, Scene, domain, eventually, scene, uuid_of

NAME = "emobserv"
METRICS = "127.0.0.1:9169"

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
def stage() -> Iterator[Scene]:
    """Guests of web1 and web2, of which the second needs tokens."""
    domains = {"vm1": domain(1, "vnet1"), "vm2": domain(2, "vnet2", tokens="required"), "vm3": domain(3, "vnet3")}
    with scene(NAME, domains, started=False) as stage:
        config = stage.daemon.config
        config.write_text(config.read_text().replace("[admin]\n", f'[admin]\nmetrics = "{METRICS}"\n'))
        stage.daemon.start()
        for number in (1, 2, 3):
            stage.lab.guest(f"vm{number}", tap=f"vnet{number}", bridge="br0", gateway=ROUTER)
        stage.settled(vnet1=1, vnet2=2, vnet3=3)
        yield stage


def scrape(stage: Scene, path: str = "/metrics") -> Series:
    """What Prometheus reads, each series by its name and labels."""
    time.sleep(1.1)  # longer than one answer holds
    with inside(stage.lab.host.name), urllib.request.urlopen(f"http://{METRICS}{path}", timeout=10) as answer:
        text = answer.read().decode()
    families = text_string_to_metric_families(text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(series: Series, name: str, **labels: str) -> float:
    """The one series of *name* that has these *labels* among its own."""
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
    # Not a byte of what the guest asked is in it.
    assert not any("nothing" in text or "x%22" in text for _, labels in found for _, text in labels)


def test_no_guest_reaches_the_metrics(stage: Scene) -> None:
    one = stage.lab.guests["vm1"]
    for address in (SERVICE, ROUTER):
        with pytest.raises(OSError, match=r"refused|timed out"):
            one.connect(address, 9169, timeout=1)
    assert one.get("/metrics").status == 404
    assert one.get("/metrics", headers={"Host": METRICS}).status == 403
    # It is a frame to the service that is no request: seen, and dropped.
    assert value(scrape(stage), "dropped_frames_total", tap="vnet1", reason="not_http") > 0


def test_what_is_mended_and_who_is_gone(stage: Scene) -> None:
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
