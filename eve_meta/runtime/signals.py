"""The signals by which the daemon is told to end.

The law: no handler raises. What is raised out of one, wherever the daemon is just then, leaves half done what libraries
do in one go: pyroute2's event loop, a destructor.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator

from twisted.internet.error import ReactorNotRunning

from eve_meta.runtime.reactor import reactor


class Terminated(Exception):
    """A signal came while the daemon was starting."""


@contextlib.contextmanager
def ended_by_signals() -> Iterator[Callable[[], None]]:
    """Gives a function that raises :class:`Terminated` when a signal has said that the daemon is to end.

    It is for the start's own steps to call. Signals that come later, also after this context, are nothing: what has
    begun to be undone must be undone.
    """
    told = False

    def end(*_: object) -> None:
        nonlocal told
        told = True

    def raise_if_terminated() -> None:
        if told:
            raise Terminated

    on_signals(end)
    try:
        yield raise_if_terminated
    finally:
        on_signals(_ignore)


def on_signals(handle: Callable[..., None] | signal.Handlers) -> None:
    """Has *handle* called when the daemon is told to end."""
    # SIGHUP too: a terminal that closes must not leave the host half taken apart.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, handle)


def _ignore(*_: object) -> None:
    # Not SIG_IGN, which the programs that we run would inherit.
    pass


def end_reactor(*_: object) -> None:
    """Takes a signal: the reactor stops when it runs."""
    reactor.callFromThread(stop_reactor)


def stop_reactor() -> None:
    """Stops the reactor, unless it does not run."""
    with contextlib.suppress(ReactorNotRunning):  # told so twice
        reactor.stop()
