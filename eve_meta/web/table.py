"""The tap of each tag, and what the guest behind it may read: pushed by the supervisor, looked up by every request.

A domain is kept as the JSON in which it came until its guest asks, and again when the guest has not asked for long:
1,000 domains at rest are some 2 MB. Their contents, such as user data, are not in it; each is kept once, however many
domains have it. The entry of a tag is looked up for each request, never remembered by a connection.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from uuid import UUID

from attrs import define, field, frozen

from eve_meta.documents.tree import Tree
from eve_meta.values.domain import Domain, TokenPolicy
from eve_meta.web.contents import Contents
from eve_meta.wire.domain import DomainReader

MAX_TREES = 2048
"""Domains that are kept ready for answers. Each takes some 12 KB beside its JSON, so a boot storm of a thousand guests
takes 12 MB for as long as it lasts. Without room for all, each of a guest's 35 requests would make its domain ready
again, which takes 0.2 ms: ten times the answer itself."""

MAX_TREE_BYTES = 64 * 1024 * 1024
"""Bytes of JSON of the domains that are kept ready, because the vendor data or keys of one may have 256 KiB: the trees
take some three times as much. The domain whose guest asked last is kept whatever its size."""


@frozen(kw_only=True)
class Grants:
    """What the supervisor grants the guest of a domain behind a tap, beside the documents.

    :ivar tokens: whether the guest's requests need a session token.
    :ivar token_key: the key that seals the guest's tokens (:mod:`eve_meta.documents.tokens`).
    :ivar password: the password that the guest posted, or None.
    """

    tokens: TokenPolicy = TokenPolicy.OFF
    token_key: bytes = field(default=b"", repr=False)
    password: str | None = field(default=None, repr=False)


NO_GRANTS = Grants()
"""The grants of a tap whose domain is unknown."""


@define(eq=False)
class Entry:
    """The tap of a tag, and the domain behind the tap.

    :ivar tap: the tap's name.
    :ivar since: when the tap appeared, in seconds of ``time.monotonic()``.
    :ivar domain: the JSON of the tap's :class:`~eve_meta.values.domain.Domain`, or None while the domain is unknown.
    :ivar grants: what the domain's guest is granted.
    :ivar tree: *domain* made ready for answers; None while no guest asked, and while the domain is unknown.
    """

    tap: str
    since: float
    domain: bytes | None = field(repr=False)
    grants: Grants = NO_GRANTS
    tree: Tree | None = None


class Table:
    """The entries by tag.

    :ivar contents: the contents that the domains name. One is added before the first domain that names it, and removed
        after the last.
    """

    def __init__(self, *, max_trees: int = MAX_TREES, max_tree_bytes: int = MAX_TREE_BYTES) -> None:
        self._max_trees = max_trees
        self._max_tree_bytes = max_tree_bytes
        self.contents = Contents()
        self._reader = DomainReader(self.contents.get)
        self._entries: dict[int, Entry] = {}
        self._ready: OrderedDict[int, int] = OrderedDict()
        self._ready_bytes = 0
        self._unused: set[int] = set()

    def put(self, tag: int, tap: str, since: float, domain: bytes | None, grants: Grants = NO_GRANTS) -> bool:
        """Make *tap* and *domain* the entry of *tag*, in place of an earlier one.

        :return: whether *tag* had another tap or domain before, so that no connection may outlast the change. That an
            unknown domain becomes known is no such change; that a known one becomes unknown is.
        """
        old = self._entries.get(tag)
        if old is not None and (old.tap, old.domain, old.grants) == (tap, domain, grants):
            old.since = since
            return False
        self._forget_tree(tag)
        self._entries[tag] = Entry(tap, since, domain, grants)
        return old is not None and (old.tap != tap or _is_other(old.domain, domain))

    def remove(self, tag: int) -> None:
        """Remove the entry of *tag*, if there is one."""
        self._forget_tree(tag)
        self._entries.pop(tag, None)

    def get(self, tag: int) -> Entry | None:
        """Return the entry of *tag*, with its tree where the domain is known; None when *tag* has no entry."""
        entry = self._entries.get(tag)
        if entry is None or entry.domain is None:
            return entry
        if entry.tree is not None:
            self._ready.move_to_end(tag)
            self._unused.discard(tag)
        else:
            entry.tree = Tree(self._reader.read(entry.domain), password=entry.grants.password, tap=entry.tap)
            self._ready[tag] = len(entry.domain)
            self._ready_bytes += len(entry.domain)
            while len(self._ready) > self._max_trees or (
                len(self._ready) > 1 and self._ready_bytes > self._max_tree_bytes
            ):
                self._forget_tree(next(iter(self._ready)))
        return entry

    def age(self) -> bool:
        """Forget the trees of domains whose guests have not asked since the last call; return whether any are left."""
        for tag in tuple(self._unused):
            self._forget_tree(tag)
        self._unused = set(self._ready)
        return bool(self._ready)

    def _forget_tree(self, tag: int) -> None:
        self._unused.discard(tag)
        if tag in self._ready:
            self._ready_bytes -= self._ready.pop(tag)
            self._entries[tag].tree = None


def _is_other(old: bytes | None, new: bytes | None) -> bool:
    if old is None or new is None:
        return old is not None
    return _uuid(old) != _uuid(new)


def _uuid(domain: bytes) -> UUID:
    plain = json.loads(domain)
    uuid = plain.get("uuid")
    # These two fields alone: a reload may change every domain at once, and to structure all fields takes ten times as
    # long.
    return Domain(uuid=None if uuid is None else UUID(uuid), name=plain.get("name")).instance_uuid
