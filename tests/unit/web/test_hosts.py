"""The names in Host: those of a page in a guest's browser that attacks by DNS rebinding, and those of real clients."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eve_meta.web import answer as answers
from eve_meta.web.hosts import Hosts
from eve_meta.wire.counts import Note
from tests.unit.web.asking import UNKNOWN, known, reply_to

HOSTS = Hosts(["Metadata.example.org", "instance-data"])


def request(host: str | None, *, target: str = "/openstack", version: str = "1.1") -> bytes:
    field = "" if host is None else f"Host: {host}\r\n"
    return f"GET {target} HTTP/{version}\r\n{field}\r\n".encode("latin-1")


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.169.254:80",
        "169.254.169.254:",
        "[fe80::a9fe:a9fe]",
        "[fe80::a9fe:a9fe%25eth0]",
        "[fe80::a9fe:a9fe%eth0]:80",
        "[FE80::A9FE:A9FE]",
        "[fe80:0:0:0:0:0:a9fe:a9fe]",
        "[fd00:ec2::254]",
        "[fd00:ec2:0::0254]:80",
        "metadata.example.org",
        "METADATA.example.ORG:80",
        "instance-data",
        "",
        None,
    ],
)
def test_the_names_that_clients_use(host: str | None) -> None:
    assert HOSTS.known(None if host is None else host.encode())


ATTACKERS = [
    "rebound.example",
    "rebound.example:80",
    "169.254.169.254.rebound.example",
    "rebound.example.169.254.169.254",
    "169.254.169.254@rebound.example",
    "169.254.169.254, rebound.example",
    "169.254.169.254 rebound.example",
    "169.254.169.254\t",
    "169.254.169.254:8080",
    "169.254.169.254:080",
    "169.254.169.254:80:80",
    "169.254.169.254.",
    "169.254.169.253",
    "0169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "localhost",
    "127.0.0.1:8775",
    "[::1]",
    "[::ffff:169.254.169.254]",
    "[fe80::a9fe:a9fd]",
    "[fe80::a9fe:a9fe",
    "fe80::a9fe:a9fe",
    "[fe80::a9fe:a9fe]x",
    "[fe80::a9fe:a9fe]rebound.example",
    "[rebound.example%fe80::a9fe:a9fe]",
    "[:]",
    "[::::]",
    "[]",
    ":80",
    "metadata.example.org.rebound.example",
    "xn--",
    "\xff",
]


@pytest.mark.parametrize("host", ATTACKERS)
def test_dns_rebinding(host: str) -> None:
    """The browser believes that it asks the attacker's server, and sends that name."""
    assert not HOSTS.known(host.encode("latin-1"))


@pytest.mark.parametrize("host", ["rebound.example", "rebound.example:80"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_rebound_page_reads_nothing_and_learns_nothing(host: str, version: str) -> None:
    for entry in (known(), UNKNOWN, None):
        reply = reply_to(entry, request(host, version=version))
        assert (reply.response, reply.note) == (answers.WRONG_HOST, Note.WRONG_HOST)
    assert answers.WRONG_HOST.close
    assert b"example" not in bytes(answers.WRONG_HOST.body)


def test_the_host_of_an_absolute_target_counts() -> None:
    ours, theirs = "http://169.254.169.254/openstack", "http://rebound.example/openstack"
    assert reply_to(known(), request("169.254.169.254", target=theirs)).response is answers.WRONG_HOST
    assert reply_to(known(), request(None, target=theirs, version="1.0")).response is answers.WRONG_HOST
    # RFC 9112 section 3.2.2: then the Host field is ignored.
    assert reply_to(known(), request("169.254.169.254", target=ours)).note is None


def test_a_request_of_http_1_0_without_host_is_accepted() -> None:
    assert reply_to(known(), request(None, version="1.0")).note is None


@given(st.binary(max_size=60) | st.text("0123456789abcdef:.%[]x", max_size=40).map(str.encode))
def test_any_bytes_are_a_known_host_or_not(host: bytes) -> None:
    assert Hosts().known(host) in (True, False)
