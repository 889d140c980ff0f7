"""One thing that a guest reads: bytes and their content type."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attrs import field, frozen

SEED_BYTES = 512
"""Random bytes in ``random_seed`` (nova's ``os.urandom(512)``): 684 characters of base64."""

ETAG_DIGITS = 32
"""Hexadecimal digits of an entity tag: 128 bits, of which no two documents are alike by chance."""

PLAIN = "text/plain; charset=UTF-8"
JSON = "application/json"
HTML = "text/html; charset=UTF-8"


@frozen
class Document:
    """What a guest reads at one path.

    :ivar body: the bytes, without the seed.
    :ivar content_type: the value of ``Content-Type``.
    :ivar seed_at: where in *body* the characters of a fresh ``random_seed`` belong; None for a document without one.
    :ivar status: the status code to send it with.
    """

    body: bytes = field(repr=False)  # secrets do not belong into a log
    content_type: str = PLAIN
    seed_at: int | None = None
    status: int = 200
    _etag: str | None = field(default=None, init=False, repr=False, eq=False)

    @property
    def etag(self) -> str | None:
        """The entity tag, as ``ETag`` has it (RFC 9110 section 8.8.3); None for a document with a place for a seed.

        It is a strong one: equal for equal bytes only. A seeded document has none, because its bytes are others in each
        answer. A weak one would be no better: whoever is told 304 uses what it has again, and so an old seed.
        """
        if self.seed_at is not None:
            return None
        if self._etag is None:
            # Computed when first asked for, then kept: most documents are read once, but to hash 16 MiB of user data
            # takes 10 ms, and how often that is asked for is up to the guest.
            object.__setattr__(self, "_etag", f'"{hashlib.sha256(self.body).hexdigest()[:ETAG_DIGITS]}"')
        return self._etag

    def render(self, seed: bytes) -> bytes:
        """The bytes to send, with *seed* filled in where the document has a place for it.

        A seed is good for one answer only: two guests, or one guest twice, must never be told the same randomness.

        :param seed: :data:`SEED_BYTES` random bytes.
        :raises ValueError: when *seed* has another length.
        """
        if len(seed) != SEED_BYTES:
            raise ValueError(f"expected {SEED_BYTES} random bytes, got {len(seed)}")
        if self.seed_at is None:
            return self.body
        return self.body[: self.seed_at] + base64.b64encode(seed) + self.body[self.seed_at :]


def text(value: object) -> Document:
    """*value* as plain text, without a newline at the end."""
    return Document(str(value).encode())


def lines(values: Iterable[str]) -> Document:
    """A listing: *values* joined by newlines, none at the end. cloud-init would read an empty last line as a name."""
    return text("\n".join(values))


def dump(value: Mapping[str, Any]) -> bytes:
    """*value* as nova writes JSON: one line, ``", "`` and ``": "``, everything beyond ASCII escaped."""
    return json.dumps(value).encode("ascii")


class PerVersion:
    """Documents made once for each version, when first asked for; versions with equal bytes share one.

    A guest reads one or two versions of the many. One that reads them all must not make us hold its data ten times.

    :param make: makes the document of a version. It must not refer to the object that holds this one: trees come and go
        with their guests, and a circle would keep them until the garbage collector finds it.
    """

    def __init__(self, make: Callable[[str], Document]) -> None:
        self._make = make
        self._made: dict[str, Document] = {}

    def get(self, version: str) -> Document:
        """The document of *version*, which the caller took from a table: what a guest asks for must not end up here."""
        if version not in self._made:
            made = self._make(version)
            self._made[version] = next((known for known in self._made.values() if known == made), made)
        return self._made[version]
