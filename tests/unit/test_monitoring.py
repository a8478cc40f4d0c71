"""The alerts and the dashboard that are shipped: they parse, fire as they say, and name what is there."""

from __future__ import annotations

import re
import shutil
from itertools import combinations
from pathlib import Path

import yaml

from tests.monitoring import (
    ALERTS,
    ROOT,
    alert_expressions,
    alerts,
    dashboard_expressions,
    matchers_in,
    names_in,
    panels,
    promtool,
)
from worker.cli.commands import ENTRIES
from worker.core.metrics.catalogue import CATALOGUE

EXPRESSIONS = [*alert_expressions(), *dashboard_expressions()]
_SUFFIXES = {"histogram": ("_bucket", "_sum", "_count")}
KNOWN = {
    f"{metric.exposed}{suffix}": metric
    for metric in CATALOGUE.values()
    for suffix in _SUFFIXES.get(metric.kind, ("",))
}


def test_the_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    shutil.copy(ALERTS, tmp_path)
    shutil.copy(ROOT / "tests/data/alerts_test.yml", tmp_path)

    promtool("check", "rules", "--lint-fatal", "alerts.yml", cwd=tmp_path)
    promtool("test", "rules", "alerts_test.yml", cwd=tmp_path)


def test_prometheus_understands_what_the_dashboard_asks(tmp_path: Path) -> None:
    rules = [
        {"record": f"flowshift:panel_{number}", "expr": expression}
        for number, expression in enumerate(dashboard_expressions())
    ]
    asked = tmp_path / "dashboard.yml"
    asked.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))

    promtool("check", "rules", "dashboard.yml", cwd=tmp_path)


def test_what_is_asked_is_in_the_catalogue() -> None:
    assert names_in(EXPRESSIONS) <= set(KNOWN)
    for name, label, value in matchers_in(EXPRESSIONS):
        (found,) = [one for one in KNOWN[name].labels if one.name == label]
        assert found.says or value in found.values, (name, label, value)


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {KNOWN[name].name for name in names_in(dashboard_expressions())}

    assert shown == set(CATALOGUE)


def test_every_alert_says_what_happened_and_what_to_do_with_commands_that_exist() -> None:
    for rule in alerts():
        assert rule["alert"].startswith("Flowshift")
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert set(rule["annotations"]) == {"summary", "action"}
        action = rule["annotations"]["action"]
        for command in re.findall(r"`flowshift ([a-z-]+)", action):
            assert command in ENTRIES, action
        assert action.endswith(".")


def test_no_panel_of_the_dashboard_covers_another() -> None:
    places = [panel["gridPos"] for panel in panels()]

    assert len({panel["id"] for panel in panels()}) == len(places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below
    assert all(place["x"] + place["w"] <= 24 for place in places)
