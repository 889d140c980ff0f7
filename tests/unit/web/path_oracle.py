"""What is at each path, written down a second time, as code: what the table of paths must agree with.

This is the dispatch as it stood in five places before :mod:`eve_meta.documents.paths` was the one. A path that is meant
to be answered differently is changed here, too.
"""

from __future__ import annotations

from attrs import frozen

from eve_meta.documents.document import Document
from eve_meta.documents.tree import Tree
from eve_meta.values.domain import TokenPolicy
from eve_meta.values.request_kind import RequestKind
from eve_meta.web.table import Entry
from tests.unit.documents.reading import TODAY
from tests.unit.web.asking import NODE

READABLE = ("GET", "HEAD")
PEER, PORT = "10.0.0.5", 40000

_OPENSTACK = {
    "meta_data.json": RequestKind.META_DATA,
    "user_data": RequestKind.USER_DATA,
    "vendor_data.json": RequestKind.VENDOR_DATA,
    "vendor_data2.json": RequestKind.VENDOR_DATA2,
    "network_data.json": RequestKind.NETWORK_DATA,
    "password": RequestKind.PASSWORD,
}

_EC2 = {
    "meta-data": RequestKind.EC2_META_DATA,
    "user-data": RequestKind.EC2_USER_DATA,
    "dynamic": RequestKind.EC2_DYNAMIC,
}

_NOCLOUD = {
    "meta-data": RequestKind.NOCLOUD_META_DATA,
    "user-data": RequestKind.NOCLOUD_USER_DATA,
    "vendor-data": RequestKind.NOCLOUD_VENDOR_DATA,
    "network-config": RequestKind.NOCLOUD_NETWORK_CONFIG,
}

_REPORTS: dict[tuple[str, ...], RequestKind] = {
    ("eve-meta", "v1", "report"): RequestKind.REPORT,
    ("eve-meta", "v1", "phone-home"): RequestKind.PHONE_HOME,
}

TOKEN_PATH = ("latest", "api", "token")


def kind_of(path: tuple[str, ...]) -> RequestKind:
    """Return the kind of the normalised *path*, whether or not a document is there."""
    length = len(path)
    tree = path[0] if length else ""
    if tree == "openstack":
        if length == 3:
            return RequestKind.CONTENT if path[1] == "content" else _OPENSTACK.get(path[2], RequestKind.OPENSTACK)
        return RequestKind.OPENSTACK
    if tree == "nocloud":
        return _NOCLOUD.get(path[1], RequestKind.NOCLOUD) if length == 2 else RequestKind.NOCLOUD
    if tree == "eve":
        return RequestKind.EVE
    if tree == "ec2":
        return _EC2.get(path[2], RequestKind.OTHER) if length > 2 else RequestKind.EC2
    if tree == "eve-meta":
        return _REPORTS.get(path, RequestKind.OTHER)
    if path == TOKEN_PATH:
        return RequestKind.TOKEN
    return _EC2.get(path[1], RequestKind.OTHER) if length > 1 else RequestKind.EC2


@frozen
class Expected:
    """What a guest is to be answered: the status, ``Allow``, and the kind that is counted.

    *status* is 0 for what an action decides (a token, a password, a report).
    """

    status: int
    allow: str | None
    kind: RequestKind


def expected(entry: Entry, path: tuple[str, ...], method: str, *, waits: bool) -> Expected:
    """Return what the guest of *entry* is to be answered to *method* and *path*, without conditions and body.

    :param waits: whether an unknown domain may still become known.
    """
    kind = kind_of(path)
    if entry.tree is None:
        in_tree = path[:1] in (("openstack",), ("nocloud",))
        retry = waits and (in_tree or (method == "PUT" and path == TOKEN_PATH))
        return Expected(503 if retry else 404, None, kind)
    tokens = entry.grants.tokens
    if tokens is TokenPolicy.REQUIRED and path != TOKEN_PATH:
        return Expected(401, None, kind)
    if tokens is not TokenPolicy.OFF and path == TOKEN_PATH:
        return Expected(0, None, kind) if method == "PUT" else Expected(405, "PUT", kind)
    document = find(entry.tree, path)
    if document is None:
        if path not in _REPORTS:
            return Expected(404, None, kind)
        return Expected(0, None, kind) if method == "POST" else Expected(405, "POST", kind)
    if method in READABLE:
        return Expected(document.status, None, kind)
    match path:
        case ("openstack", _, "password"):
            return Expected(0, None, kind) if method == "POST" else Expected(405, "GET, HEAD, POST", kind)
    return Expected(405, "GET, HEAD", kind)


def find(tree: Tree, path: tuple[str, ...]) -> Document | None:
    """Return the document at *path*, None where there is none."""
    match path:
        case ("eve", *_):
            return tree._eve.find(path[1:], PEER, PORT, NODE)
        case _ if tree._eve_only:
            return None
        case ("openstack", *_):
            return tree._openstack.find(path[1:], TODAY)
        case ("ec2", *_):
            return tree._ec2.find(path[1:], PEER)
        case ("nocloud", *_):
            return tree._nocloud.find(path[1:])
    return tree._ec2.find(path, PEER)
