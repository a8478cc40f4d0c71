"""What people see of executions: `executions`, `executions show`, `test`, and their part of `show`."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
import sqlalchemy as sa

from tests.fleet import Fleet, Json, a_broken_workflow, a_workflow
from tests.integration.conftest import Run
from tests.recorded import a_node_row, record
from worker import runtime
from worker.db import executions
from worker.servers.connect import Servers
from worker.settings import Settings

HOSTILE = "\x1b[2J\u202e[bold]x"


@pytest.fixture
def fleet(settings: Settings) -> Iterator[Fleet]:
    """A fleet whose runtime does not get in the way of the commands'."""
    current = runtime.Runtime(settings, Servers(settings.database_url, settings.redis_url))
    yield Fleet(current)
    current.close()


def listed(flowshift: Run, *arguments: str) -> list[Json]:
    code, out, err = flowshift("executions", *arguments, "--json")
    assert code == 0, err
    found: list[Json] = json.loads(out)
    return found


def sessions(flowshift: Run, *arguments: str) -> list[str]:
    return [one["session_id"] for one in listed(flowshift, *arguments)]


def of_run(run_id: int, message: int) -> str:
    return f"flowshift:run-{run_id}:message-{message}"


def node(graph: Json, node_id: str) -> Json:
    (found,) = [one for one in graph["nodes"] if one["id"] == node_id]
    return found  # type: ignore[no-any-return]


def edit_prompt(fleet: Fleet, bot_id: str, prompt: str) -> None:
    """Change a draft as a person does in the platform's editor."""
    graph = fleet.drafts()[bot_id]
    node(graph, "llm")["data"]["prompt_template"] = prompt
    fleet.set_draft(bot_id, graph)


# -- executions ------------------------------------------------------------------------------------


@pytest.fixture
def recorded(fleet: Fleet) -> Fleet:
    """Two bots with real traffic and trials of two runs, and a bot whose id looks like a run's."""
    for bot_id in ("a", "b", "7"):
        fleet.add(bot_id, a_workflow())
    fleet.run(validate="none")
    fleet.run(validate="none")
    record(fleet, "a", session_id="s-old", ago="3 hours")
    record(fleet, "a", session_id=of_run(1, 1), ago="2 hours")
    record(fleet, "b", session_id=of_run(1, 2), ago="121 minutes")
    record(fleet, "a", session_id=of_run(11, 1), ago="90 minutes")
    record(fleet, "b", session_id=of_run(2, 100), ago="1 hour", status="failed", error_message="no")
    record(fleet, "7", session_id="s-new", ago="1 second", elapsed_time=None, total_tokens=None)
    return fleet


def test_executions_are_listed_newest_first_and_marked(flowshift: Run, recorded: Fleet) -> None:
    found = listed(flowshift)
    assert [(one["bot_id"], one["run_id"], one["message"]) for one in found] == [
        ("7", None, None),
        ("b", 2, 100),
        ("a", 11, 1),
        *[("a", 1, 1), ("b", 1, 2)],
        ("a", None, None),
    ]
    assert sessions(flowshift, "--limit", "2") == ["s-new", of_run(2, 100)]
    code, out, _ = flowshift("executions")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split() == [
        "id",
        "at",
        "(UTC)",
        "status",
        "time",
        "tokens",
        "bot",
        "run",
        "or",
        "session",
    ]
    assert lines[1].split()[3:] == ["succeeded", "–", "–", "7", "s-new"]
    assert lines[2].split()[3:] == ["failed", "12", "ms", "34", "b", "run", "2", "message", "100"]
    assert [line.split()[1:] for line in lines[lines.index("why") + 1 :]] == [["no"]]


def test_what_was_recorded_together_is_in_the_order_of_its_messages(
    flowshift: Run, fleet: Fleet
) -> None:
    fleet.add("a")
    for message in (2, 3, 1):
        record(fleet, "a", session_id=of_run(1, message))
    fleet.execute("UPDATE workflow_execution_runs SET created_at = now()")
    assert sessions(flowshift) == [of_run(1, message) for message in (1, 2, 3)]


