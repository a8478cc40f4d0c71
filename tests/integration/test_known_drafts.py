"""Bots that the ledger knows: a run leaves their drafts as they are and converts nothing again."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy import event

from bench.plans import explained
from tests import platform
from tests.custom_types import WITH_TYPES
from tests.fleet import Fleet, Json, a_workflow, node
from worker.core.codes import ConversionWarning
from worker.core.parity.trial import TrialResult
from worker.core.targets import convert as converting
from worker.core.targets.convert import convert_text
from worker.core.workflow.config import Defaults
from worker.db import bots
from worker.steps.batch import convert, decide, settle
from worker.steps.batch.trial import Trial

DATA = Path(__file__).parents[1] / "data"
NEW = a_workflow("new {question}")
OWN = {
    "nodes": [
        node("s", "start"),
        node("g", "glossary", terms={"hi": "A greeting."}),
        node("l", "llm", model="gpt-4"),
        node("e", "end"),
    ],
    "edges": [{"source": a, "target": b} for a, b in ("sg", "gl", "le")],
}
"""With a node type of the installation's own."""

BARE = a_workflow("{question}")
del BARE["nodes"][2]["data"]["model"]
"""What model it asks is the installation's to say."""


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The bots that were known and not converted, as runs come to them."""
    found: list[str] = []
    decide_each = decide.decide_each

    def noting(*arguments: Any, **options: Any) -> Any:
        for one in decide_each(*arguments, **options):
            if isinstance(one.what, decide.Known):
                found.append(one.bot_id)
            yield one

    monkeypatch.setattr(convert, "decide_each", noting)
    return found


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Do something once, after a batch has decided on its bots and before it locks them."""

    def arrange(deed: Callable[[], object]) -> None:
        left, begin = [deed], settle.Settler.settle

        def settle_then(self: settle.Settler, decided: Any) -> Any:
            if left:
                left.pop()()
            return begin(self, decided)

        monkeypatch.setattr(settle.Settler, "settle", settle_then)

    return arrange


@contextmanager
def everything_converted() -> Iterator[None]:
    """Within the block no bot is known."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convert._Decider, "reads_known", None)
        yield


def all_batches(fleet: Fleet, run_id: int) -> None:
    """Do the batches of a run, those too that came of others."""
    number = 1
    while number <= fleet.get(run_id).batch_count:
        fleet.convert(run_id, number)
        number += 1


def result(fleet: Fleet, **request: Any) -> dict[str, Any]:
    """Take a run through; its ledger, and what it left in the platform's tables."""
    run = fleet.planned(**request)
    all_batches(fleet, run.run_id)
    fleet.execute("UPDATE flowshift.runs SET state = 'completed', finished_at = now()")
    return {
        "ledger": fleet.rows(
            "SELECT to_jsonb(l) - ARRAY['run_id', 'batch', 'recorded_at', 'traceback'] AS said"
            " FROM flowshift.ledger l WHERE run_id = :r ORDER BY bot_id",
            r=run.run_id,
        ),
        "versions": fleet.rows(
            "SELECT id, bot_id, status, graph::text FROM bot_workflow_versions ORDER BY id"
        ),
        "backups": fleet.backup_texts(),
    }


def both_ways(fleet: Fleet, **request: Any) -> dict[str, str]:
    """Take a run through in both ways, from the same state: they come to the same. Its outcomes."""
    fleet.execute(
        "CREATE TABLE kept_versions AS TABLE bot_workflow_versions;"
        "CREATE TABLE kept_bots AS SELECT bot_id, legacy_workflow FROM bots"
    )
    with everything_converted():
        converted = result(fleet, **request)
    fleet.execute(
        "DELETE FROM flowshift.ledger WHERE run_id = (SELECT max(run_id) FROM flowshift.ledger);"
        "DELETE FROM bot_workflow_versions; INSERT INTO bot_workflow_versions TABLE kept_versions;"
        "UPDATE bots b SET legacy_workflow = k.legacy_workflow FROM kept_bots k"
        " WHERE k.bot_id = b.bot_id AND b.legacy_workflow IS NOT NULL;"
        "DROP TABLE kept_versions, kept_bots"
    )
    found = result(fleet, **request)
    assert [row.said for row in found["ledger"]] == [row.said for row in converted["ledger"]]
    # A draft that is inserted anew has another id.
    texts = [{(v.bot_id, v.status, v.graph) for v in one["versions"]} for one in (found, converted)]
    assert texts[0] == texts[1]
    assert found["backups"] == converted["backups"]
    return {row.said["bot_id"]: row.said["outcome"] for row in found["ledger"]}


