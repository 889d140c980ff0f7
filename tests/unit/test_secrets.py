"""No error, no ``repr`` and no list of problems holds the value of a field that may be a secret.

Each test puts a canary where a person might put a secret, in every wrong form that comes to mind, and looks for it in
all that comes out. ``tests/guest/test_secrets.py`` does the same with a running daemon, its log and its commands.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID
from xml.sax.saxutils import escape

import attrs
import pytest
from cattrs.errors import BaseValidationError

import eve_meta
from eve_meta.inventory.eve.pubsub import Topic
from eve_meta.inventory.files.advice import schema_path
from eve_meta.inventory.source import InventoryProblem
from eve_meta.reader.advice import Adviser
from eve_meta.values.domain import METADATA_NAMESPACE, Domain, File
from eve_meta.values.eve_published import AppConfig
from eve_meta.values.plain import faults, make_converter
from eve_meta.wire import channel
from eve_meta.wire.messages import PutTap
from tests.contracts.fake_reader import FakeReader, describe, read_domain_file

CANARY = "hunter2canary"
NUMBER = 8151623
"""A secret that YAML takes for a number."""

UUID1 = "1a831fa7-c50b-4693-a16e-fb8171f1b69e"

SECRET_FIELDS = (
    *("user_data", "user_data_base64", "meta", "public_keys", "vendor_data", "vendor_data2", "files"),
    *("password", "userdata"),  # unknown keys
)

WRONG_VALUES = (
    *(CANARY, f"'{CANARY}'", f"#{CANARY}", f"[{CANARY}]", f"{{a: [{CANARY}]}}", f"{{a: {{b: {CANARY}}}}}"),
    *(
        f"{{{CANARY}: 5}}",
        f"{{{CANARY}: [a]}}",
        f"{{{CANARY}: a, {CANARY}: b}}",
        f"{{a: {{{CANARY}: a, {CANARY}: b}}}}",
    ),
    *(str(NUMBER), f"[{NUMBER}]", f"{{a: {NUMBER}}}", f"{{{NUMBER}: a}}", f"{{a: {{{NUMBER}: b}}}}", f"{NUMBER}.5"),
    *(f"*{CANARY}", f"&{CANARY} 5", f"!{CANARY} a", f"!!{CANARY} a", f"!!int {CANARY}", f"!!binary {CANARY}*"),
    *(f"!!timestamp {CANARY}", f"!!bool {CANARY}", f"!!omap {CANARY}", f"!!set [{CANARY}]", f"&{CANARY} [*{CANARY}]"),
    *(
        f'"{CANARY}',
        f'"{CANARY}\\q"',
        f"[{CANARY}",
        f"{{{CANARY}",
        f"{CANARY}: b",
        f"%{CANARY}",
        f"@{CANARY}",
        f"`{CANARY}",
    ),
    *(f"|{CANARY}", f">{CANARY}\n  a", f"|\n{CANARY}\nb: c", f"a\n\t{CANARY}", f"{{<<: {CANARY}}}"),
    *(f"[{{path: /a, content: [{CANARY}]}}]", f"[{{path: /a, content: {NUMBER}}}]", f"[{{path: /a, {CANARY}: b}}]"),
    *(f"[{{path: /a, content_base64: {CANARY}*}}]", f"[{{content: {CANARY}}}]", f"[[{CANARY}]]", f"{CANARY}*"),
    *(f"{{a=b: {CANARY}}}", f"{{{CANARY}/: a}}", f"{{{CANARY}=: a}}", f'{{a: "{CANARY}\\0"}}', f'{{"{CANARY}\\n": a}}'),
    *(
        f"{{a: .nan, b: {CANARY}}}",
        f"{{a: 2024-01-01, b: {CANARY}}}",
        f"{{? [{CANARY}] : a}}",
        f"{{? {{{CANARY}: a}} : b}}",
    ),
)

FILES = (
    *(f"name: a\n{field}: {value}\n" for field in SECRET_FIELDS for value in WRONG_VALUES),
    # An unknown key of the file itself is shown: most are typing errors.
    *(f"{value}\n" for value in WRONG_VALUES if "{" not in value and ":" not in value),
    *(f"- {value}\n" for value in WRONG_VALUES),
    f"name: a\nuser_data_file: |\n  #cloud-config\n  password: {CANARY}\n",
    f"name: a\nuser_data_file: [{CANARY}]\n",
    f"name: a\nuser_data_file: {CANARY * 200}\n",
    f"name: a\nuser_data: b\nuser_data_base64: {CANARY}\nuser_data_file: [{CANARY}]\n",
    f"name: a\nuser_data: |\n  {CANARY}\n b\n",
    f"name: [a]\nuser_data: {CANARY}\nhostname: -\n",
    f"name: a\nuser_data: {CANARY}\x07\n",
    f"name: a\nuser_data: {CANARY}\nuser_data: {CANARY}\n",
)


def assert_silent(*outputs: object) -> None:
    """Assert that none of *outputs* holds a canary, neither as people nor as programs read it."""
    for each in outputs:
        plain = json.dumps(attrs.asdict(each)) if isinstance(each, InventoryProblem) else ""
        for text in (str(each), repr(each), plain):
            assert CANARY not in text
            assert str(NUMBER) not in text


CLOUD_CONFIGS = (
    *(f"{key}: {value}" for key in ("users", "write_files", "packages", "chpasswd") for value in WRONG_VALUES),
    *WRONG_VALUES,
)


def test_no_advice_shows_a_secret() -> None:
    schema = schema_path()
    adviser = Adviser(schema.read_bytes() if schema.exists() else None)
    for text in FILES:
        assert_silent(adviser.on_domain(text.encode()))
    remarks = 0
    for text in (*(f"#cloud-config\n{each}\n" for each in CLOUD_CONFIGS), CANARY, f'{{"{CANARY}": {NUMBER}}}'):
        answer = adviser.on_user_data(text.encode())
        assert_silent(answer)
        remarks += bool(answer.faults)
    assert remarks > 0.8 * len(CLOUD_CONFIGS)


def test_no_mistake_in_a_domain_file_shows_a_secret(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    broken = 0
    for text in FILES:
        path.write_text(text)
        path.chmod(0o600)
        file = read_domain_file(str(path))
        broken += file.domain is None
        assert_silent(*file.problems, file)
    assert broken > 0.8 * len(FILES)  # the others are good, such as "user_data: hunter2"


def test_a_mistake_in_a_secret_is_found_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(f"name: a\nmeta:\n  role: web\n  {CANARY}: [a]\nvendor_data:\n  b:\n  - c\n  - {{{NUMBER}: d}}\n")
    path.chmod(0o600)
    assert [str(problem) for problem in read_domain_file(str(path)).problems] == [
        f"{path}:4: meta: expected a string, got a list",
        f"{path}:8: vendor_data: expected a key that is text, got a whole number: put it in quotes",
    ]


def test_no_mistake_in_libvirts_metadata_shows_a_secret() -> None:
    for text in FILES:
        for inner in (escape(text), f"<{CANARY}/>", f"<a>{CANARY}</a>"):
            metadata = f"<x:domain xmlns:x='{METADATA_NAMESPACE}'>{inner}</x:domain>"
            xml = f"<domain><name>a</name><uuid>{UUID1}</uuid><metadata>{metadata}</metadata></domain>"
            try:
                description = describe(xml, lambda _: None)
            except ValueError as error:  # XML cannot hold all that YAML can
                assert_silent(error)
            else:
                assert_silent(*description.problems, description)


@pytest.mark.parametrize("inner", [f"&{CANARY};", f"<{CANARY}>", f"<a {CANARY}>", f"<a {CANARY}='", f"]]>{CANARY}</a>"])
def test_no_broken_xml_shows_a_secret(inner: str) -> None:
    with pytest.raises(ValueError, match="expected the XML of a domain") as caught:
        describe(f"<domain><metadata>{inner}</metadata></domain>", lambda _: None)
    assert_silent(caught.value)


def eve_files() -> Iterator[str]:
    """Yield the content of files with user data that EVE would not write."""
    name = "pubsub-large-CloudInitUserData"
    whose = f'"UUIDandVersion": {{"UUID": "{UUID1}"}}'
    for value in (CANARY, f"{CANARY}*", NUMBER, [CANARY], {"a": CANARY}, NUMBER + 0.5, True):
        yield f'{{{whose}, "{name}": {json.dumps(value)}}}'
        yield json.dumps(value)
        yield f'{{{whose}, "{name}": {json.dumps(value)}'
    yield f'{{{whose}, "{name}": NaN, "{CANARY}": {CANARY}}}'
    yield f'{{"{name}": "{CANARY}", "UUIDandVersion": 5}}'


def test_no_mistake_in_eves_files_shows_a_secret(tmp_path: Path) -> None:
    for content in eve_files():
        (tmp_path / f"{UUID1}.json").write_text(content)
        topic: Topic[AppConfig] = Topic(tmp_path, "app_config", AppConfig, FakeReader())
        for _ in topic.scan():
            pass
        assert_silent(*topic.problems, topic.values)


@pytest.mark.parametrize(
    "plain",
    [
        {"name": "a", field: value}
        for field in SECRET_FIELDS
        for value in (CANARY, NUMBER, [CANARY], {CANARY: 5}, {"a": [CANARY]}, {NUMBER: "a"}, [{"content": [CANARY]}])
    ],
)
def test_no_mistake_in_a_message_shows_a_secret(plain: dict[str, Any]) -> None:
    try:
        domain = make_converter().structure(plain, Domain)
    except BaseValidationError as error:
        assert_silent(*faults(error), *[fault.message for fault in faults(error)])
    else:
        assert_silent(domain)


@pytest.mark.parametrize("message", [CANARY, [CANARY], {"message": CANARY}, {"message": [CANARY]}, {"a": CANARY}])
def test_no_frame_that_is_no_message_shows_a_secret(message: object) -> None:
    with pytest.raises(ValueError, match="expected a message") as caught:
        channel._structure(message)
    assert_silent(caught.value)


def test_values_do_not_show_their_secrets() -> None:
    domain = Domain(
        uuid=UUID(UUID1),
        meta={"a": CANARY, CANARY: "b"},
        public_keys={"a": CANARY},
        user_data=CANARY.encode(),
        vendor_data={"a": CANARY},
        vendor_data2={"a": CANARY},
        files=(File(path="/a", content=CANARY.encode()),),
    )
    tap = PutTap(tag=1, tap="a", since=0.0, token_key=CANARY.encode(), password=CANARY)
    assert_silent(domain, domain.files[0], tap)


# Why the bytes, or the field of this name, of a class may be shown.
SHOWN = {
    "_Candidate.value": "what DHCP shows on the guest's network",
    "Description.metadata": "a Domain, which hides its secrets itself",
    "DhcpTemplate.options": "what DHCP shows on the guest's network",
    "Document.content_type": "a word of HTTP",
    "KeptKeys.keys": "public keys",
    "PathRule.methods": "words of HTTP",
    "Request.host": "the service's name or address",
    "Request.method": "a word of HTTP",
    "Request.target": "a path",
    "Request.version": "a word of HTTP",
    "WorkerEntry.contents": "values that hide their bytes themselves",
    "Response.content_type": "a word of HTTP",
    "ReturnPath.mac": "a guest's MAC address",
}

SUSPICIOUS = ("password", "secret", "key", "token", "body", "content", "headers", "user_data", "vendor_data", "meta")


def classes() -> Iterator[type]:
    """Yield every attrs class of eve_meta."""
    for module in pkgutil.walk_packages(eve_meta.__path__, "eve_meta."):
        loaded = importlib.import_module(module.name)
        for kind in vars(loaded).values():
            if isinstance(kind, type) and kind.__module__ == loaded.__name__ and attrs.has(kind):
                yield kind


def test_no_class_shows_bytes_or_a_field_with_the_name_of_a_secret() -> None:
    shown = [
        f"{kind.__name__}.{field.name}"
        for kind in classes()
        for field in attrs.fields(kind)
        if field.repr
        and not any(word in str(field.type) for word in ("int", "float", "bool", "TokenPolicy", "Converter"))
        and ("bytes" in str(field.type) or any(word in field.name for word in SUSPICIOUS))
    ]
    assert sorted(set(shown) ^ set(SHOWN)) == []
