"""What guests of several taps send, out of any source of randomness: requests that are right, nearly right, or not."""

from __future__ import annotations

from ipaddress import IPv4Address
from random import Random
from uuid import UUID

import attrs
from attrs import frozen

from eve_meta.documents.tokens import KEY_BYTES, NONCE_BYTES, seal
from eve_meta.documents.tree import Tree
from eve_meta.values.domain import Domain, File, TokenPolicy
from eve_meta.values.eve_node import Adapter, Application, Device, Port
from tests.unit.documents.reading import FULL, crawl
from tests.unit.web import oracle

EXTERNAL = (IPv4Address("203.0.113.7"),)


@frozen
class Tap:
    """A tap whose domain has marks that no other domain has.

    :ivar tag: its tag; None stands for no tap.
    :ivar openstack: whether its guest can read more than EVE's own endpoints.
    :ivar size: bytes of its user data, roughly.
    """

    tag: int | None
    tokens: TokenPolicy = TokenPolicy.OFF
    known: bool = True
    openstack: bool = True
    size: int = 0

    @property
    def name(self) -> str:
        return f"vnet{self.tag}"

    @property
    def mark(self) -> str:
        return f"secret-of-{self.tag}-"

    @property
    def key(self) -> bytes:
        return bytes([self.tag or 0]) * KEY_BYTES

    @property
    def domain(self) -> Domain:
        mark = self.mark
        return attrs.evolve(
            FULL,
            uuid=UUID(int=self.tag or 0),
            name=mark,
            hostname=f"{mark}x.example.org",
            project_id=mark,
            availability_zone=mark,
            ec2=attrs.evolve(FULL.ec2, instance_id=f"i-{mark}", ami_id=mark, security_groups=(mark,)),
            meta={"role": mark, mark: "x"},
            public_keys={mark: f"ssh-ed25519 {mark}"},
            user_data=mark.encode() * (1 + self.size // len(mark)),
            vendor_data={"cloud-init": mark},
            vendor_data2={mark: mark},
            files=(File(path=f"/{mark}", content=mark.encode()),),
            eve=Application(
                openstack=self.openstack,
                adapters=(Adapter(taps=(self.name,), external_ipv4=EXTERNAL, may_discover=bool(self.size)),),
                device=Device(name=mark, project_name=mark, enterprise_id=mark),
                others={mark: (Port(name=mark, address=EXTERNAL[0]),)},
            ),
            disks=(),
            shares=(),
            nics=tuple(attrs.evolve(nic, tap=mark[:15], address=mark, id=UUID(int=self.tag or 0)) for nic in FULL.nics),
        )


MANY_KINDS = (
    Tap(1),
    Tap(2, size=200_000),
    Tap(3, tokens=TokenPolicy.OPTIONAL),
    Tap(4, tokens=TokenPolicy.REQUIRED, size=70_000),
    Tap(5, known=False),
    Tap(6, openstack=False),
)
NEW_OWNER = Tap(7)
"""The tap whose domain another tap gets when it changes hands."""

NO_TAP, NOT_YET = Tap(None), Tap(99)
"""No tap, and a tap that the table does not have."""

LARGE, PASSWORD, TOKEN = "/openstack/latest/user_data", "/openstack/latest/password", "/latest/api/token"
TREE = Tree(FULL)
PATHS = (
    "/",
    "/openstack",
    "/openstack/content",
    "/eve/v1/network.json",
    "/eve/v1/external_ipv4",
    "/eve/v1/hostname",
    "/eve/v1/discover-network.json",
    "/eve/v1/location.json",
    *(
        leaf
        for root in ("/openstack/latest", "/openstack/2012-08-10", "/latest", "/1.0", "/2021-03-23", "/nocloud")
        for leaf in (root, *crawl(TREE, root))
    ),
)
METHODS = ("HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get")
FIELDS = (
    "X-aws-ec2-metadata-token-ttl-seconds: 60",
    "If-None-Match: *",
    'If-None-Match: "x", W/"y"',
    "X-Forwarded-For: 10.0.0.9",
    f"X-Instance-ID: {UUID(int=2)}",
    f"X-Instance-ID-Signature: {'0' * 64}",
    "X-Tenant-ID: secret-of-2",
    "Forwarded: for=10.0.0.9",
    "X-metadata-token-ttl-seconds: 0",
    "X-aws-ec2-metadata-token: AAAA",
    "Connection: close",
    "Connection: keep-alive",
    "Expect: 100-continue",
    "Range: bytes=0-9",
    "Accept-Encoding: gzip",
)
HOSTS = ("169.254.169.254", "169.254.169.254:80", "[fe80::a9fe:a9fe]", "metadata.example.org", "evil.example", "")


class Requests:
    """What guests send, out of *random*."""

    def __init__(self, random: Random, now: float) -> None:
        self._random = random
        self._now = now

    def stream(self) -> bytes:
        """Return a pipeline of requests, or what looks like one."""
        kinds = (self._request, self._request, self._nearly, self._nearly, self._junk, self._long)
        return b"".join(
            self._random.choices(kinds, (40, 40, 40, 40, 5, 3))[0]()
            for _ in range(self._random.choice((1, 1, 1, 2, 4)))
        )

    def _nearly(self) -> bytes:
        data = oracle.request(self._random)
        oracle.check(data)
        return data

    def _request(self) -> bytes:
        """Return a request for something that may exist."""
        choice, randrange = self._random.choice, self._random.randrange
        method = "GET" if randrange(3) else choice(METHODS)
        path = choice(PATHS) if randrange(3) else choice((LARGE, PASSWORD, TOKEN))
        fields = [choice(FIELDS) for _ in range(choice((0, 0, 1, 2, 4)))]
        if path == PASSWORD and randrange(3):
            method = "POST"
        if path == TOKEN and randrange(3):
            method = "PUT"
            fields.append(FIELDS[0])
        path = self._spelt(path)
        if randrange(3) == 0:
            # One that is good for its own tap, one that has ended, one of a tap that is not there.
            tap = choice((*MANY_KINDS, NEW_OWNER, NOT_YET))
            token = seal(tap.key, self._now + choice((-1, 600)), bytes(NONCE_BYTES)).encode("ascii").decode()
            fields.append(f"X-aws-ec2-metadata-token: {token}")
        host = choice(HOSTS) if randrange(8) == 0 else HOSTS[0]
        body = b""
        if method in ("POST", "PUT"):
            body = choice((b"", b"a password", b"\xff\xfe", b"x" * 1020, b"x" * 1021, b"x" * 70_000))
            fields.append(f"Content-Length: {len(body)}")
        lines = [f"{method} {path} HTTP/{choice(('1.1', '1.1', '1.1', '1.0'))}", f"Host: {host}", *fields]
        data = "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body
        if randrange(10) == 0:
            at = randrange(len(data))
            data = data[:at] + choice(oracle.BYTES) + data[at + choice((0, 1)) :]
        return data

    def _spelt(self, path: str) -> str:
        """Return *path* in another spelling, or with segments that climb out of it."""
        choice, randrange = self._random.choice, self._random.randrange
        if randrange(4):
            return path
        parts = path.split("/")
        at = randrange(len(parts))
        parts[at:at] = choice(
            ([""], ["."], ["x", ".."], [".."], ["%2e%2e"], ["%2e"], ["..", "..", ".."], ["%00"], ["%2f"])
        )
        if randrange(3) == 0:
            parts[-1] = "".join(f"%{byte:02x}" for byte in parts[-1].encode())
        return "/" + "/".join(parts).lstrip("/") + choice(("", "", "/", "?", "?a=/../..", "#"))

    def _junk(self) -> bytes:
        return self._random.randbytes(self._random.choice((1, 10, 1000)))

    def _long(self) -> bytes:
        """Return a part of something that goes on for ever."""
        size = self._random.choice((4000, 5000, 17_000, 70_000))
        begin = self._random.choice((b"", b"GET /", b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"GET / HTTP/1.1\r\n"))
        return begin + (self._random.choice((b"a", b"a: b\r\n", b"\r\n", b"\0", b" ")) * size)[:size]