def test_a_number_is_a_run_and_anything_else_a_bot(flowshift: Run, recorded: Fleet) -> None:
    assert sessions(flowshift, "a") == [of_run(11, 1), of_run(1, 1), "s-old"]
    assert sessions(flowshift, "1") == [of_run(1, 1), of_run(1, 2)]
    assert sessions(flowshift, "--run", "2") == [of_run(2, 100)]
    assert sessions(flowshift, "--bot", "7") == ["s-new"]


def test_a_number_that_is_no_run_names_the_bot_that_is_meant(
    flowshift: Run, recorded: Fleet
) -> None:
    code, _, err = flowshift("executions", "7")
    assert code == 2
    assert "there is no run 7; for the bot of that id: flowshift executions --bot 7" in err
    code, _, err = flowshift("executions", "9" * 18)
    assert (code, err) == (
        2,
        f"flowshift: there is no run {'9' * 18}: `flowshift runs` lists them\n",
    )


def test_a_bot_that_does_not_exist_exits_with_2(flowshift: Run, recorded: Fleet) -> None:
    code, _, err = flowshift("executions", "bb")
    assert code == 2
    assert "there is no bot 'bb'; did you mean b?" in err
    assert flowshift("executions", "9" * 40)[0] == 2


def test_a_bot_and_a_run_together_are_refused(flowshift: Run, recorded: Fleet) -> None:
    assert flowshift("executions", "a", "--run", "1")[0] == 2
    assert flowshift("executions", "--bot", "a", "--run", "1")[0] == 2


def test_a_bot_called_like_a_command_is_named_by_option(flowshift: Run, fleet: Fleet) -> None:
    fleet.add("show")
    record(fleet, "show", session_id="s")
    assert sessions(flowshift, "--bot", "show") == ["s"]


def test_only_those_that_failed(flowshift: Run, recorded: Fleet) -> None:
    assert sessions(flowshift, "--failed") == [of_run(2, 100)]
    assert sessions(flowshift, "b", "--failed") == [of_run(2, 100)]
    assert sessions(flowshift, "a", "--failed") == []
    assert sessions(flowshift, "1", "--failed") == []
    assert (
        "no failed executions among the newest 100,000"
        in flowshift("executions", "a", "--failed")[1]
    )


def test_failed_ones_are_looked_for_among_the_newest_only(
    recorded: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executions, "LOOKED_AT", 1)
    with recorded.engine.connect() as connection:
        assert executions.newest(connection, 5, failed=True) == []


