"""One domain file: mistakes are reported with their lines, and what would harm the daemon is refused."""

from __future__ import annotations

import base64
import os
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from eve_meta.inventory.files import reading
from eve_meta.inventory.files.domain_file import MAX_FILE, DomainFile
from eve_meta.values.content import content_of
from eve_meta.values.domain import Domain, TokenPolicy
from eve_meta.values.plain import make_converter
from tests.contracts.fake_reader import read_domain_file
from tests.unit.strategies import written_domains

WORLD = "every user of this host can read it, with the secrets that it may hold: chmod o= it"
PREFIX = "expected an address with its prefix length such as 10.1.2.10/24"
POLICIES = "optional, required, off"
FORMS = "user_data, user_data_file, user_data_base64"


def read(tmp_path: Path, text: str | bytes) -> DomainFile:
    path = tmp_path / "web1.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o600)
    return read_domain_file(str(path))


def good(tmp_path: Path, text: str) -> Domain:
    file = read(tmp_path, text)
    assert file.problems == ()
    assert file.domain is not None
    return file.domain


def wrong(tmp_path: Path, text: str | bytes) -> list[str]:
    """Return the problems as they are printed, without the file's path."""
    file = read(tmp_path, text)
    assert file.domain is None
    return [str(problem).removeprefix(f"{tmp_path}/web1.yaml") for problem in file.problems]


# -- what people write that would be without effect --


def test_one_mac_for_two_nics_is_refused(tmp_path: Path) -> None:
    text = (
        'name: a\nnics:\n- {mac: "02:00:00:00:00:04", subnets: [{type: ipv4, address: 10.0.0.5/24}]}\n'
        '- {mac: "02:00:00:00:00:04", subnets: [{type: ipv4, address: 10.9.0.5/24}]}\n'
    )
    assert wrong(tmp_path, text) == [
        ":4: nics[1].mac: expected a MAC address that no other NIC has, got '02:00:00:00:00:04', which nics[0] has"
    ]


# -- attacks, and mistakes with the effect of one --


@pytest.mark.parametrize("text", ["- " * 100_000, "[" * 100_000, "{a: " * 100_000])
def test_nesting_that_overflows_libyamls_stack(tmp_path: Path, text: str) -> None:
    assert wrong(tmp_path, text) == [":1: expected at most 50 levels of nesting, got more"]


def test_keys_within_keys_that_overflow_libyamls_stack(tmp_path: Path) -> None:
    assert wrong(tmp_path, "? " * 100_000) == [":1: expected a key that is text, got a mapping"]


def test_a_billion_characters_by_aliases_of_one_text(tmp_path: Path) -> None:
    laugh = "ha" * 500_000
    bomb = f"name: a\nvendor_data:\n  text: &l {laugh}\n  more: [{', '.join(['*l'] * 1000)}]\n"
    (problem,) = wrong(tmp_path, bomb)
    assert problem == f":4: expected at most {2 * len(bomb) + 16_384} characters, aliases followed, got more"


def test_mistakes_without_end(tmp_path: Path) -> None:
    text = "name: a\n" + "".join(f"key{number}: x\n" for number in range(20_000))
    problems = wrong(tmp_path, text)
    assert len(problems) == 21
    assert problems[1].startswith(":2: key0: unknown key; known are uuid, ")
    assert problems[0] == ": … and 19,980 more mistakes"


def test_a_number_to_the_base_of_60_takes_no_time(tmp_path: Path) -> None:
    text = "name: a\nlaunch_index: " + "1:" * 200_000 + "1\n"
    began = time.monotonic()
    (problem,) = wrong(tmp_path, text)
    assert problem.startswith(":2: launch_index: expected a whole number, got '1:1:")
    assert time.monotonic() - began < 2


