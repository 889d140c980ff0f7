"""The daemon: puts steering, inventory, supervisor and admin socket together, and takes them apart again."""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from eve_meta.admin.access import OPERATORS, ROOT, Access, group_id
from eve_meta.admin.answers import answers
from eve_meta.admin.listening import admin_socket, remove_left
from eve_meta.admin.server import AdminFactory
from eve_meta.config import MAX_WORKERS, OPERATORS_GROUP, Config, load_config, read_only_socket, split_address
from eve_meta.daemon.directories import held, run_directory
from eve_meta.daemon.handover import HandOver
from eve_meta.inventory.inventory import Inventory
from eve_meta.inventory.readers.process import ReaderProcess
from eve_meta.runtime.clock import Clock
from eve_meta.runtime.log import complain, log_to_stderr
from eve_meta.runtime.reactor import reactor
from eve_meta.runtime.sandbox.birth import own_pid_namespace
from eve_meta.runtime.sandbox.home import empty_folder
from eve_meta.runtime.sandbox.identities import find_ids
from eve_meta.runtime.sandbox.policy import Identity
from eve_meta.runtime.sandbox.seccomp import import_seccomp
from eve_meta.runtime.service_manager import ServiceManager
from eve_meta.runtime.signals import Terminated, end_reactor, ended_by_signals, on_signals
from eve_meta.state import tokenkeys
from eve_meta.state.host_keys import HostKeys
from eve_meta.state.instance_ids import InstanceIds
from eve_meta.state.passwords import Passwords
from eve_meta.state.private import open_state
from eve_meta.state.remembered import PROCESSES, Remembered
from eve_meta.steering.kernel import Kernel
from eve_meta.steering.mounts import mounts_of_host
from eve_meta.steering.path.listening import WorkerSockets
from eve_meta.steering.steering import Steering
from eve_meta.supervisor.dhcp import DhcpAnswers
from eve_meta.supervisor.supervisor import Supervisor
from eve_meta.supervisor.worker_process import WorkerConfig
from eve_meta.values.problem import Problem

T = TypeVar("T")

# Run as a process, this module is named "__main__", whose messages the log shows only from warnings on.
_log = Logger("eve_meta.daemon.main")


def serve(config: Config) -> None:
    """Run the daemon until a signal ends it.

    SIGTERM, SIGINT and SIGHUP leave the host as it was before. SIGUSR1 leaves the path to guests as it is, for the next
    daemon.

    :raises Problem: when the daemon cannot start; then, too, the host is as it was before.
    """
    if os.geteuid() != 0:
        raise Problem("serve needs root: it loads BPF programs and makes a network namespace; run it with sudo")
    log_to_stderr()
    manager = ServiceManager(os.environ)
    manager.status("compiling the programs and making the path for guests")
    # A thread formats the metrics. The reactor's thread lets other threads run at each of its system calls, and then
    # waits this long for its turn. With Python's default of 5 ms, a new tap would get its filter only once the metrics
    # are formatted.
    sys.setswitchinterval(0.0005)
    # As the unit has it, whoever starts the daemon. What others have to see, the workers' folder and /run/netns, gets
    # its mode explicitly.
    os.umask(0o077)
    # One file descriptor for each VMM process that is watched (a pidfd): a shell's soft limit is 1,024.
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    with contextlib.suppress(Terminated), contextlib.ExitStack() as undo, ended_by_signals() as raise_if_terminated:
        # Undone last. When Python ends, it restores the kernel's default for signals that have a handler, so that
        # another signal would kill the daemon.
        undo.callback(on_signals, signal.SIG_IGN)
        undo.callback(signal.signal, signal.SIGUSR1, signal.SIG_IGN)
        import_seccomp()  # no worker could be confined without it
        workers = config.web.workers or min(os.cpu_count() or 1, MAX_WORKERS)
        ids = find_ids(workers + 1)  # the last is the reader's
        worker_config = _worker_config(config, ids[:workers])
        undo.enter_context(run_directory(config.paths.run))
        undo.enter_context(empty_folder(worker_config.root))
        open_state(config.paths.state)
        undo.enter_context(held(config.paths.state, "state"))
        processes = Remembered(config.paths.state / PROCESSES, _in_thread)
        reader = undo.enter_context(_reader(worker_config, ids[workers]))
        instance_ids = InstanceIds(config.paths.state, _in_thread)
        inventory = Inventory(config.inventory, reactor, reader, memory=processes, instance_ids=instance_ids)
        clock = Clock(monotonic=reactor.seconds)
        supervisor = Supervisor(
            reactor,
            clock,
            inventory,
            worker_config,
            workers,
            tokens=config.web.tokens,
            token_keys=tokenkeys.load(config.paths.state),
            passwords=Passwords(config.paths.state, _in_thread, reactor.seconds),
            host_keys=HostKeys(config.paths.state, _in_thread, reactor.seconds),
            dhcp=DhcpAnswers(config.steering, reactor.seconds),
            ready=lambda: manager.ready(supervisor.summary()),
            keep=manager.store,
        )
        steering = Steering(reactor, config.steering, supervisor, _kernel(config, manager))
        hand_over = HandOver(manager, supervisor, steering)
        signal.signal(signal.SIGUSR1, hand_over.on_signal)
        # Blocked until the daemon has started, here and in the programs that it runs until then: the service manager
        # sends the signal to these, too, and would kill them.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        undo.callback(signal.pthread_sigmask, signal.SIG_UNBLOCK, {signal.SIGUSR1})
        admin_answers = answers(
            reactor=reactor,
            clock=clock,
            supervisor=supervisor,
            steering=steering,
            inventory=inventory,
            config=config,
            in_thread=_in_thread,
        )
        _listen_admin(config, partial(AdminFactory, reactor, admin_answers, supervisor.events), undo)
        _begin_audit(config, supervisor, undo)
        _listen_metrics(config, supervisor, steering, inventory)
        undo.callback(hand_over.take_down_unless_done)
        undo.callback(manager.stopping)
        sockets = _start(steering, raise_if_terminated, workers, manager.stored)
        # From here on there are workers, and only a running reactor can end them. When the reactor starts, it installs
        # a handler of its own for SIGTERM, which logs an error at a second signal; so ours is installed after that.
        on_signals(end_reactor)
        raise_if_terminated()
        reactor.callWhenRunning(on_signals, end_reactor)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
        supervisor.start(steering, sockets)
        reactor.addSystemEventTrigger("before", "shutdown", manager.stopping)
        reactor.addSystemEventTrigger("before", "shutdown", supervisor.stop)
        reactor.callWhenRunning(manager.start_heartbeat, reactor, supervisor.summary)
        reactor.callWhenRunning(_log.info, "serving; {path} answers 'eve-meta status'", path=config.admin.socket)
        reactor.run()
    _log.info("ended; {left}", left="the path to guests stays" if hand_over.done else "the host is as it was")


