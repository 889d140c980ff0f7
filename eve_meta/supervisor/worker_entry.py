"""What a worker is told of a tap: its entry in the worker's table."""

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

    :param tokens: what holds for domains that do not say.
    """

    def __init__(self, tokens: TokenPolicy, token_keys: TokenKeys, passwords: Passwords) -> None:
        self._tokens = tokens
        self._token_keys = token_keys
        self._passwords = passwords
        self._converter = make_converter()

    def of(self, state: TapState) -> tuple[PutTap, bytes]:
        """The tap of *state* with its domain, which is the payload, as both are now."""
        tap, domain = state.tap, state.domain
        if domain is None:
            return unknown(state), b""
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


def unknown(state: TapState) -> PutTap:
    """The tap of *state* without its domain."""
    tap = state.tap
    return PutTap(tag=tap.tag, tap=tap.name, since=tap.since, generation=state.generation)