def test_keys_of_one_hash_take_no_time(tmp_path: Path) -> None:
    # Python's hash of an int is its remainder by 2**61 - 1.
    keys = "".join(f"  {1 + number * (2**61 - 1)}: x\n" for number in range(20_000))
    began = time.monotonic()
    problems = wrong(tmp_path, f"name: a\nmeta:\n{keys}")
    assert len(problems) == 21
    assert problems[2] == ":3: meta: expected a key that is text, got a whole number: put it in quotes"
    assert time.monotonic() - began < 3


def test_a_billion_laughs(tmp_path: Path) -> None:
    bomb = "l0: &l0 [" + ", ".join(["''"] * 10) + "]\n"
    bomb += "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]\n" for i in range(1, 10))
    assert wrong(tmp_path, bomb) == [":5: expected at most 50000 values, aliases followed, got more"]


def test_an_alias_of_itself(tmp_path: Path) -> None:
    assert wrong(tmp_path, "vendor_data: &a\n  b: *a\n") == [
        ":2: expected no alias within the value that it stands for, got one"
    ]


def test_a_million_values(tmp_path: Path) -> None:
    assert wrong(tmp_path, "- a\n" * 1_000_000) == [":50000: expected at most 50000 values, aliases followed, got more"]


def test_ten_gigabytes_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    path.touch(0o600)
    os.truncate(path, 10 * 1024**3)
    began = time.monotonic()
    (problem,) = read_domain_file(str(path)).problems
    assert str(problem) == f"{path}: expected at most {MAX_FILE} bytes, got more in '{path}'"
    assert time.monotonic() - began < 1


def test_user_data_of_ten_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "image").touch(0o600)
    os.truncate(tmp_path / "image", 10 * 1024**3)
    assert wrong(tmp_path, "name: a\nuser_data_file: image\n") == [
        f":2: user_data_file: expected at most 16777216 bytes, got more in '{tmp_path}/image'"
    ]


@pytest.mark.parametrize("target", ["/dev/zero", "/proc/self/mem", "a directory", "a fifo"])
def test_something_that_is_no_file_neither_hangs_nor_is_read(tmp_path: Path, target: str) -> None:
    path = tmp_path / "web1.yaml"
    if target == "a directory":
        path.mkdir()
    elif target == "a fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(target)
    (problem,) = read_domain_file(str(path)).problems
    assert str(path) in str(problem)


def test_yaml_that_runs_code_is_refused(tmp_path: Path) -> None:
    (problem,) = wrong(tmp_path, "name: !!python/object/apply:os.system [id]\n")
    assert problem == ":1: YAML: expected no tag, or one such as !!str, got another"


