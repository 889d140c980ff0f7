"""Passwords that guests post, on their path from a worker to the disk and to the other workers that need them.

The law: the supervisor alone decides whether a password is set, whatever the worker that passes one on knew; and nobody
learns that a password is set or cleared before every worker that answers the domain knows it.
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
"""Seconds after a password could not be stored within which the next one of the same tap is not tried: no guest is to
keep a full or a slow disk busy."""


class PostedPasswords:
    """The passwords that guests posted: set, read and cleared.

    :param changed: called with a domain whose password has changed; its result comes when all workers that answer the
        domain know the change.
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
        """Return the password that the guest of *domain* posted, None where it posted none."""
        return self._passwords.get(domain)

    def clear(self, domain: UUID) -> Deferred[None]:
        """Forget the password of *domain*; the result comes when its guest can post another.

        :raises Problem: as :meth:`eve_meta.state.passwords.Passwords.clear`.
        """
        return self._passwords.clear(domain).addCallback(lambda _: self._changed(domain))

    def posted(self, worker: int, tag: int, password: str, answer: Callable[[Outcome], None]) -> None:
        """Store *password*, which the worker of that number passed on for the guest of *tag*.

        A compromised worker can set a password for any tag that it answers for. But it can replace none, and at most it
        fills the disk with one for each domain.

        :param answer: called with the outcome.
        """
        state = self._table.get(tag) if self._table.worker_of(tag) == worker else None
        now = self._reactor.seconds()
        if state is None or state.domain is None or now - state.password_failed < RETRY_TIME:
            answer(Outcome.FAILED)
            return
        domain = state.domain.instance_uuid

        def stored(outcome: Outcome) -> None:
            if outcome is Outcome.STORED:
                # Before the guest is answered: its next request may come through another of its taps.
                self._changed(domain).addCallback(lambda _: answer(outcome))
                return
            if outcome is Outcome.FAILED:
                state.password_failed = self._reactor.seconds()
            answer(outcome)

        self._passwords.set(domain, password).addCallback(stored)
