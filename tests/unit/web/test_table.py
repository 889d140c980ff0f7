"""A tag that has one domain now and another later."""

from __future__ import annotations

import pytest

from eve_meta.web.table import Table
from tests.unit.web.guest import OTHER_UUID, UUID, domain

DOMAIN = domain()
NAMED = b'{"name": "web1"}'


def test_a_tag_that_was_never_put_means_nothing() -> None:
    assert Table().get(1) is None


def test_an_unknown_domain_has_no_tree() -> None:
    table = Table()
    assert not table.put(1, "vnet0", 5.0, None)
    entry = table.get(1)
    assert entry is not None
    assert (entry.tap, entry.since, entry.tree) == ("vnet0", 5.0, None)


def test_a_domain_becomes_a_tree_when_its_guest_asks() -> None:
    table = Table()
    table.put(1, "vnet0", 0.0, DOMAIN)
    entry = table.get(1)
    assert entry is not None
    assert entry.tree is not None
    again = table.get(1)
    assert again is not None
    assert again.tree is entry.tree


def test_a_changed_domain_is_a_new_tree() -> None:
    table = Table()
    table.put(1, "vnet0", 0.0, DOMAIN)
    before = table.get(1)
    assert not table.put(1, "vnet0", 0.0, domain(meta={"role": "db"}))
    after = table.get(1)
    assert before is not None
    assert after is not None
    assert after.tree not in (None, before.tree)


@pytest.mark.parametrize(
    ("old", "new", "other"),
    [
        (None, None, False),
        (None, DOMAIN, False),
        (DOMAIN, DOMAIN, False),
        (DOMAIN, domain(name="renamed"), False),
        (DOMAIN, domain(OTHER_UUID), True),
        (DOMAIN, None, True),
        (NAMED, b'{"name": "web1", "meta": {"a": "b"}}', False),
        (NAMED, b'{"name": "web2"}', True),
        (NAMED, DOMAIN, True),
    ],
)
def test_whether_a_tag_means_another_domain(old: bytes | None, new: bytes | None, other: bool) -> None:
    table = Table()
    table.put(1, "vnet0", 0.0, old)
    assert table.put(1, "vnet0", 0.0, new) is other
    assert table.put(1, "vnet0", 0.0, new) is False


def test_another_tap_is_another_domain_whatever_its_uuid() -> None:
    table = Table()
    table.put(1, "vnet0", 0.0, DOMAIN)
    assert table.put(1, "vnet1", 0.0, DOMAIN)


def test_a_tap_that_appears_again_waits_anew() -> None:
    table = Table()
    table.put(1, "vnet0", 0.0, None)
    table.put(1, "vnet0", 9.0, None)
    entry = table.get(1)
    assert entry is not None
    assert entry.since == 9.0


def test_a_removed_tag_means_nothing_even_when_its_tree_was_ready() -> None:
    table = Table()
    table.put(1, "vnet0", 0.0, DOMAIN)
    table.get(1)
    table.remove(1)
    assert table.get(1) is None
    table.remove(1)


def ready(table: Table, tags: range) -> list[int]:
    """Return the tags among *tags* whose domain is ready."""
    return [tag for tag in tags if table._entries[tag].tree is not None]


def test_only_the_domains_that_asked_last_are_kept_ready() -> None:
    table = Table(max_trees=2)
    for tag in range(3):
        table.put(tag, f"vnet{tag}", 0.0, domain(name=f"web{tag}"))
    for tag in (0, 1, 0, 2):
        table.get(tag)
    assert ready(table, range(3)) == [0, 2]
    entry = table.get(1)
    assert entry is not None
    assert entry.tree is not None


def test_large_domains_are_not_all_kept_ready() -> None:
    table = Table(max_tree_bytes=3 * len(DOMAIN))
    for tag in range(4):
        table.put(tag, f"vnet{tag}", 0.0, DOMAIN)
        table.get(tag)
    assert ready(table, range(4)) == [1, 2, 3]
    table.put(1, "vnet1", 0.0, domain(meta={"large": "x" * 4 * len(DOMAIN)}))
    table.get(1)
    assert ready(table, range(4)) == [1]
    table.remove(1)
    table.get(2)
    assert ready(table, range(2, 4)) == [2]


def test_a_domain_is_recognised_by_its_uuid_in_any_spelling() -> None:
    table = Table()
    table.put(1, "vnet0", 0.0, DOMAIN)
    assert not table.put(1, "vnet0", 0.0, domain(UUID.upper()))


def test_a_domain_that_does_not_ask_is_not_kept_ready() -> None:
    table = Table()
    for tag in (1, 2):
        table.put(tag, f"vnet{tag}", 0.0, DOMAIN)
    (busy, idle) = (table.get(1), table.get(2))
    assert busy is not None
    assert idle is not None
    assert table.age()
    tree = busy.tree
    table.get(1)
    assert table.age()
    assert (busy.tree, idle.tree) == (tree, None)
    assert not table.age()
    again = table.get(2)
    assert again is not None
    assert again.tree is not None
