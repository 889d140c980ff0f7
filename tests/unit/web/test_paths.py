"""The table of paths, held against what a guest is answered."""

from __future__ import annotations

import re
from ipaddress import IPv4Address

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eve_meta.documents.paths import PATHS, Action, PathRule, Source, WhileUnknown, rule_of
from eve_meta.documents.tree import Tree
from eve_meta.documents.versions import AWS_VERSIONS, EC2_VERSIONS, LATEST, OPENSTACK_VERSIONS
from eve_meta.values.domain import Domain, TokenPolicy
from eve_meta.values.eve_node import Adapter, Application, Device
from eve_meta.web.answer import StorePassword
from eve_meta.web.limits import Limits
from eve_meta.web.request import Memo, Request, RequestReader
from eve_meta.web.response import Response
from eve_meta.web.table import Entry, Grants
from eve_meta.wire.boot_reports import BootReport
from tests.unit.documents.reading import FULL, crawl
from tests.unit.web.asking import KEY, SINCE, UNKNOWN, WAIT, reply_to
from tests.unit.web.guest import get
from tests.unit.web.path_oracle import Expected, expected

TAP = "nbu1x1"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT")

ADAPTER = Adapter(taps=(TAP,), external_ipv4=(IPv4Address("203.0.113.7"),), may_discover=True)


def entry(tokens: TokenPolicy = TokenPolicy.OFF, *, openstack: bool = True, domain: Domain = FULL) -> Entry:
    """Return the entry of a tag whose domain has all that *domain* has, and EVE-OS's endpoints."""
    application = Application(openstack=openstack, adapters=(ADAPTER,), device=Device(name="node"))
    tree = Tree(attrs.evolve(domain, eve=application), tap=TAP)
    return Entry(TAP, SINCE, b"", Grants(tokens=tokens, token_key=KEY), tree)


ENTRIES = {
    "all": entry(),
    "optional tokens": entry(TokenPolicy.OPTIONAL),
    "required tokens": entry(TokenPolicy.REQUIRED),
    "EVE's endpoints alone": entry(openstack=False),
    "no EVE": Entry(TAP, SINCE, b"", Grants(), Tree(FULL)),
    "unknown": UNKNOWN,
}
ALL = ENTRIES["all"]

EXAMPLES = {
    "/openstack/<version>": [f"/openstack/{version}" for version in (*OPENSTACK_VERSIONS, LATEST)],
    "/openstack/content/<name>": ["/openstack/content/0000"],
    "/<version>": [f"/{version}" for version in (*EC2_VERSIONS, *AWS_VERSIONS, LATEST)],
    "/ec2/<version>": [f"/ec2/{version}" for version in (*EC2_VERSIONS, *AWS_VERSIONS, LATEST)],
}
"""Paths that patterns with a variable segment match, for a domain that has everything."""


def examples(rule: PathRule) -> list[str]:
    """Return paths of *rule* at which there is something for a domain that has everything."""
    if rule.pattern in EXAMPLES:
        return EXAMPLES[rule.pattern]
    pattern = rule.pattern.removesuffix("/**").replace("<version>", LATEST)
    return [pattern]


def answered(entry: Entry, path: str, method: str, *, now: float = SINCE) -> Expected:
    """Return what the guest of *entry* is answered; the status 0 stands for what an action decides."""
    request = get(path, method=method)
    reply = reply_to(entry, request, now=now).response
    rule = read(request).rule
    acts = rule.action is not None and method not in ("GET", "HEAD") and method.encode() in rule.methods
    if isinstance(reply, (StorePassword, BootReport)):
        return Expected(0, None, rule.kind)
    assert isinstance(reply, Response)
    allow = re.search(r"Allow: ([^\r]*)\r\n", reply.extra)
    decided = acts and reply.status not in (401, 404, 405, 503)
    return Expected(0 if decided else int(reply.status), allow and allow[1], rule.kind)


def read(data: bytes) -> Request:
    """Return the only request in *data*."""
    reader = RequestReader(Memo(Limits()))
    reader.receive(data)
    request = reader.next()
    assert isinstance(request, Request)
    return request


LEADING_SOMEWHERE = [rule for rule in PATHS if rule.methods]


