"""The command line, as a person or a script uses it; each command in this process."""

from __future__ import annotations

import io
import json
import re
import sys
import uuid
from contextlib import nullcontext
from importlib import import_module
from typing import Any
from unittest.mock import Mock

import pytest

from tests.builders import Json, a_search, an_llm
from tests.builders import a_workflow as drawn
from tests.fleet import Fleet, a_broken_workflow, a_workflow
from tests.integration.conftest import Run
from worker import runtime
from worker.cli import follow, starting, workers
from worker.db import heartbeats
from worker.db.heartbeats import Identity, Sign
from worker.servers.connect import Servers
from worker.settings import Settings
from worker.steps.finish import finish_run


@pytest.fixture
def fleet(settings: Settings) -> Any:
    """A fleet whose runtime does not get in the way of the commands'."""
    current = runtime.Runtime(settings, Servers(settings.database_url, settings.redis_url))
    yield Fleet(current)
    current.close()


def test_help_names_every_command(flowshift: Run) -> None:
    code, out, _ = flowshift("--help")
    assert code == 0
    for name in ("migrate", "retry", "runs", "status", "watch", "show", "convert", "db", "up"):
        assert name in out


def test_a_wrong_option_exits_with_2(flowshift: Run) -> None:
    assert flowshift("migrate", "--limit", "none")[0] == 2
    assert flowshift("no-such-command")[0] == 2


