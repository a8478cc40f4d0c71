"""Validation: drafts executed beside V1, recorded where the platform keeps executions."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from tests.fleet import Fleet, a_broken_workflow, a_workflow
from worker.core.parity.messages import BUILT_IN
from worker.core.parity.recording import MAX_FIELD_BYTES
from worker.core.parity.trial import Equipment
from worker.db import run_results
from worker.errors import StaleError, UsageError
from worker.providers.echo import Echo
from worker.steps.batch import trial
from worker.steps.finish import finish_run

ANSWER = "gpt-4: [doc-1#0] hi\n\n[doc-1#1] hi hi"


def executions(fleet: Fleet, bot_id: str | None = None) -> list[sa.Row[Any]]:
    """The recorded executions, by bot and message."""
    which = "" if bot_id is None else "WHERE bot_id = :bot_id"
    rows = fleet.rows(
        f"SELECT * FROM workflow_execution_runs {which} ORDER BY bot_id, session_id",
        **({} if bot_id is None else {"bot_id": bot_id}),
    )
    return list(rows)


def nodes(fleet: Fleet, execution: sa.Row[Any]) -> list[sa.Row[Any]]:
    """The recorded nodes of an execution, in order."""
    return list(
        fleet.rows(
            "SELECT * FROM workflow_node_executions WHERE workflow_run_id = :id "
            "ORDER BY execution_order",
            id=execution.id,
        )
    )


def edited(fleet: Fleet, bot_id: str) -> None:
    """Change a draft by hand so that its answer is another."""
    graph = fleet.drafts()[bot_id]
    [llm] = [node for node in graph["nodes"] if node["type"] == "llm"]
    llm["data"]["prompt_template"] = "Be rude. {question}"
    fleet.set_draft(bot_id, graph)


# -- while converting ------------------------------------------------------------------------------


def test_a_draft_is_executed_as_it_is_converted_and_recorded_as_the_platform_does(
    fleet: Fleet,
) -> None:
    fleet.add("a", a_workflow())
    progress = fleet.run(messages=("hi",))

    assert (progress.counts.converted, progress.counts.validated) == (1, 1)
    [run] = executions(fleet)
    [draft] = fleet.rows("SELECT id, graph FROM bot_workflow_versions")
    assert (run.bot_id, run.workflow_version_id, run.status) == ("a", draft.id, "succeeded")
    assert run.session_id == f"flowshift:run-{progress.run_id}:message-1"
    assert run.graph_snapshot == draft.graph
    assert run.inputs == {"user_message": "hi"}
    assert run.outputs == {"final_response": ANSWER}
    assert (run.error_message, run.total_tokens, run.total_steps) == (None, 0, 4)
    assert run.started_at <= run.finished_at
    found = nodes(fleet, run)
    assert [(node.execution_order, node.node_id, node.node_type) for node in found] == [
        (1, "start", "start"),
        (2, "k", "knowledge-retrieval"),
        (3, "llm", "llm"),
        (4, "end", "end"),
    ]
    assert {node.status for node in found} == {"completed"}
    assert found[2].inputs == {"query": "hi", "context": "[doc-1#0] hi\n\n[doc-1#1] hi"}
    assert found[2].outputs == {"response": ANSWER, "tokens": 0, "model": "gpt-4"}
    assert found[2].process_data.keys() == {"elapsed_us"}
    assert (found[2].is_truncated, found[2].truncated_fields) == (False, None)
    starts = [node.started_at for node in found]
    assert run.started_at <= starts[0]
    assert starts == sorted(starts)


def test_each_bot_is_tried_on_as_many_messages_as_asked_for(fleet: Fleet) -> None:
    fleet.add_many(40)
    none, one, three, every = (
        fleet.run(validate=wanted).run_id for wanted in ("none", "sample:1", "sample:3", "all")
    )
    counted = fleet.rows(
        "SELECT split_part(session_id, ':', 2) AS run, bot_id, count(*) AS n, "
        "count(DISTINCT inputs ->> 'user_message') AS different "
        "FROM workflow_execution_runs GROUP BY 1, 2"
    )
    assert {(row.run, row.n, row.different) for row in counted} == {
        (f"run-{one}", 1, 1),
        (f"run-{three}", 3, 3),
        (f"run-{every}", len(BUILT_IN), len(BUILT_IN)),
    }
    assert len(counted) == 120
    assert fleet.progress(none).counts.validated == 0
    tried = fleet.rows(
        "SELECT DISTINCT inputs ->> 'user_message' AS q FROM workflow_execution_runs "
        "WHERE session_id LIKE :of",
        of=f"flowshift:run-{one}:%",
    )
    assert {row.q for row in tried} == set(BUILT_IN)  # over a fleet, every message has its turn


def test_a_dry_run_says_what_validation_shows_and_records_nothing(fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    progress = fleet.run(dry_run=True)

    assert (progress.counts.converted, progress.counts.validated) == (1, 1)
    assert executions(fleet) == []


def test_a_draft_that_does_something_else_fails_its_bot_and_stays_ours(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add_many(3)

    def faulty(*arguments: Any) -> Any:
        trial_result = try_draft(*arguments)
        if arguments[1] != "bot-00001":
            return trial_result
        return msgspec.structs.replace(
            trial_result, agreed=False, code="parity_mismatch", message="another answer"
        )

    try_draft = trial.Trial.try_draft
    with monkeypatch.context() as patch:
        patch.setattr(trial.Trial, "try_draft", faulty)
        first = fleet.run()
    assert first.state == "completed_with_failures"
    assert fleet.outcomes(first.run_id)["bot-00001"] == "failed parity_mismatch"
    assert (first.counts.failed, first.counts.converted, first.counts.validated) == (1, 2, 2)
    assert len(executions(fleet)) == 3
    assert set(fleet.drafts()) == {"bot-00000", "bot-00001", "bot-00002"}

    fleet.change("bot-00001", a_workflow("{question}"))
    again = fleet.run(retry_of=first.run_id)
    assert fleet.outcomes(again.run_id) == {"bot-00001": "converted"}


def test_an_edited_draft_that_is_kept_is_not_recorded_as_executed(fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.run(validate="none")
    edited(fleet, "a")
    progress = fleet.run()

    assert fleet.outcomes(progress.run_id) == {"a": "skipped draft_edited"}
    assert progress.counts.validated == 0
    assert executions(fleet) == []


def test_long_fields_are_cut_and_the_node_says_which(fleet: Fleet) -> None:
    prompt = "환불 규정 " * MAX_FIELD_BYTES + "{question}"
    fleet.add("a", a_workflow(prompt))
    fleet.run(messages=("hi",))
    [run] = executions(fleet)
    llm = nodes(fleet, run)[2]

    assert llm.is_truncated
    size = llm.truncated_fields["outputs.response"]
    assert size > len(prompt.encode())
    assert llm.outputs["response"].endswith("…")
    assert len(json.dumps(llm.outputs, ensure_ascii=False).encode()) < MAX_FIELD_BYTES + 200
    assert len(run.outputs["final_response"].encode()) <= MAX_FIELD_BYTES


def test_a_batch_done_again_records_no_second_set(fleet: Fleet) -> None:
    fleet.add_many(5)
    run = fleet.planned(validate="sample:2")
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: fleet.try_convert(run.run_id, 1), range(3)))
    assert len(executions(fleet)) == 10
    assert len(fleet.rows("SELECT FROM workflow_node_executions")) == 40


# -- of drafts that are there ----------------------------------------------------------------------


def test_the_drafts_of_a_run_are_validated_as_they_stand(fleet: Fleet) -> None:
    fleet.add_many(4)
    fleet.add("broken", a_broken_workflow())
    fleet.add("none", None)
    first = fleet.run(validate="none")
    edited(fleet, "bot-00002")
    progress = fleet.run(kind="validate", of_run=first.run_id)

    assert fleet.outcomes(progress.run_id) == {
        "bot-00000": "unchanged",
        "bot-00001": "unchanged",
        "bot-00002": "failed parity_mismatch",
        "bot-00003": "unchanged",
        "broken": "skipped no_draft",
        "none": "skipped no_draft",
    }
    assert (progress.counts.validated, progress.state) == (3, "completed_with_failures")
    assert len(executions(fleet)) == 4 * len(BUILT_IN)
    [row] = fleet.rows(
        "SELECT message, draft_hash FROM flowshift.ledger WHERE run_id = :run_id AND bot_id = 'bot-00002'",
        run_id=progress.run_id,
    )
    assert "the prompt of an LLM call is " in row.message
    assert "Be rude." in row.message
    assert row.draft_hash is None  # what a person drew is not ours because we looked at it


def test_only_the_bots_named_are_validated(fleet: Fleet) -> None:
    fleet.add_many(3)
    fleet.run(validate="none")
    progress = fleet.run(kind="validate", bot_ids=("bot-00001",), messages=("hi", "ho"))

    assert fleet.outcomes(progress.run_id) == {"bot-00001": "unchanged"}
    assert [row.inputs["user_message"] for row in executions(fleet)] == ["hi", "ho"]


def test_retrying_a_validation_validates_what_failed_again(fleet: Fleet) -> None:
    fleet.add_many(2)
    first = fleet.run(validate="none")
    edited(fleet, "bot-00001")
    failed = fleet.run(kind="validate", of_run=first.run_id, messages=("hi",))
    again = fleet.run(retry_of=failed.run_id)

    run = fleet.get(again.run_id)
    assert (run.kind, run.options.trials) == ("validate", fleet.get(failed.run_id).options.trials)
    assert fleet.outcomes(again.run_id) == {"bot-00001": "failed parity_mismatch"}


def test_a_draft_that_is_no_graph_fails_with_the_reason(fleet: Fleet) -> None:
    fleet.add_many(2)
    fleet.run(validate="none")
    fleet.set_draft("bot-00000", {"nodes": [{"id": "x"}], "edges": []})
    graph = fleet.drafts()["bot-00001"]
    graph["nodes"][2]["variable_mappings"]["query"]["variable"] = "ghost.query"
    fleet.set_draft("bot-00001", graph)
    progress = fleet.run(kind="validate", bot_ids=("bot-00000", "bot-00001"))

    assert set(fleet.outcomes(progress.run_id).values()) == {"failed execution_failed"}
    messages = fleet.rows("SELECT message FROM flowshift.ledger WHERE run_id = 2 ORDER BY bot_id")
    assert "lacks what V2 needs" in messages[0].message
    assert "no output 'ghost.query' exists" in messages[1].message
    assert executions(fleet) == []


def test_an_empty_draft_is_none(fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.set_draft("a", {"nodes": [], "edges": []})
    progress = fleet.run(kind="validate", bot_ids=("a",))

    assert fleet.outcomes(progress.run_id) == {"a": "skipped no_draft"}


class Interrupting(Echo):
    """A provider during whose answer something else happens."""

    def __init__(self, happening: Any) -> None:
        self.happening = happening

    def generate(self, *arguments: Any) -> tuple[str, int]:
        self.happening()
        return super().generate(*arguments)


def validated(fleet: Fleet, run_id: int, provider: Any) -> None:
    registry = fleet.current.registry
    fleet.current.echo = Equipment(lambda: (Echo(), provider), time.perf_counter, registry)
    fleet.convert(run_id, 1)


def test_a_draft_changed_while_it_is_executed_is_skipped_not_recorded(fleet: Fleet) -> None:
    fleet.add_many(2)
    fleet.run(validate="none")
    run = fleet.planned(kind="validate", bot_ids=("bot-00000", "bot-00001"), messages=("hi",))
    to_change = iter(["bot-00000"])

    def somebody_edits() -> None:
        for bot_id in to_change:
            edited(fleet, bot_id)

    validated(fleet, run.run_id, Interrupting(somebody_edits))

    assert fleet.outcomes(run.run_id) == {
        "bot-00000": "skipped draft_edited",
        "bot-00001": "unchanged",
    }
    assert [row.bot_id for row in executions(fleet)] == ["bot-00001"]


def test_nothing_is_locked_while_drafts_are_executed(fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.run(validate="none")
    run = fleet.planned(kind="validate", bot_ids=("a",), messages=("hi",))

    def platform_writes() -> None:
        with fleet.connect() as connection:
            connection.execute("SET lock_timeout = '50ms'")
            connection.execute("UPDATE bots SET name = 'b', updated_at = now() WHERE bot_id = 'a'")

    validated(fleet, run.run_id, Interrupting(platform_writes))
    assert fleet.outcomes(run.run_id) == {"a": "unchanged"}


def test_two_workers_with_one_batch_record_one_set(fleet: Fleet) -> None:
    fleet.add_many(3)
    fleet.run(validate="none")
    run = fleet.planned(kind="validate", bot_ids=tuple(fleet.drafts()), messages=("hi",))
    both = threading.Barrier(2, timeout=20)
    waits = iter([True, True])
    claimed = threading.Event()  # two claims at the very same moment are one claim and one stale

    def meet() -> None:
        claimed.set()
        if next(waits, False):
            both.wait()

    def do(number: int) -> str:
        try:
            if number > 0:
                claimed.wait(20)
            validated(fleet, run.run_id, Interrupting(meet))
        except StaleError:
            return "stale"
        return "done"

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(do, range(2))) == ["done", "stale"]
    assert len(executions(fleet)) == 3
    finish_run(fleet.engine, run.run_id, actor="test")
    assert fleet.progress(run.run_id).counts.validated == 3


class Answerless(Echo):
    def generate(self, *arguments: Any) -> tuple[str, int]:
        raise ConnectionError("the model is away")


def test_a_node_that_fails_is_named_and_those_behind_it_are_skipped(fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.run(validate="none")
    run = fleet.planned(kind="validate", bot_ids=("a",), messages=("hi",))
    validated(fleet, run.run_id, Answerless())

    assert fleet.outcomes(run.run_id) == {"a": "failed execution_failed"}
    [execution] = executions(fleet)
    assert (execution.status, execution.outputs) == ("failed", None)
    assert "node 'llm' failed: ConnectionError: the model is away" in execution.error_message
    found = nodes(fleet, execution)
    assert [node.status for node in found] == ["completed", "completed", "failed", "skipped"]
    assert found[2].error_message == "ConnectionError: the model is away"


class Unstorable(Echo):
    def generate(self, *arguments: Any) -> tuple[str, int]:
        return "a\x00b\ud800", 3


def test_what_a_model_answers_is_stored_whatever_it_is(fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.run(validate="none")
    run = fleet.planned(kind="validate", bot_ids=("a",), messages=("hi",))
    validated(fleet, run.run_id, Unstorable())

    [execution] = executions(fleet)
    assert execution.outputs == {"final_response": "a\\x00b\\ud800"}
    assert execution.total_tokens == 3


# -- overhead --------------------------------------------------------------------------------------


def test_the_overhead_of_a_run_is_told_over_all_its_batches(fleet: Fleet) -> None:
    fleet.add_many(60)
    progress = fleet.run(batch_size=25)
    with fleet.engine.connect() as connection:
        summary = run_results.overhead(connection, progress.run_id)
    assert summary is not None
    assert (summary.bots, summary.over_limit, summary.slow) == (60, 0, ())
    assert summary.p50_us <= summary.p90_us <= summary.p99_us <= summary.max_us


class Slow(Echo):
    """As slow as `clock` says: no test waits."""

    def __init__(self, clock: Any) -> None:
        self.clock = clock

    def generate(self, *arguments: Any) -> tuple[str, int]:
        self.clock.now += 0.75
        return super().generate(*arguments)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_bots_whose_draft_takes_half_a_second_longer_are_listed(fleet: Fleet) -> None:
    fleet.add_many(2)
    fleet.run(validate="none")
    run = fleet.planned(kind="validate", bot_ids=("bot-00001",), messages=("hi",))
    clock = Clock()
    registry = fleet.current.registry
    fleet.current.echo = Equipment(lambda: (Echo(), Slow(clock)), clock, registry)
    fleet.convert(run.run_id, 1)
    with fleet.engine.connect() as connection:
        summary = run_results.overhead(connection, run.run_id)
    assert summary is not None
    assert (summary.max_us, summary.over_limit) == (750_000, 1)
    assert [(bot.bot_id, bot.overhead_us) for bot in summary.slow] == [("bot-00001", 750_000)]


# -- what cannot be asked for ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"validate": "some"}, "none, sample:N or all"),
        ({"validate": "sample:0"}, "none, sample:N or all"),
        ({"validate": "sample:99"}, "more messages than the 6 that are built in"),
        ({"validate": "sample:2", "messages": ("hi",)}, "more messages than the 1 that are given"),
        ({"messages": ("a\x00",)}, "cannot be kept: it holds the character NUL"),
        ({"messages": ("x" * 10_001,)}, "message 1 has 10,001 characters"),
        ({"messages": ("x",) * 101}, "101 messages; at most 100"),
        ({"provider": "live"}, "a migration asks no model"),
        ({"kind": "validate", "dry_run": True}, "there is no dry run"),
        ({"kind": "validate", "validate": "none"}, "would do nothing"),
        ({"kind": "validate", "of_run": 99}, "there is no run 99"),
        ({"kind": "validate", "of_run": 1, "bot_ids": ("a",)}, "either a run or bots"),
    ],
)
def test_a_validation_that_cannot_be_meant_is_refused(
    fleet: Fleet, asked: dict[str, Any], why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        fleet.start(**asked)
