"""What the alerts and the dashboard ask of Prometheus, and what `promtool` says of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
ALERTS = ROOT / "deploy/prometheus/alerts.yml"
DASHBOARD = ROOT / "deploy/grafana/flowshift.json"

_NAME = re.compile(r"\bflowshift_[a-z0-9_]+\b")
_MATCHERS = re.compile(r"\b(flowshift_[a-z0-9_]+)\{([^}]*)\}")
_MATCHER = re.compile(r'(\w+)(=~|!=|!~|=)"([^"]*)"')


def alerts() -> list[dict[str, Any]]:
    """The rules of the alerts."""
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def panels() -> list[dict[str, Any]]:
    """The panels of the dashboard, rows included."""
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def alert_expressions() -> list[str]:
    """What the alerts ask."""
    return [rule["expr"] for rule in alerts()]


def dashboard_expressions() -> list[str]:
    """What the dashboard asks, with a time in the place of its variable."""
    return [
        target["expr"].replace("$__rate_interval", "5m")
        for panel in panels()
        for target in panel.get("targets", ())
    ]


def names_in(expressions: list[str]) -> set[str]:
    """The metrics that expressions name, as a scrape names them."""
    return {name for one in expressions for name in _NAME.findall(one)}


def matchers_in(expressions: list[str]) -> Iterator[tuple[str, str, str]]:
    """Each value that a label of a metric is held against: (metric, label, value)."""
    for one in expressions:
        for name, matchers in _MATCHERS.findall(one):
            for label, operator, value in _MATCHER.findall(matchers):
                values = value.split("|") if operator.endswith("~") else [value]
                yield from ((name, label, each) for each in values)


def promtool(*arguments: str, cwd: Path) -> None:
    """Run promtool; the test is skipped where it is not installed."""
    path = shutil.which("promtool")
    if path is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    done = subprocess.run([path, *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
