"""The reference: each field is in the manual page and in the JSON Schema, and these agree with what is accepted."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import attrs
import pytest

from eve_meta.config import Config
from eve_meta.values.domain import Domain
from harness import filepages, manpage, reference
from harness.fields import classes_within, fields_of
from harness.schema import domain_schema
from tests import texts
from tests.contracts.fake_reader import read_domain_file

OF_A_DOMAIN: tuple[type[Any], ...] = (Domain, *classes_within(Domain))
CLASSES: tuple[type[Any], ...] = (*OF_A_DOMAIN, Config, *classes_within(Config))
PAGES = pytest.mark.parametrize("page", [filepages.domain_page(), filepages.config_page(), manpage.page()])


def shown(page: str, tmp_path: Path) -> str:
    """Return *page* as man shows it, white space aside."""
    assert shutil.which("man"), "man is missing: install the package man-db"
    (tmp_path / "page.5").write_text(page)
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANWIDTH": "200", "MAN_KEEP_FORMATTING": ""}
    command = ["man", "--warnings", "--local-file", str(tmp_path / "page.5")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return " ".join(re.sub(".\b", "", done.stdout).split())


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_each_field_says_what_it_means(kind: type[Any]) -> None:
    """A field that is not described has no ``:ivar`` in its class's docstring."""
    assert [field.name for field in fields_of(kind) if not field.about] == []


