"""The questions that the admin socket answers: the name, the parameters and the answer of each.

The daemon and the commands both take names and types from here, and spell none themselves. JSON can hold every answer.
Imports no Twisted: a command should start at once.
"""

from __future__ import annotations

from typing import Any, Generic, TypedDict, TypeVar

from attrs import frozen

Answer_co = TypeVar("Answer_co", covariant=True)


@frozen
class Question(Generic[Answer_co]):
    """A question, whose type parameter is the type of its answer.

    :ivar name: the question as it travels.
    :ivar parameters: the names of its arguments, each of which is a string and must be given.
    """

    name: str
    parameters: tuple[str, ...] = ()


# -- answers --


class DomainName(TypedDict):
    """A domain as a list shows it: its name, its uuid, and its taps (those served, and those that people wrote)."""

    name: str
    uuid: str
    taps: list[str]


class ListedDomain(TypedDict):
    """A domain as ``eve-meta list`` shows it.

    *name* and *uuid* are None where nothing tells them. *taps* are those that people wrote, those served, and those
    that its processes hold. *state* is "served" where a tap of it is served, "not-served" where one is there or a
    process runs, and else "off". *origins* are the places that describe it, the most important first.
    """

    name: str | None
    uuid: str | None
    state: str
    taps: list[str]
    origins: list[str]


class ShownDomain(TypedDict):
    """A domain as plain data (:mod:`eve_meta.values.plain`), and the source of each field, by the field's path."""

    domain: dict[str, Any]
    sources: dict[str, str]


class PublicDomain(TypedDict):
    """The same without the fields that may hold a secret; *hidden* names those of them that the domain has."""

    domain: dict[str, Any]
    sources: dict[str, str]
    hidden: list[str]


class ShownPassword(TypedDict):
    """The password that a guest posted, None where it posted none, and the uuid of its domain."""

    uuid: str
    password: str | None


class HostKeysOfDomain(TypedDict):
    """A domain and the SSH host keys that its guest reported, each as a type and the key in base64.

    *hosts* are the names and addresses of the domain, but for those of *shared*, which other domains have, too. *at* is
    when the keys arrived, None where there are none.
    """

    name: str
    uuid: str
    hosts: list[str]
    shared: dict[str, list[str]]
    keys: list[str]
    at: str | None


class GivenId(TypedDict):
    """A domain, and the instance id that its guest reads from now on."""

    uuid: str
    name: str
    instance_id: str


class WorkerStatus(TypedDict):
    """A worker: its process, None while it has none, and how often it was restarted.

    *hangs* is how often of these it was killed because it did not answer, *forbidden_calls* how often it died of a
    system call that no worker makes. *confinement* has the parts of
    :class:`eve_meta.runtime.sandbox.inspection.InForce`, None while the worker does not accept connections.
    """

    pid: int | None
    restarts: int
    hangs: int
    forbidden_calls: int
    confinement: dict[str, bool] | None


class Status(TypedDict):
    """The state of the daemon; ``eve_meta/docs/observing.rst`` has the fields of a tap.

    *lapses* is how often guests got 503 because the supervisor did not keep up with what happened. *problems* are those
    of ``eve-meta check --json`` (:attr:`eve_meta.inventory.source.InventoryProblem.plain`), each with its ``tap``, or
    None.
    """

    version: str
    namespace: str
    taps: list[dict[str, Any]]
    workers: list[WorkerStatus]
    lapses: int
    domains: int
    unsteered: dict[str, dict[str, int]]
    overruns: int
    heals: dict[str, int]
    problems: list[dict[str, Any]]


class Timeline(TypedDict):
    """The boot of the guest behind one tap; ``after`` counts seconds since the tap appeared.

    *moments* have ``what`` and ``after``; *reports*, which are the guest's claims, have ``what``, ``after``, ``name``,
    ``description`` and ``result``.
    """

    tap: str
    uuid: str | None
    name: str | None
    since: str
    moments: list[dict[str, Any]]
    reports: list[dict[str, Any]]
    phone_home: dict[str, Any] | None


# -- questions; the argument "name" is what resolve.py resolves --


STATUS: Question[Status] = Question("status")
EVENTS: Question[list[dict[str, Any]]] = Question("events")
"""The events that the daemon keeps, the oldest first."""

FOLLOW: Question[None] = Question("follow")
"""The same, one a line, and then each event as it happens; the connection stays open (``server.py``)."""

LIST_DOMAINS: Question[list[DomainName]] = Question("list_domains")
"""All domains that the daemon knows, behind a tap or not."""

LIST: Question[list[ListedDomain]] = Question("list")
"""The same, and the VMM processes behind taps that are none of these domains."""

SHOW_DOMAIN: Question[ShownDomain] = Question("show_domain", ("name",))
PUBLIC_DOMAIN: Question[PublicDomain] = Question("public_domain", ("name",))
PASSWORD: Question[ShownPassword] = Question("password", ("name",))
CLEAR_PASSWORD: Question[None] = Question("clear_password", ("name",))
"""Answered once the guest can post another password."""

KNOWN_HOSTS: Question[list[HostKeysOfDomain]] = Question("known_hosts")
"""Each domain whose guest reported host keys."""

HOST_KEYS: Question[HostKeysOfDomain] = Question("host_keys", ("name",))
"""Those of one domain, which may have none."""

RERUN: Question[GivenId] = Question("rerun", ("name",))
"""Answered once the new id is on the disk, as :data:`UNDO_RERUN`."""

UNDO_RERUN: Question[GivenId] = Question("undo_rerun", ("name",))
TIMELINE: Question[list[Timeline]] = Question("timeline", ("name",))
"""One timeline for each tap of what *name* means."""

EXPLAIN: Question[dict[str, Any]] = Question("explain", ("name",))
""":class:`eve_meta.explain.facts.HostFacts` as plain data."""

ANSWERED: tuple[Question[Any], ...] = (
    STATUS,
    EVENTS,
    LIST_DOMAINS,
    LIST,
    SHOW_DOMAIN,
    PUBLIC_DOMAIN,
    PASSWORD,
    CLEAR_PASSWORD,
    KNOWN_HOSTS,
    HOST_KEYS,
    RERUN,
    UNDO_RERUN,
    TIMELINE,
    EXPLAIN,
)
"""All questions that get one answer: all but :data:`FOLLOW`."""

OPERATORS_QUESTIONS: tuple[Question[Any], ...] = (
    STATUS,
    EVENTS,
    FOLLOW,
    LIST_DOMAINS,
    LIST,
    PUBLIC_DOMAIN,
    KNOWN_HOSTS,
    HOST_KEYS,
    TIMELINE,
    EXPLAIN,
)
"""The questions that operators may ask, too: none of their answers has a secret, and none changes anything."""
