"""Targets on real databases: which one it is, that a run keeps its own, and what becomes of the other's."""

from __future__ import annotations

import json
import uuid
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from tests.fleet import Fleet, Json, a_workflow
from tests.integration.conftest import Run
from worker.core.targets.detect import Choice, written_for
from worker.db.schema import target as schema
from worker.errors import ConfigError, UsageError
from worker.runtime import Runtime
from worker.sample import ANSWER_COLUMNS
from worker.settings import load
from worker.steps.target import choose_target

ANSWER_NODE = {"nodes": [{"id": "a", "type": "answer", "data": {"type": "answer"}}]}
PLAIN_NODE = {"nodes": [{"id": "s", "type": "start", "data": {}}]}
LIBRARY = "ALTER TABLE bot_workflow_versions ADD is_in_library boolean NOT NULL DEFAULT false"


def publish(fleet: Fleet, bot_id: str, graph: Json) -> None:
    fleet.add(bot_id, a_workflow(), uses_v2=True, published=False)
    fleet.add_version(bot_id, "v1.0", "published")
    fleet.execute(
        "UPDATE bot_workflow_versions SET graph = CAST(:graph AS jsonb) WHERE bot_id = :bot_id",
        graph=json.dumps(graph),
        bot_id=bot_id,
    )


def chosen(fleet: Fleet, asked: str | None = None, setting: str = "auto") -> Choice:
    with fleet.engine.connect() as connection:
        return choose_target(connection, asked, setting)


def targets_of(fleet: Fleet) -> dict[str, str]:
    return {
        bot_id: written_for(msgspec.json.encode(graph)).name
        for bot_id, graph in fleet.drafts().items()
    }


def make_answer(fleet: Fleet) -> None:
    fleet.execute(ANSWER_COLUMNS)


