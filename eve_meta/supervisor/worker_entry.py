"""The entry of a tap in a worker's table, which the supervisor makes and sends."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from attrs import frozen

from eve_meta.state.passwords import Passwords
from eve_meta.state.tokenkeys import TokenKeys
from eve_meta.supervisor.tap_state import TapState
from eve_meta.values.content import Content
from eve_meta.values.domain import TokenPolicy
from eve_meta.wire.domain import DomainWriter
from eve_meta.wire.messages import PutNode, PutTap


@frozen
class WorkerEntry:
    """A message for a worker, and the means to make its payload.

    :ivar contents: the contents that the payload names, which the worker must have when it reads the message.
    :ivar write: makes the payload, given the number by which the worker knows each content; None for no payload.
    """

    message: PutTap | PutNode
    contents: tuple[Content, ...] = ()
    write: Callable[[Callable[[Content], int]], bytes] | None = None


class WorkerEntries:
    """Makes the entries.

    :param tokens: the policy for domains that have none of their own.
    """

    def __init__(self, tokens: TokenPolicy, token_keys: TokenKeys, passwords: Passwords) -> None:
        self._tokens = tokens
        self._token_keys = token_keys
        self._passwords = passwords
        self._writer = DomainWriter()

    def entry_of(self, state: TapState) -> WorkerEntry:
        """Return the entry of the tap of *state* as it is now, with the domain as its payload."""
        tap, domain = state.tap, state.domain
        if domain is None:
            return WorkerEntry(unknown_entry(state))
        message = PutTap(
            tag=tap.tag,
            tap=tap.name,
            since=tap.since,
            generation=state.generation,
            tokens=domain.token_policy(self._tokens),
            token_key=self._token_keys.of(tap.ifindex, domain.instance_uuid),
            password=self._passwords.get(domain.instance_uuid),
        )
        return WorkerEntry(message, domain.contents, partial(self._writer.write, domain))


def unknown_entry(state: TapState) -> PutTap:
    """Return the entry of the tap of *state* as one whose domain is unknown."""
    tap = state.tap
    return PutTap(tag=tap.tag, tap=tap.name, since=tap.since, generation=state.generation)
