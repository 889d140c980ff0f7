"""Other servers behind the same steering.

Each listens in the private namespace, and a rule before the daemon's own leads the guests to it.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from attrs import frozen

from benchmark.field import META_DATA, SERVER_CPU, Field
from harness import SCRIPTS
from harness.namespace import inside

START_TIME = 30.0
"""Seconds within which a peer must answer; the time of Go's compiler does not count."""

SERVERS = SCRIPTS / "benchmark/servers"


@frozen
class Peer:
    """Another project's server.

    :ivar name: the name in the table.
    :ivar port: the port on which it listens, at 127.0.0.1 of the private namespace.
    :ivar prepare: writes the files that the server needs into a folder, and returns the command that runs the server;
        called with the folder and the port.
    """

    name: str
    port: int
    prepare: Callable[[Path, int], Sequence[str]]


def _nginx(folder: Path, port: int) -> Sequence[str]:
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(f"""\
daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 8192; multi_accept on; }}
http {{ {temporary} access_log off; default_type application/json;
        server {{ listen 127.0.0.1:{port} backlog=4096; root {folder}/www; }} }}
""")
    return ["nginx", "-c", str(config)]


def _haproxy(folder: Path, port: int) -> Sequence[str]:
    config = folder / "haproxy.cfg"
    config.write_text(f"""\
global
    nbthread 1
    maxconn 8192
defaults
    mode http
    timeout client 10s
    timeout server 10s
    timeout connect 10s
frontend guests
    bind 127.0.0.1:{port} backlog 4096
    http-request return status 200 content-type application/json file {folder}/www{META_DATA}
""")
    return ["haproxy", "-db", "-f", str(config)]


def _go(folder: Path, port: int) -> Sequence[str]:
    program = folder / "go-server"
    environment = {"GOCACHE": str(folder / "cache"), "HOME": str(folder), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    subprocess.run(["go", "build", "-o", program, SERVERS / "server.go"], check=True, env=environment)
    return ["env", "GOMAXPROCS=1", str(program), f"127.0.0.1:{port}", str(folder / "www")]


def _wsgi(folder: Path, port: int) -> Sequence[str]:
    return ["/usr/bin/python3", str(SERVERS / "wsgi.py"), str(port), str(folder / "www" / META_DATA[1:])]


ALL = (
    Peer("nginx", 9001, _nginx),
    Peer("haproxy", 9002, _haproxy),
    Peer("go", 9003, _go),
    Peer("wsgi", 9004, _wsgi),
)
"""All peers. The first, nginx, is the one with which the others are compared."""


@contextlib.contextmanager
def running(field: Field, document: bytes) -> Iterator[dict[str, int]]:
    """Run all peers, each on the servers' core; yield the pid of each, by its name.

    :param document: the meta_data.json that they serve.
    """
    pids = {}
    with contextlib.ExitStack() as stack:
        for peer in ALL:
            folder = field.lab.directory / peer.name
            file = folder / "www" / META_DATA[1:]
            file.parent.mkdir(parents=True)
            file.write_bytes(document)
            # nginx gives up root and reads the file as another user.
            for path in (field.lab.directory, *file.parents[:4], file):
                path.chmod(0o755)
            with (folder / "log").open("wb") as log:
                command = ["taskset", "-c", str(SERVER_CPU), *peer.prepare(folder, peer.port)]
                process = field.private.popen(*command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            stack.callback(_end, process)
            _wait(field, peer, process, folder / "log")
            pids[peer.name] = process.pid
        yield pids


@contextlib.contextmanager
def in_place(field: Field, peer: Peer | None) -> Iterator[None]:
    """Lead the guests to *peer*; None stands for eve-meta, to which the daemon's own rule leads them."""
    if peer is None:
        yield
        return
    rule = f"PREROUTING -i meta0 -p tcp -d 169.254.169.254 --dport 80 -j DNAT --to-destination 127.0.0.1:{peer.port}"
    field.private.run("iptables", "-w", "-t", "nat", "-I", *rule.split())
    try:
        yield
    finally:
        field.private.run("iptables", "-w", "-t", "nat", "-D", *rule.split())


def _wait(field: Field, peer: Peer, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIME
    while time.monotonic() < deadline and process.poll() is None:
        with inside(field.private.name), socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", peer.port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{peer.name} does not run: {log.read_text(errors='replace')[-500:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