def a_fleet_of_the_corpora(fleet: Fleet) -> None:
    """Every workflow of the corpora that the column takes, and bots of each other kind."""
    for name, key in (
        ("v1_valid", "workflow"),
        ("v1_config", "workflow"),
        ("v1_hostile", "column_text"),
    ):
        for n, line in enumerate((DATA / f"{name}.jsonl").read_text().splitlines()):
            held = json.loads(line)[key]
            try:
                fleet.add(f"{name}-{n:03}", held if isinstance(held, str) else json.dumps(held))
            except sa.exc.DBAPIError:
                continue
    fleet.add("bare", BARE)
    fleet.add("own", OWN)
    fleet.add("null", None)
    fleet.add("published", a_workflow(), uses_v2=True)
    fleet.add("flagged", a_workflow(), uses_v2=True, published=False)
    drawn = a_workflow("drawn")
    for one in drawn["nodes"]:
        one["selected"] = True
    for bot_id in (
        "edited",
        "saved",
        "emptied",
        "gone",
        "archived",
        "changed",
        "nulled",
        "spelled",
    ):
        fleet.add(bot_id, drawn)


def change_some(fleet: Fleet) -> None:
    """What people and the platform do to a fleet between two runs."""
    before = fleet.drafts()
    edited = before["edited"] | {"note": "mine"}
    fleet.set_draft("edited", edited)
    fleet.set_draft(
        "saved", platform.save_draft(json.dumps(before["saved"]).encode(), platform.V2Graph)
    )
    fleet.set_draft("emptied", {"nodes": [], "edges": []})
    fleet.execute("DELETE FROM bot_workflow_versions WHERE bot_id = 'gone'")
    fleet.execute(
        "UPDATE bot_workflow_versions SET status = 'archived', version = 'v0.1'"
        " WHERE bot_id = 'archived'"
    )
    fleet.change("changed", NEW)
    fleet.execute("UPDATE bots SET workflow = NULL WHERE bot_id = 'nulled'")
    # The same workflow in other words: a json column keeps them.
    fleet.execute(
        "UPDATE bots SET workflow = (workflow::text || ' ')::json WHERE bot_id = 'spelled'"
    )
    fleet.execute("UPDATE bots SET legacy_workflow = NULL WHERE bot_id = 'bare'")


UNKNOWN = {"own", "edited", "saved", "emptied", "gone", "archived", "changed", "nulled", "spelled"}


# -- both ways come to the same --------------------------------------------------------------------


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("first", ["none", "sample:1"])
def test_a_second_run_comes_to_what_converting_everything_comes_to(
    fleet: Fleet, known: list[str], first: str, dry_run: bool
) -> None:
    fleet.current.__dict__["defaults"] = WITH_TYPES
    fleet.current._registries.clear()
    a_fleet_of_the_corpora(fleet)
    progress = fleet.run(validate=first)
    converted = {
        bot for bot, said in fleet.outcomes(progress.run_id).items() if said == "converted"
    }
    assert len(converted) > 150
    sources = {
        row.bot_id
        for row in fleet.rows("SELECT bot_id FROM flowshift.ledger WHERE source_hash IS NOT NULL")
    }
    if first == "none":
        assert sources == converted - {"own"}
    else:  # of some a trial met what the conversion did not warn of
        assert sources < converted - {"own"}
        assert len(sources) > 150
        fleet.execute("TRUNCATE workflow_execution_runs CASCADE")
    change_some(fleet)

    outcomes = both_ways(fleet, validate="none", dry_run=dry_run)

    assert set(known) == sources - UNKNOWN
    assert {outcomes[bot] for bot in known} == {"unchanged"}
    assert outcomes["own"] == outcomes["saved"] == "unchanged"
    assert outcomes["edited"] == "skipped"
    for more in ({"overwrite_edited": True}, {"include_flagged": True}, {}):
        both_ways(fleet, validate="none", dry_run=dry_run, **more)


