"""cloud-config as cloud-init reads it: YAML 1.1, compared with cloud-init's own JSON schema.

cloud-init loads its YAML by PyYAML's ``safe_load``, to which ``off`` is false and ``2024-01-01`` a date. The schema is
cloud-init's ``schema-cloud-config-v1.json``, of draft 4. cloud-init logs what does not fit, and works with the rest.

No message quotes cloud-config: it may hold secrets. Names are those that the schema has.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jsonschema import Draft4Validator
from jsonschema.exceptions import best_match
from yaml.constructor import ConstructorError, SafeConstructor
from yaml.nodes import ScalarNode
from yaml.resolver import Resolver

from eve_meta.reader.yaml_document import MAX_NUMBER, TWICE, BrokenYaml, Dialect, YamlDocument
from eve_meta.values.checks import name_type
from eve_meta.values.text import suggestion

WITHOUT_SCHEMA = frozenset(
    {
        *("datasource", "datasource_list", "debug", "def_log_file", "manual_cache_clean", "merge_how", "merge_type"),
        *("output", "syslog_fix_perms", "system_info"),
    }
)
"""Keys of cloud-config that cloud-init reads although some versions of its schema do not have them."""

MAX_MISTAKES = 20
"""The most mistakes that are looked for."""

_TAG = "tag:yaml.org,2002:"
_WORDS = {
    "array": "a list",
    "object": "a mapping",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
}


class CloudConfig:
    """What cloud-init expects of cloud-config.

    :param schema: cloud-init's schema, as JSON; None where there is none. Then only the YAML counts.
    """

    def __init__(self, schema: bytes | None) -> None:
        self._schema: dict[str, Any] | None = None if schema is None else json.loads(schema)
        self._keys: set[str] = set()
        self._names: set[str] = set()
        if self._schema is not None:
            self._validator = Draft4Validator(self._schema)
            self._keys = set(_keys_of(self._schema, self._schema)) | WITHOUT_SCHEMA
            self._names = set(_names_in(self._schema))

    @staticmethod
    def document(text: str) -> YamlDocument:
        """Return *text* as cloud-init reads it.

        :raises BrokenYaml: where cloud-init cannot read it.
        """
        return YamlDocument(text, _AS_GUESTS_READ)

    def mistakes(self, document: YamlDocument) -> Iterator[tuple[int, str]]:
        """Yield line and message of each mistake in *document*, whose value is a mapping."""
        for line, fault in document.mistakes:
            if fault.message.startswith(TWICE):
                yield line, f"{TWICE}: cloud-init takes the last"
        if self._schema is None:
            return
        for key in document.value.keys() - self._keys:
            yield document.locate((key,))[0], _unknown_key(key, self._keys)
        found: dict[tuple[int, str], None] = {}
        for error in self._validator.iter_errors(document.value):
            if not error.absolute_path and error.validator == "additionalProperties":
                continue  # the unknown keys above
            deepest = best_match([error]) or error
            path = tuple(deepest.absolute_path)
            where = self._where(path)
            for step, message in _explain(deepest):
                found[document.locate((*path, *step))[0], f"{where}{message}"] = None
            if len(found) >= MAX_MISTAKES:
                break
        yield from found

    def _where(self, path: tuple[Any, ...]) -> str:
        """Return *path* as far as its keys are words of the schema, which are no secrets."""
        text = ""
        for step in path:
            if isinstance(step, int):
                text += f"[{step}]"
            elif step in self._names:
                text += f"{'.' if text else ''}{step}"
            else:
                break
        return f"{text}: " if text else ""


def _unknown_key(key: str, known: Iterable[str]) -> str:
    near = suggestion(key[:40], known)
    return f"this key is not in cloud-init's schema{f'; {near}' if near else ''}"


def _explain(error: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what *error* of jsonschema is about, each with the key below its path, without quoting a value."""
    got = name_type(error.instance)
    wanted = error.validator_value
    match error.validator:
        case "type":
            kinds = [wanted] if isinstance(wanted, str) else wanted
            *others, last = [_WORDS.get(kind, kind) for kind in kinds]
            listed = f"{', '.join(others)} or {last}" if others else last
            yield (), f"cloud-init expects {listed}, got {got}"
        case "enum":
            other = "other text" if isinstance(error.instance, str) else got
            yield (), f"cloud-init expects one of {', '.join(map(str, wanted))}, got {other}"
        case "required":
            for key in wanted:
                if key not in error.instance:
                    yield (), f"cloud-init expects the key {key!r}, which is missing"
        case "additionalProperties":
            known = error.schema.get("properties", {})
            for key in error.instance.keys() - known.keys():
                yield (key,), _unknown_key(key, known)
        case "minItems" | "minLength" | "minProperties":
            yield (), f"cloud-init expects at least {wanted} of it, got fewer"
        case "pattern" | "format":
            yield (), f"cloud-init expects text of the form {wanted}, got other text"
        case _:
            yield (), f"cloud-init expects another form of it, got {got}"


def _keys_of(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys that a mapping may have to which *schema* applies."""
    yield from schema.get("properties", ())
    for part in (*schema.get("allOf", ()), *schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from _keys_of(part, root)
    if "$ref" in schema:
        target: Any = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        yield from _keys_of(target, root)


def _names_in(schema: Any) -> Iterator[str]:
    """Yield all names of properties in *schema*."""
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield from schema["properties"]
        for part in schema.values():
            yield from _names_in(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _names_in(part)


_CONSTRUCTOR = SafeConstructor()


def _plain(text: str, line: int) -> Any:
    if len(text) > MAX_NUMBER:
        return text
    for tag, pattern in Resolver.yaml_implicit_resolvers.get(text[:1], ()):
        if pattern.match(text):
            return _construct(tag, text, line)
    return text


def _tagged(event: Any, line: int) -> Any:
    if not event.tag.startswith(_TAG):
        if event.tag == "!":
            return event.value
        raise BrokenYaml("expected no tag, or one such as !!binary, got another", line)
    # What is within !!binary is bytes to cloud-init, which its schema takes for text.
    text: str = event.value
    return text if event.tag.endswith(("binary", "str")) else _construct(event.tag, text, line)


def _construct(tag: str, text: str, line: int) -> Any:
    if tag.endswith((":merge", ":value")):
        return text
    try:
        return _CONSTRUCTOR.construct_object(ScalarNode(tag, text))
    except (ConstructorError, ValueError, LookupError, OverflowError, AttributeError):
        raise BrokenYaml(
            "expected a value of the type that its tag names, or that it looks like, got another", line
        ) from None


_AS_GUESTS_READ = Dialect(_plain, _tagged)
