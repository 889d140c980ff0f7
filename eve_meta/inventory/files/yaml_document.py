"""Reads YAML that a person wrote, so that every mistake can be shown with its line.

PyYAML's own ``safe_load`` is not enough: it forgets the lines, silently takes the last of two equal keys, turns 2 KB of
aliases into gigabytes ("billion laughs"), and its C composer, which calls itself for each level of nesting, overflows
the stack of the whole process at some 50,000 levels. So the events come from libyaml where PyYAML has it (12 times as
fast), and PyYAML's composer in Python, bounded here, makes nodes of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.error import MarkedYAMLError, YAMLError
from yaml.events import AliasEvent
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.resolver import Resolver
from yaml.scanner import Scanner

from eve_meta.values.checks import QUOTES, quote
from eve_meta.values.plain import Fault

try:
    from yaml._yaml import CParser as EventParser
except ImportError:  # a PyYAML that was built without libyaml

    class EventParser(Reader, Scanner, Parser):  # type: ignore[no-redef]
        """A source of the same events, in Python."""

        def __init__(self, stream: str) -> None:
            Reader.__init__(self, stream)
            Scanner.__init__(self)
            Parser.__init__(self)


MAX_NODES = 50_000
"""The most values of a document; an alias counts as the values that it stands for. A domain with 20 NICs has some
1,000."""

MAX_DEPTH = 50
"""The most levels of nesting: far below the interpreter's limit of recursion, far above what people write."""


TOO_DEEP = f"expected at most {MAX_DEPTH} levels of nesting, got more"

_KINDS = frozenset(("bool", "int", "float", "binary", "timestamp", "omap", "pairs", "set", "merge", "value"))

_UNQUOTED = re.compile(r"""(?:[^'"]|(['"]).\1)*""", re.DOTALL)


def _without_quotations(message: str) -> str:
    """Return *message* of a YAML parser as far as it quotes nothing of the document but single characters.

    A password that begins with "*", "&" or "!" is an alias, an anchor or a tag to YAML, whose errors name it.
    """
    match = _UNQUOTED.match(message)
    return message[: match.end()].rstrip() if match else ""


class BrokenYaml(ValueError):
    """Text that is not YAML, or YAML that nobody would write.

    :ivar line: the line of the mistake, counted from 1.
    """

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def _line(part: Any) -> int:
    line: int = part.start_mark.line + 1
    return line


class _Loader(Composer, EventParser, SafeConstructor, Resolver):
    """A SafeLoader with bounds, which collects the keys that are given twice."""

    def __init__(self, text: str) -> None:
        EventParser.__init__(self, text)
        Composer.__init__(self)
        SafeConstructor.__init__(self)
        Resolver.__init__(self)
        self.repeated: list[tuple[int, Fault]] = []
        self._path: list[Any] = []
        self._nodes = 0
        self._weights: dict[Node, int] = {}

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event: Any = self.peek_event()
        before, self._nodes = self._nodes, self._nodes + 1
        step = index.value if isinstance(index, ScalarNode) else index
        self._path.append(step)
        if len(self._path) > MAX_DEPTH:
            raise BrokenYaml(TOO_DEEP, _line(event))
        node = super().compose_node(parent, index)
        if isinstance(event, AliasEvent):
            if node not in self._weights:
                raise BrokenYaml("expected no alias within the value that it stands for, got one", _line(event))
            self._nodes += self._weights[node]
        elif node is not None:
            self._weights[node] = self._nodes - before
        if self._nodes > MAX_NODES:
            raise BrokenYaml(f"expected at most {MAX_NODES} values, aliases followed, got more", _line(event))
        self._path.pop()
        return node

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        node: MappingNode = super().compose_mapping_node(anchor)
        first: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, ScalarNode):
                line = _line(key)
                if (key.tag, key.value) in first:
                    earlier = first[key.tag, key.value]
                    fault = Fault((*self._path[1:], key.value), f"the key is given twice, first in line {earlier}")
                    self.repeated.append((line, fault))
                first.setdefault((key.tag, key.value), line)
        return node

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (YAMLError, BrokenYaml):
            raise
        except Exception:  # 2024-13-45 looks like a date; "!!int x" and "!!bool x" raise various exceptions
            # The value is not quoted: which field it belongs to, and so whether it is a secret, is not known here.
            kind = node.tag.rpartition(":")[2]
            kind = kind if kind in _KINDS else "another"
            raise BrokenYaml(f"YAML: a value looks to YAML like type {kind}, but is not{QUOTES}", _line(node)) from None


class YamlDocument:
    """One YAML document: its value, and the line of each part.

    :param text: the whole document.
    :raises BrokenYaml: when *text* is not such a document.

    :ivar value: what ``yaml.safe_load`` would return.
    :ivar repeated: the line and the fault of each key that is given twice.
    """

    def __init__(self, text: str) -> None:
        try:
            self._loader = _Loader(text)
            self._root = self._loader.get_single_node()
            self.value: Any = None if self._root is None else self._loader.construct_document(self._root)
        except ReaderError as error:
            # libyaml counts the position of the error in bytes, PyYAML in characters: find it anew.
            match = Reader.NON_PRINTABLE.search(text)
            line = text.count("\n", 0, match.start() if match else 0) + 1
            raise BrokenYaml(f"YAML: {error.reason}", line) from None
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            if error.problem == "exceeded maximum nesting depth":
                # Debian 13's libyaml has a limit of its own, 1,000 levels, and reads that far ahead for a ":".
                raise BrokenYaml(TOO_DEEP, mark.line + 1 if mark else 1) from None
            text = ", ".join(_without_quotations(part) for part in (error.context, error.problem) if part)
            raise BrokenYaml(f"YAML: {text}", mark.line + 1 if mark else 1) from None
        self.repeated: tuple[tuple[int, Fault], ...] = tuple(self._loader.repeated)

    def locate(self, fault: Fault) -> tuple[int, str]:
        """Return the line of *fault*, counted from 1, and its message.

        Where YAML reads something else than is written, the message says that, too.
        """
        node, line = self._root, 1
        for step in fault.path:
            child = self._child(node, step)
            if child is None:
                # A missing field is reported where it should be.
                return line, fault.message
            node, line = child
        if isinstance(node, ScalarNode) and not node.style and fault.message.endswith(QUOTES):
            got = fault.message.rpartition("got ")[2]
            if got == quote(self._loader.construct_object(node)) + QUOTES and node.value not in got:
                return line, f"{fault.message} (that is how YAML reads {node.value})"
        return line, fault.message

    def line(self, path: Iterable[Any]) -> int | None:
        """Return the line of the value at *path*, counted from 1; None where there is no such value."""
        node, line = self._root, None
        for step in path:
            child = self._child(node, step)
            if child is None:
                return None
            node, line = child
        return line

    def _child(self, node: Node | None, step: Any) -> tuple[Node, int] | None:
        if isinstance(node, MappingNode):
            # From the end: what "<<" merges in comes first, and the mapping's own keys override it.
            for key, value in reversed(node.value):
                if isinstance(key, ScalarNode) and self._loader.construct_object(key) == step:
                    return value, _line(key)
        elif isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
            item = node.value[step]
            return item, _line(item)
        return None
