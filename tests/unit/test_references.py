"""Every file, module and object that a comment, a docstring or a document names exists.

Names are resolved statically, with :mod:`ast` and :mod:`tokenize`: importing every module takes longer, and some
modules need a library that a development machine may lack.
"""

from __future__ import annotations

import ast
import builtins
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import attrs
import pytest

from tests import texts

FOLDERS = ("eve_meta", "bpf", "scripts", "tests", "vagrant", ".ci")

FOREIGN_FOLDERS = (
    # Linux
    *("Documentation/", "asm-generic/", "bpf/bpf.h", "fs/", "linux/", "net/"),
    # nova and the OpenStack libraries
    *("api/metadata/", "doc/api_schemas/", "nova/"),
    # QEMU
    *("block/", "util/"),
    # cloud-init
    *("cloudinit/",),
    # Files on a host or in a guest
    *("/",),
)
"""The beginnings of paths in other projects, which prose names as a source."""

FOREIGN_FILES = {"cc_phone_home.py", "dmi-id.c", "eve-meta.service", "eve-meta.toml"}
"""Single files of other projects, and the names under which files of ours are installed on a host."""

FOREIGN_MODULES = {*sys.stdlib_module_names, "attrs", "bcc", "cattrs", "docutils", "libvirt", "pyroute2", "twisted"}
"""Top-level modules of others. What is in them is not looked up."""

_PATH = re.compile(
    r"(?<![\w./<*{-])((?:/|\.?[\w-]+/)*[\w.-]+\.(?:py|c|h|sh|rst|toml|service|cfg))\b(?::(\d+))?(?![\w*])"
)
_FOLDER_PATH = re.compile(r"(?<![\w./-])((?:scripts|bpf|eve_meta|tests|vagrant)/[\w./-]*[\w/])")
_SUBFOLDER = re.compile(r"``([\w/]+)/``")
_DOTTED = re.compile(r"(?<![\w./])((?:eve_meta|tests)(?:\.\w+)+)")
_ROLE = re.compile(r":(?:mod|class|func|data|meth|attr|exc|obj):`([^`]*)`")
_RAISES = re.compile(r":raises ([\w., ]+):")


@attrs.frozen
class Text:
    """A piece of prose of the project."""

    path: Path
    line: int
    """The line on which it begins."""

    prose: str
    scope: tuple[str, ...] = ()
    """The classes around it, the outermost first."""


# -- what the project consists of --


@cache
def files() -> tuple[Path, ...]:
    """Return the project's text files, relative to its top folder."""
    found = [path for path in texts.ROOT.iterdir() if path.is_file() and path.suffix in {".rst", ".cfg", ".toml"}]
    for folder in FOLDERS:
        found += [path for path in (texts.ROOT / folder).rglob("*") if path.is_file()]
    return tuple(sorted(path.relative_to(texts.ROOT) for path in found if "__pycache__" not in path.parts))


@cache
def source(path: Path) -> str:
    return (texts.ROOT / path).read_text(encoding="utf-8")


def is_python(path: Path) -> bool:
    """Return whether the file is a module, or a command written in Python."""
    return path.suffix == ".py" or re.match(r"#!.*\bpython", source(path)) is not None


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(source(path))


@cache
def modules() -> dict[str, Path]:
    """Return the project's modules by their dotted names; those of scripts/ are top-level modules."""
    found = {}
    for path in files():
        if path.suffix == ".py":
            parts = path.with_suffix("").parts
            parts = parts[1:] if parts[0] == "scripts" else parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def classes() -> frozenset[str]:
    """Return the names of the classes that the project's modules define."""
    return frozenset(
        node.name for path in modules().values() for node in tree(path).body if isinstance(node, ast.ClassDef)
    )


# -- names in Python --


