"""What a platform's triggers, rules, policies and constraints do to a batch, dry or not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.fleet import Fleet, a_workflow
from worker.core.targets.convert import convert_text
from worker.core.workflow.config import Defaults
from worker.db import interference
from worker.errors import ConfigError
from worker.steps.batch import chunks, settle, trial, validate, write_drafts


def trigger(fleet: Fleet, when: str, on: str, body: str, *, constraint: bool = False) -> None:
    """Put a trigger for each row on a table of the platform's: `when` is `BEFORE INSERT` and so on."""
    name = f"t_{abs(hash((when, on, body)))}"
    fleet.execute(
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$"
    )
    kind, deferred = ("CONSTRAINT ", "DEFERRABLE INITIALLY DEFERRED ") if constraint else ("", "")
    fleet.execute(
        f"CREATE {kind}TRIGGER {name} {when} ON {on} {deferred}"
        f"FOR EACH ROW EXECUTE FUNCTION {name}()"
    )


def refuse_at_commit(fleet: Fleet, table: str, bot_id: str) -> None:
    """Let a deferred constraint trigger refuse what is written for one bot."""
    trigger(
        fleet,
        "AFTER INSERT OR UPDATE",
        table,
        f"IF NEW.bot_id = '{bot_id}' THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NULL;",
        constraint=True,
    )


def messages(fleet: Fleet, run_id: int) -> dict[str, str]:
    rows = fleet.rows(
        "SELECT bot_id, message FROM flowshift.ledger WHERE run_id = :r AND message IS NOT NULL",
        r=run_id,
    )
    return {row.bot_id: row.message for row in rows}


def edited(fleet: Fleet) -> dict[str, Any]:
    return json.loads(  # type: ignore[no-any-return]
        convert_text(json.dumps(a_workflow("theirs")).encode(), Defaults()).graph
    )


# -- at COMMIT -------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["bots", "bot_workflow_versions", "workflow_execution_runs"])
def test_one_bots_refusal_at_commit_fails_that_bot_alone(fleet: Fleet, table: str) -> None:
    ids = fleet.add_many(23)
    refuse_at_commit(fleet, table, ids[11])
    progress = fleet.run()

    assert fleet.outcomes(progress.run_id) == {
        **dict.fromkeys(ids, "converted"),
        ids[11]: "failed internal_error",
    }
    assert set(fleet.drafts()) == set(fleet.backups()) == set(ids) - {ids[11]}
    assert "not this one" in messages(fleet, progress.run_id)[ids[11]]


def test_a_deferred_foreign_key_that_one_draft_violates_fails_that_bot_alone(
    fleet: Fleet,
) -> None:
    ids = fleet.add_many(5)
    fleet.execute("CREATE TABLE licences (bot_id varchar(50) PRIMARY KEY)")
    fleet.execute("INSERT INTO licences SELECT bot_id FROM bots WHERE bot_id <> 'bot-00003'")
    fleet.execute(
        "ALTER TABLE bot_workflow_versions ADD FOREIGN KEY (bot_id) REFERENCES licences"
        " DEFERRABLE INITIALLY DEFERRED"
    )
    progress = fleet.run()

    assert fleet.outcomes(progress.run_id)["bot-00003"] == "failed internal_error"
    assert set(fleet.drafts()) == set(ids) - {"bot-00003"}


