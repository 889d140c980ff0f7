"""User data joined: what cloud-init and cloudbase-init themselves make of the result."""

from __future__ import annotations

import email
import gzip
from pathlib import Path
from typing import Any

import pytest

from eve_meta.values.content import content_of
from eve_meta.values.user_data import CannotJoin, joined

BASE = b"#cloud-config\npackages: [chrony]\ntimezone: UTC\n"
WEB = b"#cloud-config\npackages: [nginx]\n"
SCRIPT = b"#!/bin/sh\necho ready"
LATIN = "#cloud-config\nlocale: Zürich\n".encode()
WINDOWS = b"rem cmd\r\necho ready\r\n"


def join(*parts: bytes) -> bytes:
    return joined([content_of(part) for part in parts])


def parts_of(message: bytes, tmp_path: Path) -> list[tuple[str, bytes]]:
    """Return type and content of each part that cloud-init finds in *message*."""
    user_data = pytest.importorskip("cloudinit.user_data", reason="cloud-init is not installed")
    util = pytest.importorskip("cloudinit.util", reason="cloud-init is not installed")
    helpers = pytest.importorskip("cloudinit.helpers", reason="cloud-init is not installed")
    paths = helpers.Paths({"cloud_dir": str(tmp_path), "run_dir": str(tmp_path)})
    found = user_data.UserDataProcessor(paths).process(message)
    parts = []
    for part in found.walk():
        if not user_data.is_skippable(part):
            payload = util.fully_decoded_payload(part)
            parts.append((part.get_content_type(), payload.encode() if isinstance(payload, str) else payload))
    return parts


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        (BASE, "text/cloud-config"),
        (b"\n #CLOUD-CONFIG\na: b\n", "text/cloud-config"),
        (SCRIPT, "text/x-shellscript"),
        (SCRIPT + b"\n\n", "text/x-shellscript"),
        (b"#!/bin/sh\n: " + b"x" * 5000, "text/x-shellscript"),
        (b"#cloud-boothook\n#!/bin/sh\n", "text/cloud-boothook"),
        (b"#part-handler\ndef list_types(): return []\n", "text/part-handler"),
        (b"## template: jinja\n#cloud-config\nhostname: {{ v1.instance_id }}\n", "text/jinja2"),
        (b'#cloud-config-jsonp\n[{"op": "add", "path": "/a", "value": 1}]\n', "text/cloud-config-jsonp"),
        (LATIN, "text/cloud-config"),
        (b"#!/bin/sh\r\necho\r\n", "text/x-shellscript"),
    ],
)
def test_cloud_init_reads_each_part_as_it_was_written(part: bytes, kind: str, tmp_path: Path) -> None:
    assert parts_of(join(BASE, part), tmp_path) == [("text/cloud-config", BASE), (kind, part)]


def test_cloud_init_unpacks_gzip_and_an_archive(tmp_path: Path) -> None:
    archive = b'#cloud-config-archive\n["#!/bin/sh", "#cloud-config\\na: b"]\n'
    assert parts_of(join(gzip.compress(BASE), archive), tmp_path) == [
        ("text/cloud-config", BASE),
        ("text/x-shellscript", b"#!/bin/sh"),
        ("text/cloud-config", b"#cloud-config\na: b"),
    ]


def test_cloud_init_reads_the_parts_of_a_message_that_somebody_joined_before(tmp_path: Path) -> None:
    assert parts_of(join(BASE, join(WEB, SCRIPT)), tmp_path) == [
        ("text/cloud-config", BASE),
        ("text/cloud-config", WEB),
        ("text/x-shellscript", SCRIPT),
    ]


def test_cloud_init_follows_an_include(tmp_path: Path) -> None:
    included = tmp_path / "included"
    included.write_bytes(WEB)
    assert parts_of(join(BASE, f"#include\nfile://{included}\n".encode()), tmp_path) == [
        ("text/cloud-config", BASE),
        ("text/cloud-config", WEB),
    ]


def test_cloudbase_init_runs_each_part(monkeypatch: pytest.MonkeyPatch) -> None:
    userdata = pytest.importorskip("cloudbaseinit.plugins.common.userdata", reason="cloudbase-init is not installed")
    ran: list[tuple[str, str, bytes]] = []

    class Plugin:
        def process(self, part: Any) -> None:
            ran.append((part.get_content_type(), part.get_filename(), part.get_payload(decode=True)))

    plugins = {kind: Plugin() for kind in ("text/cloud-config", "text/x-shellscript")}
    monkeypatch.setattr(userdata.factory, "load_plugins", lambda: plugins)
    userdata.UserDataPlugin()._process_user_data(join(LATIN, WINDOWS, b"#ps1_sysnative\necho 1"), None)
    assert ran == [
        ("text/cloud-config", "part-001", LATIN),
        ("text/x-shellscript", "part-002", WINDOWS),
        ("text/x-shellscript", "part-003", b"#ps1_sysnative\necho 1"),
    ]


def test_a_person_can_read_the_message() -> None:
    message = join(BASE, SCRIPT).decode()
    assert BASE.decode() in message
    assert SCRIPT.decode() in message


def test_equal_contents_make_equal_messages() -> None:
    assert join(BASE, WEB) == join(BASE, WEB)
    assert join(BASE, WEB) != join(WEB, BASE)


def test_a_part_cannot_end_the_message() -> None:
    boundary = email.message_from_bytes(join(BASE, WEB)).get_boundary()
    hostile = BASE + f"--{boundary}--\n".encode()
    message = email.message_from_bytes(join(hostile, WEB))
    assert [part.get_payload(decode=True) for part in message.walk()][1:] == [hostile, WEB]


@pytest.mark.parametrize(
    ("part", "got"),
    [
        (b'{"ignition": {"version": "3.3.0"}}', "JSON, such as Ignition's"),
        (b"#cloud-confg\n", "another first line"),
        (b"", "another first line"),
        (b"\xff\xfe", "another first line"),
    ],
)
def test_what_cloud_init_cannot_read_as_a_part_is_refused(part: bytes, got: str) -> None:
    with pytest.raises(CannotJoin) as raised:
        join(BASE, part)
    assert raised.value.index == 1
    assert str(raised.value) == (
        f"expected what cloud-init joins with others, such as '#cloud-config' or '#!', got {got}"
    )


def test_a_message_that_cloud_init_could_not_decode_is_refused() -> None:
    with pytest.raises(CannotJoin, match="expected a MIME message in UTF-8, got other bytes"):
        join(b"MIME-Version: 1.0\nContent-Type: text/plain\n\n\xff", BASE)
