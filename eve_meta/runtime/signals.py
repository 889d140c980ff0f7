"""The signals that end the daemon.

The law: no handler raises. An exception out of a handler surfaces wherever the daemon is at that moment, and leaves
half done what libraries do in one go: pyroute2's event loop, a destructor.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator

from twisted.internet.error import ReactorNotRunning

from eve_meta.runtime.reactor import reactor


class Terminated(Exception):
    """A signal to end came while the daemon was starting."""


@contextlib.contextmanager
def ended_by_signals() -> Iterator[Callable[[], None]]:
    """Record signals during the daemon's start, and give a function that raises :class:`Terminated` once one has come.

    The steps of the start call that function where they can be interrupted. Signals that come when this context has
    ended are ignored: what the daemon has begun to undo must be undone.
    """
    terminated = False

    def record(*_: object) -> None:
        nonlocal terminated
        terminated = True

    def raise_if_terminated() -> None:
        if terminated:
            raise Terminated

    on_signals(record)
    try:
        yield raise_if_terminated
    finally:
        on_signals(_ignore)


def on_signals(handle: Callable[..., None] | signal.Handlers) -> None:
    """Let *handle* handle each signal that ends the daemon."""
    # SIGHUP too: a terminal that closes must not leave the host half taken apart.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, handle)


def _ignore(*_: object) -> None:
    # A handler, not SIG_IGN, which the programs that the daemon runs would inherit.
    pass


def end_reactor(*_: object) -> None:
    """Handle a signal: stop the reactor as soon as it runs."""
    reactor.callFromThread(stop_reactor)


def stop_reactor() -> None:
    """Stop the reactor, if it runs."""
    with contextlib.suppress(ReactorNotRunning):  # it was stopped already
        reactor.stop()