def test_secrets_that_everybody_may_read_are_a_warning(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    path = tmp_path / "web1.yaml"
    path.write_text("name: a\nuser_data_file: secret\n")
    path.chmod(0o600)
    (tmp_path / "secret").write_text("hunter2")
    (tmp_path / "secret").chmod(0o644)
    file = read_domain_file(str(path))
    assert file.domain is not None
    assert [str(problem) for problem in file.problems] == [f"{tmp_path}/secret: warning: {WORLD}"]
    tmp_path.chmod(0o700)
    assert read_domain_file(str(path)).problems == ()


# -- mistakes --


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    text = """\
uid: 5
name: 007
meta: {1: x, a: TRUE, b: 0x10}
hostname: "-a"
tokens: FALSE
nics:
- tap: vnet0
  mac: 10:20
  tapp: x
- mac: zz
  subnets:
  - {type: ipv4,
     address: 10.0.0.300/24}
shares:
- tag: home
user_data_file: missing
files:
- {path: /a, content_base64: "**"}
- path: b
  content: 5
"""
    assert wrong(tmp_path, text) == [
        ":1: uid: unknown key; did you mean 'uuid'?",
        ":2: name: expected a string, got 7: put it in quotes (that is how YAML reads 007)",
        ":3: meta: expected a key that is text, got a whole number: put it in quotes",
        ":3: meta: expected a string, got a boolean: put it in quotes",
        ":3: meta: expected a string, got a whole number: put it in quotes",
        ":4: hostname: expected a host name such as web1.example.org, got '-a'",
        f":5: tokens: expected one of {POLICIES}, got False: put it in quotes (that is how YAML reads FALSE)",
        ":8: nics[0].mac: expected a MAC address such as fa:16:3e:00:00:01, got '10:20'",
        ":9: nics[0].tapp: unknown key; did you mean 'tap'?",
        ":10: nics[1].mac: expected a MAC address such as fa:16:3e:00:00:01, got 'zz'",
        f":13: nics[1].subnets[0].address: {PREFIX}, got '10.0.0.300/24'",
        ":15: shares[0].share_id: expected a value, but the key is missing",
        f":16: user_data_file: cannot read '{tmp_path}/missing': No such file or directory",
        ":18: files[0].content_base64: expected base64 text, got other text",
        ":19: files[1].path: expected an absolute path, got 'b'",
        ":20: files[1].content: expected text, got a whole number: put it in quotes",
    ]


def test_a_field_that_only_hypervisors_fill_is_an_unknown_key(tmp_path: Path) -> None:
    (line,) = wrong(tmp_path, "name: a\neve: {openstack: true}\n")
    assert line.startswith(":2: eve: unknown key; known are uuid, name, ")
    assert "eve" not in line.partition("known are ")[2]
    assert wrong(tmp_path, "name: a\nevee: 1\n")[0].startswith(":2: evee: unknown key; known are uuid, ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": expected a domain, which is a mapping with a 'uuid' or a 'name', got nothing"),
        ("- a\n", ": expected a domain, which is a mapping with a 'uuid' or a 'name', got a list"),
        ("hostname: a\n", ":1: expected a 'uuid' or a 'name', got neither"),
        ("name: a\n\nname: b\n", ":3: name: the key is given twice, first in line 1"),
        ("name: a\nmeta: {b: c, b: d}\n", ":2: meta: the key is given twice, first in line 2"),
        ("name: a\nnics:\n- {tap: x, mtu: 70,\n   tap: y}", ":4: nics[0].tap: the key is given twice, first in line 3"),
        ("name: a\n---\nname: b\n", ":2: YAML: expected a single document in the stream, but found another document"),
        ("name: a: b\n", ":1:8: YAML: a second ': ' in one line: put the value in quotes"),
        ("name: a\nmeta: [\nx: y\n", ":2:7: YAML: the '[' that opens here is not closed"),
        ("name: a\nmeta: \x07\n", ":2:7: YAML: control characters are not allowed"),
        (b"name: a\nhostname: \xff\n", ":2: expected text in UTF-8, got the byte 0xff"),
        ("name: a\nnics: [{trusted: yes}]\n", ":2: nics[0].trusted: expected true or false, got 'yes'"),
        (
            "name: !!int web1\n",
            ":1: YAML: expected a value of the type int, which its tag names, got another",
        ),
        ("name: a\nuser_data: 5\n", ":2: user_data: expected text, got a whole number: put it in quotes"),
        (
            "name: a\nuser_data:\n  packages: [x]\n",
            ":2: user_data: expected text, got a mapping; write '|' after the colon and indent the text",
        ),
        (
            "name: a\nuser_data: b\nuser_data_base64: Yg==\n",
            f":3: user_data_base64: expected one of {FORMS}, got user_data and user_data_base64",
        ),
        ("name: a\nuser_data_fil: b\n", ":2: user_data_fil: unknown key; did you mean 'user_data_file'?"),
        ("name: a\nfiles: [{path: /a, contnt: b}]\n", ":2: files[0]: unknown key; did you mean 'content'?"),
        ("name: a\nuser_data_file: ''\n", ":2: user_data_file: expected the path of a file, got nothing"),
        ('name: a\nuser_data_file: "a\\0b"\n', ":2: user_data_file: expected the path of a file, got other text"),
        ("name: a\nuser_data_file: /\n", ":2: user_data_file: expected '/' to be a file, got something else"),
    ],
)
def test_a_mistake_is_reported_with_its_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    assert wrong(tmp_path, text) == [message]


