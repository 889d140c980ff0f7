"""What is wrong with YAML that cannot be read, in words that its author knows, and where.

libyaml and PyYAML tell where they gave up, and what their grammar wanted there ("did not find expected key"). The cause
is often before that place, and has a name: a tab, a quote that is not closed, a line that is not indented. The rules
here look at the text for it. Their messages quote nothing of the text but single characters: it may hold secrets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from attrs import frozen
from yaml.error import Mark, MarkedYAMLError

_UNQUOTED = re.compile(r"""(?:[^'"]|(['"]).\1)*""", re.DOTALL)
_TAB = re.compile(r" *\t")
_BLOCK = re.compile(r".*:\s+[|>][-+0-9]*\s*(?:#.*)?\Z")
_NO_BLANK = re.compile(r"\s*[\w-]+:[^\s:/]")


@frozen
class Mistake:
    """The place of what is wrong, both counted from 1, and what it is."""

    line: int
    column: int
    message: str


@frozen
class _Error:
    """An error of a YAML parser.

    :ivar lines: the lines of the text.
    :ivar problem: what the parser wanted.
    :ivar context: what it was about, "" for nothing.
    :ivar at: where it gave up.
    :ivar begin: where the thing began that it was about.
    """

    lines: list[str]
    problem: str
    context: str
    at: Mark
    begin: Mark

    def line(self, number: int) -> str:
        return self.lines[number] if 0 <= number < len(self.lines) else ""

    @property
    def character(self) -> str:
        """The character at which the parser gave up, "" at the end of a line."""
        return self.line(self.at.line)[self.at.column : self.at.column + 1]

    @property
    def before(self) -> str:
        """What stands before it in the same line."""
        return self.line(self.at.line)[: self.at.column]

    @property
    def above(self) -> tuple[int, str]:
        """The number of the last line before the thing began that has a word, and the line."""
        number = self.begin.line - 1
        while number > 0 and (not self.line(number).strip() or self.line(number).lstrip().startswith("#")):
            number -= 1
        return number, self.line(number)


_Found = tuple[Mark | None, int, int, str]


def explain(text: str, error: MarkedYAMLError) -> Mistake:
    """Return what is wrong with *text*, at which a parser raised *error*."""
    at = error.problem_mark or error.context_mark
    if at is None:
        return Mistake(1, 1, _words_of(error))
    # As libyaml counts lines: Python's splitlines() knows more of them.
    lines = re.split(r"\r\n|[\r\n\x85\u2028\u2029]", text)
    known = _Error(lines, error.problem or "", error.context or "", at, error.context_mark or at)
    for rule in _RULES:
        for mistake in rule(known):
            return mistake
    return Mistake(at.line + 1, at.column + 1, _words_of(error))


def _words_of(error: MarkedYAMLError) -> str:
    """Return the parser's own words, as far as they quote nothing of the document but single characters.

    A password that begins with "*", "&" or "!" is an alias, an anchor or a tag to YAML, whose errors name it.
    """
    parts = (
        match.group().rstrip() for part in (error.context, error.problem) if part and (match := _UNQUOTED.match(part))
    )
    return ", ".join(part for part in parts if part)


def _here(mark: Mark, message: str) -> Mistake:
    return Mistake(mark.line + 1, mark.column + 1, message)


def _tab(error: _Error) -> Iterator[Mistake]:
    match = _TAB.match(error.line(error.at.line))
    if match:
        message = "a tab indents this line, where YAML takes blanks alone: write blanks in its place"
        yield Mistake(error.at.line + 1, match.end(), message)


def _open_quote(error: _Error) -> Iterator[Mistake]:
    if "quoted scalar" in error.context and "end of stream" in error.problem:
        yield _here(error.begin, "the quote that opens here is not closed")
    elif error.before.rstrip()[-1:] in ("'", '"') and ("expected key" in error.problem or "block end" in error.problem):
        message = (
            "text follows a quote that closes: put the whole value in quotes, or look for a quote above that is open"
        )
        yield _here(error.at, message)


def _escape(error: _Error) -> Iterator[Mistake]:
    if re.search(r"escape character|hexdecimal|escape sequence", error.problem):
        message = "a backslash within double quotes begins an escape: write two of them, or use single quotes"
        yield _here(error.at, message)


def _special_character(error: _Error) -> Iterator[Mistake]:
    if "cannot start any token" in error.problem and error.character in ("@", "`", "%"):
        yield _here(error.at, f"a value that begins with {error.character!r} needs quotes")
    elif "scanning an alias" in error.context or "scanning an anchor" in error.context:
        yield _here(error.begin, f"a value that begins with {'*' if 'alias' in error.context else '&'!r} needs quotes")
    elif "scanning a directive" in error.context:
        yield _here(error.begin, "a line that begins with '%' is a directive to YAML: indent it, or put it in quotes")


def _no_colon(error: _Error) -> Iterator[Mistake]:
    if "could not find expected ':'" not in error.problem:
        return
    number, above = error.above
    if _BLOCK.match(above):
        yield _here(
            error.begin, f"the text below line {number + 1} is not indented: begin each of its lines with two blanks"
        )
    elif _NO_BLANK.match(error.line(error.begin.line)):
        yield _here(error.begin, "there is no blank after the colon: write 'key: value'")
    else:
        message = "expected 'key: value', got other text; if it belongs to the value above, indent it"
        yield _here(error.begin, message)


def _colon(error: _Error) -> Iterator[Mistake]:
    if "mapping values are not allowed" not in error.problem:
        return
    if re.search(r":\s", error.before):
        yield _here(error.at, "a second ': ' in one line: put the value in quotes")
    elif _NO_BLANK.match(error.line(error.at.line - 1)):
        yield Mistake(error.at.line, 1, "there is no blank after the colon: write 'key: value'")
    else:
        column = len(error.before) - len(error.before.lstrip()) + 1
        message = "this line is indented below a key that has its value already: begin it where that key begins"
        yield Mistake(error.at.line + 1, column, message)


def _list_in_line(error: _Error) -> Iterator[Mistake]:
    if "sequence entries are not allowed" in error.problem:
        message = "a list's first item is in the line of its key: begin it, '- ', on a line of its own"
        yield _here(error.at, message)


def _bracket(error: _Error) -> Iterator[Mistake]:
    closing = re.search(r"expected ',' or '([\]}])'", error.problem)
    if not closing:
        return
    opening = {"]": "[", "}": "{"}[closing[1]]
    if error.at.line >= len(error.lines) - 1 and not error.character:
        yield _here(error.begin, f"the {opening!r} that opens here is not closed")
    else:
        where = f"the {opening!r} of line {error.begin.line + 1}"
        yield _here(error.at, f"{where} is not closed before this, or a comma is missing")


def _stray_bracket(error: _Error) -> Iterator[Mistake]:
    if not re.search(r"expected (the )?node content", error.problem):
        return
    if error.at.line >= len(error.lines) - 1 and not error.character:
        yield _here(error.at, "the text ends here within '[' or '{', which is not closed")
    elif error.character in ("]", "}", ","):
        yield _here(error.at, f"expected a value, got {error.character!r}: remove it, or put it in quotes")


def _indentation(error: _Error) -> Iterator[Mistake]:
    if "block collection" in error.context and ("indicator" in error.problem or "block end" in error.problem):
        message = (
            f"expected another item, '- ', of the list that begins in line {error.begin.line + 1}, got something else"
        )
        yield _here(error.at, message)
    elif "block mapping" in error.context and ("expected key" in error.problem or "block end" in error.problem):
        if error.line(error.at.line).lstrip().startswith("- ") and error.at.column == error.begin.column:
            yield _here(error.at, "expected a key, got an item of a list: a list needs a key of its own above it")
            return
        if error.before.strip():
            message = f"expected the end of the value, got {error.character!r}: remove it, or put the value in quotes"
            yield _here(error.at, message)
            return
        message = f"this line begins in column {error.at.column + 1}: expected column {error.begin.column + 1}"
        yield _here(error.at, f"{message}, as the keys above have, or deeper than the value above")


def _block_header(error: _Error) -> Iterator[Mistake]:
    if "block scalar" in error.context and re.search("comment or|chomping or", error.problem):
        yield _here(
            error.at, "expected nothing more in this line: the text of '|' and '>' begins in the next, indented"
        )


_RULES: tuple[Callable[[_Error], Iterator[Mistake]], ...] = (
    _tab,
    _open_quote,
    _escape,
    _special_character,
    _no_colon,
    _colon,
    _list_in_line,
    _bracket,
    _stray_bracket,
    _indentation,
    _block_header,
)
"""The first rule that knows the mistake tells it."""