def another_version(fleet: Fleet, patch: pytest.MonkeyPatch) -> Json:
    patch.setattr(converting, "CONVERTER_VERSION", "4")
    return {}


def another_target(_fleet: Fleet, _patch: pytest.MonkeyPatch) -> Json:
    return {"target": "answer"}


def another_model(fleet: Fleet, _patch: pytest.MonkeyPatch) -> Json:
    fleet.current.__dict__["defaults"] = Defaults(model="claude-3-haiku")
    return {}


def another_provider(fleet: Fleet, _patch: pytest.MonkeyPatch) -> Json:
    fleet.current.__dict__["defaults"] = Defaults(provider="google")
    return {}


def another_reader(fleet: Fleet, _patch: pytest.MonkeyPatch) -> Json:
    fleet.current.__dict__["_reader"] = "3.0"
    return {}


def another_type(fleet: Fleet, _patch: pytest.MonkeyPatch) -> Json:
    fleet.current.__dict__["defaults"] = WITH_TYPES
    return {}


@pytest.mark.parametrize(
    "change",
    [
        *(another_version, another_target, another_model, another_provider),
        *(another_reader, another_type),
    ],
)
def test_whatever_decides_besides_the_workflow_has_everything_converted_once(
    fleet: Fleet,
    known: list[str],
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Fleet, pytest.MonkeyPatch], Json],
) -> None:
    fleet.add("a", a_workflow())
    fleet.add("bare", BARE)
    fleet.run(validate="none")
    fleet.run(validate="none")
    assert known == ["a", "bare"]
    known.clear()
    more = change(fleet, monkeypatch)

    both_ways(fleet, validate="none", **more)
    assert known == []
    fleet.run(validate="none", **more)
    assert known == ["a", "bare"]


def test_what_a_model_is_by_default_is_in_the_draft_of_the_next_run(fleet: Fleet) -> None:
    fleet.add("bare", BARE)
    fleet.run(validate="none")
    fleet.current.__dict__["defaults"] = Defaults(model="claude-3-haiku")

    assert fleet.outcomes(fleet.run(validate="none").run_id) == {"bare": "converted"}
    assert fleet.drafts()["bare"]["nodes"][2]["data"]["model"] == "claude-3-haiku"


# -- who is known ----------------------------------------------------------------------------------


