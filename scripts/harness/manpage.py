"""eve-meta(8), made from the commands' own --help.

click-man would make one page for each command, and leave out the examples.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

import eve_meta.cli
from eve_meta.cli.options import CONFIG_VARIABLE
from eve_meta.config import DEFAULT_PATH, Config, read_only_socket

HEAD = """\
.\\" Made by scripts/harness/manpage.py from the output of "eve-meta --help".
.TH EVE-META 8 "" "eve-meta" "System Administration"
.nh
.ad l"""

FILES = (
    (str(DEFAULT_PATH), "The configuration; every key has a default, and the file may be missing."),
    (str(Config().inventory.directory), 'Domain files, one for each VM; "eve-meta new" begins one.'),
    (str(Config().paths.state), "What guests posted, and the key of their session tokens."),
    (str(Config().admin.socket), "Where the daemon answers root's commands."),
    (
        str(read_only_socket(Config().admin.socket)),
        f"Where it answers those of the group {Config().admin.operators}, which show no secret and change nothing.",
    ),
    (f"/run/netns/{Config().steering.namespace}", "The network namespace in which the workers answer guests."),
)

ENVIRONMENT = (
    (CONFIG_VARIABLE, "The configuration file, where --config does not name one."),
    ("NO_COLOR", "If it is not empty, nothing is shown in colours."),
)

EXIT_STATUS = (
    ("0", "All is well."),
    ("1", "Something is wrong; a line on standard error says what, where, and what to do."),
    ("2", "A command was typed wrong."),
)


def page() -> str:
    """Return the page, in roff."""
    root = click.Context(eve_meta.cli.cli, info_name="eve-meta")
    return "\n".join([HEAD, *_page(root), ""])


def _page(root: click.Context) -> Iterator[str]:
    group = eve_meta.cli.cli
    names = group.list_commands(root)
    yield ".SH NAME"
    yield escape(f"eve-meta - {_lower((group.help or '').rstrip('.'))}").replace(" \\- ", " \\- ", 1)
    yield ".SH SYNOPSIS"
    for name in names:
        yield from _synopsis(_context(root, name))
    yield ".SH COMMANDS"
    for name in names:
        context = _context(root, name)
        yield f".SS {escape(context.command_path)}"
        yield from paragraphs(context.command.help or "")
        yield from _options(context)
        yield from paragraphs(context.command.epilog or "")
    for title, rows in (("FILES", FILES), ("ENVIRONMENT", ENVIRONMENT), ("EXIT STATUS", EXIT_STATUS)):
        yield f".SH {title}"
        for term, text in rows:
            yield from (".TP", f".B {escape(term)}", escape(text))
    yield ".SH SEE ALSO"
    pages = (
        "eve\\-meta\\-domain (5)",
        "eve\\-meta.toml (5)",
        "tc (8)",
        "ip\\-netns (8)",
        "systemctl (1)",
        "cloud\\-init (1)",
    )
    yield ",\n".join(f".BR {each}" for each in pages)


def _context(root: click.Context, name: str) -> click.Context:
    command = eve_meta.cli.cli.get_command(root, name)
    assert command is not None
    return click.Context(command, info_name=name, parent=root)


def _synopsis(context: click.Context) -> Iterator[str]:
    yield f".B {escape(context.command_path)}"
    yield escape(" ".join(context.command.collect_usage_pieces(context)))
    yield ".br"


def _options(context: click.Context) -> Iterator[str]:
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and record[1]:
            yield from (".TP", f".B {escape(record[0])}", escape(" ".join(record[1].split())))


def paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs of a help text in roff.

    As in click, blank lines separate paragraphs, and a paragraph that begins with a backspace keeps its line breaks.
    """
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        if paragraph.startswith("\b"):
            yield from (".PP", ".nf", *(escape(line) for line in paragraph.splitlines()[1:]), ".fi")
        else:
            yield from (".PP", escape(" ".join(paragraph.split())))


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def escape(text: str) -> str:
    r"""Escape *text* for roff: a "-" that can be typed is "\-", and no line begins with a request ("." or "'")."""
    plain = text.replace("\\", r"\e").replace("-", r"\-")
    return re.sub(r"^(?=[.'])", r"\\&", plain, flags=re.MULTILINE)
