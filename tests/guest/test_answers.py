"""What curl gets through the whole path: unchanged bytes, no document twice, and nothing under a foreign host name."""

from __future__ import annotations

import base64
import gzip
import hashlib
import time
from collections.abc import Iterator
from email.parser import BytesHeaderParser
from typing import Any

import pytest
from attrs import frozen

from harness.guests import Guest
from tests.guest.scene import META_DATA, SERVICE, USER_DATA, Identity, Scene, domain, scene

MIB = 1024 * 1024
NAME = "emtok-answers"

# Random bytes do not compress, so this is more than 1 MiB. cloudbase-init and cloud-init accept gzip.
LARGE = gzip.compress(b"".join(hashlib.sha256(bytes([n % 256, n // 256])).digest() for n in range(MIB // 32)), mtime=0)


@pytest.fixture(scope="module")
def stage() -> Iterator[Scene]:
    large = domain(1, "vnet1")
    del large["user_data"]
    domains = {
        "vm1": {**large, "user_data_base64": base64.b64encode(LARGE).decode()},
        "vm2": domain(2, "vnet2"),
    }
    with scene(NAME, domains, settings='[web]\nhosts = ["metadata.example.org"]\n') as stage:
        for number in (1, 2):
            stage.lab.guest(f"vm{number}", tap=f"vnet{number}", bridge="br0")
        stage.wait_until_known(vnet1=1, vnet2=2)
        yield stage


@pytest.fixture
def asking(stage: Scene) -> Guest:
    """The guest with large user data."""
    return stage.lab.guests["vm1"]


@frozen
class Got:
    """The answer that curl got."""

    status: int
    fields: dict[str, str]
    body: bytes


def curl(guest: Guest, path: str, *options: str) -> Got:
    """Run curl in *guest*, and return the answer."""
    command = ["curl", "-sS", "-i", "--max-time", "10", *options, f"http://{SERVICE}{path}"]
    with guest.popen(*command, stdout=-1) as process:
        answer, _ = process.communicate()
    assert process.returncode == 0
    head, _, body = answer.partition(b"\r\n\r\n")
    line, _, fields = head.partition(b"\r\n")
    parsed = BytesHeaderParser().parsebytes(fields)
    return Got(int(line.split()[1]), {name.lower(): value for name, value in parsed.items()}, body)


@pytest.mark.parametrize("path", [USER_DATA, "/latest/user-data", "/2009-04-04/user-data", "/nocloud/user-data"])
def test_a_mebibyte_of_gzip_arrives_unchanged(asking: Guest, path: str) -> None:
    assert len(LARGE) > MIB
    # A client that accepts gzip must not unpack this: gzip is the user data itself, not a coding of the answer.
    got = curl(asking, path, "-H", "Accept-Encoding: gzip")
    assert got.body == LARGE
    assert "content-encoding" not in got.fields


def test_a_document_that_the_guest_has_already_is_not_sent_again(asking: Guest) -> None:
    etag = curl(asking, USER_DATA).fields["etag"]
    again = curl(asking, USER_DATA, "-H", f"If-None-Match: {etag}")
    assert (again.status, again.body, again.fields["etag"]) == (304, b"", etag)
    assert curl(asking, USER_DATA, "-H", 'If-None-Match: "another"').body == LARGE
    assert "etag" not in curl(asking, META_DATA).fields


@pytest.mark.parametrize("path", [USER_DATA, META_DATA, "/openstack", "/latest/meta-data/", "/nothing"])
def test_head_has_the_header_fields_of_get(asking: Guest, path: str) -> None:
    whole, head = curl(asking, path), curl(asking, path, "--head")
    assert head.body == b""
    assert head.status == whole.status
    assert head.fields.keys() == whole.fields.keys()
    assert {name for name in head.fields if head.fields[name] != whole.fields[name]} <= {"date"}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"])
def test_other_methods_get_405_with_the_allowed_ones(asking: Guest, method: str) -> None:
    got = curl(asking, META_DATA, "-X", method)
    assert (got.status, got.fields["allow"]) == (405, "GET, HEAD")


# -- DNS rebinding --


@pytest.mark.parametrize("host", ["rebound.example", "rebound.example:80", "169.254.169.254.rebound.example"])
def test_a_page_that_rebound_its_name_to_us_reads_nothing(stage: Scene, asking: Guest, host: str) -> None:
    before = stage.status_of("vnet1")["notes"].get("wrong_host", 0)
    got = curl(asking, USER_DATA, "-H", f"Host: {host}")
    assert (got.status, got.fields["connection"]) == (403, "close")
    assert b"example" not in got.body
    assert stage.status_of("vnet1")["notes"]["wrong_host"] == before + 1


def test_a_name_that_the_configuration_allows(asking: Guest) -> None:
    assert curl(asking, META_DATA, "-H", "Host: Metadata.example.org").status == 200


# -- paths and smuggled requests --


def raw(guest: Guest, data: bytes) -> bytes:
    """Send *data*, and return everything that is answered before the connection is closed."""
    with guest.connect(timeout=5) as connection:
        connection.sendall(data)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    "path",
    ["/../vm2/openstack", "/openstack/latest/../../../etc/passwd", "/openstack/%2e%2e/%2e%2e/proc/self/environ",
     "/openstack/content/../../../../etc/shadow", "/latest/meta-data/../../openstack/latest/files", "//etc/passwd"],
)  # fmt: skip
def test_no_path_leads_out_of_the_guests_own_tree(asking: Guest, path: str) -> None:
    answer = raw(asking, f"GET {path} HTTP/1.0\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404 Not Found\r\n")


@pytest.mark.parametrize("path", ["//openstack//latest/./user_data", "/x/../openstack/latest/%75ser_data?y"])
def test_a_path_may_be_written_in_other_ways(stage: Scene, path: str) -> None:
    answer = raw(stage.lab.guests["vm2"], f"GET {path} HTTP/1.0\r\n\r\n".encode())
    assert answer.endswith(b"\r\n\r\n" + Identity.of(2).user_data)


SMUGGLED = b"GET /openstack/latest/user_data HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n"


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 4\r\nContent-Length: 70\r\n",
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"X: a\nContent-Length: 4\r\n",
        b"X: a\r\n Content-Length: 4\r\n",
        b"Content-Length : 4\r\n",
    ],
)
def test_two_requests_in_one_are_refused(stage: Scene, fields: bytes) -> None:
    data = b"POST /openstack HTTP/1.1\r\nHost: 169.254.169.254\r\n" + fields + b"\r\n0\r\n\r\n" + SMUGGLED
    answer = raw(stage.lab.guests["vm2"], data)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.split(b" ")[1] in (b"400", b"411")
    assert b"this is vm2" not in answer


# -- what the host knows afterwards --


def test_status_shows_what_the_guest_asked_for_and_when(stage: Scene, asking: Guest) -> None:
    def seen() -> dict[tuple[str, int], dict[str, Any]]:
        return {(kind["what"], kind["status"]): kind for kind in stage.status_of("vnet1")["asked"]}

    before = seen().get(("openstack/vendor_data.json", 200), {"count": 0})["count"]
    began = time.time()
    for _ in range(3):
        curl(asking, "/openstack/latest/vendor_data.json")
    curl(asking, "/nothing/../%61t/all")
    now = seen()
    vendor_data = now["openstack/vendor_data.json", 200]
    assert vendor_data["count"] == before + 3
    assert began - 0.1 < vendor_data["last"] < time.time() + 0.1
    assert vendor_data["first"] < vendor_data["last"]
    assert now["other", 404]["first"] > 0
    statuses = stage.status_of("vnet1")["requests"]
    for status in (200, 404):
        assert statuses[str(status)] == sum(kind["count"] for (_, of), kind in seen().items() if of == status)


# -- the log --

MARK = b"guests-words"


def test_nothing_that_a_guest_sends_reaches_the_log(stage: Scene, asking: Guest) -> None:
    """The log has no word of the guest and no line for each request: only which guest was refused, once a minute."""
    before = stage.daemon.log.stat().st_size
    refused = stage.status_of("vnet1")["requests"].get("malformed", 0)
    sent = [
        b"GET /%s\x1b[31m HTTP/1.1\r\n\r\n" % MARK,
        b"%s\r\n\r\n" % MARK,
        b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n" % MARK,
        b"GET /%s HTTP/1.0\r\nX-Forwarded-For: %s\r\n\r\n" % (MARK, MARK),
        b"GET / HTTP/1.1\r\n%s\n\r\n\r\n" % MARK,
        b"BREW /%s HTTP/1.1\r\nHost: %s\r\n\r\n" % (MARK, MARK),
        b"POST /openstack/latest/password HTTP/1.0\r\nContent-Length: 16\r\n\r\n\xff\xff\xff\xff" + MARK,
    ]
    for _ in range(20):
        for data in sent:
            raw(asking, data)
    assert stage.status_of("vnet1")["requests"]["malformed"] >= refused + 60
    logged = stage.daemon.log.read_bytes()[before:]
    assert MARK not in logged
    assert b"\x1b" not in logged
    assert logged.count(b"\n") <= 1
