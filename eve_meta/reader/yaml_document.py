"""Reads YAML that a person wrote, by the core schema of YAML 1.2, so that every mistake can be shown with its line.

The core schema (https://yaml.org/spec/1.2.2/, chapter 10.3) makes few types of plain text: ``off``, ``yes``,
``52:54:00:12:34:56`` and ``2024-01-01`` are text, and ``010`` is ten. PyYAML's own schema is that of YAML 1.1, to which
these are false, true, a number to the base of 60, a date and eight. The key ``<<``, which merges mappings, belongs to
YAML 1.1 alone; it is understood all the same, because people have it in their files.

Nor does PyYAML's ``safe_load`` suffice otherwise: it forgets the lines, silently takes the last of two equal keys,
turns 2 KB of aliases into gigabytes ("billion laughs"), and its C composer, which calls itself for each level of
nesting, overflows the stack of the whole process at some 50,000 levels. So libyaml, where PyYAML has it (12 times as
fast), makes events of the text, and :class:`_Builder` makes a value of them: without recursion, with bounds, and in
time that grows as the text does. Its mappings have text keys only: Python hashes text with a random key, but a number
by its value alone, so that numbers of one hash would make the price of a mapping quadratic.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from attrs import frozen
from yaml.error import MarkedYAMLError
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.scanner import Scanner

from eve_meta.reader.yaml_mistakes import explain
from eve_meta.values.checks import QUOTES, name_type
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

MAX_NUMBER = 100
"""The most characters of a number. Python's time for a long one grows with the square of its length."""

MAX_REPETITION = 2
"""Times the length of the text that its values may have together where aliases repeat them, beside
:data:`FREE_REPETITION`."""

FREE_REPETITION = 16 * 1024
"""Characters that aliases may repeat in any document."""

TWICE = "the key is given twice"

TOO_DEEP = f"expected at most {MAX_DEPTH} levels of nesting, got more"

_TAG = "tag:yaml.org,2002:"

_CORE = re.compile(
    r"(?P<null>~|null|Null|NULL|)"
    r"|(?P<true>true|True|TRUE)"
    r"|(?P<false>false|False|FALSE)"
    r"|(?P<int>[-+]?[0-9]+)"
    r"|(?P<octal>0o[0-7]+)"
    r"|(?P<hex>0x[0-9a-fA-F]+)"
    r"|(?P<float>[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)"
    r"|(?P<infinite>[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))"
)
"""The plain scalars that are no text, each by its type."""

_FIRST = frozenset("~nNtTfF0123456789+-.")
"""The characters with which such a scalar begins, where it is not empty."""

_OF_TAG = {
    f"{_TAG}null": (type(None),),
    f"{_TAG}bool": (bool,),
    f"{_TAG}int": (int,),
    f"{_TAG}float": (float, int),
}


class BrokenYaml(ValueError):
    """Text that is not YAML, or YAML that nobody would write. Its message quotes nothing of the text.

    :ivar line: the line of the mistake, counted from 1.
    :ivar column: its column in characters, counted from 1; None where the line as a whole is wrong.
    """

    def __init__(self, message: str, line: int, column: int | None = None) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


def _line(event: Any) -> int:
    line: int = event.start_mark.line + 1
    return line


def resolve(text: str, line: int) -> Any:
    """Return the value of the plain scalar *text* on *line*.

    :raises BrokenYaml: when it is a number of too many digits.
    """
    if text and text[0] not in _FIRST:
        return text
    match = _CORE.fullmatch(text)
    kind = None if match is None else match.lastgroup
    if kind is None:
        return text
    if kind in ("null", "true", "false"):
        return {"null": None, "true": True, "false": False}[kind]
    if len(text) > MAX_NUMBER:
        raise BrokenYaml(f"expected a number of at most {MAX_NUMBER} characters, got a longer one{QUOTES}", line)
    if kind == "infinite":
        return float(text.lower().replace(".", ""))
    return float(text) if kind == "float" else int(text, {"int": 10, "octal": 8, "hex": 16}[kind])