def test_a_bot_that_a_run_converted_is_not_read_again(
    fleet: Fleet, known: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = fleet.add_many(7)
    first = fleet.run(validate="none")
    assert known == []
    monkeypatch.setattr("worker.steps.batch.decide.v1.decode", None)

    for _ in range(2):
        progress = fleet.run(validate="none")
        assert fleet.outcomes(progress.run_id) == dict.fromkeys(ids, "unchanged")
    assert known == ids * 2
    assert progress.counts.warnings == first.counts.warnings


def test_the_warnings_of_the_conversion_stay_with_each_run(fleet: Fleet) -> None:
    workflow = a_workflow()
    workflow["edges"] = [
        {"source": a, "target": b}
        for a, b in (("start", "k"), ("start", "llm"), ("k", "end"), ("llm", "end"))
    ]
    fleet.add("a", workflow)
    warnings = []
    for _ in range(3):
        fleet.run(validate="none")
        [row] = fleet.rows("SELECT warnings FROM flowshift.ledger ORDER BY run_id DESC LIMIT 1")
        warnings.append(msgspec.convert(row.warnings, list[ConversionWarning]))
    assert len(warnings[0]) == 1
    assert warnings == [warnings[0]] * 3


@pytest.mark.parametrize(
    "more", [{"validate": "sample:1"}, {"validate": "none", "strict": ("prompt_trimmed",)}]
)
def test_a_run_that_tries_drafts_or_is_strict_converts_everything(
    fleet: Fleet, known: list[str], more: Json
) -> None:
    ids = fleet.add_many(3)
    fleet.run(**more)
    progress = fleet.run(**more)

    assert known == []
    assert fleet.outcomes(progress.run_id) == dict.fromkeys(ids, "unchanged")
    assert progress.counts.validated == (0 if "strict" in more else 3)


def test_a_workflow_with_a_type_of_the_installations_own_is_converted_each_time(
    fleet: Fleet, known: list[str]
) -> None:
    fleet.current.__dict__["defaults"] = WITH_TYPES
    fleet.add("a", a_workflow())
    fleet.add("own", OWN)
    for expected in ("converted", "unchanged", "unchanged"):
        outcomes = fleet.outcomes(fleet.run(validate="none").run_id)
        assert outcomes == dict.fromkeys(("a", "own"), expected)

    assert known == ["a", "a"]
    [row] = fleet.rows("SELECT DISTINCT source_hash FROM flowshift.ledger WHERE bot_id = 'own'")
    assert row.source_hash is None


def test_rows_from_before_there_were_sources_know_nothing(fleet: Fleet, known: list[str]) -> None:
    ids = fleet.add_many(3)
    fleet.run(validate="none")
    fleet.execute("UPDATE flowshift.ledger SET source_hash = NULL")

    assert fleet.outcomes(fleet.run(validate="none").run_id) == dict.fromkeys(ids, "unchanged")
    assert known == []


def test_a_draft_that_failed_its_trial_is_converted_again(
    fleet: Fleet, known: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = fleet.add_many(2)
    failed = TrialResult((), agreed=False, code="parity_mismatch", message="they differ")
    monkeypatch.setattr(Trial, "try_draft", lambda *_: failed)
    outcomes = fleet.outcomes(fleet.run(validate="sample:1").run_id)
    assert outcomes == dict.fromkeys(ids, "failed parity_mismatch")
    assert set(fleet.drafts()) == set(ids)

    outcomes = fleet.outcomes(fleet.run(validate="none").run_id)
    assert outcomes == dict.fromkeys(ids, "unchanged")
    assert known == []


def test_what_a_trial_met_is_no_warning_of_a_run_without_one(
    fleet: Fleet, known: list[str]
) -> None:
    fleet.add("a", a_workflow("{question}"))
    first = fleet.run(validate="all", messages=(" hi ",))
    assert fleet.rows("SELECT source_hash FROM flowshift.ledger") == [(None,)]
    without = fleet.run(validate="none")

    assert first.counts.warnings == without.counts.warnings + 1
    assert known == []


def test_of_an_id_that_two_rows_have_nothing_is_known(fleet: Fleet, known: list[str]) -> None:
    fleet.add_many(2)
    fleet.run(validate="none")
    fleet.execute(
        "ALTER TABLE bot_workflow_versions DROP CONSTRAINT IF EXISTS"
        " bot_workflow_versions_bot_id_fkey"
    )
    fleet.execute(
        "DO $$ DECLARE one text; BEGIN FOR one IN SELECT conname FROM pg_constraint"
        " WHERE conrelid = 'bots'::regclass AND contype = 'u' LOOP EXECUTE"
        " format('ALTER TABLE bots DROP CONSTRAINT %I CASCADE', one); END LOOP;"
        " FOR one IN SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid ="
        " 'bots'::regclass AND indisunique AND NOT indisprimary LOOP EXECUTE"
        " 'DROP INDEX ' || one; END LOOP; END $$"
    )
    fleet.add("bot-00001", a_workflow())

    outcomes = fleet.outcomes(fleet.run(validate="none").run_id)
    assert outcomes == {"bot-00000": "unchanged", "bot-00001": "skipped duplicate_bot_id"}
    assert known == ["bot-00000"]


# -- between reading and locking -------------------------------------------------------------------


def test_a_draft_that_a_person_edits_before_it_is_locked_stays_as_it_is(
    fleet: Fleet, known: list[str], meanwhile: Callable[..., None]
) -> None:
    ids = fleet.add_many(5)
    fleet.run(validate="none")
    edited = fleet.drafts()[ids[2]] | {"note": "mine"}
    run = fleet.planned(validate="none")
    meanwhile(lambda: fleet.set_draft(ids[2], edited))
    all_batches(fleet, run.run_id)

    assert known == ids
    assert fleet.drafts()[ids[2]] == edited
    assert fleet.outcomes(run.run_id) == {
        **dict.fromkeys(ids, "unchanged"),
        ids[2]: "skipped draft_edited",
    }


def test_a_workflow_that_is_saved_before_it_is_locked_is_converted(
    fleet: Fleet, known: list[str], meanwhile: Callable[..., None]
) -> None:
    ids = fleet.add_many(5)
    fleet.run(validate="none")
    run = fleet.planned(validate="none")
    meanwhile(lambda: fleet.change(ids[2], NEW))
    all_batches(fleet, run.run_id)

    assert known == ids
    assert fleet.drafts()[ids[2]] == json.loads(
        convert_text(json.dumps(NEW).encode(), Defaults()).graph
    )
    outcomes = {**dict.fromkeys(ids, "unchanged"), ids[2]: "converted"}
    assert fleet.outcomes(run.run_id) == outcomes


def test_a_draft_that_is_deleted_before_it_is_locked_is_written_again(
    fleet: Fleet, meanwhile: Callable[..., None]
) -> None:
    ids = fleet.add_many(3)
    fleet.run(validate="none")
    before = fleet.drafts()
    run = fleet.planned(validate="none")
    meanwhile(lambda: fleet.execute("DELETE FROM bot_workflow_versions"))
    all_batches(fleet, run.run_id)

    assert fleet.outcomes(run.run_id) == dict.fromkeys(ids, "converted")
    assert fleet.drafts() == before


def test_a_bot_that_is_flagged_before_it_is_locked_is_skipped(
    fleet: Fleet, known: list[str], meanwhile: Callable[..., None]
) -> None:
    fleet.add_many(2)
    fleet.run(validate="none")
    run = fleet.planned(validate="none")
    meanwhile(
        lambda: fleet.execute("UPDATE bots SET use_workflow_v2 = true WHERE bot_id = 'bot-00001'")
    )
    all_batches(fleet, run.run_id)

    assert fleet.outcomes(run.run_id) == {
        "bot-00000": "unchanged",
        "bot-00001": "skipped flagged_without_version",
    }


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE bots SET name = 'x' WHERE bot_id = 'bot-00001'",
        "UPDATE bot_workflow_versions SET updated_at = now() WHERE bot_id = 'bot-00001'",
    ],
)
def test_a_bot_that_another_transaction_has_locked_is_left_to_a_batch_of_its_own(
    fleet: Fleet, known: list[str], statement: str
) -> None:
    ids = fleet.add_many(3)
    fleet.run(validate="none")
    run = fleet.planned(validate="none")
    with fleet.connect() as other:
        other.execute(statement)
        fleet.convert(run.run_id, 1)
        dry = fleet.run(validate="none", dry_run=True, allow_overlap=True)
    assert fleet.outcomes(run.run_id) == dict.fromkeys([ids[0], ids[2]], "unchanged")
    assert fleet.outcomes(dry.run_id) == dict.fromkeys(ids, "unchanged")
    [row] = fleet.rows(
        "SELECT message FROM flowshift.ledger WHERE run_id = :r AND bot_id = :b",
        r=dry.run_id,
        b=ids[1],
    )
    assert row.message == settle._UNTRIED

    fleet.convert(run.run_id, 2)
    assert fleet.outcomes(run.run_id) == dict.fromkeys(ids, "unchanged")