def test_a_constraint_that_wants_what_is_written_later_in_the_batch_is_still_deferred(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several chunks, in each of which a draft is inserted before its backup."""
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 4)
    ids = fleet.add_many(9)
    trigger(
        fleet,
        "AFTER INSERT",
        "bot_workflow_versions",
        "IF (SELECT legacy_workflow IS NULL FROM bots WHERE bot_id = NEW.bot_id)"
        " THEN RAISE EXCEPTION 'no backup'; END IF; RETURN NULL;",
        constraint=True,
    )
    progress = fleet.run()

    assert fleet.outcomes(progress.run_id) == dict.fromkeys(ids, "converted")


def test_one_execution_refused_at_commit_fails_that_bot_of_a_validation_alone(
    fleet: Fleet,
) -> None:
    ids = fleet.add_many(9)
    first = fleet.run(validate="none")
    refuse_at_commit(fleet, "workflow_execution_runs", ids[4])
    progress = fleet.run(kind="validate", of_run=first.run_id, messages=("hi",))

    assert fleet.outcomes(progress.run_id) == {
        **dict.fromkeys(ids, "unchanged"),
        ids[4]: "failed internal_error",
    }
    assert len(fleet.rows("SELECT FROM workflow_execution_runs")) == 8


# -- without an error ------------------------------------------------------------------------------


def test_a_draft_that_a_trigger_suppresses_fails_its_bot_with_a_reason(fleet: Fleet) -> None:
    ids = fleet.add_many(20)
    body = "IF NEW.bot_id = 'bot-00007' THEN RETURN NULL; END IF; RETURN NEW;"
    trigger(fleet, "BEFORE INSERT", "bot_workflow_versions", body)
    trigger(fleet, "BEFORE UPDATE", "bots", body.replace("bot-00007", "bot-00003"))
    progress = fleet.run()

    outcomes = fleet.outcomes(progress.run_id)
    assert {bot for bot, said in outcomes.items() if said != "converted"} == {
        "bot-00003",
        "bot-00007",
    }
    said = messages(fleet, progress.run_id)
    assert said["bot-00007"].startswith("the database kept no draft (a trigger?): see")
    assert said["bot-00003"].startswith("the database kept no backup")
    left = set(ids) - {"bot-00003", "bot-00007"}
    assert set(fleet.drafts()) == left
    assert set(fleet.backups()) == left


@pytest.mark.parametrize(
    ("when", "body"),
    [
        ("BEFORE INSERT", """NEW.graph := NEW.graph || '{"extra": 1}'; RETURN NEW;"""),
        ("BEFORE INSERT", "NEW.status := 'archived'; RETURN NEW;"),
        (
            "AFTER INSERT",
            "UPDATE bot_workflow_versions SET graph = '{}' WHERE id = NEW.id; RETURN NULL;",
        ),
        ("AFTER INSERT", "DELETE FROM bot_workflow_versions WHERE id = NEW.id; RETURN NULL;"),
    ],
)
@pytest.mark.parametrize("validate", ["none", "sample:1"])
def test_a_draft_that_a_trigger_rewrites_fails_its_bot_and_does_not_stay(
    fleet: Fleet, when: str, body: str, validate: str
) -> None:
    ids = fleet.add_many(5)
    returned = body.rpartition("RETURN")[2]
    only = f"IF NEW.bot_id = 'bot-00002' THEN {body} END IF; RETURN{returned}"
    trigger(fleet, when, "bot_workflow_versions", only)
    progress = fleet.run(validate=validate)

    assert fleet.outcomes(progress.run_id) == {
        **dict.fromkeys(ids, "converted"),
        "bot-00002": "failed internal_error",
    }
    assert "a trigger?" in messages(fleet, progress.run_id)["bot-00002"]
    assert fleet.rows("SELECT FROM bot_workflow_versions WHERE bot_id = 'bot-00002'") == []
    assert set(fleet.backups()) == set(ids) - {"bot-00002"}


def test_a_draft_that_a_deferred_trigger_rewrites_fails_its_bot(fleet: Fleet) -> None:
    fleet.add_many(3)
    trigger(
        fleet,
        "AFTER INSERT",
        "bot_workflow_versions",
        "UPDATE bot_workflow_versions SET graph = '{}' WHERE id = NEW.id; RETURN NULL;",
        constraint=True,
    )
    progress = fleet.run()

    assert set(fleet.outcomes(progress.run_id).values()) == {"failed internal_error"}
    assert fleet.drafts() == {}


def test_a_replaced_draft_that_a_trigger_keeps_as_it_was_fails_its_bot(fleet: Fleet) -> None:
    fleet.add_many(3)
    fleet.run()
    before = fleet.drafts()
    for bot_id in before:
        fleet.change(bot_id, a_workflow("new {question}"))
    body = "IF NEW.bot_id = 'bot-00001' THEN RETURN NULL; END IF; RETURN NEW;"
    trigger(fleet, "BEFORE UPDATE", "bot_workflow_versions", body)
    progress = fleet.run()

    assert fleet.outcomes(progress.run_id)["bot-00001"] == "failed internal_error"
    said = messages(fleet, progress.run_id)["bot-00001"]
    assert said.startswith("the database kept the draft that was there (a trigger?)")
    assert fleet.drafts()["bot-00001"] == before["bot-00001"]


def test_a_backup_that_a_trigger_rewrites_fails_its_bot(fleet: Fleet) -> None:
    fleet.add_many(3)
    body = "IF NEW.bot_id = 'bot-00001' THEN NEW.legacy_workflow := '{}'; END IF; RETURN NEW;"
    trigger(fleet, "BEFORE UPDATE", "bots", body)
    progress = fleet.run()

    assert fleet.outcomes(progress.run_id)["bot-00001"] == "failed internal_error"
    assert set(fleet.drafts()) == set(fleet.backups()) == {"bot-00000", "bot-00002"}


def test_a_trigger_that_leaves_drafts_alone_fails_nothing(fleet: Fleet) -> None:
    ids = fleet.add_many(3)
    trigger(fleet, "BEFORE UPDATE", "bots", "NEW.updated_at := now(); RETURN NEW;")
    for _ in range(2):
        outcomes = fleet.outcomes(fleet.run().run_id)
        assert set(outcomes) == set(ids)
        assert set(outcomes.values()) <= {"converted", "unchanged"}


def test_a_version_called_draft_is_blamed_only_where_there_is_one(fleet: Fleet) -> None:
    fleet.add_many(2)
    fleet.set_draft("bot-00000", {"nodes": []}, status="archived")
    trigger(fleet, "BEFORE INSERT", "bot_workflow_versions", "RETURN NULL;")
    said = messages(fleet, fleet.run().run_id)

    assert said["bot-00000"] == "a version called 'draft' exists whose status is not draft"
    assert said["bot-00001"].startswith("the database kept no draft (a trigger?)")


@pytest.mark.parametrize(
    "ddl",
    [
        "CREATE RULE r AS ON UPDATE TO bots WHERE NEW.name = 'x' DO INSTEAD NOTHING",
        "ALTER TABLE bots ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE bot_workflow_versions ENABLE ROW LEVEL SECURITY",
    ],
)
def test_rules_and_policies_are_reasons_to_look_at_what_was_kept(fleet: Fleet, ddl: str) -> None:
    with fleet.engine.connect() as connection:
        assert not interference.is_watched(connection)
    fleet.execute(ddl)
    with fleet.engine.connect() as connection:
        assert interference.is_watched(connection)


# -- a dry run -------------------------------------------------------------------------------------


def test_a_dry_run_says_of_every_bot_what_the_real_run_does(fleet: Fleet) -> None:
    ids = fleet.add_many(12)
    for table, bot_id in (
        ("bots", "bot-00001"),
        ("bot_workflow_versions", "bot-00002"),
        ("workflow_execution_runs", "bot-00003"),
    ):
        refuse_at_commit(fleet, table, bot_id)
    suppress = "IF NEW.bot_id = 'bot-00004' THEN RETURN NULL; END IF; RETURN NEW;"
    trigger(fleet, "BEFORE INSERT", "bot_workflow_versions", suppress)
    trigger(fleet, "BEFORE UPDATE", "bots", suppress.replace("04", "05"))
    fleet.set_draft("bot-00006", edited(fleet))
    fleet.set_draft("bot-00007", {"nodes": []})
    fleet.set_draft("bot-00008", {"nodes": []}, status="archived")
    fleet.execute("ALTER TABLE workflow_node_executions ADD CHECK (node_id <> 'k9')")
    before = fleet.rows("SELECT * FROM bot_workflow_versions ORDER BY id")

    dry = fleet.run(dry_run=True)
    assert fleet.rows("SELECT * FROM bot_workflow_versions ORDER BY id") == before
    assert fleet.backups() == {}
    assert fleet.rows("SELECT FROM workflow_execution_runs") == []
    assert fleet.rows("SELECT FROM workflow_node_executions") == []

    real = fleet.run()
    assert fleet.outcomes(dry.run_id) == fleet.outcomes(real.run_id)
    assert set(fleet.outcomes(dry.run_id)) == set(ids)
    assert messages(fleet, dry.run_id) == messages(fleet, real.run_id)
    assert dry.counts == real.counts
    assert dry.counts.failed == 6


def test_a_dry_run_keeps_no_row_locked_from_one_chunk_to_the_next(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 2)
    fleet.add_many(3)
    run = fleet.planned(dry_run=True)
    write = write_drafts.write_drafts
    done: list[str] = []

    def saved_before(*arguments: Any) -> Any:
        with fleet.connect() as platform:
            platform.execute("SET lock_timeout = '200ms'")
            platform.execute("UPDATE bots SET name = 'x' WHERE bot_id = ANY(%s)", [done])
        result = write(*arguments)
        done.extend(row.bot_id for row in result.rows)
        return result

    monkeypatch.setattr(settle, "write_drafts", saved_before)
    assert fleet.convert(run.run_id, 1).counts.converted == 3
    assert len(done) == 3


def test_a_dry_run_says_so_where_it_could_not_try_a_bot(fleet: Fleet) -> None:
    fleet.add_many(3)
    run = fleet.planned(dry_run=True)
    with fleet.connect() as platform:
        platform.execute("UPDATE bots SET name = 'x' WHERE bot_id = 'bot-00001'")
        assert fleet.convert(run.run_id, 1).counts.converted == 3
    said = messages(fleet, run.run_id)
    assert list(said) == ["bot-00001"]
    assert said["bot-00001"].startswith("not tried on the database")


# -- executions ------------------------------------------------------------------------------------

LLM = "NEW.node_type = 'llm' AND EXISTS (SELECT FROM workflow_execution_runs r"
SUPPRESSED = {
    "an execution": (
        "BEFORE INSERT",
        "workflow_execution_runs",
        "IF NEW.bot_id = 'bot-00001' THEN RETURN NULL; END IF; RETURN NEW;",
    ),
    "a node": (
        "BEFORE INSERT",
        "workflow_node_executions",
        (
            f"IF {LLM} WHERE r.id = NEW.workflow_run_id AND r.bot_id = 'bot-00001')"
            " THEN RETURN NULL; END IF; RETURN NEW;"
        ),
    ),
    "a node, afterwards": (
        "AFTER INSERT",
        "workflow_node_executions",
        (
            f"IF {LLM} WHERE r.id = NEW.workflow_run_id AND r.bot_id = 'bot-00001')"
            " THEN DELETE FROM workflow_node_executions WHERE id = NEW.id; END IF; RETURN NULL;"
        ),
    ),
    "an execution that goes to another bot": (
        "BEFORE INSERT",
        "workflow_execution_runs",
        "IF NEW.bot_id = 'bot-00001' THEN NEW.bot_id := 'bot-00002'; END IF; RETURN NEW;",
    ),
}


@pytest.mark.parametrize("what", SUPPRESSED)
def test_an_execution_that_is_not_kept_fails_its_bot_and_nothing_of_it_stays(
    fleet: Fleet, what: str
) -> None:
    ids = fleet.add_many(3)
    when, table, body = SUPPRESSED[what]
    trigger(fleet, when, table, body)
    dry = fleet.run(dry_run=True)
    real = fleet.run(messages=("hi",))

    expected = {**dict.fromkeys(ids, "converted"), ids[1]: "failed not_recorded"}
    assert fleet.outcomes(real.run_id) == fleet.outcomes(dry.run_id) == expected
    assert "workflow_node_executions" in messages(fleet, real.run_id)[ids[1]]
    assert set(fleet.drafts()) == set(fleet.backups()) == {ids[0], ids[2]}
    executions = fleet.rows("SELECT bot_id FROM workflow_execution_runs ORDER BY 1")
    assert [row.bot_id for row in executions] == [ids[0], ids[2]]


@pytest.mark.parametrize("what", SUPPRESSED)
def test_a_validation_whose_execution_is_not_kept_does_not_pass(fleet: Fleet, what: str) -> None:
    ids = fleet.add_many(3)
    first = fleet.run(validate="none")
    trigger(fleet, *SUPPRESSED[what])
    validation = fleet.run(kind="validate", of_run=first.run_id, messages=("hi",))

    assert fleet.outcomes(validation.run_id) == {
        **dict.fromkeys(ids, "unchanged"),
        ids[1]: "failed not_recorded",
    }
    assert set(fleet.drafts()) == set(ids)
    assert len(fleet.rows("SELECT FROM workflow_execution_runs")) == 2


def test_an_execution_that_a_unique_index_keeps_out_is_noticed_without_a_trigger(
    fleet: Fleet,
) -> None:
    ids = fleet.add_many(3)
    first = fleet.run(bot_ids=(ids[0],), messages=("hi",))
    fleet.execute("CREATE UNIQUE INDEX one_each ON workflow_execution_runs (bot_id)")

    again = fleet.run(kind="validate", of_run=first.run_id, messages=("hi",))
    assert fleet.outcomes(again.run_id) == {ids[0]: "failed not_recorded"}
    rest = fleet.run(bot_ids=(ids[1], ids[2]), messages=("hi", "ho"), validate="all")
    assert set(fleet.outcomes(rest.run_id).values()) == {"failed not_recorded"}
    assert set(fleet.drafts()) == {ids[0]}


def test_what_an_execution_showed_counts_before_that_it_was_not_kept(fleet: Fleet) -> None:
    fleet.add_many(1)
    first = fleet.run(validate="none")
    fleet.set_draft("bot-00000", edited(fleet))
    trigger(fleet, "BEFORE INSERT", "workflow_execution_runs", "RETURN NULL;")

    validation = fleet.run(kind="validate", of_run=first.run_id, messages=("hi",))
    assert fleet.outcomes(validation.run_id) == {"bot-00000": "failed parity_mismatch"}
    assert "besides, the database kept no execution" in str(messages(fleet, validation.run_id))


def test_a_draft_that_changed_meanwhile_is_told_from_an_execution_that_is_not_kept(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = fleet.add_many(2)
    first = fleet.run(validate="none")
    trigger(fleet, *SUPPRESSED["an execution"])
    record = trial.record

    def changed_before(*arguments: Any) -> Any:
        with fleet.connect() as platform:
            platform.execute(
                "UPDATE bot_workflow_versions SET updated_at = now() WHERE bot_id = %s", [ids[0]]
            )
        return record(*arguments)

    monkeypatch.setattr(validate, "record", changed_before)
    validation = fleet.run(kind="validate", of_run=first.run_id, messages=("hi",))
    assert fleet.outcomes(validation.run_id) == {
        ids[0]: "skipped draft_edited",
        ids[1]: "failed not_recorded",
    }


def test_a_backup_that_a_trigger_on_our_own_table_suppresses_fails_its_bot(fleet: Fleet) -> None:
    ids = fleet.add_many(3)
    fleet.backup = "table"
    body = "IF NEW.bot_id = 'bot-00001' THEN RETURN NULL; END IF; RETURN NEW;"
    trigger(fleet, "BEFORE INSERT", "flowshift.backups", body)
    dry, real = fleet.run(dry_run=True), fleet.run()

    assert fleet.outcomes(dry.run_id) == fleet.outcomes(real.run_id)
    assert fleet.outcomes(real.run_id)[ids[1]] == "failed internal_error"
    assert messages(fleet, real.run_id)[ids[1]].startswith("the database kept no backup")
    assert set(fleet.drafts()) == set(fleet.backups()) == {ids[0], ids[2]}


# -- between bots, and in the platform's own code --------------------------------------------------


def test_a_dry_run_sees_that_two_bots_of_a_chunk_cannot_both_be_written(fleet: Fleet) -> None:
    fleet.add_many(4)
    fleet.execute("CREATE UNIQUE INDEX one_llm ON workflow_node_executions (node_id, node_type)")
    dry, real = (fleet.run(dry_run=is_dry, messages=("hi",)) for is_dry in (True, False))

    assert fleet.outcomes(dry.run_id) == fleet.outcomes(real.run_id)
    assert real.counts.converted == 1


def test_one_bots_trigger_that_lacks_a_right_fails_that_bot_alone(fleet: Fleet) -> None:
    ids = fleet.add_many(5)
    trigger(
        fleet,
        "AFTER INSERT",
        "bot_workflow_versions",
        "IF NEW.bot_id = 'bot-00003' THEN EXECUTE 'SELECT FROM no_such_table'; END IF; RETURN NULL;",
    )
    progress = fleet.run()

    assert fleet.outcomes(progress.run_id) == {
        **dict.fromkeys(ids, "converted"),
        ids[3]: "failed internal_error",
    }


def test_outcomes_that_our_own_table_does_not_keep_end_the_batch_and_nothing_is_written(
    fleet: Fleet,
) -> None:
    fleet.add_many(3)
    body = "IF NEW.bot_id = 'bot-00001' THEN RETURN NULL; END IF; RETURN NEW;"
    trigger(fleet, "BEFORE INSERT", "flowshift.ledger", body)
    with pytest.raises(ConfigError, match=r"flowshift\.ledger kept 2 of 3 outcomes"):
        fleet.run()
    assert fleet.drafts() == fleet.backups() == {}
