"""A domain in the form in which it is sent to a worker: JSON in which each content is a number.

The bytes themselves precede it (:class:`~eve_meta.wire.messages.PutContents`,
:class:`~eve_meta.wire.messages.PutSealedContent`), each content once for all domains of a worker. So the JSON that a
worker has to read to answer for a domain is short, however long the domain's user data are.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import attrs

from eve_meta.values.content import Content
from eve_meta.values.domain import Domain
from eve_meta.values.plain import make_converter

MAX_DESCRIPTION = 4 * 1024 * 1024
"""The most bytes of a domain's JSON: mappings of 256 KiB each (:data:`eve_meta.values.domain.MAX_MAPPING`), and much
room for all other values. A domain that exceeds this is not sent, and so not served."""


class DomainWriter:
    """Writes domains. One is enough for all workers: making a converter takes longer than writing 100 domains."""

    def __init__(self) -> None:
        self._number_of: Callable[[Content], int] = _no_number
        self._converter = make_converter()
        self._converter.register_unstructure_hook(Content, self._write_content)

    def write(self, domain: Domain, number_of: Callable[[Content], int]) -> bytes:
        """Return *domain* as JSON.

        :param number_of: returns the number by which the worker knows a content.
        """
        self._number_of = number_of
        return json.dumps(self._converter.unstructure(domain, Domain), separators=(",", ":")).encode()

    def _write_content(self, content: Content) -> int:
        return self._number_of(content)


def _no_number(content: Content) -> int:
    raise KeyError(content)


class DomainReader:
    """Reads the JSON of a :class:`DomainWriter`.

    :param content: returns the content of a number.
    """

    def __init__(self, content: Callable[[int], Content]) -> None:
        self._converter = make_converter()
        self._converter.register_structure_hook(Content, lambda number, _: content(number))

    def read(self, description: bytes) -> Domain:
        """Return the domain of *description*, which is JSON. Its values were validated before they were written."""
        with attrs.validators.disabled():
            return self._converter.structure(json.loads(description), Domain)