@cache
def names(path: Path, *scope: str) -> dict[str, ast.AST | str]:
    """Return what the module at *path*, or the class *scope* in it, defines or imports.

    By name: the node of a definition, or the dotted name of an import.
    """
    body: list[ast.stmt] = tree(path).body
    for name in scope:
        (body,) = (node.body for node in body if isinstance(node, ast.ClassDef) and node.name == name)
    found: dict[str, ast.AST | str] = {}
    for node in _statements(body):
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                found[node.name] = node
                if scope:
                    # Attributes that methods set on their instance.
                    for inner in ast.walk(node):
                        if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store):
                            found.setdefault(inner.attr, inner)
            case ast.Assign() | ast.AnnAssign():
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for inner in (inner for target in targets for inner in ast.walk(target)):
                    if isinstance(inner, ast.Name):
                        found[inner.id] = node
            case ast.Import():
                for alias in node.names:
                    found[alias.asname or alias.name.partition(".")[0]] = (
                        alias.name if alias.asname else alias.name.partition(".")[0]
                    )
            case ast.ImportFrom(module=str(module)):
                for alias in node.names:
                    found[alias.asname or alias.name] = f"{module}.{alias.name}"
    return found


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With):
            yield from _statements(node.body)
            yield from _statements(getattr(node, "orelse", []))
            for handler in getattr(node, "handlers", []):
                yield from _statements(handler.body)


def is_defined(name: str, path: Path, scope: tuple[str, ...] = ()) -> bool:
    """Return whether *name* is defined in the class *scope* of the module at *path*, in the module, or everywhere.

    :param name: a name, dotted or not.
    """
    parts = name.split(".")
    for depth in range(len(scope), -1, -1):
        if parts[0] in names(path, *scope[:depth]):
            return _has(path, scope[:depth], parts)
    return hasattr(builtins, parts[0]) or _is_absolute(parts)


def _has(path: Path, scope: tuple[str, ...], parts: list[str]) -> bool:
    (first, *rest) = parts
    there = names(path, *scope)
    if first not in there:
        # A member that the class inherits.
        return bool(scope) and any(_has_in_base(path, scope[:-1], base, parts) for base in _bases(path, scope))
    definition = there[first]
    if isinstance(definition, str):
        return _is_absolute([*definition.split("."), *rest])
    if not rest:
        return True
    # The type of a value is not known here, so its attributes are not looked up.
    return not isinstance(definition, ast.ClassDef) or _has(path, (*scope, first), rest)


def _bases(path: Path, scope: tuple[str, ...]) -> list[str]:
    node = names(path, *scope[:-1])[scope[-1]]
    assert isinstance(node, ast.ClassDef)
    return [ast.unparse(base).partition("[")[0] for base in node.bases]


def _has_in_base(path: Path, scope: tuple[str, ...], base: str, parts: list[str]) -> bool:
    return is_defined(base, path, scope) and is_defined(f"{base}.{'.'.join(parts)}", path, scope)


def _is_absolute(parts: list[str]) -> bool:
    """Return whether *parts* name a module and, after it, something that the module defines."""
    for length in range(len(parts), 0, -1):
        module = ".".join(parts[:length])
        if module in modules():
            rest = parts[length:]
            return not rest or (rest[0].startswith("__") and len(rest) == 1) or _has(modules()[module], (), rest)
    return parts[0] in FOREIGN_MODULES


# -- prose --


def prose() -> Iterator[Text]:
    """Yield every comment, docstring and paragraph."""
    for path in files():
        if path.name == Path(__file__).name:
            continue
        if is_python(path):
            yield from _docstrings(path, tree(path).body)
            yield from _comments(path)
        elif path.suffix in {".rst", ".cfg"}:
            for found in re.finditer(r"(?:.+\n)+", source(path)):
                yield Text(path, source(path).count("\n", 0, found.start()) + 1, found[0])
        elif path.suffix in {".c", ".h"}:
            text = source(path)
            for found in re.finditer(r"/\*.*?\*/|//[^\n]*", text, re.DOTALL):
                yield Text(path, text.count("\n", 0, found.start()) + 1, found[0])
        else:
            for number, line in enumerate(source(path).splitlines(), start=1):
                if comment := re.search(r"(?:^|\s)#(?!!).*", line):
                    yield Text(path, number, comment[0])


def _docstrings(path: Path, body: list[ast.stmt], scope: tuple[str, ...] = ()) -> Iterator[Text]:
    for node in body:
        match node:
            case ast.Expr(value=ast.Constant(value=str(prose))):
                yield Text(path, node.lineno, prose, scope)
            case ast.ClassDef():
                yield from _docstrings(path, node.body, (*scope, node.name))
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.If() | ast.With() | ast.Try():
                # A class in a function has no name outside of it.
                yield from (attrs.evolve(text, scope=scope) for text in _docstrings(path, node.body, scope))


