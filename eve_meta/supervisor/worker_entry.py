"""What a worker knows of a tap: the entry in its table, which the supervisor makes and sends."""

from __future__ import annotations

import json

from eve_meta.state.passwords import Passwords
from eve_meta.state.tokenkeys import TokenKeys
from eve_meta.supervisor.tap_state import TapState
from eve_meta.values.domain import Domain, TokenPolicy
from eve_meta.values.plain import make_converter
from eve_meta.wire.messages import PutTap


class WorkerEntries:
    """Makes the entries.

    :param tokens: the policy for domains that have none of their own.
    """

    def __init__(self, tokens: TokenPolicy, token_keys: TokenKeys, passwords: Passwords) -> None:
        self._tokens = tokens
        self._token_keys = token_keys
        self._passwords = passwords
        self._converter = make_converter()

    def entry_of(self, state: TapState) -> tuple[PutTap, bytes]:
        """Return the entry of the tap of *state*, and as its payload the domain in JSON, both as they are now."""
        tap, domain = state.tap, state.domain
        if domain is None:
            return unknown_entry(state), b""
        entry = PutTap(
            tag=tap.tag,
            tap=tap.name,
            since=tap.since,
            generation=state.generation,
            tokens=domain.token_policy(self._tokens),
            token_key=self._token_keys.of(tap.ifindex, domain.instance_uuid),
            password=self._passwords.get(domain.instance_uuid),
        )
        return entry, json.dumps(self._converter.unstructure(domain, Domain), separators=(",", ":")).encode()


def unknown_entry(state: TapState) -> PutTap:
    """Return the entry of the tap of *state* as one whose domain is unknown."""
    tap = state.tap
    return PutTap(tag=tap.tag, tap=tap.name, since=tap.since, generation=state.generation)