class _Open:
    """A mapping or list whose end has not come yet.

    :ivar value: the dict or list so far.
    :ivar lines: the line of each of its keys or items.
    :ivar key: the key whose value comes next; None where a key does. Of a list, always None.
    :ivar line: the line on which it begins.
    :ivar counted: the values, and their characters, that came before it.
    :ivar merges: whether the value of a ``<<`` comes next.
    :ivar merge_line: the line of that key, 0 for none.
    :ivar merged: the mappings that it brings, the first of which count most.
    """

    __slots__ = (
        *("anchor", "counted", "is_mapping", "key", "key_line", "line", "lines", "merge_line", "merged", "merges"),
        "value",
    )

    def __init__(self, *, is_mapping: bool, anchor: str | None, line: int, counted: tuple[int, int]) -> None:
        self.is_mapping = is_mapping
        self.value: Any = {} if is_mapping else []
        self.lines: Any = {} if is_mapping else []
        self.anchor = anchor
        self.line = line
        self.counted = counted
        self.key: str | None = None
        self.key_line = 0
        self.merges = False
        self.merge_line = 0
        self.merged: list[dict[str, Any]] = []


class _Builder:
    """Makes the value of one document of its events.

    :ivar lines: by the id() of each mapping and list, the lines of its keys or items.
    :ivar written: by the id() of a mapping or list, and key or index: the text of each plain scalar that is no text.
    :ivar literals: by the same, the line on which the text of each literal block begins.
    """

    def __init__(self, text: str, dialect: Dialect) -> None:
        self._dialect = dialect
        self._max_size = MAX_REPETITION * len(text) + FREE_REPETITION
        self.value: Any = None
        self.lines: dict[int, Any] = {}
        self.written: dict[tuple[int, Any], str] = {}
        self.literals: dict[tuple[int, Any], int] = {}
        self.mistakes: list[tuple[int, Fault]] = []
        self._stack: list[_Open] = []
        # Anchor → the value, the values within it, and their characters.
        self._anchors: dict[str, tuple[Any, int, int] | None] = {}
        # The lines of keys that are given again: of the first time.
        self._first: dict[tuple[int, str], int] = {}
        self._nodes = 0
        self._size = 0

    def build(self, parser: Any) -> None:
        """Take the events of *parser* until the end of the document."""
        next_event = parser.get_event
        documents = 0
        while True:
            event = next_event()
            kind = type(event)
            if kind is ScalarEvent:
                self._scalar(event)
            elif kind is MappingStartEvent or kind is SequenceStartEvent:
                self._open(event, is_mapping=kind is MappingStartEvent)
            elif kind is MappingEndEvent or kind is SequenceEndEvent:
                self._close()
            elif kind is AliasEvent:
                self._alias(event)
            elif kind is DocumentStartEvent:
                documents += 1
                if documents > 1:
                    message = "YAML: expected a single document in the stream, but found another document"
                    raise BrokenYaml(message, _line(event))
            elif kind is StreamEndEvent:
                return

    def _count(self, event: Any, nodes: int, size: int) -> None:
        self._nodes += nodes
        self._size += size
        if self._nodes > MAX_NODES:
            raise BrokenYaml(f"expected at most {MAX_NODES} values, aliases followed, got more", _line(event))
        if self._size > self._max_size:
            limit = f"expected at most {self._max_size} characters, aliases followed"
            raise BrokenYaml(f"{limit}, got more", _line(event))
        if len(self._stack) >= MAX_DEPTH:
            raise BrokenYaml(TOO_DEEP, _line(event))

    def _scalar(self, event: Any) -> None:
        text: str = event.value
        self._count(event, 1, len(text))
        line = _line(event)
        plain = not event.style
        value: Any = text
        if event.tag is not None:
            value = self._dialect.tagged(event, line)
        elif plain:
            value = self._dialect.plain(text, line)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, 1, len(text))
        top = self._stack[-1] if self._stack else None
        if top is not None and top.is_mapping and top.key is None and not top.merges:
            if plain and text == "<<" and event.tag is None:
                top.merges = True
                if top.merge_line:
                    self._repeated(text, line, top.merge_line)
                top.merge_line = line
            else:
                self._key(top, value, text, line)
            return
        if plain and type(value) is not str and top is not None:
            self.written[id(top.value), top.key if top.is_mapping else len(top.value)] = text
        if event.style in ("|", ">") and top is not None:
            place = top.key if top.is_mapping else len(top.value)
            if not text:
                # Most often a text that is not indented, whose "#cloud-config" is a comment to YAML.
                message = f"expected text below {event.style!r}, each of its lines indented by two blanks, got none"
                self.mistakes.append((line, Fault(self._path(place), message)))
            elif event.style == "|":
                self.literals[id(top.value), place] = line + 1
        self._put(value, line)

    def _key(self, top: _Open, value: Any, text: str, line: int) -> None:
        if type(value) is not str:
            fault = Fault(self._path(text), f"expected a key that is text, got {name_type(value)}{QUOTES}")
            self.mistakes.append((line, fault))
        if text in top.lines:
            self._repeated(text, line, self._first.setdefault((id(top.value), text), top.lines[text]))
        top.key, top.key_line = text, line

    def _repeated(self, key: str, line: int, earlier: int) -> None:
        fault = Fault(self._path(key), f"{TWICE}, first in line {earlier}")
        self.mistakes.append((line, fault))

    def _path(self, key: Any) -> tuple[Any, ...]:
        steps = (each.key if each.is_mapping else len(each.value) for each in self._stack[:-1])
        return (*("<<" if step is None else step for step in steps), key)

    def _open(self, event: Any, *, is_mapping: bool) -> None:
        before = (self._nodes, self._size)
        self._count(event, 1, 0)
        if event.tag not in (None, "!", f"{_TAG}{'map' if is_mapping else 'seq'}"):
            raise _unknown_tag(event)
        top = self._stack[-1] if self._stack else None
        line = _line(event)
        if top is not None and top.is_mapping and top.key is None and not top.merges:
            raise BrokenYaml(f"expected a key that is text, got a {'mapping' if is_mapping else 'list'}", line)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        opened = _Open(is_mapping=is_mapping, anchor=event.anchor, line=line, counted=before)
        self.lines[id(opened.value)] = opened.lines
        self._stack.append(opened)

    def _close(self) -> None:
        top = self._stack.pop()
        value = top.value
        if top.merged:
            own, own_lines = dict(value), dict(top.lines)
            value.clear()
            top.lines.clear()
            # What is merged in comes first, the later before the earlier, and the mapping's own keys override it.
            for each in reversed(top.merged):
                value.update(each)
                top.lines.update(self.lines[id(each)])
            value.update(own)
            top.lines.update(own_lines)
        if top.anchor is not None:
            nodes, size = top.counted
            self._anchors[top.anchor] = (value, self._nodes - nodes, self._size - size)
        self._put(value, top.line)

    def _alias(self, event: Any) -> None:
        line = _line(event)
        if event.anchor not in self._anchors:
            raise BrokenYaml("expected an alias of a value that stands before it, got another", line)
        anchored = self._anchors[event.anchor]
        if anchored is None:
            raise BrokenYaml("expected no alias within the value that it stands for, got one", line)
        value, nodes, size = anchored
        self._count(event, 1 + nodes, size)
        top = self._stack[-1]
        if top.is_mapping and top.key is None and not top.merges:
            if not isinstance(value, str):
                raise BrokenYaml(f"expected a key that is text, got {name_type(value)}", line)
            self._key(top, value, value, line)
        else:
            self._put(value, line)

    def _put(self, value: Any, line: int) -> None:
        if not self._stack:
            self.value = value
            return
        top = self._stack[-1]
        if not top.is_mapping:
            top.value.append(value)
            top.lines.append(line)
        elif top.merges:
            top.merges = False
            mappings = value if isinstance(value, list) else [value]
            for each in mappings:
                if not isinstance(each, dict):
                    got = name_type(each)
                    raise BrokenYaml(f"expected a mapping, or a list of mappings, to merge by '<<', got {got}", line)
            top.merged += mappings
        else:
            top.value[top.key] = value
            top.lines[top.key] = top.key_line
            top.key = None