def test_nothing_recorded_yet(flowshift: Run, fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.run(validate="none")
    for arguments in ([], ["a"], ["1"]):
        code, out, _ = flowshift("executions", *arguments)
        assert (code, out) == (0, "no executions\n")
        assert listed(flowshift, *arguments) == []


def test_what_a_run_recorded_is_found_by_its_number_and_shown(flowshift: Run, fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.run(validate="all")
    assert (
        sessions(flowshift, "1") == sessions(flowshift, "a") == [of_run(1, n) for n in range(1, 7)]
    )
    newest = listed(flowshift, "1")[0]
    assert (newest["run_id"], newest["message"], newest["status"]) == (1, 1, "succeeded")
    code, out, _ = flowshift("executions", "show", newest["execution_id"])
    assert code == 0
    assert "← user_message " in " ".join(out.split())
    assert "→ final_response gpt-4: [doc-1#0] " in " ".join(out.split())
    assert [line.split()[1] for line in out.splitlines() if line[:5].strip().isdigit()] == [
        *("start", "k", "llm", "end")
    ]
    assert len(json.loads(flowshift("show", "a", "--json")[1])["slowest_nodes"]) == 4


def test_lists_go_through_the_platforms_indexes(fleet: Fleet) -> None:
    fleet.add_many(3000, prefix="b", workflow={})
    fleet.execute(
        "INSERT INTO workflow_execution_runs (bot_id, session_id, graph_snapshot, created_at) "
        "SELECT bot_id, 's-' || bot_id, '{}', now() - make_interval(secs => id) FROM bots"
    )
    fleet.execute("ANALYZE workflow_execution_runs")
    seen: list[tuple[str, Any]] = []
    with fleet.engine.connect() as connection:

        @sa.event.listens_for(connection, "before_cursor_execute")
        def remember(_c: Any, _cur: Any, statement: str, parameters: Any, *_: Any) -> None:
            seen.append((statement, parameters))

        executions.of_bot(connection, "b00007", 5)
        executions.of_run(connection, 3, 1_000)
        executions.newest(connection, 5)
        executions.ids_like(connection, "1f2e")
        plans = [
            "\n".join(line for (line,) in connection.exec_driver_sql(f"EXPLAIN {query}", values))
            for query, values in list(seen)
        ]
    for plan, index in zip(
        plans,
        (
            "idx_workflow_runs_bot_id",
            "idx_workflow_runs_session",
            "idx_workflow_runs_created_at",
            "workflow_execution_runs_pkey",
        ),
        strict=True,
    ):
        assert f"{index} " in plan + " "
        assert "Seq Scan" not in plan


# -- executions show -------------------------------------------------------------------------------


def test_an_execution_is_shown_node_by_node(flowshift: Run, fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.run(validate="none")
    version = fleet.rows("SELECT id FROM bot_workflow_versions")[0].id
    execution_id = record(
        fleet,
        "a",
        a_node_row("start", "start", process_data={"elapsed_us": 34}),
        a_node_row(
            "llm",
            inputs={"query": "hello", "n": 1},
            outputs={"response": "x" * 400},
            tokens_used=1200,
            elapsed_time=340,
            is_truncated=True,
            truncated_fields={"outputs.response": 5_242_880},
        ),
        a_node_row("end", "end", inputs=None, outputs=None, status="skipped", elapsed_time=None),
        session_id=of_run(1, 2),
        workflow_version_id=version,
    )
    code, out, _ = flowshift("executions", "show", execution_id)
    assert code == 0
    lines = [line.rstrip() for line in out.splitlines()]
    assert lines[0] == f"execution {execution_id}  succeeded"
    facts = {tuple(line.split(None, 1)) for line in lines[1:9] if len(line.split()) > 1}
    assert {("bot", "a"), ("version", "draft"), ("session", "run 1 message 2")} <= facts
    assert ("took", "12 ms, 3 steps, 34 tokens") in facts
    assert "  1  start  start  succeeded  0.034 ms" in lines
    assert "  2  llm  llm  succeeded  340 ms  1,200 tokens" in lines
    assert "  3  end  end  skipped" in lines
    assert "← n 1" in [" ".join(line.split()) for line in lines]
    assert "…  (cut when it was recorded: 5,242,880 bytes)" in " ".join(out.split("\n"))
    assert "x" * 400 not in "".join(out.split())
    assert "x" * 400 in "".join(flowshift("executions", "show", execution_id, "--full")[1].split())


def test_an_execution_as_json_has_every_digit(flowshift: Run, fleet: Fleet) -> None:
    fleet.add("a")
    row = a_node_row("llm", outputs="[1.10, 123456789012345678901234567890]", process_data="[7]")
    execution_id = record(fleet, "a", row, outputs="1.10")
    out = flowshift("executions", "show", execution_id, "--json")[1]
    told = json.loads(out)
    assert '"outputs":[1.10, 123456789012345678901234567890]' in out
    assert '"outputs":1.10,' in out
    assert told["execution_id"] == execution_id
    assert told["run_id"] is None
    assert told["nodes"][0]["elapsed_us"] == 1000
    assert told["nodes"][0]["inputs"] == {"query": "hello"}


def test_the_beginning_of_an_id_is_enough_where_it_is_the_only_one(
    flowshift: Run, fleet: Fleet
) -> None:
    fleet.add("a")
    ids = [f"1f2e3d4c-0000-4000-8000-00000000000{number}" for number in range(7)]
    ids.append("1f2e4000-0000-4000-8000-000000000000")
    for one in (*ids, "1f2e5000-0000-4000-8000-000000000000"):
        record(fleet, "a", execution_id=one)
    for beginning in ("1f2e4", "1F2E4000-00", ids[-1], ids[-1].replace("-", "")):
        code, out, _ = flowshift("executions", "show", beginning)
        assert code == 0
        assert ids[-1] in out
    code, _, err = flowshift("executions", "show", "1f2e")
    assert code == 2
    assert f"several executions begin with 1f2e: {', '.join(ids[:5])} …" in err
    for nothing in ("1f2f", "show", "", "%", "1f2e4" * 9, HOSTILE):
        code, _, err = flowshift("executions", "show", nothing)
        assert code == 2
        assert "there is no execution" in err
        assert "\x1b" not in err


def test_an_execution_that_the_platform_recorded_in_its_own_way_is_shown(
    flowshift: Run, fleet: Fleet
) -> None:
    fleet.add("a")
    row = a_node_row(
        "n",
        "custom",
        inputs="[1, 2]",
        outputs='"text"',
        process_data='{"elapsed_us": "fast"}',
        truncated_fields='["outputs"]',
        is_truncated=True,
        status="exception",
        elapsed_time=None,
        tokens_used=None,
    )
    execution_id = record(
        fleet,
        "a",
        *(row, {**row, "inputs": "null", "outputs": "7", "process_data": '{"elapsed_us": 1e400}'}),
        session_id=None,
        inputs='"hi"',
        outputs=None,
        status="running",
        elapsed_time=None,
        total_steps=None,
        total_tokens=None,
    )
    code, out, _ = flowshift("executions", "show", execution_id)
    assert code == 0
    assert "took      –, – steps, – tokens" in out
    assert "1  n  custom  exception  –" in out
    assert "[1, 2]" in out
    assert "when it was recorded" in out
    assert flowshift("executions")[0] == 0
    assert flowshift("show", "a")[0] == 0


def test_an_execution_without_nodes_says_so(flowshift: Run, fleet: Fleet) -> None:
    fleet.add("a")
    assert "no nodes were recorded" in flowshift("executions", "show", record(fleet, "a"))[1]


def test_hostile_content_moves_no_cursor(flowshift: Run, fleet: Fleet) -> None:
    fleet.add("a", a_workflow(prompt=HOSTILE))
    fleet.run(validate="none")
    row = a_node_row(
        HOSTILE,
        HOSTILE,
        inputs={HOSTILE: HOSTILE + "\nsecond line"},
        status=HOSTILE[:9],
        error_message=HOSTILE,
    )
    values = {"session_id": HOSTILE, "error_message": HOSTILE, "status": HOSTILE[:9]}
    execution_id = record(fleet, "a", row, outputs={HOSTILE: HOSTILE}, **values)
    for arguments in (
        ("executions",),
        ("executions", "show", execution_id),
        ("executions", "show", execution_id, "--full"),
        ("show", "a"),
        ("test", "a", "--message", HOSTILE),
        ("test", "a", "--message", HOSTILE, "--full"),
        ("status",),
    ):
        code, out, _ = flowshift(*arguments)
        assert code == 0
        assert "\x1b" not in out
        assert "\u202e" not in out
        assert "[bold]" in out or arguments == ("status",)
    assert (
        "\n" in flowshift("executions", "show", execution_id, "--full")[1].split("second line")[0]
    )


# -- show ------------------------------------------------------------------------------------------


def test_show_answers_the_checklist_and_finds_the_draft_the_same(
    flowshift: Run, fleet: Fleet
) -> None:
    fleet.add("a", a_workflow())
    fleet.run(validate="none")
    code, out, _ = flowshift("show", "a")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if "?  " in line] == ["yes"] * 6
    assert "4 mappings, 3 of them required" in out
    assert "yes  the same calls and the same answer on each of them" in out
    assert "no executions recorded" in out
    told = json.loads(flowshift("show", "a", "--json")[1])
    assert [answer["yes"] for answer in told["checklist"]] == [True] * 6
    assert (told["parity"]["same"], told["parity"]["messages"]) == (True, 6)
    assert told["draft_is_ours"] is True
    assert told["executions"] == told["slowest_nodes"] == []


def test_a_draft_edited_so_that_its_answer_changes_is_caught_and_explained(
    flowshift: Run, fleet: Fleet
) -> None:
    fleet.add("a b", a_workflow())
    fleet.run(validate="none")
    edit_prompt(fleet, "a b", "Short! {context} {question}")
    code, out, _ = flowshift("show", "a b")
    assert code == 1
    told = " ".join(out.split())
    assert "different on 6 of 6 messages" in told
    assert "the prompt of an LLM call is '[doc-1#0]" in told
    assert "V2 gpt-4: Short! [doc-1#0]" in told
    assert "a person drew or changed this draft" in told
    assert "~ llm: prompt_template {context} {question} → Short! {context} {question}" in told
    assert "flowshift migrate --bot-id 'a b' --overwrite-edited" in told

    parity = json.loads(flowshift("show", "a b", "--json")[1])["parity"]
    assert (parity["same"], parity["differing"], parity["cause"]) == (False, 6, "edited")
    assert parity["v2"]["answer"].startswith("gpt-4: Short! ")
    assert [change["what"] for change in parity["draft_changes"]] == ["llm: prompt_template"]

    fleet.run(overwrite_edited=True, validate="none")
    assert flowshift("show", "a b")[0] == 0


def test_a_draft_with_another_source_for_its_answer_is_explained_by_its_mapping(
    flowshift: Run, fleet: Fleet
) -> None:
    fleet.add("a", a_workflow())
    fleet.run(validate="none")
    graph = fleet.drafts()["a"]
    node(graph, "end")["variable_mappings"]["response"]["variable"] = "k.context"
    fleet.set_draft("a", graph)
    code, out, _ = flowshift("show", "a")
    assert code == 1
    told = " ".join(out.split())
    assert "the answer is 'gpt-4: [doc-1#0]" in told
    assert "~ end: input response llm.response → k.context" in told


def test_a_draft_of_an_earlier_workflow_is_explained_as_that(flowshift: Run, fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.run(validate="none")
    fleet.change("a", a_workflow(prompt="{question}"))
    code, out, _ = flowshift("show", "a")
    assert code == 1
    assert "written from an earlier state of the workflow" in out
    assert "convert it again: flowshift migrate --bot-id a" in " ".join(out.split())
    fleet.run(validate="none")
    assert flowshift("show", "a")[0] == 0


def test_a_draft_that_fails_is_explained_and_its_checklist_says_no(
    flowshift: Run, fleet: Fleet
) -> None:
    fleet.add("a", a_workflow())
    fleet.run(validate="none")
    graph = fleet.drafts()["a"]
    for number in range(5):
        node(graph, "llm")["variable_mappings"][f"extra-{number}"] = {
            "variable": "ghost.text",
            "value_type": "string",
        }
    del node(graph, "llm")["variable_mappings"]["query"]
    fleet.set_draft("a", graph)
    code, out, _ = flowshift("show", "a")
    assert code == 1
    told = " ".join(out.split())
    assert "no Is every required input mapped? 1 fault 'llm': its input query is not mapped" in told
    assert "5 faults" in told
    assert "… and 2 more" in told
    assert (
        "V1 answered, V2 did not: execution_failed: its draft is no V2 graph: 'llm': its input"
        in told
    )
    assert "correct the draft; to have it do what V1 does instead" in told


def test_a_draft_without_nodes_is_none(flowshift: Run, fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.set_draft("a", {"nodes": [], "edges": []})
    code, out, _ = flowshift("show", "a")
    assert code == 0
    assert "the draft has no nodes: nothing to examine" in out
    assert json.loads(flowshift("show", "a", "--json")[1])["checklist"] is None
    assert "converted just now" in flowshift("test", "a")[1]


def test_a_draft_finds_its_own_variables(flowshift: Run, fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.run(validate="none")
    graph = fleet.drafts()["a"]
    node(graph, "llm")["variable_mappings"]["system_prompt"] = {
        "variable": "env.STYLE",
        "value_type": "string",
    }
    data = node(graph, "llm")["data"]
    data["prompt_template"] = "{system_prompt}" + data["prompt_template"]
    fleet.set_draft("a", graph)
    fleet.execute(
        """UPDATE bot_workflow_versions SET environment_variables = '{"STYLE": "Be brief."}'"""
    )
    assert "gpt-4: Be brief." in flowshift("test", "a")[1]
    assert "gpt-4: Be brief." in flowshift("show", "a")[1]
    fleet.execute("UPDATE bot_workflow_versions SET environment_variables = '[1]'")
    assert flowshift("show", "a")[0] == 0


def test_a_bot_that_runs_v2_is_left_to_the_platforms_editor(flowshift: Run, fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.run(validate="none")
    fleet.execute("UPDATE bots SET use_workflow_v2 = true")
    fleet.add_version("a", "v1.0", "published")
    edit_prompt(fleet, "a", "{question}")
    code, out, _ = flowshift("show", "a")
    assert code == 1
    assert "correct the draft in the platform's editor" in out
    assert "--overwrite-edited" not in out


def test_a_draft_without_a_v1_to_compare_with_is_no_failure(flowshift: Run, fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.run(validate="none")
    fleet.execute("UPDATE bots SET workflow = NULL")
    code, out, _ = flowshift("show", "a")
    assert code == 0
    assert "V1 gave no answer to compare with: no_workflow" in out


def test_a_draft_that_is_no_graph_is_shown_as_that(flowshift: Run, fleet: Fleet) -> None:
    deep = '{"nodes": [], "edges": [], "x": ' + "[" * 2_000 + "]" * 2_000 + "}"
    for number, text in enumerate(("[]", '"text"', '{"nodes": {}}', '{"nodes": [null]}', deep)):
        fleet.add(f"a{number}", a_workflow())
        fleet.set_draft(f"a{number}", {})
        fleet.execute(
            "UPDATE bot_workflow_versions SET graph = CAST(:text AS jsonb) WHERE bot_id = :bot_id",
            text=text,
            bot_id=f"a{number}",
        )
        code, out, _ = flowshift("show", f"a{number}")
        assert code == 1
        told = " ".join(out.split())
        assert "V1 answered, V2 did not: execution_failed: its draft is no V2 graph: " in told
        assert flowshift("show", f"a{number}", "--json")[0] == 1
        assert flowshift("test", f"a{number}")[0] == 1


def test_show_lists_the_last_executions_and_the_nodes_of_the_newest_slowest_first(
    flowshift: Run, fleet: Fleet
) -> None:
    fleet.add("a", a_workflow())
    fleet.run(validate="none")
    for number in range(1, 8):
        record(fleet, "a", session_id=of_run(1, number), ago=f"{number} hours")
    newest = record(
        fleet,
        "a",
        a_node_row("quick", process_data={"elapsed_us": 400}),
        a_node_row("slow", status="completed", elapsed_time=2, tokens_used=7),
        a_node_row("skipped", status="skipped", elapsed_time=None),
        session_id="s-1",
    )
    code, out, _ = flowshift("show", "a")
    assert code == 0
    assert out.count("run 1 message") == 4
    assert "s-1" in out
    nodes = out[out.index("nodes of the newest") :].splitlines()[2:4]
    assert [line.split() for line in nodes] == [
        ["2", "ms", "7", "completed", "slow", "llm"],
        ["0.400", "ms", "0", "succeeded", "quick", "llm"],
    ]
    assert f"flowshift executions show {newest}" in out
    told = json.loads(flowshift("show", "a", "--json")[1])
    assert [one["message"] for one in told["executions"]] == [None, 1, 2, 3, 4]
    assert [(one["node_id"], one["elapsed_us"]) for one in told["slowest_nodes"]] == [
        ("slow", 2000),
        ("quick", 400),
    ]


# -- test ------------------------------------------------------------------------------------------


def written(fleet: Fleet) -> list[Any]:
    """Everything that a command could have written."""
    tables = ("bots", "bot_workflow_versions", "workflow_execution_runs", "flowshift.ledger")
    return [
        [tuple(row) for row in fleet.rows(f"SELECT t::text FROM {table} t")] for table in tables
    ]


def test_test_prints_every_node_and_v1_beside_it_and_writes_nothing(
    flowshift: Run, fleet: Fleet
) -> None:
    fleet.add("a", a_workflow())
    fleet.run(validate="none")
    before = written(fleet)
    code, out, _ = flowshift("test", "a", "--message", "hello")
    assert code == 0
    told = [" ".join(line.split()) for line in out.splitlines()]
    assert "← session_id flowshift:test" in told
    assert "→ documents" in " ".join(told)
    assert [line.split()[:3] for line in told if line[:2] in ("1 ", "2 ", "3 ", "4 ")] == [
        ["1", "start", "start"],
        ["2", "k", "knowledge-retrieval"],
        ["3", "llm", "llm"],
        ["4", "end", "end"],
    ]
    answers = [line for line in told if line.startswith(("V1 ", "V2 "))]
    assert len(answers) == 2
    assert all(r"gpt-4: [doc-1#0] hello\n\n[doc-1#1] hello hello" in line for line in answers)
    assert "parity yes the same calls and the same answer" in told
    assert written(fleet) == before

    told = json.loads(flowshift("test", "a", "--message", "hello", "--json")[1])
    assert (told["draft"], told["parity"], told["difference"]) == ("stored", True, None)
    assert told["v1"]["answer"] == told["v2"]["answer"]
    assert told["v1"]["calls"] == told["v2"]["calls"]
    assert [node["node_id"] for node in told["v2"]["nodes"]] == ["start", "k", "llm", "end"]


def test_test_of_an_edited_draft_exits_with_1_and_says_what_differs(
    flowshift: Run, fleet: Fleet
) -> None:
    fleet.add("a", a_workflow())
    fleet.run(validate="none")
    edit_prompt(fleet, "a", "{question}!")
    code, out, _ = flowshift("test", "a")
    assert code == 1
    assert "parity no the prompt of an LLM call is" in " ".join(out.split())
    assert "환불은 언제 되나요?!" in out


def test_test_of_a_draft_that_fails_names_the_node(flowshift: Run, fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.run(validate="none")
    graph = fleet.drafts()["a"]
    node(graph, "llm")["variable_mappings"].clear()
    fleet.set_draft("a", graph)
    code, out, _ = flowshift("test", "a")
    assert code == 1
    assert "3  llm  llm  failed" in out
    assert "4  end  end  skipped" in out
    assert "node 'llm' failed: ValueError" in out
    fleet.set_draft("a", {"nodes": 7})
    code, out, _ = flowshift("test", "a")
    assert code == 1
    assert "the graph cannot be read" in out
    assert "–" in out


def test_test_of_a_bot_without_a_draft_converts_it_for_this_once(
    flowshift: Run, fleet: Fleet
) -> None:
    fleet.add("a", a_workflow())
    code, out, _ = flowshift("test", "a")
    assert code == 0
    assert "no draft is stored: converted just now" in out
    assert fleet.drafts() == {}
    fleet.add("bad", a_broken_workflow())
    code, out, _ = flowshift("test", "bad")
    assert code == 1
    assert "it cannot be converted: node 'llm': temperature" in out
    assert json.loads(flowshift("test", "bad", "--json")[1])["draft"] == "converted"


def test_test_of_a_bot_with_neither_draft_nor_workflow_exits_with_2(
    flowshift: Run, fleet: Fleet
) -> None:
    fleet.add("a", None)
    fleet.add("b", "null")
    for bot_id in ("a", "b"):
        code, _, err = flowshift("test", bot_id)
        assert code == 2
        assert "has neither a draft nor a workflow" in err
    assert flowshift("test", "ghost")[0] == 2


def test_an_empty_message_is_seen(flowshift: Run, fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    code, out, _ = flowshift("test", "a", "--message", "")
    assert code == 0
    assert "message  ''" in out


def test_ids_are_cut_where_there_is_no_room_but_never_until_two_look_alike(
    flowshift: Run, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The command `executions` hides the module of that name.
    monkeypatch.setattr(import_module("worker.cli.views.executions"), "WIDE", 1_000)
    fleet.add("a")
    record(fleet, "a", execution_id="1f2e3d4c-1111-4000-8000-000000000000")
    record(fleet, "a", execution_id="1f2e3d4c-1112-4000-8000-000000000000")
    lines = flowshift("executions")[1].splitlines()[1:]
    assert {line.split()[0] for line in lines} == {"1f2e3d4c-1111", "1f2e3d4c-1112"}
    record(fleet, "a", execution_id=str(uuid.UUID(int=0)))
    assert "00000000-0000 " in flowshift("executions", "a")[1]