def test_a_dangling_link(tmp_path: Path) -> None:
    path = tmp_path / "web1.yaml"
    path.symlink_to("nowhere")
    (problem,) = read_domain_file(str(path)).problems
    assert str(problem) == f"{path}: cannot read '{path}': No such file or directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "web1.yaml"
    path.touch(0o000)
    (problem,) = read_domain_file(str(path)).problems
    assert str(problem) == f"{path}: cannot read '{path}': Permission denied"


# -- good files --


def test_user_data_in_its_three_forms(tmp_path: Path) -> None:
    blob = content_of(bytes(range(256)))
    encoded = base64.b64encode(bytes(blob)).decode()
    (tmp_path / "ud").mkdir()
    (tmp_path / "ud/blob").write_bytes(bytes(blob))
    (tmp_path / "ud/blob").chmod(0o600)
    text = content_of("#cloud-config\né\n".encode())
    assert good(tmp_path, "name: a\nuser_data: |\n  #cloud-config\n  é\n").user_data == text
    assert good(tmp_path, "name: a\nuser_data_file: ud/blob\n").user_data == blob
    assert good(tmp_path, f"name: a\nuser_data_base64: {encoded}\n").user_data == blob
    assert good(tmp_path, "name: a\nuser_data:\n").user_data is None


def test_content_in_its_two_forms(tmp_path: Path) -> None:
    text = "name: a\nfiles:\n- {path: /a, content: é}\n- {path: /b, content_base64: /w==}\n- {path: /c}\n"
    assert [bytes(file.content) for file in good(tmp_path, text).files] == ["é".encode(), b"\xff", b""]


def test_anchors_and_merges_are_yaml(tmp_path: Path) -> None:
    domain = good(
        tmp_path,
        "name: a\nnics:\n- &nic {tap: x, mtu: 1400}\n- {<<: *nic, tap: y}\nfiles: [&f {path: /a, content: b}, *f]\n",
    )
    assert [(nic.tap, nic.mtu) for nic in domain.nics] == [("x", 1400), ("y", 1400)]
    assert [bytes(file.content) for file in domain.files] == [b"b", b"b"]


def test_text_that_only_yaml_1_1_takes_for_something_else(tmp_path: Path) -> None:
    domain = good(
        tmp_path,
        "name: 2024-13-45\ntokens: off\nnics: [{mac: 52:54:00:12:34:56}]\nlaunch_index: 010\n"
        "meta: {a: yes, b: 2024-01-01, on: n}\n",
    )
    assert (domain.name, domain.tokens, domain.nics[0].mac) == ("2024-13-45", TokenPolicy.OFF, "52:54:00:12:34:56")
    assert domain.launch_index == 10
    assert domain.meta == {"a": "yes", "b": "2024-01-01", "on": "n"}


def test_values_that_need_no_quotes(tmp_path: Path) -> None:
    domain = good(tmp_path, "uuid: 1a831fa7-c50b-4693-a16e-fb8171f1b69e\nname: web1\nlaunch_index: 2\n")
    assert (str(domain.uuid), domain.launch_index) == ("1a831fa7-c50b-4693-a16e-fb8171f1b69e", 2)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(domain=written_domains().filter(lambda domain: domain.tokens is None or domain.tokens.value != "required"))
def test_every_domain_can_be_written_as_a_file(tmp_path: Path, domain: Domain) -> None:
    plain = make_converter(omit_if_default=True).unstructure(domain)
    if "user_data" in plain:
        plain["user_data_base64"] = plain.pop("user_data")
    for file in plain.get("files", ()):
        if "content" in file:
            file["content_base64"] = file.pop("content")
    assert good(tmp_path, yaml.safe_dump(plain, default_style='"')) == domain


BONDED = """\
name: b
nics:
- {tap: vnet0, mac: "02:00:00:00:00:01"}
- {tap: vnet1, mac: "02:00:00:00:00:02"}
bonds:
- nics: [vnet0, "02:00:00:00:00:02"]
  mode: 802.3ad
  xmit_hash_policy: layer3+4
  subnets: [{type: ipv4, address: 10.0.0.9/24}]
  vlans:
  - {id: 101, subnets: [{type: ipv4, address: 10.1.0.9/24}]}
search: [example.org]
"""


