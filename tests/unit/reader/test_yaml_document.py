"""YAML with its lines, the same with libyaml as with PyYAML alone."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

import pytest

from eve_meta.reader import yaml_document

PARSERS = ["libyaml", "PyYAML alone"]


@pytest.fixture(params=PARSERS)
def module(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    if request.param == "libyaml":
        assert vars(yaml_document)["EventParser"].__module__ == "yaml._yaml"
        return yaml_document
    monkeypatch.setitem(sys.modules, "yaml._yaml", None)  # as where PyYAML was built without libyaml
    spec = importlib.util.spec_from_file_location("yaml_document_without_libyaml", yaml_document.__file__)
    assert spec is not None
    assert spec.loader is not None
    pure = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pure)
    assert pure.EventParser.__module__ == "yaml_document_without_libyaml"
    return pure


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("- " * 60, 1),
        ("[" * 60, 1),
        ("a: 1\nb: &x [*x]\n", 2),
        ("a: 1\nb: *x\n", 2),
        ("a: [\n" + "1,\n" * 50_001 + "]", 49_999),
        ("a: é\nb: \x00", 2),
        ("a: 1\n\tb: 2", 2),
        ("a: 1\n--- 2", 2),
        ("a: 1\nb: !!int x", 2),
        ("a: 1\nb: !!timestamp x", 2),
        ("a: 1\nb: !!python/name:os.system x", 2),
        ("a: 1\nb: !!binary eA==", 2),
        ("a: 1\nb: !unknown {c: 1}", 2),
        ("a: 1\n? [b]\n: 2", 2),
        ("a: &x [1]\n*x : 2", 2),
        ("a: 1\nb: {<<: text}", 2),
        ("a: 1\nb: " + "9" * 5000, 2),
        ("a: 1\nb: 0x" + "9" * 5000, 2),
        ("a: &x " + "y" * 10_000 + "\nb:\n- *x\n- *x\n- *x\n- *x\n- *x\n", 5),
    ],
)
def test_broken_yaml_is_an_error_with_its_line(module: ModuleType, text: str, line: int) -> None:
    with pytest.raises(module.BrokenYaml) as caught:
        module.YamlDocument(text)
    assert caught.value.line == line
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# nothing\n", None),
        ("\ufeffa: 1", {"a": 1}),
        ("a: &x {b: 1, c: 1}\nd: {<<: *x, b: 2}", {"a": {"b": 1, "c": 1}, "d": {"b": 2, "c": 1}}),
        (
            "a: &x {b: 1}\nc: &y {b: 2, d: 2}\ne: {<<: [*x, *y], d: 3}",
            {"a": {"b": 1}, "c": {"b": 2, "d": 2}, "e": {"b": 1, "d": 3}},
        ),
        ('a: {"<<": 1}', {"a": {"<<": 1}}),
        ('"a": "\\x41"', {"a": "A"}),
        ("&k a: 1\nb: *k", {"a": 1, "b": "a"}),
        ("a: &x 1\nb: &x 2\nc: *x", {"a": 1, "b": 2, "c": 2}),
        ("%YAML 1.2\n---\na: off\n", {"a": "off"}),
    ],
)
def test_good_yaml_has_its_value(module: ModuleType, text: str, value: Any) -> None:
    assert module.YamlDocument(text).value == value


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ("a:\n- b: 1\n  c:\n    d: 2\n", ("a", 0, "c", "d"), 4),
        ("a:\n- b: 1\n  c:\n    d: 2\n", ("a", 0, "missing"), 2),
        ("a:\n- b\n- c\n", ("a", 1), 3),
        ("a:\n- b\n", ("a", 7), 1),
        ("a: |\n  text\nb: 1\n", ("b",), 3),
        ("1: x\nyes: x\n", ("yes",), 2),
        ("a: &x\n  b: 1\nc:\n  <<: *x\n  d: 1\n", ("c", "b"), 2),
        ("a: &x {b: 1}\nc:\n  <<: *x\n  b: 2\n", ("c", "b"), 4),
    ],
)
def test_the_line_of_each_part(module: ModuleType, text: str, path: tuple[Any, ...], line: int) -> None:
    assert module.YamlDocument(text).locate(path)[0] == line


def test_repeated_keys_are_all_reported(module: ModuleType) -> None:
    mistakes = module.YamlDocument('a: 1\nb: {c: 1, c: 1}\nd:\n- e: 1\n  "e": 1\na: 2\na: 3\n').mistakes
    assert [(line, fault.path, fault.message) for line, fault in mistakes] == [
        (2, ("b", "c"), "the key is given twice, first in line 2"),
        (5, ("d", 0, "e"), "the key is given twice, first in line 4"),
        (6, ("a",), "the key is given twice, first in line 1"),
        (7, ("a",), "the key is given twice, first in line 1"),
    ]


CORE = [
    *(("~", None), ("null", None), ("Null", None), ("NULL", None), ("", None)),
    *(("true", True), ("True", True), ("TRUE", True), ("false", False), ("False", False), ("FALSE", False)),
    *(("0", 0), ("-7", -7), ("+12", 12), ("010", 10), ("0o10", 8), ("0x1F", 31)),
    *(("1.5", 1.5), (".5", 0.5), ("1.", 1.0), ("1e3", 1000.0), ("-2.5E-1", -0.25), ("-.inf", float("-inf"))),
    *((text, text) for text in ("yes", "no", "on", "off", "y", "n", "tRUE", "nULL", "1:1:1", "52:54:00:12:34:56")),
    *((text, text) for text in ("2024-01-01", "2024-13-45", "1_000", "0b11", "-0x1", "1.2.3", "=", ".", "10.0.0.1")),
    *(("!!str 12", "12"), ("! 12", "12"), ("'12'", "12"), ("!!int '12'", 12), ("!!float 1", 1), ("!!null ''", None)),
]
"""Scalars with their values by the core schema of YAML 1.2."""


@pytest.mark.parametrize(("text", "value"), CORE)
def test_scalars_have_the_types_of_the_core_schema(module: ModuleType, text: str, value: Any) -> None:
    (read,) = module.YamlDocument(f"- {text}\n").value
    assert (type(read), read) == (type(value), value)


@pytest.mark.parametrize(
    ("key", "kind"), [("1", "a whole number"), ("true", "a boolean"), ("~", "nothing"), ("1.5", "a number")]
)
def test_a_key_that_is_no_text_is_a_mistake(module: ModuleType, key: str, kind: str) -> None:
    document = module.YamlDocument(f"a:\n- {key}: b\n")
    ((line, fault),) = document.mistakes
    assert (line, fault.path) == (2, ("a", 0, key))
    assert fault.message == f"expected a key that is text, got {kind}: put it in quotes"
    assert document.value == {"a": [{key: "b"}]}


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("a: 1\n\tb: 2\n", 2, 1, "a tab indents this line, where YAML takes blanks alone"),
        ("a:\n  b: 1\n \tc: 2\n", 3, 2, "a tab indents this line"),
        ("a:\n\t- x\n", 2, 1, "a tab indents this line"),
        ('name: "web1\nhostname: a\n', 1, 7, "the quote that opens here is not closed"),
        ("name: 'web1\nhostname: a\n", 1, 7, "the quote that opens here is not closed"),
        ('name: "web1\nhostname: "a"\n', 2, 12, "text follows a quote that closes"),
        ('name: "a" b\n', 1, 11, "text follows a quote that closes"),
        ("name: a\nhostname\nuser_data: b\n", 2, 1, "expected 'key: value', got other text"),
        ("hostname: a\nname:web1\nmeta: {}\n", 2, 1, "there is no blank after the colon: write 'key: value'"),
        ("name:web1\nhostname: a\n", 1, 1, "there is no blank after the colon: write 'key: value'"),
        ("a: |\n#!/bin/sh\necho hello\nfoo\n", 3, 1, "the text below line 1 is not indented: begin each of its lines"),
        ("name: a\nuser_data: |\n  a\n b\n", 4, 2, "this line begins in column 2: expected column 1"),
        ("nics:\n- tap: a\n mac: b\n", 3, 2, "this line begins in column 2: expected column 1"),
        ("name: a\n  hostname: b\n", 2, 3, "this line is indented below a key that has its value already"),
        ("name: a: b\n", 1, 8, "a second ': ' in one line: put the value in quotes"),
        ("nics: - tap: a\n", 1, 7, "a list's first item is in the line of its key"),
        ("a: b\n- c\n", 2, 1, "expected a key, got an item of a list"),
        ("- a\nb: c\n", 2, 1, "expected another item, '- ', of the list that begins in line 1, got something else"),
        ("name: a\nmeta: [\nx: y\n", 2, 7, "the '[' that opens here is not closed"),
        ("nics: {a: b\nc: d\n", 2, 2, "the '{' of line 1 is not closed before this, or a comma is missing"),
        ("name: a\nb: ]\n", 2, 4, "expected a value, got ']'"),
        ("name: [a]]\n", 1, 10, "expected the end of the value, got ']'"),
        ("name: [\n", 2, 1, "the text ends here within '[' or '{', which is not closed"),
        ("name: @a\n", 1, 7, "a value that begins with '@' needs quotes"),
        ("name: `a`\n", 1, 7, "a value that begins with '`' needs quotes"),
        ("name: * a\n", 1, 7, "a value that begins with '*' needs quotes"),
        ("name: &\n", 1, 7, "a value that begins with '&' needs quotes"),
        ('name: "a\\d"\n', 1, None, "a backslash within double quotes begins an escape"),
        ("a: |x\n  b\n", 1, 5, "expected nothing more in this line"),
    ],
)
def test_a_mistake_is_told_in_words_that_a_person_knows(
    module: ModuleType, text: str, line: int, column: int | None, words: str
) -> None:
    with pytest.raises(module.BrokenYaml) as caught:
        module.YamlDocument(text)
    assert str(caught.value).startswith(f"YAML: {words}")
    assert caught.value.line == line
    if column is not None:
        assert caught.value.column == column


def test_a_block_without_text_is_a_mistake(module: ModuleType) -> None:
    document = module.YamlDocument("user_data: |\n#cloud-config\npackages: [a]\n")
    ((line, fault),) = document.mistakes
    assert (line, fault.path) == (1, ("user_data",))
    assert fault.message == "expected text below '|', each of its lines indented by two blanks, got none"
