"""Which drafts are proven: by a conversion that tries them, and by a validation; nothing else."""

from __future__ import annotations

import pytest

from tests.fleet import Fleet, a_workflow
from worker.core.parity.trial import TrialResult
from worker.db.publication import proofs
from worker.db.publication.proofs import Agreed
from worker.steps.batch.trial import Trial


def proven(fleet: Fleet) -> dict[str, int]:
    """The run that proved the draft of each bot, as it stands, on V1 as it stands."""
    rows = fleet.rows(
        "SELECT p.bot_id, p.run_id FROM flowshift.proofs p"
        " JOIN bot_workflow_versions d ON d.bot_id = p.bot_id AND d.status = 'draft'"
        " JOIN bots b ON b.bot_id = p.bot_id"
        ' WHERE p.workflow_hash = hashtextextended(b.workflow::text COLLATE "C", 0)'
        ' AND p.content_hash = hashtextextended((hashtextextended(d.graph::text COLLATE "C", 0)::text'
        " || jsonb_build_array(d.environment_variables, d.conversation_variables)::text"
        ' ) COLLATE "C", 0)'
    )
    return {row.bot_id: row.run_id for row in rows}


def test_a_conversion_proves_what_it_tries(fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.run(validate="all")

    assert proven(fleet) == {"a": 1}

    fleet.run(validate="all")  # unchanged, and tried again
    assert proven(fleet) == {"a": 2}


def test_a_conversion_notes_the_hashes_that_it_has_and_hashes_nothing_again(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[Agreed] = []
    monkeypatch.setattr(proofs, "record", lambda _, __, agreed: noted.extend(agreed))
    fleet.add("a", a_workflow())
    for outcome in ("converted", "unchanged"):
        run = fleet.run(validate="all")
        assert fleet.outcomes(run.run_id) == {"a": outcome}
    (row,) = fleet.rows(
        'SELECT hashtextextended(b.workflow::text COLLATE "C", 0) AS workflow,'
        ' hashtextextended(d.graph::text COLLATE "C", 0) AS graph'
        " FROM bots b JOIN bot_workflow_versions d USING (bot_id)"
    )

    assert noted == [Agreed("a", row.workflow, graph_hash=row.graph)] * 2

    monkeypatch.undo()
    with fleet.engine.begin() as connection:
        proofs.record(connection, 3, [Agreed("a", 5, graph_hash=7)])
    (proof,) = fleet.rows(
        "SELECT workflow_hash, content_hash = hashtextextended('7[{}, {}]', 0) AS seven"
        " FROM flowshift.proofs"
    )
    assert (proof.workflow_hash, proof.seven) == (5, True)


def test_a_conversion_that_tries_nothing_or_is_dry_proves_nothing(fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.run(dry_run=True, validate="all")
    fleet.run(validate="none")

    assert fleet.rows("SELECT FROM flowshift.proofs") == []


def test_a_validation_proves_a_draft_that_a_person_edited(fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    run = fleet.run(validate="none")
    fleet.set_draft("a", {**fleet.drafts()["a"], "note": "mine"})
    validation = fleet.run(kind="validate", of_run=run.run_id)

    assert proven(fleet) == {"a": validation.run_id}
    # A proof is no writing of ours: the edit stays a person's.
    assert fleet.outcomes(fleet.run().run_id) == {"a": "skipped draft_edited"}


def test_a_validation_that_fails_withdraws_the_proof(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add("a", a_workflow())
    fleet.add("b", a_workflow())
    run = fleet.run(validate="all")
    graph = fleet.drafts()["a"]
    graph["nodes"][2]["data"]["prompt_template"] = "something else"
    fleet.set_draft("a", graph)

    validation = fleet.run(kind="validate", of_run=run.run_id)

    assert fleet.outcomes(validation.run_id)["a"] == "failed parity_mismatch"
    assert proven(fleet) == {"b": validation.run_id}
    assert fleet.rows("SELECT bot_id FROM flowshift.proofs") == [("b",)]


def test_a_draft_or_a_workflow_that_changes_while_it_is_executed_is_not_proven(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = fleet.add_many(3, prefix="x")
    run = fleet.run(validate="none")
    try_draft = Trial.try_draft

    def meanwhile(self: Trial, bot_id: str, *arguments: object, **options: object) -> TrialResult:
        if bot_id == ids[0]:
            fleet.set_draft(bot_id, {**fleet.drafts()[bot_id], "note": "meanwhile"})
        if bot_id == ids[1]:
            fleet.change(bot_id, a_workflow("meanwhile {question}"))
        return try_draft(self, bot_id, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Trial, "try_draft", meanwhile)
    validation = fleet.run(kind="validate", of_run=run.run_id)

    noted = fleet.rows("SELECT bot_id, run_id FROM flowshift.proofs")
    assert [tuple(row) for row in noted] == [(ids[2], validation.run_id)]


def test_variables_that_a_conversion_did_not_execute_prove_nothing(fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    run = fleet.run(validate="none")
    fleet.execute("UPDATE bot_workflow_versions SET environment_variables = '{\"k\": 1}'")
    fleet.run(validate="all")
    assert fleet.rows("SELECT FROM flowshift.proofs") == []

    validation = fleet.run(kind="validate", of_run=run.run_id)
    assert proven(fleet) == {"a": validation.run_id}


def noted_by(fleet: Fleet, run_id: int, agreed: Agreed) -> frozenset[str]:
    with fleet.engine.begin() as connection:
        return proofs.record(connection, run_id, [agreed])


def test_a_draft_that_was_written_since_it_was_read_is_not_proven(fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.run(validate="none")
    (row,) = fleet.rows("SELECT xmin::text AS version FROM bot_workflow_versions")
    fleet.execute("UPDATE bot_workflow_versions SET updated_at = now()")

    assert noted_by(fleet, 9, Agreed("a", row_version=row.version)) == frozenset()


def test_a_bot_that_has_no_workflow_is_not_proven(fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.run(validate="none")
    fleet.execute("UPDATE bots SET workflow = NULL")

    for agreed in (Agreed("a"), Agreed("a", graph_hash=7), Agreed("a", workflow_hash=5)):
        assert noted_by(fleet, 9, agreed) == frozenset()


def test_a_proof_of_a_later_run_stays(fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.run(validate="none")

    assert noted_by(fleet, 9, Agreed("a", 5, graph_hash=7)) == {"a"}
    assert noted_by(fleet, 8, Agreed("a", 6, graph_hash=7)) == frozenset()
    (proof,) = fleet.rows("SELECT run_id, workflow_hash FROM flowshift.proofs")
    assert tuple(proof) == (9, 5)
