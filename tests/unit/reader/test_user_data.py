"""User data as guests read them: what they pass over or refuse is remarked, with its line, and nothing else is."""

from __future__ import annotations

import base64
import json

import pytest

from eve_meta.inventory.files.advice import schema_path
from eve_meta.reader.cloud_config import CloudConfig
from eve_meta.reader.user_data import OF_CLOUD_INIT, remarks

needs_schema = pytest.mark.skipif(not schema_path().exists(), reason="cloud-init's schema is not installed")

BEGIN = (
    "no cloud-init reads it: expected it to begin with '#cloud-config', '#!' and a program, or another of cloud-init's"
)


def remarked(text: str | bytes, schema: bytes | None = None) -> list[tuple[int, str]]:
    content = text.encode() if isinstance(text, str) else text
    return [(each.line, each.message) for each in remarks(content, CloudConfig(schema))]


def compared(text: str) -> list[tuple[int, str]]:
    return remarked(text, schema_path().read_bytes())


def test_the_headers_are_cloud_inits() -> None:
    handlers = pytest.importorskip("cloudinit.handlers", reason="cloud-init is not installed")
    assert {each for each in handlers.INCLUSION_TYPES_MAP if each.startswith("#")} == set(OF_CLOUD_INIT)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "#cloud-config\npackages: [nginx]\n",
        "\n\n#Cloud-Config\npackages: [nginx]\n",
        "#!/bin/sh\necho\n",
        "#include\nhttp://example.org/x\n",
        "## template: jinja\n#cloud-config\nhostname: {{ v1.instance_id }}\n",
        "#cloud-config-archive\n- type: text/x-shellscript\n  content: '#!/bin/sh'\n",
        'Content-Type: multipart/mixed; boundary="==="\nMIME-Version: 1.0\n\n--===\n',
        "#ps1_sysnative\nGet-Date\n",
        '{"ignition": {"version": "3.3.0"}, "passwd": {}}',
        b"\x1f\x8b\x08\x00compressed",
        b"\x7fELF\xff",
    ],
)
def test_nothing_to_remark(text: str | bytes) -> None:
    assert remarked(text) == []


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ("#cloud-confg\npackages: [nginx]\n", 1, "; did you mean '#cloud-config'?"),
        ("\n#cloud_config\n", 2, "; did you mean '#cloud-config'?"),
        ("# cloud-config\na: b\n", 1, "; did you mean '#cloud-config'?"),
        ("packages: [nginx]\n", 1, "; if this is cloud-config, write '#cloud-config' as the first line"),
        ("variant: fcos\nversion: 1.5.0\n", 1, "; if this is Butane's YAML, let 'butane' make Ignition's JSON of it"),
        ("echo hello\n", 1, ""),
        ("\N{ZERO WIDTH NO-BREAK SPACE}#cloud-config\n", 1, "; did you mean '#cloud-config'?"),
    ],
)
def test_user_data_that_no_cloud_init_reads(text: str, line: int, hint: str) -> None:
    assert remarked(text) == [(line, f"{BEGIN} headers{hint}")]


def test_a_script_with_the_line_ends_of_windows() -> None:
    ((line, message),) = remarked("#!/bin/sh\r\necho\r\n")
    assert (line, message.partition(":")[0]) == (1, "the script's lines end with CR LF")


def test_cloud_config_that_is_no_yaml() -> None:
    ((line, message),) = remarked('#cloud-config\npackages: [nginx]\nruncmd: ["hunter2\n')
    assert line == 3
    assert message.startswith("cloud-init cannot read it: ")
    assert "hunter2" not in message


def test_cloud_config_that_is_no_mapping() -> None:
    expected = "cloud-init passes it over: expected a mapping below '#cloud-config', got a list"
    assert remarked("#cloud-config\n- packages\n") == [(1, expected)]


def test_a_key_that_is_given_twice() -> None:
    assert remarked("#cloud-config\nruncmd: [a]\nruncmd: [b]\n") == [
        (3, "the key is given twice: cloud-init takes the last")
    ]


@needs_schema
@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("packges: [nginx]", 2, "this key is not in cloud-init's schema; did you mean 'packages'?"),
        ("users: 5", 2, "users: cloud-init expects text, a list or a mapping, got a whole number"),
        (
            "write_files:\n- {content: hunter2}",
            3,
            "write_files[0]: cloud-init expects the key 'path', which is missing",
        ),
        (
            "write_files:\n- path: /a\n  hunter2: b",
            4,
            "write_files[0]: this key is not in cloud-init's schema",
        ),
        ("package_update: hunter2", 2, "package_update: cloud-init expects true or false, got a string"),
        ("hostname: 007", 2, "hostname: cloud-init expects text, got a whole number"),
    ],
)
def test_cloud_config_that_does_not_fit_cloud_inits_schema(text: str, line: int, message: str) -> None:
    assert (line, message) in compared(f"#cloud-config\n{text}\n")
    assert "hunter2" not in str(compared(f"#cloud-config\n{text}\n"))


