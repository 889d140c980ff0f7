"""User data as a guest reads them: what the guest will pass over, or fail at.

Each program in a guest knows user data by their beginning: cloud-init (``INCLUSION_TYPES_MAP`` of
``cloudinit/handlers/__init__.py``), cloudbase-init (its module ``execcmd``), Ignition. No
remark quotes user data, which may hold secrets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from email import message_from_string
from email.errors import MessageError
from typing import Any

from attrs import frozen

from eve_meta.reader.cloud_config import CloudConfig
from eve_meta.reader.ssh_keys import unreadable
from eve_meta.reader.yaml_document import BrokenYaml, YamlDocument
from eve_meta.values.checks import name_type
from eve_meta.values.public_key import mistaken
from eve_meta.values.text import suggestion

OF_CLOUD_INIT = (
    *("#cloud-config-archive", "#cloud-config-jsonp", "#cloud-config", "#cloud-boothook", "#part-handler"),
    *("#include-once", "#include", "## template: jinja", "#!"),
)
"""The beginnings that cloud-init knows, in any case, and after any white space."""

OF_OTHERS = ("#ps1", "rem cmd", "<powershell>", "<script>", "###")
"""The beginnings that other programs know: cloudbase-init and, at last, NixOS' ``amazon-init``."""

GZIP = b"\x1f\x8b"

IGNITION_KEYS = ("ignition", "kernelArguments", "networkd", "passwd", "storage", "systemd")
"""The keys of Ignition's configuration, of all its versions (https://coreos.github.io/ignition/specs/)."""

MAX_MIME_HEAD = 4096
"""The characters among which cloud-init looks for "MIME-Version:" (``convert_string``, ``cloudinit/user_data.py``)."""

_IGNITION_VERSION = re.compile(r"\d+\.\d+\.\d+(-[\w.]+)?\Z")
_YAML_KEY = re.compile(r"(?m)\A(?:#.*\n|\s*\n)*[A-Za-z_]\w*:(?:\s|\Z)")
_BUTANE = re.compile(r"(?m)^variant: *[a-z]+ *$")


@frozen
class Remark:
    """What a guest does with user data that their author hardly means.

    :ivar line: the line within the user data, counted from 1.
    """

    line: int
    message: str


def remarks(content: bytes, cloud_config: CloudConfig) -> Iterator[Remark]:
    """Yield what is remarkable about the user data *content*."""
    if not content.strip() or content.startswith(GZIP):
        return
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return  # an archive or a program, which are for somebody who knows them
    if "mime-version:" in text[:MAX_MIME_HEAD].lower():
        yield from _multipart(text, cloud_config)
        return
    begin = text.lstrip()
    line = text.count("\n", 0, len(text) - len(begin)) + 1
    kind = next((each for each in OF_CLOUD_INIT if begin.lower().startswith(each)), None)
    if kind == "#!":
        if begin.partition("\n")[0].endswith("\r"):
            yield Remark(
                line, "the script's lines end with CR LF: the guest looks for a program whose name ends with CR"
            )
    elif kind == "#cloud-config":
        yield from _cloud_config(text, cloud_config)
    elif kind == "#cloud-config-archive":
        yield from _archive(text, cloud_config)
    elif kind is not None or begin.lower().startswith(OF_OTHERS):
        return
    elif begin.startswith("{"):
        yield from _ignition(text, line)
    else:
        yield Remark(line, f"no cloud-init reads it: {_beginning(begin)}")


def _beginning(text: str) -> str:
    expected = "expected it to begin with '#cloud-config', '#!' and a program, or another of cloud-init's headers"
    first = text.partition("\n")[0].strip().lower()
    if near := suggestion(first[:40], OF_CLOUD_INIT, cutoff=0.7):
        return f"{expected}; {near}"
    if _BUTANE.search(text):
        return f"{expected}; if this is Butane's YAML, let 'butane' make Ignition's JSON of it"
    if _YAML_KEY.match(text):
        return f"{expected}; if this is cloud-config, write '#cloud-config' as the first line"
    return expected


def _document(text: str, kind: type, header: str, cloud_config: CloudConfig) -> YamlDocument | Remark | None:
    """Return the YAML below *header*, which is to be a *kind*; None where there is nothing."""
    try:
        document = cloud_config.document(text)
    except BrokenYaml as error:
        return Remark(error.line, f"cloud-init cannot read it: {error}")
    if document.value is None or isinstance(document.value, kind):
        return document if document.value else None
    got = name_type(document.value)
    return Remark(1, f"cloud-init passes it over: expected {name_type(kind())} below {header!r}, got {got}")


