"""Alert rules, dashboard and ``docs/metrics.md`` name what a running service tells, and all of it is described."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from support.faces import decision, paper_face
from support.measured import samples, value

# one of Apprise's plugins imports what Python 3.13 no longer has
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

ROOT = Path(__file__).parents[4]
RULES = yaml.safe_load((ROOT / "deploy" / "prometheus-rules.yaml").read_text(encoding="utf-8"))
DASHBOARD = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text(encoding="utf-8"))
PAGE = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
OF_PROMETHEUS = {"up": {"job", "instance"}}
"""What Prometheus makes itself."""
OF_EACH_SCRAPE = {"job", "instance", "le"}
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]
VARIABLES = {"$__rate_interval": "5m", "$__range": "1h"}
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


def expressions() -> Iterator[tuple[str, str]]:
    """Each expression, with where it stands."""
    for rule in ALERTS:
        yield rule["alert"], rule["expr"]
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for annotation in DASHBOARD["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


def parsed(expression: str) -> Any:
    for name, text in VARIABLES.items():
        expression = expression.replace(name, text)
    return promql_parser.parse(expression)


def nodes(tree: Any) -> Iterator[Any]:
    """A parsed expression and everything inside it."""
    yield tree
    for name in ("lhs", "rhs", "expr", "vector_selector"):
        if (part := getattr(tree, name, None)) is not None:
            yield from nodes(part)
    for part in getattr(tree, "args", None) or ():
        yield from nodes(part)


def selectors(expression: str) -> list[Any]:
    return [node for node in nodes(parsed(expression)) if isinstance(node, promql_parser.VectorSelector)]


async def families_of_a_running_service() -> dict[str, Metric]:
    """What ``/metrics`` tells after a bracket and an alert."""
    async with paper_face(TES_ALERT_URLS="json://127.0.0.1:9/") as face:
        assert (await face.post("/v1/decisions", decision())).json["status"] == "executed"
        face.application.service("default")._kill_switch.trip("a test raises an alert")
        while True:
            text = (await face.get("/metrics")).body
            if value(samples(text), "tes_events_total", type="AlertRaised"):
                return {family.name: family for family in text_string_to_metric_families(text.decode())}


@pytest.fixture(scope="module")
def told() -> dict[str, set[str]]:
    """The labels of each series that a running service tells."""
    families = asyncio.run(families_of_a_running_service())
    return {
        f"{name}{suffix}": {label for sample in family.samples for label in sample.labels}
        for name, family in families.items()
        for suffix in SUFFIXES[family.type]
    }


@pytest.mark.long
@pytest.mark.parametrize(("place", "expression"), list(expressions()))
def test_every_expression_parses_and_names_what_is_told(place: str, expression: str, told: dict[str, set[str]]) -> None:
    found = selectors(expression)
    assert found, f"{place} asks for nothing"
    known = told | OF_PROMETHEUS
    for selector in found:
        assert selector.name in known, place
        matched = {matcher.name for matcher in selector.matchers.matchers}
        assert matched <= known[selector.name] | OF_EACH_SCRAPE, place
    labels = set().union(*(known[selector.name] for selector in found)) | OF_EACH_SCRAPE
    grouped = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", expression))))
    assert grouped <= labels, place


def test_the_selectors_of_an_expression_are_all_found() -> None:
    found = selectors("1 - (a_total or vector(0)) * rate(b{x='y'}[5m]) / on(z) sum by (z) (-c) > bool abs(d) unless e")
    assert [selector.name for selector in found] == ["a_total", "b", "c", "d", "e"]


def test_each_metric_is_described_and_no_description_is_out_of_date(told: dict[str, set[str]]) -> None:
    described = set(re.findall(r"^\| `(tes_\w+)`", PAGE, re.MULTILINE))
    in_the_page = {name.removesuffix("_bucket") for name in told if name.startswith("tes_")}
    assert described == {name for name in in_the_page if not name.endswith(("_sum", "_count"))}


def test_labels_of_each_metric_are_described(told: dict[str, set[str]]) -> None:
    for name, labels in re.findall(r"^\| `(tes_\w+)` \| [a-z]+ \|(.*?)\|", PAGE, re.MULTILINE):
        real = told.get(name, told.get(f"{name}_bucket", set())) - {"le"}
        assert set(re.findall(r"`(\w+)`", labels)) == real, name


def test_each_alert_rule_is_described_has_a_severity_and_says_what_to_look_at() -> None:
    assert set(re.findall(r"^\| `(Tes\w+)`", PAGE, re.MULTILINE)) == {rule["alert"] for rule in ALERTS}
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]


def test_panels_lie_side_by_side_and_say_what_they_show() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)