def test_a_dry_run_leaves_nothing_locked_and_no_backup(fleet: Fleet, known: list[str]) -> None:
    ids = fleet.add_many(3)
    fleet.run(validate="none")
    fleet.execute("UPDATE bots SET legacy_workflow = NULL")
    fleet.execute("DELETE FROM flowshift.backups")
    progress = fleet.run(validate="none", dry_run=True)

    assert known == ids
    assert fleet.outcomes(progress.run_id) == dict.fromkeys(ids, "unchanged")
    assert fleet.backups() == {}
    fleet.run(validate="none")
    assert set(fleet.backups()) == set(ids)


def test_what_a_dry_run_would_write_is_known_only_once_it_is_there(
    fleet: Fleet, known: list[str]
) -> None:
    ids = fleet.add_many(3)
    fleet.run(validate="none", dry_run=True)
    assert fleet.outcomes(fleet.run(validate="none").run_id) == dict.fromkeys(ids, "converted")
    assert known == []


# -- what else has a say ---------------------------------------------------------------------------


def test_a_trigger_that_changes_a_known_draft_with_its_backup_fails_the_bot(
    fleet: Fleet, known: list[str]
) -> None:
    ids = fleet.add_many(3)
    fleet.run(validate="none")
    fleet.execute("UPDATE bots SET legacy_workflow = NULL")
    before = fleet.drafts()
    for change in (
        "UPDATE bot_workflow_versions SET graph = '{}'",
        "DELETE FROM bot_workflow_versions",
    ):
        fleet.execute(
            "CREATE OR REPLACE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF NEW.bot_id = 'bot-00001' THEN {change} WHERE bot_id = NEW.bot_id; END IF;"
            "RETURN NEW; END $$;"
            "CREATE OR REPLACE TRIGGER meddle AFTER UPDATE ON bots FOR EACH ROW"
            " EXECUTE FUNCTION meddle()"
        )
        outcomes = fleet.outcomes(fleet.run(validate="none").run_id)
        assert outcomes == {**dict.fromkeys(ids, "unchanged"), ids[1]: "failed internal_error"}
        assert fleet.drafts() == before
    assert known == ids * 2