@needs_schema
@pytest.mark.parametrize(
    "text",
    [
        "ssh_pwauth: off\npackage_update: yes",  # YAML 1.1, as cloud-init reads it
        "write_files:\n- {path: /a, content: !!binary aGVsbG8=}",
        "users: [default, {name: alice, ssh_import_id: [gh:alice]}]",
        "merge_how: list(append)\noutput: {all: '| tee /var/log/x'}",
        "runcmd:\n- [ls, -l]\n- echo 1:20",
    ],
)
def test_cloud_config_that_cloud_init_takes(text: str) -> None:
    assert compared(f"#cloud-config\n{text}\n") == []


def test_public_keys_in_cloud_config() -> None:
    text = """#cloud-config
ssh_authorized_keys:
- /root/.ssh/id_ed25519.pub
- ssh-ed25519 hunter2
users:
- default
- name: alice
  ssh_authorized_keys: ["-----BEGIN OPENSSH PRIVATE KEY----- hunter2"]
"""
    path, damaged, private = remarked(text)
    assert path[0] == 3
    assert path[1].startswith("ssh_authorized_keys[0]: expected the key itself, got the path of a file")
    assert damaged[0] == 4
    assert damaged[1].startswith("ssh_authorized_keys[1]: expected a public key, got a damaged one")
    assert private[0] == 8
    assert private[1].startswith("users[1].ssh_authorized_keys[0]: expected a public key, got a private one")
    assert "hunter2" not in str(remarked(text))


@needs_schema
def test_the_parts_of_an_archive() -> None:
    text = """#cloud-config-archive
- type: text/cloud-config
  content: |
    packages: [a]
    users: 5
- |
  #cloud-config
  users: 5
- "users: 5"
- type: text/jinja2
  content: "users: {{ 5 }}"
- {type: text/plain, content: hello}
- "#!/bin/sh\\r\\n"
"""
    users = "users: cloud-init expects text, a list or a mapping, got a whole number"
    *typed, script = compared(text)
    assert typed == [(5, users), (8, users), (9, users), (12, f"{BEGIN} headers")]
    assert script[0] == 13


def test_an_archive_that_is_no_list() -> None:
    expected = "cloud-init passes it over: expected a list below '#cloud-config-archive', got a mapping"
    assert remarked("#cloud-config-archive\ncontent: a\n") == [(1, expected)]


@needs_schema
def test_the_parts_of_a_multipart_message() -> None:
    text = """Content-Type: multipart/mixed; boundary="x"
MIME-Version: 1.0

--x
Content-Type: text/x-shellscript

#!/bin/sh
--x
Content-Type: text/cloud-config

packages: [a]
users: 5
--x
Content-Type: text/plain

#cloud-confg
--x
Content-Type: text/cloud-config
Content-Transfer-Encoding: base64

dXNlcnM6IDU=
--x--
"""
    users = "users: cloud-init expects text, a list or a mapping, got a whole number"
    assert compared(text) == [(12, users), (16, f"{BEGIN} headers; did you mean '#cloud-config'?"), (21, users)]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('{"ignition": {"version": 3}}', 1, "Ignition refuses it: expected an 'ignition.version' such as \"3.3.0\""),
        ('{"ignition":\n {}}', 1, "Ignition refuses it: expected an 'ignition.version' such as \"3.3.0\""),
        (
            json.dumps({"ignition": {"version": "3.3.0"}, "storge": {}}, indent=1),
            5,
            "Ignition does not know this key; did you mean 'storage'?",
        ),
        ('{"ignition": {"version": "3.3.0"},\n"a"}', 2, "no guest reads it: not JSON"),
        ('{"passwd": {}}', 1, "no guest reads it: expected Ignition's JSON, which has the key 'ignition'"),
    ],
)
def test_ignitions_json(text: str, line: int, message: str) -> None:
    ((at, remark),) = remarked(text)
    assert at == line
    assert remark.startswith(message)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "a: " + "1:" * 200_000, "a: &a [x]\nb: [*a, *a]", "2024-99-99: 2024-99-99"]
)
def test_attacks_take_no_time(text: str) -> None:
    remarked(f"#cloud-config\n{text}\n")
    remarked('{"ignition":' + "[" * 100_000)
    remarked("#cloud-config-archive\n" + "- '#cloud-config-archive'\n" * 1_000)
    remarked("Mime-Version: 1.0\n" + "".join(f"Content-Type: multipart/a; boundary={n}\n\n--{n}\n" for n in range(900)))
    remarked(base64.b64encode(text.encode()))