@PAGES
def test_roff_has_no_warning(page: str, tmp_path: Path) -> None:
    (tmp_path / "page.5").write_text(page)
    command = ["groff", "-ww", "-man", "-Kutf8", "-Tutf8", "-z", str(tmp_path / "page.5")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stderr == ""


def test_each_field_of_a_domain_is_in_the_page_and_in_the_schema(tmp_path: Path) -> None:
    page = shown(filepages.domain_page(), tmp_path)
    schema = domain_schema()
    for kind in OF_A_DOMAIN:
        properties = (schema if kind is Domain else schema["definitions"][kind.__name__])["properties"]
        assert list(properties) == [field.name for field in fields_of(kind)]
        for field in fields_of(kind):
            assert f"{field.name} {filepages.sentence(field.about)}" in page


def test_each_key_of_the_configuration_is_in_the_page_with_its_default(tmp_path: Path) -> None:
    page = shown(filepages.config_page(), tmp_path)
    written = (texts.ROOT / "scripts/host/eve-meta.toml").read_text()
    for table in fields_of(Config):
        assert f"[{table.name}]" in page
        for field in fields_of(table.kind):
            (default,) = re.findall(rf"(?m)^#{field.name} = (.+?)(?: +#|$)", written)
            assert f"{field.name} {filepages.sentence(field.about)}" in page
            assert f"Default: {default}." in page


def keys(kind: type[Any], above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for field in fields_of(kind):
        yield (*above, field.name)
        for part in (field.kind, *get_args(field.kind)):
            if isinstance(part, type) and attrs.has(part):
                yield from keys(part, (*above, field.name, *((0,) if part is not field.kind else ())))


@pytest.mark.parametrize("path", [*keys(Domain)], ids=lambda path: ".".join(map(str, path)))
def test_each_key_of_the_reference_is_known_to_the_reader(path: tuple[Any, ...], tmp_path: Path) -> None:
    value: Any = None
    for step in reversed(path):
        value = [value] if step == 0 else {step: value}
    (tmp_path / "a.yaml").write_text(json.dumps({"name": "a", **value}))
    assert not any("unknown key" in each.message for each in read_domain_file(str(tmp_path / "a.yaml")).problems)


# -- a second opinion --

README_FILE = next(block for block in texts.blocks(texts.read(texts.README)) if block.startswith("uuid:"))

GOOD = (
    README_FILE,
    "name: a\n",
    "uuid: 1a831fa7-c50b-4693-a16e-fb8171f1b69e\ntokens: off\nlaunch_index: 3\nhostname: null\n",
    "name: a\nnics: [{mac: 52:54:00:12:34:56, mtu: 1400, vlan: 4094, trusted: true, tags: [a, b]}]\n",
    "name: a\nnics: [{mac: '52:54:00:12:34:56', subnets: [{type: ipv6_slaac}, {type: ipv4_dhcp, dns: ['::1']}]}]\n",
    "name: a\nec2: {instance_id: i-1, public_ipv4: 192.0.2.1, block_device_mapping: {ami: vda}}\n",
    "name: a\nfiles: [{path: /etc/motd, content: hello}, {path: /b, content_base64: YQ==}]\nuser_data_base64: YQ==\n",
    "name: a\ndisks: [{bus: scsi, tags: [x]}]\nshares: [{share_id: 1a831fa7-c50b-4693-a16e-fb8171f1b69e, tag: t}]\n",
    "name: a\nnics: [{tap: t}]\nbonds: [{nics: [t], mode: 802.3ad, miimon: 100, vlans: [{id: 7}]}]\nsearch: [a.b]\n",
    "name: a\nvendor_data: {a: [1, {b: null}]}\nmeta: {a: b}\ndedicated_cpus: [0, 2]\n",
)

BAD = (
    "{}\n",
    "[]\n",
    "name: 007\n",
    "name: a\nhostnam: b\n",
    "name: a\nuuid: web1\n",
    "name: a\nhostname: a..b\n",
    "name: a\nlaunch_index: -1\n",
    "name: a\ntokens: on\n",
    "name: a\nsearch: [-a]\n",
    "name: a\nnics: [{tap: t}]\nbonds: [{nics: [t], mode: lacp}]\n",
    "name: a\nnics: [{tap: t}]\nbonds: [{nics: [], mode: 802.3ad}]\n",
    "name: a\nmeta: {a: 1}\n",
    "name: a\nuser_data: [a]\n",
    "name: a\nuser_data: b\nuser_data_file: c\n",
    "name: a\nfiles: [{path: etc/motd}]\n",
    "name: a\nfiles: [{content: a}]\n",
    "name: a\nec2: {instance_id: x}\n",
    "name: a\nec2: {public_ipv4: '::1'}\n",
    "name: a\nnics: [{mac: '52:54:00'}]\n",
    "name: a\nnics: [{mtu: 10}]\n",
    "name: a\nnics: [{vlan: 4095}]\n",
    "name: a\nnics: [{trusted: yes}]\n",
    "name: a\nnics: [{tap: a/b}]\n",
    "name: a\nnics: [{tags: public}]\n",
    "name: a\nnics: [{subnets: [{type: ipv4}]}]\n",
    "name: a\nnics: [{subnets: [{type: dhcp}]}]\n",
    "name: a\nnics: [{subnets: [{type: ipv4, address: 10.0.0.5}]}]\n",
    "name: a\nnics: [{subnets: [{type: ipv4, address: 10.0.0.5/24, gatway: 10.0.0.1}]}]\n",
    "name: a\nnics: [{subnets: [{type: ipv4, address: 10.0.0.5/24, routes: [{to: 10.1.0.0/16}]}]}]\n",
    "name: a\nnics: {tap: a}\n",
    "name: a\ndedicated_cpus: [-1]\n",
    "name: a\neve: {}\n",
)


def test_check_jsonschema_and_the_reader_agree(tmp_path: Path) -> None:
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed")
    reference.write(tmp_path)
    files = {tmp_path / f"{number}.yaml": text for number, text in enumerate((*GOOD, *BAD))}
    for path, text in files.items():
        path.write_text(text)
        path.chmod(0o600)
    command = [sys.executable, "-m", "check_jsonschema", "--output-format", "json"]
    command += ["--schemafile", str(tmp_path / "domain.schema.json"), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    refused = {Path(error["filename"]) for error in json.loads(done.stdout)["errors"]}
    for path, text in files.items():
        wrong = read_domain_file(str(path)).domain is None
        assert wrong is (text in BAD), text
        assert (path in refused) is wrong, text


def test_the_schema_is_one(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft7Validator.check_schema(domain_schema())