def test_a_known_draft_that_a_policy_hides_from_locks_fails_with_a_reason(
    fleet: Fleet, known: list[str]
) -> None:
    ids = fleet.add_many(3)
    fleet.run(validate="none")
    fleet.execute(
        "ALTER TABLE bot_workflow_versions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
        "CREATE POLICY reading ON bot_workflow_versions FOR SELECT USING (true);"
        "CREATE POLICY writing ON bot_workflow_versions FOR UPDATE USING (bot_id <> 'bot-00001');"
    )
    bound = f"flowshift_test_{uuid.uuid4().hex[:12]}"
    fleet.execute(f"CREATE ROLE {bound}; GRANT pg_read_all_data, pg_write_all_data TO {bound}")

    def bind(connection: sa.Connection) -> None:  # no policy binds a superuser
        connection.exec_driver_sql(f"SET ROLE {bound}")

    event.listen(fleet.engine, "begin", bind)
    try:
        outcomes = fleet.outcomes(fleet.run(validate="none").run_id)
        with everything_converted():
            as_before = fleet.outcomes(fleet.run(validate="none").run_id)
    finally:
        event.remove(fleet.engine, "begin", bind)
        fleet.engine.dispose()
        fleet.execute(f"DROP ROLE {bound}")
    assert outcomes == {**dict.fromkeys(ids, "unchanged"), ids[1]: "failed internal_error"}
    assert outcomes == as_before
    assert known == ids


# -- how it is found -------------------------------------------------------------------------------


def test_the_ledger_is_asked_by_its_key_and_not_for_bots_without_a_draft(fleet: Fleet) -> None:
    fleet.add_many(2_000)
    for _ in range(3):
        fleet.run(validate="none")
    fleet.execute("DELETE FROM bot_workflow_versions WHERE bot_id < 'bot-01000'")
    fleet.execute("ANALYZE")
    recipe = fleet.current.recipe_of(fleet.current.echo.target)
    with explained(fleet.engine, with_cursors=True) as plans, fleet.engine.begin() as connection:
        chunks = bots.read_chunks(
            connection, after="bot-00749", through="bot-01249", bot_ids=None, recipe=recipe
        )
        rows = [row for chunk in chunks for row in chunk]
    assert [row.known is None for row in rows] == [True] * 250 + [False] * 250
    [plan] = [one for one in plans if "ledger" in one.text]
    assert not re.search(r"Seq Scan on (ledger|bot_workflow_versions)", plan.text), str(plan)
    assert re.search(r"Index Scan Backward using ledger_pkey", plan.text), str(plan)
    assert plan.pages < 500 * 30
