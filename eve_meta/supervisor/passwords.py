"""Passwords that guests post, on their way from a worker to the disk and to whoever else is to know them.

The law: whether one is set is known here, whatever the worker knew that took it; and nobody hears that one is set or
cleared before every worker knows it that answers the domain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from eve_meta.state.passwords import Passwords
from eve_meta.supervisor.tap_table import TapTable
from eve_meta.wire.password import Outcome

RETRY_TIME = 1.0
"""Seconds after a password could not be kept in which its tap's next is not tried: no guest is to keep a full or a slow
disk busy."""


class PostedPasswords:
    """Takes them, gives them, clears them.

    :param changed: called with a domain whose password is another; its result comes when all workers that answer the
        domain know it.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        table: TapTable,
        passwords: Passwords,
        changed: Callable[[UUID], Deferred[Any]],
    ) -> None:
        self._reactor = reactor
        self._table = table
        self._passwords = passwords
        self._changed = changed

    def get(self, domain: UUID) -> str | None:
        """The password that the guest of *domain* posted, None where it posted none."""
        return self._passwords.get(domain)

    def clear(self, domain: UUID) -> Deferred[None]:
        """Forget the password of *domain*; the result comes when its guest can post another.

        :raises Problem: as :meth:`eve_meta.state.passwords.Passwords.clear`.
        """
        return self._passwords.clear(domain).addCallback(lambda _: self._changed(domain))

    def posted(self, worker: int, tag: int, password: str, answer: Callable[[Outcome], None]) -> None:
        """The worker of that number says that the guest of *tag* posted *password*.

        One that a guest took over can set one for any tag that it answers for. But it can replace none, and at most it
        fills the disk with one for each domain.
        """
        state = self._table.get(tag) if self._table.worker_of(tag) == worker else None
        now = self._reactor.seconds()
        if state is None or state.domain is None or now - state.password_failed < RETRY_TIME:
            answer(Outcome.FAILED)
            return
        domain = state.domain.instance_uuid

        def stored(outcome: Outcome) -> None:
            if outcome is Outcome.STORED:
                # Before the guest hears of it: its next request may come by another of its taps.
                self._changed(domain).addCallback(lambda _: answer(outcome))
                return
            if outcome is Outcome.FAILED:
                state.password_failed = self._reactor.seconds()
            answer(outcome)

        self._passwords.set(domain, password).addCallback(stored)