def _tagged(event: Any, line: int) -> Any:
    text = event.value
    if event.tag in ("!", f"{_TAG}str"):
        return text
    if event.tag not in _OF_TAG:
        raise _unknown_tag(event)
    value = resolve(text, line)
    if type(value) not in _OF_TAG[event.tag]:
        kind = event.tag.rpartition(":")[2]
        raise BrokenYaml(f"YAML: expected a value of the type {kind}, which its tag names, got another", line)
    return value


def _unknown_tag(event: Any) -> BrokenYaml:
    return BrokenYaml("YAML: expected no tag, or one such as !!str, got another", _line(event))


@frozen
class Dialect:
    """How the values of scalars follow from their text.

    :ivar plain: returns the value of a plain scalar, given its text and its line.
    :ivar tagged: returns the value of a scalar with a tag, given its event and its line.
    """

    plain: Callable[[str, int], Any]
    tagged: Callable[[Any, int], Any]


CORE = Dialect(resolve, _tagged)
"""The core schema of YAML 1.2, in which domain files are written."""


class YamlDocument:
    """One YAML document: its value, and the line of each part.

    :param text: the whole document.
    :param dialect: the values of its scalars.
    :raises BrokenYaml: when *text* is not such a document.

    :ivar value: mappings with keys of text, lists, text, numbers, true, false and None.
    :ivar mistakes: the line and the fault of each key that is given twice or is no text, and of each empty block.
    """

    def __init__(self, text: str, dialect: Dialect = CORE) -> None:
        self._builder = _Builder(text, dialect)
        try:
            self._builder.build(EventParser(text))
        except ReaderError as error:
            # libyaml counts the position of the error in bytes, PyYAML in characters: find it anew.
            match = Reader.NON_PRINTABLE.search(text)
            at = match.start() if match else 0
            message = f"YAML: {error.reason}"
            raise BrokenYaml(message, text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)) from None
        except MarkedYAMLError as error:
            if error.problem == "exceeded maximum nesting depth":
                # Debian 13's libyaml has a limit of its own, 1,000 levels, and reads that far ahead for a ":".
                raise BrokenYaml(TOO_DEEP, error.problem_mark.line + 1 if error.problem_mark else 1) from None
            mistake = explain(text, error)
            raise BrokenYaml(f"YAML: {mistake.message}", mistake.line, mistake.column) from None
        self.value: Any = self._builder.value
        self.mistakes: tuple[tuple[int, Fault], ...] = tuple(self._builder.mistakes)

    def locate(self, path: Iterable[Any]) -> tuple[int, str]:
        """Return the line of the value at *path*, counted from 1, or where it should be; and how it is written.

        :returns: "" in place of the text of what is not a plain scalar, or is text to YAML as well.
        """
        value, line, container, last = self.value, 1, None, None
        for step in path:
            child = self._line(value, step)
            if child is None:
                # A missing field is reported where it should be.
                return line, ""
            container, last, line, value = value, step, child, value[step]
        return line, self._builder.written.get((id(container), last), "")

    def literal_line(self, path: Sequence[Any]) -> int | None:
        """Return the line on which the text at *path* begins that is written as a literal block ("|").

        :returns: None where the text is written otherwise: then its lines are not those of the document.
        """
        value = self.value
        for step in path[:-1]:
            if self._line(value, step) is None:
                return None
            value = value[step]
        return self._builder.literals.get((id(value), path[-1]))

    def line(self, path: Iterable[Any]) -> int | None:
        """Return the line of the value at *path*, counted from 1; None where there is no such value."""
        value, line = self.value, None
        for step in path:
            line = self._line(value, step)
            if line is None:
                return None
            value = value[step]
        return line

    def _line(self, value: Any, step: Any) -> int | None:
        within = step in value if isinstance(value, dict) else isinstance(value, list) and step in range(len(value))
        line: int | None = self._builder.lines[id(value)][step] if within else None
        return line
