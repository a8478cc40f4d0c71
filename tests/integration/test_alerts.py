"""Alert rules on real PostgreSQL: judged by the numbers of /metrics, told once, and shown."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from tests.fleet import Fleet
from tests.integration.conftest import Run
from worker.core.alerts.rules import BUILT_IN, Rule
from worker.core.metrics.catalogue import REQUESTS
from worker.core.metrics.model import Sample
from worker.db.measuring.measured import Measured
from worker.errors import ConfigError
from worker.processes.alert_judge import alert_judge
from worker.runtime import Runtime
from worker.steps.alerts.judge import judge_rules
from worker.steps.alerts.rules import load
from worker.steps.metrics.read import read
from worker.steps.metrics.requests import RequestTotals

SLOW = """
[[alert]]
name = "slow"
metric = "http.request.duration"
condition = "gt"
threshold = 500
for_s = 300
level = "error"
"""


def a_file(directory: Path, text: str) -> Path:
    path = directory / "alerts.toml"
    path.write_text(text)
    return path


def rows(current: Runtime, query: str) -> list[tuple[Any, ...]]:
    with current.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


def shift(current: Runtime, seconds: int) -> None:
    """Let time pass since the last look."""
    with current.engine.begin() as connection:
        connection.execute(
            sa.text(
                "UPDATE flowshift.alerts SET since = since - make_interval(secs => :s),"
                " clear_since = clear_since - make_interval(secs => :s),"
                " judged_at = judged_at - make_interval(secs => :s)"
            ),
            {"s": seconds},
        )


def traffic(*durations_s: float) -> list[Sample]:
    """A whole reading, with real traffic of these quantiles."""
    return [
        Sample("flowshift_up", 1.0),
        Sample("flowshift_scrape_failed", 0.0, ("traffic",)),
        *(
            Sample("flowshift_traffic_duration_seconds", one, (quantile,))
            for one, quantile in zip(durations_s, ("0.5", "0.9", "0.99"), strict=False)
        ),
    ]


def look(current: Runtime, rules: Sequence[Rule], samples: Sequence[Sample]) -> bool:
    shift(current, 50)
    return judge_rules(current.engine, rules, lambda: samples, every_s=15)


TOLD = "SELECT kind, level, title, reason FROM flowshift.notifications ORDER BY notification_id"


def test_the_guides_rule_fires_after_its_duration_and_is_resolved_after_it(
    current: Runtime, tmp_path: Path
) -> None:
    rules = load(a_file(tmp_path, SLOW))
    assert str(rules[0]) == "http.request.duration gt 500 ms for 300 s"

    for _ in range(6):
        look(current, rules, traffic(0.1, 0.3, 0.812))
    assert rows(current, TOLD) == []
    look(current, rules, traffic(0.1, 0.3, 0.812))
    look(current, rules, traffic(0.1, 0.3, 0.9))

    assert rows(current, TOLD) == [
        (
            "alert.firing",
            "error",
            "Alert slow is firing",
            "http.request.duration is 812 ms (quantile 0.99), above 500 ms for 300 s",
        )
    ]
    with current.engine.begin() as connection:
        connection.execute(sa.text("UPDATE flowshift.notifications SET spread_at = now()"))
    for _ in range(8):
        look(current, rules, traffic(0.1, 0.2, 0.3))

    assert [row[:3] for row in rows(current, TOLD)][1:] == [
        ("alert.resolved", "info", "Alert slow is resolved")
    ]


def test_what_could_not_be_read_keeps_an_alert_firing(current: Runtime, tmp_path: Path) -> None:
    rules = load(a_file(tmp_path, SLOW.replace("for_s = 300", "for_s = 0")))
    look(current, rules, traffic(0.1, 0.3, 0.9))

    for _ in range(9):
        look(current, rules, [Sample("flowshift_up", 0.0)])

    assert rows(current, "SELECT state, said FROM flowshift.alerts") == [
        ("firing", "http.request.duration could not be read, or is absent")
    ]


def test_absent_fires_only_where_everything_else_could_be_read(
    current: Runtime, tmp_path: Path
) -> None:
    text = '[[alert]]\nname = "quiet"\nmetric = "http.request.duration"\ncondition = "absent"'
    rules = load(a_file(tmp_path, text))

    look(
        current,
        rules,
        [Sample("flowshift_up", 1.0), Sample("flowshift_scrape_failed", 1.0, ("a",))],
    )
    assert rows(current, "SELECT state FROM flowshift.alerts") == [("ok",)]
    look(current, rules, traffic())

    assert rows(current, "SELECT state FROM flowshift.alerts") == [("firing",)]


def test_of_many_beats_at_once_one_judges(current: Runtime) -> None:
    samples = [*traffic(), Sample("flowshift_prune_missed", 1.0)]
    did: list[bool] = []

    def work() -> None:
        did.append(judge_rules(current.engine, BUILT_IN, lambda: samples, every_s=15))

    beats = [threading.Thread(target=work) for _ in range(6)]
    for one in beats:
        one.start()
    for one in beats:
        one.join()

    assert sum(did) == 1
    assert [row[0] for row in rows(current, TOLD)] == ["prune.missed"]


def test_the_beat_tells_of_a_run_that_no_worker_works_on_by_real_metrics(
    fleet: Fleet, tmp_path: Path
) -> None:
    fleet.add_many(1)
    fleet.start()
    with fleet.engine.begin() as connection:
        connection.execute(
            sa.text(
                "UPDATE flowshift.runs SET created_at = now() - interval '1 hour', started_at = NULL"
            )
        )
    settings = msgspec.structs.replace(
        fleet.current.settings, alerts=str(a_file(tmp_path, SLOW)), alerts_s=1
    )
    watch = alert_judge(Runtime(settings, fleet.current.servers))
    assert watch is not None
    watch.once()
    for _ in range(2):
        shift(fleet.current, 40)
        watch.once()
    watch.stop()

    assert rows(fleet.current, TOLD) == [
        (
            "worker.missing",
            "error",
            "No worker answers, and a run waits for one",
            "flowshift_runs_without_worker is 1 (queue convert), above 0 for 60 s",
        )
    ]


def requests(current: Runtime, *durations_s: float, route: str = "/runs/{run_id}") -> RequestTotals:
    """Requests that a `flowshift serve` answered, committed as it does."""
    measured = Measured()
    for duration_s in durations_s:
        measured.observe(REQUESTS, duration_s, "GET", route, "2xx")
    made = RequestTotals(current.engine, measured)
    made.commit()
    return made


HTTP = """
[[alert]]
name = "slow-pages"
metric = "flowshift_http_recent_duration_seconds"
condition = "gt"
threshold = 0.5
labels = { quantile = "0.99" }
"""


def test_serves_own_requests_are_judged_whichever_process_answered_them(
    current: Runtime, tmp_path: Path
) -> None:
    rules = load(a_file(tmp_path, HTTP))

    def said() -> tuple[str, str]:
        look(current, rules, read(current.engine, current.settings))
        [(state, said)] = rows(current, "SELECT state, said FROM flowshift.alerts")
        return state, said

    assert said()[0] == "ok"
    requests(current, 9.0, route="/metrics")
    assert "could not be read, or is absent" in said()[1]
    requests(current, *[0.02] * 80)
    assert said()[0] == "ok"
    requests(current, *[0.9] * 20)
    state, what = said()
    assert (state, "above 0.5 s" in what) == ("firing", True)
    assert "(quantile 0.99)" in what


def test_requests_of_the_last_minutes_are_kept_and_no_others(current: Runtime) -> None:
    requests(current, 0.1)
    with current.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE flowshift.http_windows SET ended_at = ended_at - interval '301 s'")
        )
    found = read(current.engine, current.settings)
    assert not [one for one in found if one.name == "flowshift_http_recent_duration_seconds"]

    requests(current, 0.1, 0.1)

    assert rows(current, "SELECT statuses FROM flowshift.http_windows") == [([0, 2, 0, 0, 0],)]
    total = [one for one in read(current.engine, current.settings) if one.name == REQUESTS]
    assert [sum(one.counts) for one in total] == [3]


def test_what_was_measured_over_a_long_outage_counts_in_the_totals_alone(
    current: Runtime,
) -> None:
    now, measured = [0.0], Measured()
    made = RequestTotals(current.engine, measured, lambda: now[0])
    measured.observe(REQUESTS, 0.1, "GET", "/", "2xx")
    now[0] = 301.0
    made.commit()
    assert rows(current, "SELECT FROM flowshift.http_windows") == []
    measured.observe(REQUESTS, 0.1, "GET", "/", "2xx")
    now[0] = 311.0
    made.commit()

    assert rows(current, "SELECT statuses FROM flowshift.http_windows") == [([0, 1, 0, 0, 0],)]
    total = [one for one in read(current.engine, current.settings) if one.name == REQUESTS]
    assert [sum(one.counts) for one in total] == [2]


def test_nothing_is_judged_where_nobody_asked_for_it(current: Runtime) -> None:
    assert alert_judge(current) is None


def test_alerts_shows_every_rule_with_its_state_and_what_was_read(
    current: Runtime, tmp_path: Path, flowshift: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = a_file(tmp_path, SLOW)
    monkeypatch.setenv("FLOWSHIFT_ALERTS", str(path))
    look(current, BUILT_IN, [*traffic(), Sample("flowshift_prune_missed", 1.0)])

    code, out, _ = flowshift("alerts")

    assert code == 1
    lines = out.splitlines()
    assert lines[-3].startswith("prune-missed          firing since ")
    assert lines[-3].endswith(" UTC: flowshift_prune_missed gt 0 for 0 s")
    assert lines[-2].startswith("    flowshift_prune_missed is 1, above 0 (looked at ")
    assert (
        lines[-1] == "slow                  not judged: http.request.duration gt 500 ms for 300 s"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            ("http.request.duration", "http.request.durations"),
            "alert slow: there is no metric 'http.request.durations'; did you mean http.request.duration?",
        ),
        (("gt", "ge"), "condition of alert 1 must be absent, gt or lt"),
        (("threshold = 500", ""), "alert slow: gt needs a threshold"),
        (('"gt"', '"absent"'), "alert slow: absent takes no threshold"),
        (("for_s = 300", "for_s = -1"), "for_s of alert 1 must be a number from 0 to 86,400"),
        (("for_s", "for"), "there is no key 'for' of alert 1; did you mean for_s?"),
        (('"slow"', '"no-worker"'), "there are two alerts of the name no-worker"),
        (
            ("for_s = 300", 'labels = { quantil = "0.99" }'),
            "alert slow: http.request.duration has no label 'quantil'; did you mean quantile?",
        ),
        (
            ("for_s = 300", 'labels = { quantile = "0.98" }'),
            "alert slow: quantile of http.request.duration is never '0.98'; did you mean 0.9?",
        ),
    ],
)
def test_a_rule_that_cannot_be_is_refused_at_start(
    tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    path = a_file(tmp_path, SLOW.replace(*change))

    with pytest.raises(ConfigError) as caught:
        load(path)

    assert str(caught.value) == f"FLOWSHIFT_ALERTS: {path}: {said}"
