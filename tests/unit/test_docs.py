"""The numbers, names, paths and commands in README.rst and eve_meta/docs are right."""

from __future__ import annotations

import re
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree

import attrs
import click
import pytest
from docutils import nodes

import eve_meta
from eve_meta.cli import cli
from eve_meta.config import Config
from eve_meta.documents import eve
from eve_meta.documents.document import Document
from eve_meta.documents.tokens import MAX_TTL
from eve_meta.documents.versions import AWS_VERSIONS, EC2_VERSIONS, OPENSTACK_VERSIONS
from eve_meta.steering.bpf.maps import Reason
from eve_meta.values.domain import MAX_MAPPING, MAX_USER_DATA, OF_A_SOURCE, Domain
from eve_meta.values.eve_node import Application
from eve_meta.web import answer, session
from eve_meta.web.limits import SLICE, Limits
from eve_meta.web.response import Response
from eve_meta.wire.counts import NAMES
from eve_meta.wire.password import MAX_PASSWORD
from tests import texts
from tests.contracts.fake_reader import read_domain_file
from tests.unit.documents.reading import FULL, find

README, GUESTS, SECURITY = (texts.read(path) for path in (texts.README, texts.GUESTS, texts.SECURITY))
TEXTS = pytest.mark.parametrize("path", texts.ALL, ids=lambda path: str(path.relative_to(texts.ROOT)))

SERVICE = "http://169.254.169.254/"
SMBIOS_OF_NOCLOUD = f"ds=nocloud;s={SERVICE}nocloud/"


def prose(text: nodes.document) -> str:
    return " ".join(text.astext().split())


@TEXTS
def test_each_document_is_valid_restructuredtext(path: Path) -> None:
    texts.read(path)


def test_readme_names_each_longer_document() -> None:
    longer = {str(path.relative_to(texts.ROOT)) for path in texts.ALL} - {"README.rst"}
    assert longer <= set(texts.literals(README))


def test_the_change_log_has_this_version() -> None:
    titles = [title.astext() for title in texts.read(texts.CHANGES).findall(nodes.title)]
    assert eve_meta.__version__ in titles


@TEXTS
def test_files_that_are_named_exist(path: Path) -> None:
    ours = re.compile(r"(?<![\w/])(?:scripts|bpf|eve_meta|tests)/[\w./-]+")
    text = texts.read(path)
    named = {name for piece in texts.literals(text) + texts.blocks(text) for name in ours.findall(piece)}
    assert {name for name in named if not (texts.ROOT / name).exists()} == set()


@TEXTS
def test_commands_and_options_that_are_named_exist(path: Path) -> None:
    text = texts.read(path)
    lines = [" ".join(literal.split()) for literal in texts.literals(text)]
    lines += [line for block in texts.blocks(text) for line in block.splitlines()]
    context = click.Context(cli)
    for name, arguments in re.findall(
        r"^(?:.*[ /])?eve-meta ([a-z][a-z-]*\b)([^#\n]*)", "\n".join(lines), re.MULTILINE
    ):
        command = cli.get_command(context, name)
        assert command is not None, name
        options = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", arguments)) <= options, (name, arguments)


# -- the configuration and the domain file --


def test_readmes_domain_file_is_valid_and_names_every_key(tmp_path: Path) -> None:
    (written,) = (block for block in texts.blocks(README) if block.startswith("uuid:"))
    (tmp_path / "web1.yaml").write_text(written, encoding="utf-8")
    assert read_domain_file(str(tmp_path / "web1.yaml")).problems == ()
    (further,) = (p for p in README.findall(nodes.paragraph) if p.astext().startswith("Further keys:"))
    keys = set(re.findall(r"^([a-z_]+):", written, re.MULTILINE)) | set(re.findall(r"or (user_data_\w+)", written))
    keys |= {node.astext() for node in further.findall(nodes.literal)} - {"required", "eve-meta check"}
    in_files = {field.name for field in attrs.fields(Domain) if not OF_A_SOURCE.items() <= field.metadata.items()}
    assert keys == in_files | {"user_data_file", "user_data_base64"}


# -- what guests may ask --