def _start(
    steering: Steering, raise_if_terminated: Callable[[], None], workers: int, kept: Sequence[socket.socket]
) -> Sequence[WorkerSockets]:
    try:
        return steering.start(raise_if_terminated, workers, kept)
    except Problem:
        # A program that the daemon ran may have failed because the service manager sent the signal to it, too.
        raise_if_terminated()
        raise


def _in_thread(function: Callable[[], T]) -> Deferred[T]:
    return deferToThreadPool(reactor, reactor.getThreadPool(), function)


def _worker_config(config: Config, ids: Sequence[int]) -> WorkerConfig:
    return WorkerConfig(
        ids=ids,
        root=config.paths.run / "root",
        birth=own_pid_namespace,
        domain_wait=config.web.domain_wait,
        hop_limit=config.web.hop_limit,
        hosts=config.web.hosts,
    )


def _kernel(config: Config, manager: ServiceManager) -> Kernel:
    return Kernel.of_host(config.steering.namespace, mounts_of_host(managed=manager.is_present))


@contextlib.contextmanager
def _reader(workers: WorkerConfig, number: int) -> Iterator[ReaderProcess]:
    """Run the reader, as the user and group *number* in the same empty folder as *workers*."""
    reader = ReaderProcess(reactor, Identity(uid=number, gid=number, root=workers.root), workers.birth)
    reader.start()
    try:
        yield reader
    finally:
        reader.stop()


def _listen_admin(config: Config, factory: Callable[[Access], AdminFactory], undo: contextlib.ExitStack) -> None:
    path, name = config.admin.socket, config.admin.operators
    undo.enter_context(admin_socket(reactor, path, factory(ROOT)))
    group = group_id(name) if name else None
    if group is not None:
        undo.enter_context(admin_socket(reactor, read_only_socket(path), factory(OPERATORS), group=group))
        return
    remove_left(read_only_socket(path))
    if name and name != OPERATORS_GROUP:
        _log.warn(
            "only root may ask this daemon: there is no group {name!r}, which [admin] operators names; make it with "
            "'groupadd --system {name}', then restart the daemon",
            name=name,
        )


def _begin_audit(config: Config, supervisor: Supervisor, undo: contextlib.ExitStack) -> None:
    if not config.admin.audit:
        return
    # Imported only where it is configured.
    from eve_meta.admin.audit import Audit, AuditFile

    write = None if config.admin.audit == "log" else AuditFile(Path(config.admin.audit)).append
    audit = Audit(supervisor.events, write, _in_thread, reactor.seconds)
    undo.callback(audit.finish)


def _listen_metrics(config: Config, supervisor: Supervisor, steering: Steering, inventory: Inventory) -> None:
    address = split_address(config.admin.metrics)
    if address is None:
        return
    # Imported only where they are configured: they bring twisted.web and prometheus_client, 9 MB.
    from eve_meta.admin.metrics import Exposition, MetricsSite

    exposition = Exposition(reactor, supervisor, steering, inventory, _in_thread)
    site = MetricsSite(reactor, exposition)
    try:
        site.connections.listen(reactor.listenTCP(address[1], site, interface=address[0]))
    except CannotListenError as error:
        raise Problem(
            f"cannot listen on {config.admin.metrics} ([admin] metrics): {error.socketError.strerror}"
        ) from None


def main() -> int:
    """Run as the process that ``eve-meta serve`` becomes; return its exit status."""
    parser = argparse.ArgumentParser(description="The daemon; start it by 'eve-meta serve'.")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--domains", type=Path)
    arguments = parser.parse_args()
    try:
        config = load_config(arguments.config)
        if arguments.domains is not None:
            config = attrs.evolve(config, inventory=attrs.evolve(config.inventory, directory=arguments.domains))
        serve(config)
    except Problem as problem:
        complain(f"eve-meta: {problem}")
        return problem.status
    return 0


if __name__ == "__main__":
    sys.exit(main())
