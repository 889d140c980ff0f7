"""The table of paths: each path has one rule, the most specific that matches."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eve_meta.documents.path import normalise
from eve_meta.documents.paths import PATHS, PathRule, rule_of, rules_below
from eve_meta.values.request_kind import RequestKind

SEGMENTS = sorted({segment for rule in PATHS for segment in rule.segments if segment[0] not in "<*"})
"""Every literal segment of a pattern."""

PATH = st.lists(st.sampled_from([*SEGMENTS, "2009-04-04", "x"]) | st.text(max_size=3), max_size=6).map(tuple)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/openstack", RequestKind.OPENSTACK),
        ("/openstack/latest/", RequestKind.OPENSTACK),
        ("/openstack/latest/meta_data.json", RequestKind.META_DATA),
        ("/openstack/2012-08-10/user_data", RequestKind.USER_DATA),
        ("/openstack/latest/vendor_data.json", RequestKind.VENDOR_DATA),
        ("/openstack/latest/vendor_data2.json", RequestKind.VENDOR_DATA2),
        ("/openstack/latest/network_data.json", RequestKind.NETWORK_DATA),
        ("/openstack/content/0000", RequestKind.CONTENT),
        ("/openstack/2013-04-04/password", RequestKind.PASSWORD),
        ("/openstack/latest/meta_data.json/x", RequestKind.OPENSTACK),
        ("/openstack/latest/secret", RequestKind.OPENSTACK),
        ("/", RequestKind.EC2),
        ("/ec2", RequestKind.EC2),
        ("/ec2/2009-04-04/meta-data/instance-id", RequestKind.EC2_META_DATA),
        ("/latest", RequestKind.EC2),
        ("/latest/meta-data/", RequestKind.EC2_META_DATA),
        ("/2009-04-04/user-data", RequestKind.EC2_USER_DATA),
        ("/latest/dynamic/instance-identity/document", RequestKind.EC2_DYNAMIC),
        ("/latest/api/token", RequestKind.TOKEN),
        ("/latest/api", RequestKind.OTHER),
        ("/nocloud/", RequestKind.NOCLOUD),
        ("/nocloud/meta-data", RequestKind.NOCLOUD_META_DATA),
        ("/nocloud/user-data", RequestKind.NOCLOUD_USER_DATA),
        ("/nocloud/vendor-data", RequestKind.NOCLOUD_VENDOR_DATA),
        ("/nocloud/network-config", RequestKind.NOCLOUD_NETWORK_CONFIG),
        ("/nocloud/seed/meta-data", RequestKind.NOCLOUD),
        ("/eve/v1/network.json", RequestKind.EVE),
        ("/computeMetadata/v1/instance", RequestKind.OTHER),
    ],
)
def test_a_path_has_the_kind_of_the_document_that_it_leads_to(path: str, kind: RequestKind) -> None:
    assert rule_of(normalise(path.encode())).kind is kind


def matches(pattern: tuple[str, ...], path: tuple[str, ...]) -> bool:
    """Return whether *path* is one of the paths that *pattern* stands for."""
    if pattern == ("**",):
        return True
    if not pattern or not path:
        return not pattern and not path
    return (pattern[0] == path[0] or pattern[0].startswith("<")) and matches(pattern[1:], path[1:])


def vagueness(rule: PathRule) -> list[int]:
    """Return a number for each segment of the pattern of *rule*, the higher the vaguer."""
    return [{"<": 1, "*": 2}.get(segment[0], 0) for segment in rule.segments]


@given(PATH)
def test_a_path_has_the_most_specific_rule_that_matches(path: tuple[str, ...]) -> None:
    assert rule_of(path) is min((rule for rule in PATHS if matches(rule.segments, path)), key=vagueness)


def test_every_pattern_is_the_rule_of_the_path_that_is_spelt_like_it() -> None:
    for rule in PATHS:
        path = tuple(part for segment in rule.segments for part in (("x", "y", "z") if segment == "**" else (segment,)))
        assert rule_of(path) is rule, rule.pattern


def test_no_two_rules_have_one_pattern() -> None:
    assert max(Counter(rule.segments for rule in PATHS).values()) == 1


def test_every_kind_is_that_of_a_path_but_the_one_of_what_has_none() -> None:
    assert {rule.kind for rule in PATHS} == set(RequestKind) - {RequestKind.UNREAD}


def test_a_rule_allows_what_it_has_an_answer_for() -> None:
    for rule in PATHS:
        reads = {b"GET", b"HEAD"} <= set(rule.methods)
        assert reads == (rule.source is not None), rule.pattern
        assert (set(rule.methods) > {b"GET", b"HEAD"} if reads else bool(rule.methods)) == (rule.action is not None)


def test_the_names_below_a_pattern() -> None:
    assert list(rules_below("/nocloud")) == ["meta-data", "user-data", "vendor-data", "network-config"]
    assert list(rules_below("/<version>")) == ["meta-data", "user-data", "dynamic"]
    assert rules_below("/openstack/content") == {}
