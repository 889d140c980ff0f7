"""YAML with its lines, the same with libyaml as with PyYAML alone."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

import pytest

from eve_meta.inventory.files import yaml_document
from eve_meta.values.plain import Fault

PARSERS = ["libyaml", "PyYAML alone"]


@pytest.fixture(params=PARSERS)
def module(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    if request.param == "libyaml":
        assert yaml_document._Loader.__mro__[2].__module__ == "yaml._yaml"
        return yaml_document
    monkeypatch.setitem(sys.modules, "yaml._yaml", None)  # as where PyYAML was built without libyaml
    spec = importlib.util.spec_from_file_location("yaml_document_without_libyaml", yaml_document.__file__)
    assert spec is not None
    assert spec.loader is not None
    pure = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pure)
    assert pure._Loader.__mro__[2].__module__ == "yaml_document_without_libyaml"
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
        ("a: 1\n? [b]\n: 2", 2),
        ("a: 1\nb: " + "9" * 5000, 2),
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
        ('"a": "\\x41"', {"a": "A"}),
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
        ("1: x\nyes: x\n", (True,), 2),
        ("a: &x\n  b: 1\nc:\n  <<: *x\n  d: 1\n", ("c", "b"), 2),
        ("a: &x {b: 1}\nc:\n  <<: *x\n  b: 2\n", ("c", "b"), 4),
    ],
)
def test_the_line_of_each_part(module: ModuleType, text: str, path: tuple[Any, ...], line: int) -> None:
    assert module.YamlDocument(text).locate(Fault(path, "wrong")) == (line, "wrong")


def test_repeated_keys_are_all_reported(module: ModuleType) -> None:
    repeated = module.YamlDocument('a: 1\nb: {c: 1, c: 1}\nd:\n- e: 1\n  "e": 1\na: 2\na: 3\n').repeated
    places = [(line, fault.path) for line, fault in repeated]
    assert places == [(2, ("b", "c")), (5, ("d", 0, "e")), (6, ("a",)), (7, ("a",))]
