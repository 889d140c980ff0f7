"""YAML that a person wrote, read so that every mistake can be shown where it stands.

PyYAML's own ``safe_load`` is not enough: it forgets the lines, takes the last of two equal keys without a word, turns
2 KB of aliases into gigabytes ("billion laughs"), and its C composer, which calls itself for each level of nesting,
overflows the stack of the whole process at some 50,000 levels. So the events come from libyaml where PyYAML has it (12
times as fast), and PyYAML's composer in Python, bounded here, makes the nodes of them.
"""

from __future__ import annotations

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
        """The same events, made in Python."""

        def __init__(self, stream: str) -> None:
            Reader.__init__(self, stream)
            Scanner.__init__(self)
            Parser.__init__(self)


MAX_NODES = 50_000
"""Values in one document, those behind aliases counted each time. A domain with 20 NICs has some 1,000."""

MAX_DEPTH = 50
"""Levels of nesting: far below what the interpreter's recursion bears, far above what JSON that people write has."""


class BrokenYaml(ValueError):
    """Text that is no YAML, or that nobody would write.

    :ivar line: where, counted from 1.
    """

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def _line(part: Any) -> int:
    line: int = part.start_mark.line + 1
    return line


class _Loader(Composer, EventParser, SafeConstructor, Resolver):
    """SafeLoader with bounds, which collects the keys that are given twice."""

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
            raise BrokenYaml(f"expected at most {MAX_DEPTH} levels of nesting, got more", _line(event))
        node = super().compose_node(parent, index)
        if isinstance(event, AliasEvent):
            if node not in self._weights:
                raise BrokenYaml(f"expected an alias outside of what it stands for, got *{event.anchor}", _line(event))
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
        except Exception:  # 2024-13-45 looks like a date; "!!int x" and "!!bool x" raise whatever comes of it
            kind = node.tag.rpartition(":")[2]
            raise BrokenYaml(
                f"YAML: {quote(node.value)} looks to YAML like type {kind}, but is not{QUOTES}", _line(node)
            ) from None


class YamlDocument:
    """One YAML document: its *value*, and where each part of it stands.

    :param text: the whole document.
    :raises BrokenYaml: when it is none.

    :ivar value: what ``yaml.safe_load`` would give.
    :ivar repeated: for each key that is given twice, its line and what is wrong.
    """

    def __init__(self, text: str) -> None:
        try:
            self._loader = _Loader(text)
            self._root = self._loader.get_single_node()
            self.value: Any = None if self._root is None else self._loader.construct_document(self._root)
        except ReaderError as error:
            # The position of the error is in bytes or in characters, as it comes from libyaml or from PyYAML.
            found = Reader.NON_PRINTABLE.search(text)
            line = text.count("\n", 0, found.start() if found else 0) + 1
            raise BrokenYaml(f"YAML: {error.reason}", line) from None
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            text = ", ".join(part for part in (error.context, error.problem) if part)
            raise BrokenYaml(f"YAML: {text}", mark.line + 1 if mark else 1) from None
        self.repeated: tuple[tuple[int, Fault], ...] = tuple(self._loader.repeated)

    def locate(self, fault: Fault) -> tuple[int, str]:
        """The line of *fault*, counted from 1, and its message, completed where YAML reads not what is written."""
        node, line = self._root, 1
        for step in fault.path:
            found = self._child(node, step)
            if found is None:
                # What is missing is reported where it should be.
                return line, fault.message
            node, line = found
        if isinstance(node, ScalarNode) and not node.style and fault.message.endswith(QUOTES):
            got = fault.message.rpartition("got ")[2]
            if got == quote(self._loader.construct_object(node)) + QUOTES and node.value not in got:
                return line, f"{fault.message} (that is how YAML reads {node.value})"
        return line, fault.message

    def line(self, path: Iterable[Any]) -> int | None:
        """The line where the value stands to which *path* leads, counted from 1; None where there is none."""
        node, line = self._root, None
        for step in path:
            found = self._child(node, step)
            if found is None:
                return None
            node, line = found
        return line

    def _child(self, node: Node | None, step: Any) -> tuple[Node, int] | None:
        if isinstance(node, MappingNode):
            # From the end: what "<<" merges in comes first, and what is written here overrides it.
            for key, value in reversed(node.value):
                if isinstance(key, ScalarNode) and self._loader.construct_object(key) == step:
                    return value, _line(key)
        elif isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
            item = node.value[step]
            return item, _line(item)
        return None
