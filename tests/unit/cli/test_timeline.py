"""``eve-meta timeline``: the picture of a boot."""

from __future__ import annotations

from typing import Any

from eve_meta.admin.questions import Timeline
from eve_meta.cli.timeline import draw


def report(what: str, after: float, name: str, result: str | None = None) -> dict[str, Any]:
    return {"what": what, "after": after, "name": name, "description": "", "result": result}


TIMELINE: Timeline = {
    "tap": "vnet0",
    "uuid": "1a831fa7",
    "name": "web1",
    "since": "2026-01-01T00:00:00.000Z",
    "moments": [
        {"what": "tap up", "after": 0.0},
        {"what": "first request", "after": 5.0},
        {"what": "last request", "after": 10.0},
    ],
    "reports": [
        report("start", 2.5, "init"),
        report("start", 3.0, "hangs\x1b[2J"),
        report("finish", 7.5, "init", "WARN"),
        report("finish", 8.0, "ends", "SUCCESS"),
    ],
    "phone_home": {"after": 10.0, "hostname": "vm"},
}


def test_each_bar_is_where_its_times_are() -> None:
    picture = draw(TIMELINE, 76)
    assert picture.splitlines() == [
        "web1 (1a831fa7) on vnet0, up since 2026-01-01T00:00:00.000Z",
        "",
        "tap up                      +0.000 s |*",
        "init WARN                   +2.500 s |         ==================",
        "hangs\\x1b[2J not finished   +3.000 s |          >",
        "first request               +5.000 s |                  *",
        "ends                        +8.000 s |                            *",
        "last request               +10.000 s |                                   *",
        "phone home vm              +10.000 s |                                   *",
    ]


def test_a_guest_with_only_a_tap() -> None:
    bare: Timeline = {
        **TIMELINE,
        "name": None,
        "moments": TIMELINE["moments"][:1],
        "reports": [],
        "phone_home": None,
    }
    assert draw(bare, 10).splitlines()[2:] == ["tap up  +0.000 s |*"]
