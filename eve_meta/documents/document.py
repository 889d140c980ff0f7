"""A document, which a guest reads: bytes and their content type."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attrs import field, frozen

from eve_meta.values.content import SMALL, Content

SEED_BYTES = 512
"""The random bytes in a ``random_seed`` (nova's ``os.urandom(512)``): 684 characters of base64."""

ETAG_DIGITS = 32
"""The hexadecimal digits of an entity tag: 128 bits, which no two documents share by chance."""

PLAIN = "text/plain; charset=UTF-8"
OCTETS = "application/octet-stream"
JSON = "application/json"
HTML = "text/html; charset=UTF-8"


@frozen
class Document:
    """The document at one path.

    :ivar body: the bytes, without the seed. A :class:`~eve_meta.values.content.Content` has more than
        :data:`~eve_meta.values.content.SMALL` of them; its bytes are read as they are sent.
    :ivar content_type: the value of ``Content-Type``.
    :ivar seed_at: where in *body* the characters of a fresh ``random_seed`` belong; None for a document without one.
    :ivar status: the status code of the answer.
    """

    body: bytes | Content = field(repr=False)  # secrets do not belong in a log
    content_type: str = PLAIN
    seed_at: int | None = None
    status: int = 200
    _etag: str | None = field(default=None, init=False, repr=False, eq=False)

    @property
    def etag(self) -> str | None:
        """The value of ``ETag`` (RFC 9110 section 8.8.3); None for a document with a place for a seed.

        It is a strong entity tag: equal for equal bytes only. A document with a seed has none, because its bytes differ
        in each answer. A weak tag would be no better: a client that gets a 304 uses its copy again, and with it an old
        seed.
        """
        if self.seed_at is not None:
            return None
        if self._etag is None:
            # Computed at the first use and kept: most documents are read once, but the guest decides how often it asks.
            body = self.body
            digest = body.digest if isinstance(body, Content) else hashlib.sha256(body).hexdigest()
            self._keep_etag(digest)
        return self._etag

    def _keep_etag(self, digest: str) -> None:
        object.__setattr__(self, "_etag", f'"{digest[:ETAG_DIGITS]}"')

    def render(self, seed: bytes) -> bytes | Content:
        """Return the bytes to send, with *seed* filled in where the document has a place for it.

        A seed serves one answer only: no two guests, and no guest twice, may ever read the same randomness.

        :param seed: :data:`SEED_BYTES` random bytes.
        :raises ValueError: when *seed* has another length.
        """
        if len(seed) != SEED_BYTES:
            raise ValueError(f"expected {SEED_BYTES} random bytes, got {len(seed)}")
        if self.seed_at is None:
            return self.body
        return self.body[: self.seed_at] + base64.b64encode(seed) + self.body[self.seed_at :]

    @classmethod
    def of_content(cls, content: Content, content_type: str = PLAIN) -> Document:
        """Make a document of *content*. Its bytes are not hashed again."""
        document = cls(bytes(content) if len(content) <= SMALL else content, content_type)
        document._keep_etag(content.digest)
        return document


def text(value: object) -> Document:
    """Make a document of *value* as plain text, without a newline at the end."""
    return Document(str(value).encode())


def lines(values: Iterable[str]) -> Document:
    """Make a listing of *values*, one a line.

    There is no newline at the end: cloud-init would take an empty last line for a name.
    """
    return text("\n".join(values))


def dump(value: Mapping[str, Any]) -> bytes:
    """Encode *value* as nova writes JSON: one line, ``", "`` and ``": "``, everything beyond ASCII escaped."""
    return json.dumps(value).encode("ascii")


class PerVersion:
    """The documents of all versions, each made at its first use; versions with equal bytes share one document.

    A guest reads one or two of the many versions. A guest that reads them all must not make the worker hold its data
    ten times.

    :param make: makes the document of a version. It must not refer to the object that holds this one: trees come and go
        with their guests, and a reference cycle would keep them until the garbage collector finds it.
    """

    def __init__(self, make: Callable[[str], Document]) -> None:
        self._make = make
        self._made: dict[str, Document] = {}

    def get(self, version: str) -> Document:
        """Return the document of *version*.

        The caller took *version* from a table: each version is kept here, and no guest may add one.
        """
        if version not in self._made:
            made = self._make(version)
            self._made[version] = next((known for known in self._made.values() if known == made), made)
        return self._made[version]
