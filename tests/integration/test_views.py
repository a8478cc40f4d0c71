"""What `runs`, `status` and `show` say: one shape, marks, types, the schedule."""

from __future__ import annotations

import datetime as dt
import json

import msgspec
import pytest

from tests.fleet import Fleet, a_workflow
from tests.integration.conftest import Run
from worker.core.workflow.diff import differences
from worker.steps.run_view import RunView


def test_runs_and_status_have_one_shape_with_all_that_the_tables_have(
    flowshift: Run, fleet: Fleet
) -> None:
    fleet.add("a", a_workflow())
    fleet.run(dry_run=True)
    fleet.run()
    fleet.run(kind="validate", of_run=2)
    fleet.start()
    listed = json.loads(flowshift("runs", "--json")[1])
    names = set(RunView.__struct_fields__)
    assert all(set(run) == names for run in listed)
    views = {view.run_id: view for view in msgspec.convert(listed, list[RunView])}
    assert [views[number].dry_run for number in (1, 2, 3)] == [True, False, False]
    assert (views[3].kind, views[3].validation_of, views[3].retry_of) == ("validate", 2, None)
    assert (views[2].requested_by, views[2].converted, views[2].bots_done) == ("test", 1, 1)
    assert views[2].finished_at is not None
    assert (views[4].state, views[4].finished_at) == ("planning", None)
    for number in (1, 2, 3):
        told = json.loads(flowshift("status", str(number), "--json")[1])["run"]
        (same,) = (run for run in listed if run["run_id"] == number)
        assert {name: told[name] for name in names} == same


def test_show_marks_dry_runs_and_validations(flowshift: Run, fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.run(dry_run=True)
    fleet.run()
    fleet.run(kind="validate", of_run=2)
    fleet.run()
    out = flowshift("show", "a")[1]
    lines = [line for line in out.splitlines() if line.startswith("run ")]
    assert [(line.split("  ")[0], line.split("UTC  ")[1]) for line in lines] == [
        ("run 4", "unchanged"),
        ("run 3 (validation)", "validated"),
        ("run 2", "converted"),
        ("run 1 (dry run)", "converted"),
    ]
    history = json.loads(flowshift("show", "a", "--json")[1])["history"]
    assert [(one["kind"], one["dry_run"], one["outcome"]) for one in history] == [
        ("convert", False, "unchanged"),
        ("validate", False, "validated"),
        ("convert", False, "converted"),
        ("convert", True, "converted"),
    ]


def test_show_tells_types_where_values_look_alike(flowshift: Run, fleet: Fleet) -> None:
    workflow = a_workflow(temperature="0.5", model=None)
    workflow["nodes"][1]["data"]["top_k"] = "5"
    fleet.add("a", workflow)
    fleet.run()
    out = flowshift("show", "a")[1]
    assert '~ k: top_k  "5" text →  5 number' in out
    assert '~ llm: temperature  "0.5" text →  0.5 number' in out
    assert "~ llm: model  null →  " in out


def test_true_and_one_are_not_the_same() -> None:
    def graph(value: object) -> dict[str, object]:
        return {"nodes": [{"id": "n", "data": {"x": value}}], "edges": []}

    for old, new in ((1, True), ([1], [True]), ({"a": [0]}, {"a": [False]}), (None, 0)):
        assert [one.what for one in differences(graph(old), graph(new), {})] == ["n: x"]
    assert differences(graph([5, {"a": 1.0}]), graph([5.0, {"a": 1}]), {}) == []
    (one,) = differences({"nodes": [{"id": 5}]}, {"nodes": [{"id": "5"}]}, {5: "5"})
    assert (one.what, one.before, one.after) == ("node id", 5, "5")


def test_status_tells_the_next_and_the_last_prune(
    flowshift: Run, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = dt.datetime.now(dt.UTC)
    monkeypatch.setenv("FLOWSHIFT_PRUNE_AT", f"{now - dt.timedelta(hours=3):%H:%M}")
    assert "; none yet" in flowshift("status")[1]
    fleet.execute(
        "INSERT INTO flowshift.prunes (actor, state, reason, cutoffs, gone, started_at, finished_at)"
        " VALUES ('beat', 'stopped', 'a person said so', '{}', '{\"runs\": 41200, \"nodes\": 7}',"
        " now() - interval '2 days', now())"
    )
    out = flowshift("status")[1]
    assert "stopped (a person said so): 41,200 execution runs and 7 node executions deleted" in out
    assert "did not begin: no beat or no worker" in out
    told = json.loads(flowshift("status", "--json")[1])["prune"]
    next_at = dt.datetime.fromisoformat(told["next_at"])
    assert dt.timedelta(hours=20) < next_at - now < dt.timedelta(hours=22)
    assert dt.datetime.fromisoformat(told["missed"]) == next_at - dt.timedelta(days=1)
    assert told["last"]["gone"] == {"runs": 41200, "nodes": 7}

    fleet.execute("UPDATE flowshift.prunes SET started_at = now() - interval '1 hour'")
    assert "did not begin" not in flowshift("status")[1]
    monkeypatch.setenv("FLOWSHIFT_PRUNE_AT", f"{now - dt.timedelta(minutes=5):%H:%M}")
    due = json.loads(flowshift("status", "--json")[1])["prune"]["next_at"]
    assert dt.datetime.fromisoformat(due) < now
    monkeypatch.setenv("FLOWSHIFT_PRUNE_AT", "never")
    assert "prune: next never (FLOWSHIFT_PRUNE_AT)" in flowshift("status")[1]