class TestAuto:
    def test_a_platform_of_the_guides_day(self, fleet: Fleet) -> None:
        publish(fleet, "a", PLAIN_NODE)
        found = chosen(fleet)
        assert (found.target, found.finding) == ("guide", None)
        assert "no column of answer is there" in found.reason

    def test_a_platform_of_the_last_version_with_published_graphs(self, fleet: Fleet) -> None:
        fleet.execute(LIBRARY)
        for bot_id, graph in (("a", ANSWER_NODE), ("b", ANSWER_NODE), ("c", PLAIN_NODE)):
            publish(fleet, bot_id, graph)
        fleet.add("d", a_workflow(), uses_v2=True)  # its version has no nodes
        assert chosen(fleet) == Choice(
            "answer",
            "bot_workflow_versions has is_in_library; "
            "2 of 3 published graphs have a node of type answer",
        )

    def test_a_platform_of_the_last_version_where_nothing_is_published(self, fleet: Fleet) -> None:
        make_answer(fleet)
        found = chosen(fleet)
        assert (found.target, found.finding) == ("answer", None)
        assert "workflow_execution_runs has api_request_id" in found.reason

    def test_columns_of_one_and_graphs_of_the_other(self, fleet: Fleet) -> None:
        fleet.execute(LIBRARY)
        publish(fleet, "a", PLAIN_NODE)
        found = chosen(fleet)
        assert found.target == "answer"
        assert found.finding == (
            "the columns are those of answer, but none of 1 published graphs has a node of type answer, "
            "and 1 have nodes without data.type: "
            "set FLOWSHIFT_TARGET to the one that this platform runs (guide or answer)"
        )

    def test_graphs_alone_and_a_lone_column_that_others_have_too(self, fleet: Fleet) -> None:
        fleet.execute("ALTER TABLE bot_workflow_versions ADD node_count int")
        found = chosen(fleet)
        assert found.target == "guide"
        assert "bot_workflow_versions.node_count is there" in (found.finding or "")
        publish(fleet, "a", ANSWER_NODE)
        assert chosen(fleet).target == "answer"
        fleet.execute("ALTER TABLE bot_workflow_versions DROP node_count")
        found = chosen(fleet)
        assert found.target == "answer"
        assert (found.finding or "").startswith(
            "published graphs have a node of type answer, but no column of answer is there"
        )

    def test_a_setting_that_the_database_contradicts_holds_and_is_a_finding(
        self, fleet: Fleet
    ) -> None:
        fleet.execute(LIBRARY)
        found = chosen(fleet, setting="guide")
        assert (found.target, found.reason) == ("guide", "FLOWSHIFT_TARGET says so")
        assert "set FLOWSHIFT_TARGET=answer" in (found.finding or "")
        assert chosen(fleet, asked="answer", setting="guide") == Choice(
            "answer", "--target says so"
        )
        assert chosen(fleet, asked="auto", setting="guide").target == "answer"

    def test_drafts_and_archived_versions_do_not_count(self, fleet: Fleet) -> None:
        fleet.add("a", a_workflow())
        fleet.set_draft("a", ANSWER_NODE)
        assert chosen(fleet).target == "guide"

    def test_a_bounded_number_of_graphs_is_read(self, fleet: Fleet) -> None:
        for number in range(25):
            publish(fleet, f"b{number}", ANSWER_NODE)
        assert "20 of 20 published graphs" in chosen(fleet).reason

    def test_only_some_blocks_of_a_large_table_are_looked_through(
        self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        publish(fleet, "a", ANSWER_NODE)
        monkeypatch.setattr(schema, "BLOCKS_READ", 0)
        assert "no published graph was found" in chosen(fleet).reason

    def test_versions_without_nodes_do_not_use_up_the_sample(self, fleet: Fleet) -> None:
        for number in range(25):
            fleet.add(f"b{number:02}", a_workflow(), uses_v2=True)
        publish(fleet, "z", ANSWER_NODE)
        assert "1 of 1 published graphs" in chosen(fleet).reason

    @pytest.mark.parametrize("columns", ["", "status", "graph"])
    def test_a_role_that_may_not_read_versions_is_no_error(
        self, fleet: Fleet, columns: str
    ) -> None:
        fleet.execute(LIBRARY)
        publish(fleet, "a", ANSWER_NODE)
        role = f"reader_{uuid.uuid4().hex[:8]}"
        fleet.execute(f"CREATE ROLE {role}")
        if columns:
            fleet.execute(f"GRANT SELECT ({columns}) ON bot_workflow_versions TO {role}")
        try:
            with fleet.engine.connect() as connection:
                connection.execute(sa.text(f"SET ROLE {role}"))
                found = choose_target(connection, None)
            assert (
                found.reason
                == "bot_workflow_versions has is_in_library; no published graph was found"
            )
        finally:
            fleet.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")

    def test_a_partitioned_table_and_an_enumeration_are_read_too(self, fleet: Fleet) -> None:
        fleet.execute(
            "ALTER TABLE workflow_execution_runs DROP CONSTRAINT "
            "workflow_execution_runs_workflow_version_id_fkey"
        )
        fleet.execute("DROP TABLE bot_workflow_versions")
        fleet.execute("CREATE TYPE version_status AS ENUM ('draft', 'live')")
        fleet.execute(
            "CREATE TABLE bot_workflow_versions (bot_id text, status version_status, graph jsonb) "
            "PARTITION BY HASH (bot_id)"
        )
        fleet.execute(
            "CREATE TABLE versions_0 PARTITION OF bot_workflow_versions "
            "FOR VALUES WITH (MODULUS 1, REMAINDER 0)"
        )
        assert "no published graph was found" in chosen(fleet).reason
        fleet.execute("ALTER TYPE version_status ADD VALUE 'published'")
        fleet.execute(
            "INSERT INTO bot_workflow_versions VALUES ('a', 'published', CAST(:graph AS jsonb))",
            graph=json.dumps(ANSWER_NODE),
        )
        assert chosen(fleet).target == "answer"


@pytest.mark.parametrize("target", ["guide", "answer"])
def test_either_target_from_migrate_to_show(fleet: Fleet, flowshift: Run, target: str) -> None:
    if target == "answer":
        make_answer(fleet)
    fleet.add("a", a_workflow())
    fleet.add("b", a_workflow("자료: {context} 질문: {question}"))

    run = fleet.run(validate="all")

    assert fleet.outcomes(run.run_id) == dict.fromkeys("ab", "converted")
    assert targets_of(fleet) == dict.fromkeys("ab", target)
    assert fleet.run().counts.unchanged == 2
    assert fleet.run(kind="validate", of_run=run.run_id).counts.validated == 2
    code, out, _ = flowshift("show", "a")
    assert code == 0, out
    assert "the same calls and the same answer on each of them" in out
    code, out, _ = flowshift("test", "a")
    assert code == 0, out


def test_a_run_says_its_target_and_why(fleet: Fleet, flowshift: Run) -> None:
    fleet.execute(LIBRARY)
    fleet.add("a", a_workflow())
    fleet.run()
    why = "bot_workflow_versions has is_in_library; no published graph was found"

    (listed,) = json.loads(flowshift("runs", "--json")[1])
    assert (listed["options"]["target"], listed["options"]["target_reason"]) == ("answer", why)
    for command in (("status",), ("db", "check", "--no-try")):
        assert f"target answer: {why}" in " ".join(flowshift(*command)[1].split())
        shown = json.loads(flowshift(*command, "--json")[1])["target"]
        assert shown == {"target": "answer", "reason": why, "finding": None}


def settings_with(fleet: Fleet, **values: Any) -> Runtime:
    settings = msgspec.structs.replace(fleet.current.settings, **values)
    return Runtime(settings, fleet.current.servers)


def test_a_run_keeps_its_target_when_the_setting_changes_and_the_platform_too(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add_many(2)
    run = fleet.planned(target="answer", batch_size=1)
    fleet.convert(run.run_id, 1)
    publish(fleet, "z", PLAIN_NODE)
    changed = settings_with(fleet, target="guide")
    monkeypatch.setattr(fleet, "current", changed)

    fleet.convert(run.run_id, 2)

    assert set(targets_of(fleet).values()) == {"answer"}
    assert fleet.get(run.run_id).options.target == "answer"
    assert fleet.start(limit=1, allow_overlap=True).options.target == "guide"
    changed.close()


def test_a_target_that_this_version_does_not_know_is_an_error_that_says_so(fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    run = fleet.planned()
    fleet.execute("""UPDATE flowshift.runs SET options = options || '{"target": "third"}'""")
    with pytest.raises(ConfigError, match="for the target 'third'; known here: guide, answer"):
        fleet.convert(run.run_id, 1)


class TestSwitch:
    def switched(self, fleet: Fleet) -> int:
        """A fleet of drafts for `guide`, one of them edited, on a platform that became `answer`."""
        fleet.add("a", a_workflow())
        fleet.add("b", a_workflow())
        run = fleet.run()
        edited = fleet.drafts()["b"]
        edited["nodes"][2]["data"]["prompt_template"] = "edited"
        fleet.set_draft("b", edited)
        make_answer(fleet)
        return run.run_id

    def test_drafts_of_the_other_target_are_made_again_and_edited_ones_stay(
        self, fleet: Fleet
    ) -> None:
        self.switched(fleet)
        before = fleet.drafts()["b"]

        dry, run = fleet.run(dry_run=True), fleet.run()

        for one in (dry, run):
            assert fleet.outcomes(one.run_id) == {"a": "converted", "b": "skipped stale_target"}
        assert targets_of(fleet) == {"a": "answer", "b": "guide"}
        assert fleet.drafts()["b"] == before
        assert fleet.outcomes(fleet.run(overwrite_edited=True).run_id)["b"] == "converted"
        assert targets_of(fleet)["b"] == "answer"

    def test_the_other_way_round_is_the_same(self, fleet: Fleet) -> None:
        fleet.add_many(2)
        fleet.run(target="answer")
        edited = fleet.drafts()["bot-00001"]
        edited["nodes"][0]["data"]["title"] = "edited"
        fleet.set_draft("bot-00001", edited)

        run = fleet.run(target="guide")

        assert fleet.outcomes(run.run_id) == {
            "bot-00000": "converted",
            "bot-00001": "skipped stale_target",
        }
        assert targets_of(fleet) == {"bot-00000": "guide", "bot-00001": "answer"}

    def test_a_dry_run_says_so_of_a_bot_that_is_locked(self, fleet: Fleet) -> None:
        self.switched(fleet)
        with fleet.connect() as theirs:
            theirs.execute("SELECT FROM bots WHERE bot_id = 'b' FOR UPDATE")
            dry = fleet.run(dry_run=True)
        assert fleet.outcomes(dry.run_id)["b"] == "skipped stale_target"

    def test_a_draft_that_the_editor_has_for_this_target_is_edited_not_stale(
        self, fleet: Fleet
    ) -> None:
        self.switched(fleet)
        fleet.set_draft("b", ANSWER_NODE)
        assert fleet.outcomes(fleet.run().run_id)["b"] == "skipped draft_edited"

    def test_a_validation_says_so_instead_of_executing_them(self, fleet: Fleet) -> None:
        first = self.switched(fleet)
        fleet.execute("DELETE FROM workflow_execution_runs")

        run = fleet.run(kind="validate", of_run=first)

        assert set(fleet.outcomes(run.run_id).values()) == {"skipped stale_target"}
        assert fleet.rows("SELECT count(*) FROM workflow_execution_runs")[0][0] == 0
        same = fleet.run(kind="validate", of_run=first, target="guide")
        assert fleet.outcomes(same.run_id)["a"] == "unchanged"

    def test_show_and_test_execute_a_draft_as_its_own_engine_does_and_say_so(
        self, fleet: Fleet, flowshift: Run
    ) -> None:
        self.switched(fleet)
        code, out, _ = flowshift("show", "a")
        said = " ".join(out.split())
        assert code == 1
        assert "stale_target" in said
        assert "the draft is one for guide, and the platform's target is answer" in said
        assert "the same calls and the same answer on each of them" in said
        shown = json.loads(flowshift("show", "a", "--json")[1])
        assert (shown["draft_target"], shown["target"]["target"]) == ("guide", "answer")
        code, out, _ = flowshift("test", "a")
        assert (code, "stale_target" in out) == (1, True)
        code, _, _ = flowshift("test", "a", "--target", "guide")
        assert code == 0

    def test_the_summary_of_a_run_says_what_to_do(self, fleet: Fleet, flowshift: Run) -> None:
        self.switched(fleet)
        run = fleet.run()
        out = " ".join(flowshift("status", str(run.run_id))[1].split())
        assert "1 draft is for another target" in out


class TestGoingLive:
    SKIPPED = "skipped draft_would_go_live"

    def test_a_draft_that_the_platform_would_run_is_not_written_unasked(
        self, fleet: Fleet, flowshift: Run
    ) -> None:
        make_answer(fleet)
        fleet.add("a", a_workflow(), uses_v2=True, published=False)
        fleet.add("b", a_workflow(), uses_v2=True)

        dry = fleet.run(dry_run=True)

        assert fleet.outcomes(dry.run_id) == {"a": self.SKIPPED, "b": "skipped already_v2"}
        assert fleet.outcomes(fleet.run().run_id)["a"] == self.SKIPPED
        assert fleet.drafts() == {}
        checked = json.loads(flowshift("db", "check", "--no-try", "--json")[1])
        assert checked["would_go_live"] == 1
        for command in (("status", str(dry.run_id)), ("db", "check", "--no-try")):
            assert "--live-drafts" in flowshift(*command)[1]
        assert "the platform runs their drafts)" in " ".join(flowshift("status")[1].split())
        assert "(it cannot answer)" in flowshift("show", "a")[1]
        fleet.run(live_drafts=True)
        assert "(its draft is live)" in flowshift("show", "a")[1]

    def test_live_drafts_writes_it_and_a_retry_does_too(self, fleet: Fleet) -> None:
        make_answer(fleet)
        fleet.add("a", a_workflow(temperature=9), uses_v2=True, published=False)
        run = fleet.run(live_drafts=True)
        fleet.change("a", a_workflow())

        retry = fleet.run(retry_of=run.run_id)

        assert fleet.outcomes(retry.run_id) == {"a": "converted"}
        assert fleet.get(retry.run_id).options.live_drafts

    def test_a_bot_that_is_flagged_while_it_is_converted_gets_none(self, fleet: Fleet) -> None:
        make_answer(fleet)
        fleet.add("a", a_workflow())
        run = fleet.planned()
        fleet.execute("UPDATE bots SET use_workflow_v2 = true")
        fleet.convert(run.run_id, 1)
        assert fleet.outcomes(run.run_id) == {"a": self.SKIPPED}

    def test_each_option_is_refused_where_it_is_the_other_targets(self, fleet: Fleet) -> None:
        fleet.add("a", a_workflow())
        with pytest.raises(UsageError, match="--include-flagged takes bots"):
            fleet.start(live_drafts=True)
        with pytest.raises(UsageError, match="there is no target 'gide'"):
            fleet.start(target="gide")
        with pytest.raises(UsageError, match="join_node is no known difference"):
            fleet.start(strict=("join_node",))
        with pytest.raises(UsageError, match="use --live-drafts instead of --include-flagged"):
            fleet.start(include_flagged=True, target="answer")
        assert fleet.rows("SELECT count(*) FROM flowshift.runs")[0][0] == 0


class TestRetry:
    def test_a_validation_has_the_target_that_its_run_was_given(self, fleet: Fleet) -> None:
        fleet.add("a", a_workflow())
        run = fleet.run(target="answer")
        validation = fleet.run(kind="validate", of_run=run.run_id)
        assert fleet.outcomes(validation.run_id) == {"a": "unchanged"}
        assert fleet.get(validation.run_id).options.target_reason == f"run {run.run_id} says so"
        unnamed = fleet.run(kind="validate", bot_ids=("a",))
        assert fleet.outcomes(unnamed.run_id) == {"a": "skipped stale_target"}

    def test_a_retry_has_the_target_of_its_run_unless_another_is_said(
        self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fleet.add("a", a_workflow(temperature=9))
        run = fleet.run(target="answer")

        again = fleet.planned(retry_of=run.run_id).options

        assert (again.target, again.target_reason) == ("answer", f"run {run.run_id} says so")
        assert "the database looks like one of guide" in (again.target_finding or "")
        chosen = fleet.start(retry_of=run.run_id, target="guide", allow_overlap=True).options
        assert chosen.target == "guide"
        changed = settings_with(fleet, target="guide")
        monkeypatch.setattr(fleet, "current", changed)
        said = fleet.start(retry_of=run.run_id, allow_overlap=True).options
        assert (said.target, said.target_reason) == ("guide", "FLOWSHIFT_TARGET says so")
        changed.close()


class TestStrict:
    def test_a_retry_is_as_strict_as_its_run(self, fleet: Fleet) -> None:
        fleet.add("a", a_workflow(" {question} "))
        run = fleet.run(strict=("prompt_trimmed",))
        retry = fleet.run(retry_of=run.run_id)
        assert fleet.outcomes(retry.run_id) == {"a": "failed parity_mismatch"}
        lenient = fleet.run(retry_of=run.run_id, strict=())
        assert fleet.outcomes(lenient.run_id) == {"a": "unchanged"}

    def test_a_validation_fails_what_it_meets(self, fleet: Fleet) -> None:
        fleet.add("a", a_workflow(" {question} "))
        run = fleet.run()
        strict = fleet.run(kind="validate", of_run=run.run_id, strict=("prompt_trimmed",))
        assert fleet.outcomes(strict.run_id) == {"a": "failed parity_mismatch"}

    @pytest.mark.parametrize("validate", ["sample:1", "none"])
    @pytest.mark.parametrize(
        ("target", "code"), [("guide", "prompt_trimmed"), ("answer", "second_search")]
    )
    def test_a_known_difference_is_a_warning_and_a_failure_where_it_is_strict(
        self, fleet: Fleet, target: str, code: str, validate: str
    ) -> None:
        fleet.add("a", a_workflow(" {context} {question} "))
        request: Json = {"target": target, "validate": validate}
        assert fleet.outcomes(fleet.run(**request).run_id) == {"a": "converted"}

        run = fleet.run(**request, strict=(code,))

        assert fleet.outcomes(run.run_id) == {"a": "failed parity_mismatch"}
        (message,) = fleet.rows(
            "SELECT message FROM flowshift.ledger WHERE run_id = :run_id", run_id=run.run_id
        )
        assert message[0]
        other = fleet.run(**request, strict=("placeholder_removed",))
        assert fleet.outcomes(other.run_id) == {"a": "unchanged"}

    def test_the_setting_says_so_too_and_a_wrong_one_is_named(
        self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fleet.add("a", a_workflow(" {question} "))
        changed = settings_with(fleet, strict="all")
        monkeypatch.setattr(fleet, "current", changed)
        run = fleet.run()
        assert fleet.outcomes(run.run_id) == {"a": "failed parity_mismatch"}
        assert "second_search" in fleet.get(run.run_id).options.strict
        with pytest.raises(ConfigError, match="'trimmed' is no known difference"):
            load({"FLOWSHIFT_STRICT": "trimmed"})
        with pytest.raises(ConfigError, match=r"FLOWSHIFT_TARGET.*auto, guide or answer"):
            load({"FLOWSHIFT_TARGET": "gide"})
        changed.close()


def test_a_column_of_theirs_that_insists_on_a_value_gets_one(fleet: Fleet, flowshift: Run) -> None:
    make_answer(fleet)
    fleet.execute("ALTER TABLE bot_workflow_versions ALTER is_in_library DROP DEFAULT")
    fleet.add("a", a_workflow())

    code, out, _ = flowshift("db", "check")
    run = fleet.run()

    assert code == 0, out
    assert fleet.outcomes(run.run_id) == {"a": "converted"}
    (row,) = fleet.rows("SELECT is_in_library FROM bot_workflow_versions WHERE bot_id = 'a'")
    assert row[0] is False


class TestCommands:
    LINE = json.dumps({"workflow": a_workflow(" {question} "), "message": "hi"}).encode()

    def test_convert_writes_drafts_for_the_target_that_is_named(self, flowshift: Run) -> None:
        for options, target in (((), "guide"), (("--target", "answer"), "answer")):
            code, out, _ = flowshift("convert", *options, stdin=self.LINE)
            assert code == 0
            assert written_for(json.dumps(json.loads(out)["graph"]).encode()).name == target

    def test_trace_executes_a_graph_as_its_own_target_does_unless_another_is_named(
        self, flowshift: Run
    ) -> None:
        graph = json.loads(flowshift("convert", "--target", "answer", stdin=self.LINE)[1])["graph"]
        line = json.dumps({"graph": graph, "message": "hi"}).encode()
        assert json.loads(flowshift("trace", stdin=line)[1])["v2"]["answer"] == "gpt-4:  hi "
        code, out, _ = flowshift("trace", "--target", "guide", stdin=line)
        assert code == 1
        assert json.loads(out)["v2"]["error"].startswith("execution_failed")

    def test_strict_makes_a_known_difference_one_like_any_other(self, flowshift: Run) -> None:
        code, out, _ = flowshift("trace", stdin=self.LINE)
        assert (code, json.loads(out)["known"]) == (0, ["prompt_trimmed"])
        code, out, _ = flowshift("trace", "--strict", "prompt_trimmed", stdin=self.LINE)
        assert (code, json.loads(out)["parity"]) == (1, False)

    def test_strict_in_test_and_show(self, fleet: Fleet, flowshift: Run) -> None:
        fleet.add("a", a_workflow(" {question} "))
        fleet.run()
        for command in ("test", "show"):
            assert flowshift(command, "a")[0] == 0
            assert flowshift(command, "a", "--strict=all")[0] == 1
            assert flowshift(command, "a", "--strict=second_search")[0] == 0

    def test_each_command_that_starts_a_run_passes_its_options_on(
        self, fleet: Fleet, flowshift: Run
    ) -> None:
        fleet.add("a", a_workflow(temperature=9))
        first = fleet.run()
        asked = ("--target", "answer", "--strict", "second_search", "--detach")
        for command in (
            ("migrate", "--live-drafts", "--allow-overlap"),
            ("retry", str(first.run_id), "--allow-overlap"),
            ("validate", "--bot-id", "a"),
        ):
            code, out, err = flowshift(*command, *asked)
            assert code == 0, err
            assert "the database looks like one of guide" in err
            options = fleet.get(int(out.split()[1])).options
            assert (options.target, options.strict) == ("answer", ("second_search",))
            assert options.live_drafts == (command[0] == "migrate")
            fleet.execute("UPDATE flowshift.runs SET state = 'cancelled', finished_at = now()")

    def test_a_wrong_kind_and_a_wrong_target_are_answered_with_the_list(
        self, flowshift: Run
    ) -> None:
        code, _, err = flowshift("migrate", "--strict", "trimmed")
        assert code == 2
        assert "'trimmed' is no known difference: all, or some of empty_template" in err
        code, _, err = flowshift("migrate", "--target", "gide")
        assert (code, "'auto', 'guide', 'answer'" in err) == (2, True)