def _cloud_config(text: str, cloud_config: CloudConfig) -> Iterator[Remark]:
    document = _document(text, dict, "#cloud-config", cloud_config)
    if isinstance(document, Remark):
        yield document
    elif document is not None:
        yield from (Remark(line, message) for line, message in cloud_config.mistakes(document))
        yield from _keys(document)


def _keys(document: YamlDocument) -> Iterator[Remark]:
    """Yield what is wrong with the public keys in cloud-config."""
    users = document.value.get("users")
    accounts = [((), document.value), *((("users", at), user) for at, user in enumerate(_list(users)))]
    for path, account in accounts:
        for name in ("ssh_authorized_keys", "ssh-authorized-keys"):  # the second is the older name
            keys = _list(account.get(name)) if isinstance(account, dict) else []
            for number, key in enumerate(keys):
                if isinstance(key, str) and (why := mistaken(key) or unreadable(key)) is not None:
                    where = f"users[{path[1]}].{name}" if path else name
                    yield Remark(document.locate((*path, name, number))[0], f"{where}[{number}]: {why}")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _archive(text: str, cloud_config: CloudConfig) -> Iterator[Remark]:
    """Yield what is remarkable about the parts of an archive (``_explode_archive`` of ``cloudinit/user_data.py``)."""
    document = _document(text, list, "#cloud-config-archive", cloud_config)
    if isinstance(document, Remark):
        yield document
    elif document is not None:
        for number, entry in enumerate(document.value):
            content, path = (
                (entry.get("content"), (number, "content")) if isinstance(entry, dict) else (entry, (number,))
            )
            if isinstance(content, str):
                begin = document.literal_line(path)
                kind = entry.get("type") if isinstance(entry, dict) else None
                for each in _part(content, kind, cloud_config):
                    line = document.locate(path)[0] if begin is None else begin + each.line - 1
                    yield Remark(line, each.message)


def _multipart(text: str, cloud_config: CloudConfig) -> Iterator[Remark]:
    """Yield what is remarkable about the parts of a MIME message."""
    try:
        message = message_from_string(text)
        parts = [part for part in message.walk() if not part.is_multipart()]
    except (MessageError, RecursionError):
        return
    at = 0
    for part in parts:
        written = part.get_payload()
        content = part.get_payload(decode=True)
        if not isinstance(written, str) or not isinstance(content, bytes):
            continue
        at = max(text.find(written, at), at)
        begin = text.count("\n", 0, at) + 1
        plain = content.decode(errors="replace")
        for each in _part(plain, part.get_content_type(), cloud_config):
            yield Remark(begin + each.line - 1 if plain == written else begin, each.message)


def _part(text: str, kind: Any, cloud_config: CloudConfig) -> Iterator[Remark]:
    """Yield what is remarkable about a part of user data, whose MIME type is *kind*.

    cloud-init goes by the type where there is one that says something. A part of an archive without a type is
    cloud-config, unless its beginning says something else.
    """
    header = next((each for each in OF_CLOUD_INIT if text.lstrip().lower().startswith(each)), None)
    if kind == _CLOUD_CONFIG or (kind is None and header is None):
        yield from _cloud_config(text, cloud_config)
    elif kind in (None, *_OF_ANY_KIND) and header in (None, "#cloud-config", "#!"):  # no archive within an archive
        yield from remarks(text.encode("utf-8", "surrogatepass"), cloud_config)


_CLOUD_CONFIG = "text/cloud-config"

_OF_ANY_KIND = ("text/plain", "text/x-not-multipart")
"""The types of parts whose beginning tells cloud-init what they are (``TYPE_NEEDED`` of ``cloudinit/user_data.py``)."""


def _ignition(text: str, line: int) -> Iterator[Remark]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        yield Remark(error.lineno, f"no guest reads it: not JSON: {error.msg} (column {error.colno})")
        return
    except RecursionError:
        yield Remark(line, "no guest reads it: JSON with too many levels")
        return
    if not isinstance(value.get("ignition"), Mapping):
        yield Remark(
            line, "no guest reads it: expected Ignition's JSON, which has the key 'ignition', or cloud-init's headers"
        )
        return
    version: Any = value["ignition"].get("version")
    if not isinstance(version, str) or not _IGNITION_VERSION.match(version):
        yield Remark(_find(text, "ignition"), "Ignition refuses it: expected an 'ignition.version' such as \"3.3.0\"")
    for key in value.keys() - set(IGNITION_KEYS):
        near = suggestion(key[:40], IGNITION_KEYS)
        hint = f"; {near}" if near else f": known are {', '.join(IGNITION_KEYS)}"
        yield Remark(_find(text, key), f"Ignition does not know this key{hint}")


def _find(text: str, key: str) -> int:
    """Return the line of the first *key* in the JSON *text*; 1 where it is written with escapes."""
    at = text.find(json.dumps(key))
    return text.count("\n", 0, at) + 1 if at >= 0 else 1
