"""The server that the tests over loopback share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.logger import capturedLogs

from eve_meta.values.domain import Domain
from tests.unit.web.guest import describe
from tests.unit.web.loopback import MIB, Server, serving, until


@pytest.fixture(scope="package")
def running() -> Iterator[Server]:
    """A server for the tests of this folder."""
    with serving() as server:
        yield server


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    """The server with a domain of 1 MiB of user data; afterwards it is empty and has logged nothing."""
    with capturedLogs() as logged:
        running.put(*describe(running.answering, Domain(name="web1", hostname="web1.example.org", user_data=MIB)))
        running.counted()
        yield running
        until(lambda: running.open() == 0)
    assert [event.get("log_format") for event in logged] == []