def urls(text: nodes.document) -> set[str]:
    return set(re.findall(r"http://[^\s'\"<>,)]+", "\n".join(texts.literals(text) + texts.blocks(text))))


def test_paths_that_are_named_are_served() -> None:
    paths = {urlsplit(url).path for text in (README, GUESTS) for url in urls(text)}
    paths |= {path for path in texts.literals(GUESTS) if path.startswith("/") and "<" not in path}
    paths |= {path.split()[-1] for path in texts.literals(GUESTS) if "render" in path}
    paths -= {"/latest/api/token", ""}
    assert "/openstack/latest/password" in paths
    # A folder that is served once there is something in it.
    paths = {"/openstack/content/0000" if path == "/openstack/content" else path for path in paths}
    # Only an application on a node of EVE-OS has /eve.
    domain = attrs.evolve(FULL, eve=Application(openstack=True))
    assert {path for path in paths if find(domain, path) is None} == set()
    relative = [path.replace("<mac>", "fa:16:3e:00:00:01") for path in texts.literals(GUESTS) if "data/" in path]
    assert len(relative) > 5
    in_a_zone = attrs.evolve(FULL, availability_zone="eu-west-1a")
    assert {path for path in relative if path[0] != "/" and find(in_a_zone, f"/latest/{path}") is None} == set()
    assert find(FULL, "/latest/dynamic/instance-identity/document") is not None


def test_the_documents_of_each_tree_are_listed() -> None:
    rows = {row[0]: row[1] for row in texts.table(GUESTS, "below", "what")}
    for tree, at in (("/openstack", "/openstack/latest"), ("/nocloud", "/nocloud")):
        listing = find(FULL, at)
        assert listing is not None
        leaves = set(bytes(listing.body).decode().split())
        assert {leaf for leaf in leaves if leaf not in rows[tree]} == set()


def test_the_versions_are_those_that_are_served() -> None:
    rows = {row[0]: row[1] for row in texts.table(GUESTS, "below", "what")}
    version = re.compile(r"\d{4}-\d\d-\d\d|\b1\.0\b")
    assert tuple(version.findall(rows["/openstack"])) == OPENSTACK_VERSIONS
    assert tuple(version.findall(rows["/, /ec2"])) == EC2_VERSIONS + AWS_VERSIONS


def test_header_fields_are_those_that_are_read() -> None:
    known = {*session.TOKEN_FIELDS, *session.TTL_FIELDS, b"x-forwarded-for"}
    for text in (README, GUESTS):
        names = re.findall(r"\bX-[A-Za-z0-9-]+", "\n".join(texts.literals(text) + texts.blocks(text)))
        assert {name.lower().encode() for name in names} <= known
    assert {name.lower().encode() for name in re.findall(r"\bX-[A-Za-z0-9-]+", GUESTS.astext())} == known


def test_counters_are_those_that_exist() -> None:
    shown = {reason.label.removeprefix("drop_") for reason in Reason if reason.label.startswith("drop_")}
    counted = re.findall(r"counted as (\w+)", prose(GUESTS))
    assert set(counted) <= NAMES | shown
    assert set(texts.literals(GUESTS)) >= NAMES | {"connection_rate", "packet_rate"}


def test_status_codes_are_those_that_are_given() -> None:
    responses = [
        value for module in (answer, session) for value in vars(module).values() if isinstance(value, Response)
    ]
    for table in (answer.NOT_ALLOWED, answer.STORED, answer.REFUSED):
        responses += table.values()
    given = {response.status for response in responses}
    given |= {HTTPStatus.OK, HTTPStatus.NOT_MODIFIED}  # made for each document
    given |= {HTTPStatus(value.status) for value in vars(eve).values() if isinstance(value, Document)}
    assert [int(code) for code, _ in texts.table(GUESTS, "code", "when")] == sorted(given)


