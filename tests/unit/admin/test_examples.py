"""The examples for Prometheus and Grafana ask for metrics, labels and values that the daemon has.

promtool and Grafana themselves are tried by hand (eve_meta/docs/observing.rst): both are larger than all else that the
tests need.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from eve_meta.admin.metrics import text_of
from tests import texts
from tests.unit.admin.test_metrics import NUMBERS

EXAMPLES = texts.ROOT / "eve_meta/docs/examples"

OF_PROMETHEUS = {"up": {"job", "instance"}}
"""Series that Prometheus makes of each target, with their labels."""

ADDED = {"job", "instance"}
"""Labels that Prometheus adds to each series."""

_SELECTOR = re.compile(r"\b(up|eve_meta_\w+)\b(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')
_BY = re.compile(r"\bby \(([^)]*)\)")


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((EXAMPLES / "prometheus-rules.yml").read_text(encoding="utf-8"))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((EXAMPLES / "grafana-dashboard.json").read_text(encoding="utf-8"))
    return found


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    yield from (target["expr"] for panel in dashboard()["panels"] for target in panel["targets"])
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            query = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
            assert query is not None
            yield f"sum by ({query[2]}) ({query[1]})"


@cache
def served() -> dict[str, set[str]]:
    """Return the labels of each series that the daemon has, by the series' name."""
    found = dict(OF_PROMETHEUS)
    for family in text_string_to_metric_families(text_of(NUMBERS).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set(ADDED)).update(sample.labels)
    return found


@pytest.mark.parametrize("expression", list(expressions()))
def test_an_expression_asks_for_series_and_labels_that_there_are(expression: str) -> None:
    known = served()
    selectors = _SELECTOR.findall(expression)
    assert selectors
    grouped = [label.strip() for group in _BY.findall(expression) for label in group.split(",")]
    for name, matchers in selectors:
        assert name in known
        written = _MATCHER.findall(matchers)
        assert ",".join(f'{label}{how}"{value}"' for label, how, value in written) == matchers
        assert {label for label, _, _ in written} <= known[name]
        assert set(grouped) <= known[name]
        # What only counts up is looked at by its rate; what may fall is not.
        counts = name.endswith(("_total", "_bucket"))
        at = expression.index(name)
        assert counts is bool(re.search(r"(rate|increase)\(\Z", expression[:at])), name


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {name for expression in expressions() for name, _ in _SELECTOR.findall(expression)}
    assert {name for name in served() if not name.endswith(("_sum", "_count"))} - shown == set()


def test_each_alert_says_what_is_wrong_and_what_to_do() -> None:
    known = served()
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"].keys() == {"severity"}
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"].keys() == {"summary", "description"}
        text = " ".join(rule["annotations"].values())
        grouped = _BY.search(rule["expr"])
        ((name, _),) = _SELECTOR.findall(rule["expr"])
        left = {label.strip() for label in grouped[1].split(",")} if grouped else known[name]
        assert set(re.findall(r"\$labels\.(\w+)", text)) <= left, rule["alert"]


def test_panels_of_the_dashboard_do_not_overlap_and_have_ids_of_their_own() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert place["x"] + place["w"] <= 24
        assert taken.isdisjoint(cells), panel["title"]
        taken |= cells
        assert panel["datasource"]["uid"] == "${datasource}"
