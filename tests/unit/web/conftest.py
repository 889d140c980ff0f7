"""The server that the tests over loopback share."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from twisted.logger import capturedLogs

from tests.unit.web.guest import domain
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
        running.put(domain(user_data=base64.b64encode(MIB).decode()))
        running.counted()
        yield running
        until(lambda: running.open() == 0)
    assert [event.get("log_format") for event in logged] == []