def _comments(path: Path) -> Iterator[Text]:
    # Tokenizing everything takes seconds: only where a line with a "#" could name something.
    if not any("#" in line and (_PATH.search(line) or _DOTTED.search(line)) for line in source(path).splitlines()):
        return
    for token in tokenize.generate_tokens(io.StringIO(source(path)).readline):
        if token.type == tokenize.COMMENT:
            yield Text(path, token.start[0], token.string)


def broken(text: Text) -> Iterator[str]:
    """Yield each name in *text* of something that does not exist."""
    for found in _PATH.finditer(text.prose):
        (name, number) = found.groups()
        if is_foreign(name):
            continue
        there = file_of(name, text)
        if there is None:
            yield name
        elif number is not None and int(number) > len(source(there).splitlines()):
            yield found[0]
    for name in _FOLDER_PATH.findall(text.prose):
        if not _PATH.fullmatch(name) and not (texts.ROOT / name).exists():
            yield name
    for name in _DOTTED.findall(text.prose):
        if not _is_absolute(name.split(".")):
            yield name
    if is_python(text.path):
        for role in _ROLE.findall(text.prose):
            name = " ".join(role.split()).removeprefix("~")
            if not is_defined(name, text.path, text.scope):
                yield f"`{name}`"
        for raised in _RAISES.findall(text.prose):
            for name in re.split(r",\s*|\s+or\s+", raised):
                # Most functions raise what a function below them raises, and import it for no other use.
                if not is_defined(name, text.path, text.scope) and name not in classes():
                    yield f":raises {name}:"


def is_foreign(name: str) -> bool:
    return name.startswith(FOREIGN_FOLDERS) or name in FOREIGN_FILES


def file_of(name: str, text: Text) -> Path | None:
    """Return the project's file *name*, relative to the folder of *text*, to eve_meta/, to the top, or to a folder that
    *text* names; None if there is none.
    """
    folders = [text.path.parent, Path("eve_meta"), Path(), *map(Path, _FOLDER_PATH.findall(text.prose))]
    folders += [text.path.parent / folder for folder in _SUBFOLDER.findall(text.prose)]
    if "/" in name:
        folders.append(text.path.parent.parent)
    for folder in folders:
        if (texts.ROOT / folder / name).is_file():
            return folder / name
    return None


def test_whatever_prose_names_exists() -> None:
    assert [f"{text.path}:{text.line}: {name}" for text in prose() for name in broken(text)] == []


def test_modules_that_are_started_by_their_name_exist() -> None:
    strings = {
        node.value
        for path in modules().values()
        if path.parts[0] == "eve_meta"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _DOTTED.fullmatch(node.value)
    }
    assert "eve_meta.web.worker" in strings
    assert {name for name in strings if name not in modules()} == set()


@pytest.mark.parametrize(
    "stale",
    [
        "nowhere.py",
        "web/nowhere.py",
        "bpf/nowhere.h",
        "eve_meta/config.py:99999",
        "tests/nowhere",
        "eve_meta.nowhere",
        "eve_meta.config.Nowhere",
        ":mod:`eve_meta.nowhere`",
        ":class:`Nowhere`",
        ":class:`~eve_meta.config.Nowhere`",
        ":meth:`Config.nowhere`",
        ":meth:`nowhere`",
        ":raises Nowhere: always",
    ],
)
def test_a_stale_name_is_found(stale: str) -> None:
    assert list(broken(Text(Path("eve_meta/config.py"), 1, f"This is in {stale}.", ("Config",)))) != []


@pytest.mark.parametrize(
    "good",
    [
        "config.py",
        "web/worker.py",
        "bpf/shared.h",
        "eve_meta/config.py:1",
        "tests/unit",
        "linux/if.h",
        "/etc/eve-meta/eve-meta.toml",
        "eve_meta.config.Config.inventory",
        ":mod:`eve_meta.config`",
        ":class:`Config`",
        ":class:`~eve_meta.config.Config`",
        ":attr:`inventory`",
        ":attr:`Config.inventory`",
        ":class:`OSError`",
        ":class:`twisted.internet.task.LoopingCall`",
        ":raises ValueError: never",
    ],
)
def test_a_name_of_something_that_exists_is_accepted(good: str) -> None:
    assert list(broken(Text(Path("eve_meta/config.py"), 1, f"This is in {good}.", ("Config",)))) == []
