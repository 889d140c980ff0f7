"""Paths that only a hostile guest asks for, and the memory that a tree takes."""

from __future__ import annotations

import gc
import sys
import weakref

import pytest
from attrs import evolve

from eve_meta.documents.tree import Tree
from eve_meta.values.domain import Domain
from tests.unit.documents.reading import BARE, FULL, TODAY

ROOTS: list[tuple[str, ...]] = [
    (),
    ("ec2",),
    ("openstack",),
    ("openstack", "latest"),
    ("openstack", "content"),
    ("openstack", "content", "0000"),
    ("openstack", "latest", "meta_data.json"),
    ("latest",),
    ("latest", "meta-data"),
    ("latest", "meta-data", "public-keys"),
    ("latest", "meta-data", "public-keys", "0"),
    ("latest", "meta-data", "block-device-mapping"),
    ("latest", "meta-data", "network", "interfaces", "macs", "fa:16:3e:00:00:01"),
    ("latest", "meta-data", "tags", "instance"),
    ("latest", "dynamic", "instance-identity", "document"),
    ("2021-03-23",),
    ("nocloud",),
    ("nocloud", "meta-data"),
]

SEGMENTS = [
    "",
    ".",
    "..",
    "/",
    "../latest",
    "0=alice",
    "%2e%2e",
    "latest\0",
    "latest\n",
    "latest ",
    "ｌatest",
    "٠٠٠٠",
    "\ud800",
    "{0.__class__}",
    "x" * 4096,
]


@pytest.mark.parametrize("root", ROOTS, ids="/".join)
@pytest.mark.parametrize("segment", SEGMENTS, ids=lambda segment: ascii(segment[:20]))
def test_segments_that_are_no_name_are_404(root: tuple[str, ...], segment: str) -> None:
    tree = Tree(FULL)
    assert tree.find((*root, segment), peer="10.0.0.5", today=TODAY) is None
    assert tree.find((segment, *root), peer="10.0.0.5", today=TODAY) is None


@pytest.mark.parametrize("root", ROOTS, ids="/".join)
@pytest.mark.parametrize("segment", ["x", "0", "latest", "openstack", "ec2", "public-keys", "content", "nocloud"])
def test_paths_deeper_than_any_stack_are_404(root: tuple[str, ...], segment: str) -> None:
    deep = root + (segment,) * (sys.getrecursionlimit() + 100)
    assert Tree(FULL).find(deep, peer="10.0.0.5", today=TODAY) is None


@pytest.mark.parametrize("domain", [FULL, BARE], ids=["full", "bare"])
def test_invented_paths_take_no_memory(domain: Domain) -> None:
    tree = Tree(domain)
    local_ipv4 = ("latest", "meta-data", "local-ipv4")
    for root in ROOTS:
        tree.find(root, peer="10.0.0.5", today=TODAY)
    before = _size(tree)
    for number in range(100):
        peer = f"10.0.0.{number}"
        assert tree.find(local_ipv4, peer=peer, today=TODAY) is not None
        for root in ROOTS:
            tree.find((*root, f"x{number}"), peer=peer, today=TODAY)
            tree.find((f"x{number}", *root), peer=peer, today=TODAY)
    assert _size(tree) == before


def test_a_tree_that_nobody_reads_is_small() -> None:
    """A worker keeps many trees, and each guest reads a small part of its own."""
    domain = evolve(
        FULL,
        nics=tuple(evolve(FULL.nics[0], tap=f"vnet{n}") for n in range(100)),
        meta={f"key{n}": "value" for n in range(100)},
        public_keys={f"key{n}": "ssh-rsa A" for n in range(100)},
    )
    assert _size(Tree(domain)) < 50


def _size(tree: Tree) -> int:
    """Return the number of objects that *tree* holds, itself included."""
    seen: dict[int, object] = {}
    rest: list[object] = [tree]
    while rest:
        value = rest.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, dict):
            rest += [*value.keys(), *value.values()]
        elif isinstance(value, tuple):
            rest += value
        elif type(value).__module__.startswith("eve_meta.documents"):
            rest += [
                getattr(value, name)
                for name in (*getattr(value, "__dict__", ()), *getattr(value, "__slots__", ()))
                if name != "__weakref__"
            ]
    return len(seen)


def test_a_tree_without_references_is_freed_at_once() -> None:
    """Trees come and go with their guests; one that refers to itself would stay until the garbage collector runs."""
    tree = Tree(FULL)
    for path in ROOTS:
        tree.find(path, peer="10.0.0.5", today=TODAY)
    gone = weakref.ref(tree._openstack), weakref.ref(tree._ec2), weakref.ref(tree._nocloud)
    gc.disable()
    try:
        del tree
        assert [ref() for ref in gone] == [None, None, None]
    finally:
        gc.enable()