def test_an_unknown_setting_exits_with_3_and_a_hint(
    flowshift: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWSHIFT_BATCHSIZE", "3")
    code, _, err = flowshift("runs")
    assert code == 3
    assert "did you mean FLOWSHIFT_BATCH_SIZE?" in err


def test_a_server_that_is_not_there_exits_with_3_and_hides_the_password(
    flowshift: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWSHIFT_DATABASE_URL", "postgresql://me:hunter2@127.0.0.1:1/there")
    code, out, err = flowshift("runs")
    assert code == 3
    assert "FLOWSHIFT_DATABASE_URL" in err
    assert "hunter2" not in out + err


def test_a_database_without_tables_says_what_to_do(
    flowshift: Run, empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWSHIFT_DATABASE_URL", empty_database)
    code, _, err = flowshift("runs")
    assert code == 3
    assert "flowshift db upgrade" in err
    code, out, _ = flowshift("db", "check")
    assert code == 3
    assert "not ready" in out

    assert flowshift("db", "upgrade")[0] == 0
    code, out, _ = flowshift("db", "check")
    assert code == 0
    assert re.search(r"flowshift\.leaving_partitions  +there$", out, re.MULTILINE)
    assert json.loads(flowshift("db", "check", "--json")[1])["ready"] is True
    assert flowshift("db", "downgrade", "base", "--yes")[0] == 0
    assert flowshift("db", "check")[0] == 3


def test_no_runs_yet(flowshift: Run) -> None:
    assert "no runs yet" in flowshift("runs")[1]
    assert "no runs yet" in flowshift("status")[1]
    assert flowshift("watch")[0] == 2


def test_runs_lists_them_newest_first(flowshift: Run, fleet: Fleet) -> None:
    fleet.add("a", a_broken_workflow())
    fleet.run(dry_run=True)
    fleet.run()
    code, out, _ = flowshift("runs")
    assert code == 0
    assert out.index("  2  ") < out.index("  1  ")
    listed = json.loads(flowshift("runs", "--json")[1])
    assert [(run["run_id"], run["failed"]) for run in listed] == [(2, 1), (1, 1)]


def test_status_names_the_target_once_unless_a_run_now_would_have_another(
    flowshift: Run, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add("good", a_workflow())
    fleet.run(validate="none")
    out = flowshift("status")[1]
    assert [line for line in out.splitlines() if line.startswith("target")] == [
        "target guide: no column of answer is there; no published graph was found"
    ]

    monkeypatch.setenv("FLOWSHIFT_TARGET", "answer")
    out = flowshift("status")[1]
    named = [line.partition(": ")[0] for line in out.splitlines() if line.startswith("target")]
    assert named == ["target guide", "target of a run started now"]


def test_status_tells_counts_codes_failures_and_the_fleet(flowshift: Run, fleet: Fleet) -> None:
    fleet.add("good", a_workflow())
    fleet.add("bad", a_broken_workflow())
    fleet.run(validate="none")
    code, out, _ = flowshift("status")
    assert code == 1
    assert "completed with failures" in out
    assert "invalid_config 1" in out
    assert "temperature must be a number from 0 to 1" in out
    assert "fleet: 2 bots with a workflow, 1 backed up, 0 on V2, 1 draft" in out

    code, out, _ = flowshift("status", "1", "--json")
    assert code == 1
    told = json.loads(out)
    assert told["run"]["codes"] == {"failed:invalid_config": 1}
    assert told["run"]["failures"][0]["bot_id"] == "bad"
    assert told["fleet"] == {
        "total_bots": 2,
        "v1_bots": 2,
        "v2_bots": 0,
        "v2_unpublished": 0,
        "without_id": 0,
        "migrated_bots": 1,
        "drafts": 1,
        "proven": 0,
        "published_by_flowshift": 0,
        "published_by_person": 0,
        "rolled_back": 0,
        "quarantined": 0,
        "finished": 0,
        "published_twice": 0,
        "published_twice_bots": [],
        "is_estimate": False,
    }
    assert told["executions_24h"] == []


def test_status_answers_the_guides_question_about_executions(flowshift: Run, fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.run(validate="none")
    fleet.execute(
        "INSERT INTO workflow_execution_runs"
        " (bot_id, session_id, graph_snapshot, status, elapsed_time, total_tokens, created_at) VALUES"
        " ('a', NULL, '{}', 'succeeded', 10, 100, now()),"
        " ('a', 'flowshift', '{}', 'succeeded', 21, 200, now()),"
        " ('a', 'flowshift:run-1:message-1', '{}', 'failed', 2, NULL, now()),"
        " ('a', 'flowshift:run-1:message-2', '{}', 'succeeded', NULL, 0, now()),"
        " ('a', 's-1', '{}', 'running', NULL, NULL, now()),"
        " ('a', 's-1', '{}', 'failed', NULL, 0, now() - interval '25 hours')"
    )
    told = json.loads(flowshift("status", "--json")[1])
    assert told["executions_24h"] == [
        {"status": "failed", "count": 1, "avg_time_ms": 2, "avg_tokens": None},
        {"status": "running", "count": 1, "avg_time_ms": None, "avg_tokens": None},
        {"status": "succeeded", "count": 3, "avg_time_ms": 16, "avg_tokens": 100},
    ]
    assert told["executions_24h_all"] == {
        "count": 5,
        "success_rate": 0.75,
        "avg_time_ms": 11,
        "avg_tokens": 100,
    }
    assert told["executions_24h_traffic"] == {
        "count": 3,
        "success_rate": 1.0,
        "avg_time_ms": 16,
        "avg_tokens": 150,
    }
    assert told["executions_24h_validation"] == {
        "count": 2,
        "success_rate": 0.5,
        "avg_time_ms": 2,
        "avg_tokens": 0,
    }
    lines = {line[:12].strip(): line.split()[-4:] for line in flowshift("status")[1].splitlines()}
    assert lines["all"][1:] == ["%", "11", "100"]
    assert "75.0 %" in flowshift("status")[1]
    assert lines["real traffic"] == ["100", "%", "16", "150"]
    assert lines["validation"] == ["50.0", "%", "2", "0"]


def test_status_of_a_run_that_does_not_exist_exits_with_2(flowshift: Run) -> None:
    code, _, err = flowshift("status", "77")
    assert code == 2
    assert "there is no run 77" in err


def test_watch_says_when_nobody_works(
    flowshift: Run, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add("a", a_workflow())
    run = fleet.planned()

    def done_meanwhile(*arguments: Any, **options: Any) -> Any:
        fleet.convert(run.run_id, 1)
        finish_run(fleet.engine, run.run_id, actor="test")
        return follow.follow(*arguments, **options)

    # The command `watch` hides the module of that name.
    monkeypatch.setattr(import_module("worker.cli.watch"), "follow", done_meanwhile)
    code, out, err = flowshift("watch", "1")
    assert code == 0
    assert "no worker answers: start some" in err
    assert "run 1 completed" in out


def a_worker_works(fleet: Fleet) -> None:
    """The heartbeat of a worker that takes messages; there is no such process."""
    me = Identity(uuid.uuid4(), "worker", "w@here", "here", 7, "0.1.0", ("convert",))
    with fleet.engine.begin() as connection:
        heartbeats.beat(connection, me, Sign(0.0, "it takes messages"))


def test_a_heartbeat_is_enough_and_no_worker_is_asked(flowshift: Run, fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    a_worker_works(fleet)
    code, _, err = flowshift("migrate", "--detach")
    assert (code, err) == (0, "")


def test_watch_of_a_run_that_is_over_reports_it(flowshift: Run, fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.run()
    code, out, _ = flowshift("watch", "1")
    assert code == 0
    assert "completed" in out


def test_show_tells_the_outcome_the_draft_and_what_changed(flowshift: Run, fleet: Fleet) -> None:
    workflow = a_workflow(model={"provider": "Anthropic", "name": "claude-3-haiku"})
    workflow["nodes"][2]["id"] = "llm.1"
    for edge in workflow["edges"]:
        edge.update({key: "llm.1" for key in ("source", "target") if edge[key] == "llm"})
    fleet.add("a", workflow)
    fleet.run()
    code, out, _ = flowshift("show", "a")
    assert code == 0
    assert "converted" in out
    assert "renamed to 'llm_1'" in out
    assert "context ← k.context" in out
    assert "~ node id  llm.1 →  llm_1" in out
    assert (
        '~ llm_1: model  {"provider":"Anthropic","name":"claude-3-haiku"} →  claude-3-haiku' in out
    )

    told = json.loads(flowshift("show", "a", "--json")[1])
    assert told["history"][0]["outcome"] == "converted"
    assert told["graph"]["nodes"][0]["id"] == "start"
    assert {"change": "changed", "what": "node id", "before": "llm.1", "after": "llm_1"} in told[
        "changes"
    ]


def test_show_of_a_failed_bot_exits_with_1_and_says_why(flowshift: Run, fleet: Fleet) -> None:
    fleet.add("bad", a_broken_workflow())
    fleet.run()
    code, out, _ = flowshift("show", "bad")
    assert code == 1
    assert "failed invalid_config" in out
    assert "no draft" in out


def test_show_of_a_bot_that_no_run_took(flowshift: Run, fleet: Fleet) -> None:
    fleet.add("a", None)
    code, out, _ = flowshift("show", "a")
    assert code == 0
    assert "no run has taken this bot yet" in out


def test_show_of_a_bot_that_does_not_exist_hints_at_its_neighbours(
    flowshift: Run, fleet: Fleet
) -> None:
    fleet.add("bot-17", None)
    code, _, err = flowshift("show", "bot-18")
    assert code == 2
    assert "did you mean bot-17?" in err


def test_show_of_hostile_content_moves_no_cursor(flowshift: Run, fleet: Fleet) -> None:
    fleet.add("a", a_workflow(model="\x1b[2J\u202e[bold]x", title="\x1b]0;pwned\x07"))
    fleet.run()
    out = flowshift("show", "a")[1]
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "\\x1b[2J" in out


def test_show_of_a_workflow_that_is_no_workflow(flowshift: Run, fleet: Fleet) -> None:
    for number, text in enumerate(("[1]", '"x"', '{"nodes": 7, "edges": [3]}', "{}")):
        fleet.add(f"a{number}", text)
        fleet.set_draft(f"a{number}", {"nodes": [7, {"id": 1, "data": []}], "edges": "x"})
        assert flowshift("show", f"a{number}")[0] == 0


def test_convert_explains_a_plan_for_people_and_as_json(
    flowshift: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWSHIFT_DATABASE_URL", "postgresql://127.0.0.1:1/nowhere")
    lines: list[Json] = [
        {"name": "a", "workflow": drawn(a_search("k\n.1"), a_search("k2"), an_llm("m"))},
        {"name": "b", "workflow": {"nodes": []}},
    ]
    text = "\n".join(map(json.dumps, lines)).encode()
    code, said, _ = flowshift("convert", "--explain", "text", stdin=text)

    assert code == 1
    assert said.splitlines() == [
        r"order: start → k\n_1 → k2 → m → end",
        "node start (start)",
        r"node k\n_1 (knowledge-retrieval)",
        "  query ← start.query",
        "node k2 (knowledge-retrieval)",
        "  query ← start.query",
        r"  after ← k\n_1.context",
        "node m (llm)",
        "  query ← start.query",
        "  context ← text-join-1.text",
        "  after ← k2.context",
        "node end (end)",
        "  response ← m.response",
        "new node text-join-1 (text-join)",
        r"  text_1 ← k\n_1.context",
        "  text_2 ← k2.context",
        r"edge start.query → k\n_1.query (string)",
        r"edge k\n_1.context → k2.after (string)",
        "edge k2.context → m.after (string)",
        "edge m.response → end.response (string)",
        r"new edge k\n_1.context → text-join-1.text_1 (string)",
        "new edge k2.context → text-join-1.text_2 (string)",
        "new edge text-join-1.text → m.context (string)",
        *[line for line in said.splitlines() if line.startswith("warning ")],
        "",
        "failed: no_nodes: the workflow has no nodes",
        "",
    ]
    out = io.BytesIO()
    wrapped = io.TextIOWrapper(out, encoding="utf-8", write_through=True)
    monkeypatch.setattr(sys, "stdout", wrapped)
    flowshift("convert", "--explain", "json", stdin=text)
    first, second = map(json.loads, out.getvalue().splitlines())
    codes = [one["code"] for one in first["plan"]["warnings"]]
    assert codes == ["renamed_node", "order_only_edge", "implicit_context", "join_node"]
    assert [node["id"] for node in first["plan"]["nodes"] if node["is_new"]] == ["text-join-1"]
    assert (second["code"], second["plan"]) == ("no_nodes", None)


def test_convert_needs_no_server_and_keeps_order_and_keys(
    flowshift: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWSHIFT_DATABASE_URL", "postgresql://127.0.0.1:1/nowhere")
    lines = [
        {"name": "a", "workflow": a_workflow(), "n": 1},
        {"name": "b", "column_text": "[]", "code": "what it was"},
        {"name": "c", "column_text": None},
        {"name": "d"},
        {"name": "e", "column_text": json.dumps(a_workflow(), indent=2)},
        {"name": "f", "column_text": 7},
    ]
    text = "\n".join(json.dumps(line) for line in lines[:3]) + "\n\n"
    text += "\n".join(json.dumps(line) for line in lines[3:])
    text += '\nno json\n{"name": "g", "big": 1.10, "workflow": {"nodes": [{"id": "\\ud800"}]}}\n'
    out = io.BytesIO()

    class Stdout(io.TextIOWrapper):
        pass

    monkeypatch.setattr(sys, "stdout", Stdout(out, encoding="utf-8", write_through=True))
    code, _, _ = flowshift("convert", stdin=text.encode())
    assert code == 1
    results = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(r.get("name"), r["outcome"], r["code"]) for r in results] == [
        ("a", "converted", None),
        ("b", "failed", "not_a_workflow"),
        ("c", "skipped", "no_workflow"),
        ("d", "failed", "not_a_workflow"),
        ("e", "converted", None),
        ("f", "failed", "not_a_workflow"),
        (None, "failed", "not_a_workflow"),
        (None, "failed", "invalid_text"),
    ]
    assert results[0]["n"] == 1
    assert set(results[0]) == {"name", "n", "outcome", "code", "message", "graph", "warnings"}
    assert results[0]["graph"] == results[4]["graph"]


def test_migrate_refuses_bots_that_do_not_exist(flowshift: Run, fleet: Fleet) -> None:
    fleet.add("a", None)
    code, _, err = flowshift("migrate", "--bot-id", "ghost")
    assert code == 2
    assert "no such bot: 'ghost'" in err


def test_migrate_refuses_an_empty_list(flowshift: Run, tmp_path: Any) -> None:
    (tmp_path / "none").write_text("\n \n")
    code, _, err = flowshift("migrate", "--bots-from", str(tmp_path / "none"))
    assert code == 2
    assert "no bot ids" in err


def test_migrate_detached_leaves_the_run_in_the_queue(flowshift: Run, fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    code, out, err = flowshift("migrate", "--detach", "--json")
    assert code == 0
    assert json.loads(out) == {"run_id": 1, "state": "planning"}
    assert "no worker answers" in err
    assert fleet.get(1).requested_by.count("@") == 1


def test_a_run_is_paused_resumed_tuned_and_cancelled_by_hand(flowshift: Run, fleet: Fleet) -> None:
    fleet.add_many(3)
    run = fleet.planned(batch_size=1)
    assert flowshift("pause", "1", "--reason", "\x1b[2Jbackup") == (0, "run 1 is paused\n", "")
    assert flowshift("pause", "1")[1] == "run 1 is already paused\n"
    code, out, _ = flowshift("status", "1")
    assert code == 0
    assert "run 1 paused: 0/3 (0%)" in out
    assert "; \\x1b[2Jbackup" in out
    assert (
        "pace: 1 bot a batch (at most 1), pauses if more than 50% of bots fail with one code" in out
    )
    assert "health: go" in out

    assert flowshift("resume", "1") == (0, "run 1 continues\n", "")
    queued = "SELECT FROM flowshift.batches WHERE enqueued_at IS NOT NULL"
    assert len(fleet.rows(queued)) == 3
    code, out, _ = flowshift("tune", "1", "--max-rate", "2.5", "--concurrency", "2", "--json")
    assert json.loads(out)["changed"] == {"max_rate": [None, 2.5], "concurrency": [None, 2]}
    assert flowshift("tune", "1", "--max-rate", "0")[1] == "run 1: max rate 2.5 → none\n"
    assert flowshift("tune", "1", "--concurrency", "2")[1] == "run 1 already has these limits\n"
    told = json.loads(flowshift("status", "--json")[1])
    assert told["pace"]["concurrency"] == 2
    assert {verdict["decision"] for verdict in told["health"]} == {"go"}

    assert flowshift("cancel", "1", "--yes")[1] == "run 1 is cancelled\n"
    assert flowshift("watch", "1")[0] == 1
    assert flowshift("pause", "1")[0] == 2
    assert flowshift("tune", "1")[0] == 2
    code, out, _ = flowshift("audit", str(run.run_id))
    assert code == 0
    assert "\\x1b[2Jbackup" in out
    assert "concurrency None → 2" in out
    trail = json.loads(flowshift("audit", "--json")[1])
    assert [line["action"] for line in trail][2:] == [
        "run.paused",
        "run.running",
        "run.tuned",
        "run.tuned",
        "run.cancelled",
    ]
    assert flowshift("audit", "9")[0] == 2


def test_migrate_refuses_a_second_run_over_the_same_bots(flowshift: Run, fleet: Fleet) -> None:
    fleet.add_many(3)
    fleet.planned()
    code, _, err = flowshift("migrate", "--detach")
    assert code == 2
    assert "run 1 is running and takes some of the same bots" in err
    assert flowshift("migrate", "--detach", "--allow-overlap")[0] == 0
    assert flowshift("resume", "1")[1] == "run 1 is already running\n"


@pytest.mark.parametrize("answers", [True, False])
def test_ctrl_c_says_what_goes_on_how_to_follow_it_and_how_to_stop_it(
    fleet: Fleet, flowshift: Run, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    fleet.add_many(3)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    if answers:
        a_worker_works(fleet)
    monkeypatch.setattr(starting, "follow", interrupted)
    monkeypatch.setattr(workers, "Supervisor", lambda *_, **__: nullcontext(Mock()))
    code, _, err = flowshift("migrate")
    goes_on = "run 1 continues in the workers"
    waits = "run 1 waits: its worker was started here and stops. To continue: flowshift up"
    assert code == 130
    assert err.rstrip().splitlines()[-2:] == [
        goes_on if answers else waits,
        "follow it: flowshift watch 1   stop it: flowshift cancel 1",
    ]
