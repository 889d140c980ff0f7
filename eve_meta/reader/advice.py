"""Advice on a domain file that is good: what its guest will pass over, or do with it that nobody means.

A daemon takes such a file as it is. ``eve-meta check`` shows the advice; only its reader loads jsonschema, cryptography
and cloud-init's schema.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from eve_meta.reader.cloud_config import CloudConfig
from eve_meta.reader.domain_text import read_domain, read_profile
from eve_meta.reader.ssh_keys import load_modules, unreadable
from eve_meta.reader.user_data import remarks
from eve_meta.reader.yaml_document import YamlDocument
from eve_meta.values.domain import Domain
from eve_meta.values.plain import Fault, field_of, make_converter
from eve_meta.values.written import doubtful, untold
from eve_meta.wire.reading import MAX_FAULTS, MAX_FIELD, MAX_MESSAGE, DomainAnswer, FaultAt

_CONVERTER = make_converter(written=True)
_Located = tuple[int | None, Fault]


class Adviser:
    """Knows what guests do with what they read.

    :param schema: cloud-init's schema of cloud-config, as JSON; None where there is none.
    """

    def __init__(self, schema: bytes | None) -> None:
        self._cloud_config = CloudConfig(schema)

    def load_modules(self) -> None:
        """Give advice on a domain file that has everything: some modules are imported only then."""
        load_modules()
        user_data = "#cloud-config\n  users: [{nam: 2024-01-01, name: 5}]"
        self.on_domain(f"name: a\npublic_keys: {{a: ssh-rsa A}}\nuser_data: |\n  {user_data}\n".encode())
        self.on_user_data(b'{"ignition": 1')

    def on_domain(self, content: bytes) -> DomainAnswer:
        """Return the advice on a domain file; none on one that is broken."""
        return self._on_read(content, *read_domain(content))

    def on_profile(self, content: bytes) -> DomainAnswer:
        """Return the advice on the file of a profile, as :meth:`on_domain`."""
        return self._on_read(content, *read_profile(content, "profile"))

    def _on_read(self, content: bytes, answer: DomainAnswer, parts: list[bytes]) -> DomainAnswer:
        if answer.domain is None:
            return DomainAnswer()
        return _answer(sorted(self._domain(content.decode(), answer.domain, parts), key=lambda each: each[0] or 0))

    def on_user_data(self, content: bytes) -> DomainAnswer:
        """Return the advice on a file of user data."""
        return _answer((each.line, Fault((), each.message)) for each in remarks(content, self._cloud_config))

    def _domain(self, text: str, plain: dict[str, Any], parts: list[bytes]) -> Iterator[_Located]:
        document = YamlDocument(text)
        rest = {key: value for key, value in plain.items() if key not in ("user_data", "files")}
        domain = _CONVERTER.structure(rest, Domain)
        for fault in (*doubtful(domain), *untold(domain)):
            yield document.locate(fault.path)[0], fault
        for name, key in domain.public_keys.items():
            path = ("public_keys", name)
            if (why := unreadable(key)) is not None:
                yield document.locate(path)[0], Fault(path, why)
        if plain.get("user_data") is not None:
            form = "user_data" if "user_data" in document.value else "user_data_base64"
            yield from self._user_data(document, (form,), parts[plain["user_data"]])
        for form in ("vendor_data", "vendor_data2"):
            # The key that cloud-init reads of it (convert_vendordata of cloudinit/sources/__init__.py).
            value = (plain.get(form) or {}).get("cloud-init")
            if isinstance(value, str):
                yield from self._user_data(document, (form, "cloud-init"), value.encode("utf-8", "surrogatepass"))

    def _user_data(self, document: YamlDocument, path: tuple[str, ...], content: bytes) -> Iterator[_Located]:
        begin = document.literal_line(path)
        for each in remarks(content, self._cloud_config):
            line = document.locate(path)[0] if begin is None else begin + each.line - 1
            yield line, Fault(path[:1], each.message)


def _answer(found: Any) -> DomainAnswer:
    located = list(found)
    return DomainAnswer(
        faults=[
            FaultAt(line, field_of(Domain, fault.path)[:MAX_FIELD], fault.message[:MAX_MESSAGE])
            for line, fault in located[:MAX_FAULTS]
        ],
        more=max(0, len(located) - MAX_FAULTS),
    )
