"""Which function of the daemon answers which question."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from eve_meta.admin import questions
from eve_meta.admin.domain import list_all, list_domains, public_domain, show_domain
from eve_meta.admin.password import clear_password, read_password
from eve_meta.admin.questions import Question
from eve_meta.admin.rerun import rerun, undo_rerun
from eve_meta.admin.status import status
from eve_meta.config import Config
from eve_meta.inventory.inventory import Inventory
from eve_meta.runtime.clock import Clock
from eve_meta.steering.steering import Steering
from eve_meta.supervisor.supervisor import Supervisor

T = TypeVar("T")

Answer = Callable[..., "Deferred[Any] | Any"]
"""Takes the arguments of its question by their names; returns what JSON can hold, now or later, or raises a Problem."""


def answers(
    *,
    reactor: IReactorTime,
    clock: Clock,
    supervisor: Supervisor,
    steering: Steering,
    inventory: Inventory,
    config: Config,
    in_thread: Callable[[Callable[[], Any]], Deferred[Any]],
) -> Mapping[Question[Any], Answer]:
    """Return the function that answers each of :data:`eve_meta.admin.questions.ANSWERED`.

    :param in_thread: calls a function in a thread; the result comes later.
    """

    def answer_status() -> Deferred[Any]:
        counted = supervisor.current_counts()
        return counted.addCallback(lambda _: status(reactor, clock, supervisor, steering, inventory))

    def answer_explain(name: str) -> Deferred[Any]:
        # Imported when first asked: it takes most of a megabyte of the daemon's memory.
        from eve_meta.admin.explain import Explanation

        return Explanation(clock, supervisor, steering, inventory, config, in_thread=in_thread).answer(name)

    def answer_timeline(name: str) -> Deferred[Any]:
        # Imported when first asked, for the same reason.
        from eve_meta.admin.timeline import timeline

        return supervisor.current_counts().addCallback(lambda _: timeline(clock, supervisor, steering, inventory, name))

    def answer_known_hosts() -> Deferred[Any]:
        from eve_meta.admin.known_hosts import known_hosts

        return known_hosts(supervisor, inventory)

    def answer_host_keys(name: str) -> Deferred[Any]:
        from eve_meta.admin.known_hosts import host_keys

        return host_keys(supervisor, inventory, name)

    return {
        questions.STATUS: answer_status,
        questions.EVENTS: lambda: [event.plain for event in supervisor.events.latest],
        questions.LIST_DOMAINS: partial(list_domains, supervisor, inventory),
        questions.LIST: partial(list_all, supervisor, inventory),
        questions.SHOW_DOMAIN: partial(show_domain, supervisor, inventory),
        questions.PUBLIC_DOMAIN: partial(public_domain, supervisor, inventory),
        questions.PASSWORD: partial(read_password, supervisor, inventory),
        questions.CLEAR_PASSWORD: partial(clear_password, supervisor, inventory),
        questions.KNOWN_HOSTS: answer_known_hosts,
        questions.HOST_KEYS: answer_host_keys,
        questions.RERUN: partial(rerun, supervisor, inventory),
        questions.UNDO_RERUN: partial(undo_rerun, supervisor, inventory),
        questions.TIMELINE: answer_timeline,
        questions.EXPLAIN: answer_explain,
    }