def test_limits_are_those_in_force() -> None:
    limits = Limits()
    in_words = {
        "request line": f"{limits.max_request_line // 1024} KiB",
        "header fields, together": f"{limits.max_headers // 1024} KiB",
        "header fields": f"{limits.max_header_fields}",
        "body of a request": f"{limits.max_body // 1024} KiB",
        "connections": f"{limits.max_connections}",
        "time for a request to arrive": f"{limits.request_time:g} s",
        "time between requests of a connection": f"{limits.idle_time:g} s",
        f"time to take {SLICE // 1024} KiB of an answer": f"{limits.write_time:g} s",
        "time to keep a password": f"{limits.answer_time:g} s",
        "time to read a refusal": f"{limits.linger_time:g} s",
        "requests a second, in the long run": f"{limits.rate:g}",
        "requests at once": f"{limits.burst:g}",
        f"answers, or {SLICE // 1024} KiB of long ones, at once": f"{limits.max_answers_a_turn}",
        "long documents that are being read": f"{limits.max_pinned // 1024 // 1024} MiB",
    }
    assert len(in_words) == len(attrs.fields(Limits))
    shared = (texts.ROOT / "bpf/shared.h").read_text(encoding="utf-8")
    steered = dict(re.findall(r"^#define (\w+_(?:RATE|BURST))\s+(\d+)$", shared, re.MULTILINE))
    in_words |= {
        "new connections a second": steered.pop("CONNECTION_RATE"),
        "new connections at once": steered.pop("CONNECTION_BURST"),
        "packets to the service a second": steered.pop("PACKET_RATE"),
        "packets to the service at once": steered.pop("PACKET_BURST"),
    }
    assert steered == {}
    assert {what: number for what, number, _ in texts.table(GUESTS, "what", "limit", "beyond it")} == in_words


@pytest.mark.parametrize(
    "sentence",
    [
        f"User data have at most {MAX_USER_DATA // 1024 // 1024} MiB.",
        f"has at most {MAX_MAPPING // 1024} KiB as JSON",
        f"those of more than {SLICE // 1024} KiB",
        f"at most {MAX_PASSWORD} bytes of UTF-8",
        f"A token lasts 1 to {MAX_TTL} seconds",
        f"hop_limit, {Config().web.hop_limit} unless configured",
    ],
)
def test_numbers_in_the_prose(sentence: str) -> None:
    assert sentence in prose(GUESTS)


# -- SMBIOS --


def test_cloud_init_reads_the_serial_number_for_nocloud() -> None:
    nocloud = pytest.importorskip("cloudinit.sources.DataSourceNoCloud", reason="cloud-init is not installed")
    for text in (README, GUESTS):
        qemu = [block for block in texts.blocks(text) if block.startswith("-smbios type=1,serial")]
        assert qemu == [f"-smbios type=1,serial='{SMBIOS_OF_NOCLOUD}'"]
    (libvirt,) = (block for block in texts.blocks(GUESTS) if "<sysinfo" in block)
    entry = ElementTree.fromstring(f"<domain>{libvirt}</domain>").find("sysinfo/system/entry[@name='serial']")
    assert entry is not None
    assert entry.text == SMBIOS_OF_NOCLOUD
    read: dict[str, str] = {}
    assert nocloud.parse_cmdline_data("ds=nocloud", read, cmdline=SMBIOS_OF_NOCLOUD)
    assert read["seedfrom"] == f"{SERVICE}nocloud/"


def test_cloud_init_looks_for_the_product() -> None:
    openstack = pytest.importorskip("cloudinit.sources.DataSourceOpenStack", reason="cloud-init is not installed")
    (block,) = (block for block in texts.blocks(README) if "sysinfo" in block)
    names = re.findall(r"product='([^']+)'|<entry name='product'>([^<]+)<", block)
    assert len(names) == 2
    assert {"".join(pair) for pair in names} <= set(openstack.VALID_DMI_PRODUCT_NAMES)
    assert 'SMBIOS product "OpenStack Nova"' in prose(GUESTS)


# -- security --


def test_each_test_that_security_names_exists() -> None:
    named = {literal for literal in texts.literals(SECURITY) if literal.startswith("test_")}
    there = {
        name
        for path in (texts.ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(named) > 30
    assert named - there == set()
    # Each sentence that states what a guest or a worker cannot do names a test.
    for item in SECURITY.findall(nodes.list_item):
        section = item.parent.parent.next_node(nodes.title)
        if section is not None and "cannot" in section.astext():
            assert "test_" in item.astext(), item.astext()