def test_bonds_vlans_and_search_domains(tmp_path: Path) -> None:
    domain = good(tmp_path, BONDED)
    (bond,) = domain.bonds
    assert (bond.nics, bond.mode.value, [vlan.id for vlan in bond.vlans]) == (
        ("vnet0", "02:00:00:00:00:02"),
        "802.3ad",
        [101],
    )
    assert [str(subnet.address) for subnet in domain.subnets] == ["10.0.0.9/24", "10.1.0.9/24"]
    assert domain.search == ("example.org",)


@pytest.mark.parametrize(
    ("old", "new", "begin"),
    [
        (
            "[vnet0, ",
            "[vnet9, ",
            ":6: bonds[0].nics[0]: expected the tap or the MAC address of one of 'nics', got 'vnet9'",
        ),
        (
            'vnet0, "02:00:00:00:00:02"',
            'vnet1, "02:00:00:00:00:02"',
            ":6: bonds[0].nics[1]: expected each NIC in one bond, got '02:00:00:00:00:02', which is in one already",
        ),
        (
            '"02:00:00:00:00:01"}',
            '"02:00:00:00:00:01", vlan: 7}',
            ":3: nics[0].vlan: expected none for a NIC of a bond, got some: write them below bonds[0]",
        ),
        (
            "[vnet0, ",
            "[vnet0, vnet0, ",
            ":6: bonds[0].nics: expected the taps or MAC addresses of one NIC or more, none twice, got",
        ),
        (
            "802.3ad",
            "lacp",
            ":7: bonds[0].mode: expected one of balance-rr, active-backup, balance-xor, broadcast, 802.3ad, ",
        ),
        (
            "mode: 802.3ad",
            "mode: active-backup",
            ":8: bonds[0].xmit_hash_policy: expected none for mode 'active-backup', which has no use for it",
        ),
        ("  - {id: 101", "  - {id: 101}\n  - {id: 101", ":10: bonds[0].vlans: expected each VLAN once, got 101 twice"),
        (
            "[example.org]",
            "[-x]",
            ":12: search: expected at most 32 domains such as example.org, none twice, got ['-x']",
        ),
    ],
)
def test_a_bond_that_its_guest_could_not_make(tmp_path: Path, old: str, new: str, begin: str) -> None:
    (problem,) = wrong(tmp_path, BONDED.replace(old, new))
    assert problem.startswith(begin)


# -- whether a file must be read again --


def test_an_old_file_is_read_once_and_a_changed_one_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "RACY_NS", 0)
    (tmp_path / "secret").write_text("1")
    file = read(tmp_path, "name: a\nuser_data_file: secret\n")
    assert file.unchanged()
    (tmp_path / "secret").write_text("2")
    assert not file.unchanged()


def test_a_file_that_was_just_written_is_read_again(tmp_path: Path) -> None:
    # A second write within the same tick of the clock would leave times, size and inode as they are.
    assert not read(tmp_path, "name: a\n").unchanged()


def test_user_data_that_comes_later_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "RACY_NS", 0)
    file = read(tmp_path, "name: a\nuser_data_file: secret\n")
    assert file.unchanged()
    (tmp_path / "secret").touch()
    assert not file.unchanged()


@pytest.mark.parametrize(("name", "limit"), [("nics", 256), ("disks", 1024)])
def test_more_nics_or_disks_than_any_machine_has(tmp_path: Path, name: str, limit: int) -> None:
    assert good(tmp_path, f"name: a\n{name}: [{'{}, ' * limit}]\n")
    assert wrong(tmp_path, f"name: a\n{name}: [{'{}, ' * (limit + 1)}]\n") == [
        f":2: {name}: expected at most {limit}, got {limit + 1}"
    ]