@pytest.mark.parametrize("rule", LEADING_SOMEWHERE, ids=lambda rule: rule.pattern)
def test_a_guest_is_answered_by_the_table(rule: PathRule) -> None:
    for path in examples(rule):
        assert rule_of(tuple(path.split("/")[1:] if path != "/" else ())) is rule
        for method in METHODS:
            found = answered(ENTRIES["optional tokens"], path, method)
            if method.encode() not in rule.methods:
                allowed = ", ".join(allowed.decode() for allowed in rule.methods)
                assert found == Expected(405, allowed, rule.kind), (path, method)
            elif method in ("GET", "HEAD"):
                assert (found.status in (200, 204), found.allow, found.kind) == (True, None, rule.kind), (path, method)
            else:
                assert found == Expected(0, None, rule.kind), (path, method)


@pytest.mark.parametrize("rule", PATHS, ids=lambda rule: rule.pattern)
def test_whoever_may_ask_is_decided_by_the_table(rule: PathRule) -> None:
    for path in examples(rule) if rule.methods else [rule.pattern.replace("**", "x/y/z")]:
        for method in METHODS:
            needs = answered(ENTRIES["required tokens"], path, method).status == 401
            assert needs == rule.needs_token, (path, method)
            waits = answered(UNKNOWN, path, method).status == 503
            allowed = method.encode() in rule.methods
            assert (
                waits
                == {
                    WhileUnknown.RETRY: True,
                    WhileUnknown.RETRY_ALLOWED: allowed,
                    WhileUnknown.NOT_FOUND: False,
                }[rule.while_unknown]
            ), (path, method)
            assert answered(UNKNOWN, path, method, now=SINCE + WAIT).status == 404


@pytest.mark.parametrize("rule", [rule for rule in PATHS if not rule.methods], ids=lambda rule: rule.pattern)
def test_on_a_path_that_leads_nowhere_each_method_is_answered_404(rule: PathRule) -> None:
    for path in (rule.pattern.replace("**", "x/y/z"), rule.pattern.replace("**", "..x")):
        for method in METHODS:
            assert answered(ALL, path, method).status == 404


# -- listings --


def listed(path: str) -> list[str]:
    """Return the paths that a guest finds below the listing at *path*, listings and documents."""
    tree = ALL.tree
    assert tree is not None
    leaves = list(crawl(tree, path))
    above = {leaf[: leaf.index("/", len(path) + 1)] for leaf in leaves if "/" in leaf[len(path) + 1 :]}
    return [*leaves, *above]


def versions(root: str) -> list[str]:
    """Return the paths of the versions that the listing at *root* names."""
    found = reply_to(ALL, get(root)).response
    assert isinstance(found, Response)
    return [f"{root.rstrip('/')}/{line}" for line in bytes(found.body).decode().splitlines()]


@pytest.fixture(scope="module")
def found() -> set[PathRule]:
    """The rules of the paths that a guest finds by following listings from the roots."""
    named = [*versions("/openstack"), *versions("/"), *versions("/ec2")]
    # No listing names AWS's versions; what they list is held against the table all the same.
    aws = [f"{prefix}/{version}" for prefix in ("", "/ec2") for version in AWS_VERSIONS]
    places = [*named, *(place for root in (*named, *aws, "/nocloud") for place in listed(root))]
    rules = set()
    for place in places:
        rule = rule_of(tuple(place.split("/")[1:]))
        assert rule.methods, f"{place} is listed and not in the table"
        assert answered(ALL, place, "GET").status == 200, place
        rules.add(rule)
    return rules


def test_listings_lead_to_the_paths_that_the_table_calls_listed_and_to_no_others(found: set[PathRule]) -> None:
    assert {rule.pattern for rule in found} == {rule.pattern for rule in PATHS if rule.methods and rule.listed}


# -- any path --

SEGMENT = st.sampled_from(
    [
        *sorted({segment for rule in PATHS for segment in rule.segments if segment[0] not in "<*"}),
        LATEST,
        "2009-04-04",
        "2012-08-10",
        AWS_VERSIONS[0],
        "0000",
        "instance-id",
        "public-keys",
        "x",
        "Openstack",
    ]
)


@given(
    path=st.lists(SEGMENT, max_size=5).map(tuple),
    method=st.sampled_from(METHODS),
    name=st.sampled_from(sorted(ENTRIES)),
    waits=st.booleans(),
)
def test_any_path_is_answered_as_the_oracle_says(path: tuple[str, ...], method: str, name: str, waits: bool) -> None:
    entry = ENTRIES[name]
    found = answered(entry, "/" + "/".join(path), method, now=SINCE if waits else SINCE + WAIT)
    assert found == expected(entry, path, method, waits=waits)


def test_each_action_is_asked_for_at_one_pattern() -> None:
    assert sorted(rule.action.name for rule in PATHS if rule.action) == sorted(action.name for action in Action)
    assert {rule.source for rule in PATHS} == {*Source, None}
