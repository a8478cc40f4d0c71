"""Drafts that were opened and saved in the platform's interface, met by the next runs."""

from __future__ import annotations

import json

from tests import platform
from tests.fleet import Fleet, Json, a_workflow


def save(fleet: Fleet, *bots: str, bare: bool = False) -> dict[str, Json]:
    """Open and save the drafts of some bots in the interface; returns all drafts as they are then."""
    schema = platform.InterfaceGraph if bare else platform.V2Graph
    drafts = fleet.drafts()
    for bot in bots or drafts:
        fleet.set_draft(bot, platform.save_draft(json.dumps(drafts[bot]).encode(), schema))
    return fleet.drafts()


def a_drawn_workflow(template: str = "{question}") -> Json:
    """A workflow with keys that the interface's schema does not know."""
    workflow = a_workflow(template)
    for one in (*workflow["nodes"], *workflow["edges"]):
        one["selected"] = True
    return workflow | {"viewport": {"zoom": 1}}


def test_a_draft_that_was_only_saved_is_unchanged_and_stays_as_it_is(fleet: Fleet) -> None:
    fleet.add("a", a_drawn_workflow())
    fleet.run()
    written = fleet.drafts()
    saved = save(fleet)
    assert saved != written

    progress = fleet.run(validate="all")

    assert fleet.outcomes(progress.run_id) == {"a": "unchanged"}
    assert progress.counts.validated == 1
    assert fleet.drafts() == saved
    [snapshot] = fleet.rows(
        "SELECT DISTINCT graph_snapshot FROM workflow_execution_runs e WHERE session_id LIKE :run",
        run=f"flowshift:run-{progress.run_id}:%",
    )
    assert snapshot.graph_snapshot == saved["a"]


def test_a_draft_that_was_only_saved_stays_however_many_runs_see_it(fleet: Fleet) -> None:
    fleet.add("a", a_drawn_workflow())
    fleet.run()
    saved = save(fleet)
    for validate in ("none", "sample:1", "none", "none"):
        progress = fleet.run(validate=validate)
        assert fleet.outcomes(progress.run_id) == {"a": "unchanged"}
        assert fleet.drafts() == saved


def test_a_saved_draft_that_a_run_saw_is_replaced_when_the_workflow_changes(fleet: Fleet) -> None:
    fleet.add("a", a_drawn_workflow())
    fleet.run()
    save(fleet)
    fleet.run()
    fleet.change("a", a_drawn_workflow("new {question}"))

    assert fleet.outcomes(fleet.run().run_id) == {"a": "converted"}


def test_a_draft_that_lost_its_ports_by_a_save_is_written_again(fleet: Fleet) -> None:
    fleet.add("a", a_drawn_workflow())
    fleet.run()
    written = fleet.drafts()
    save(fleet, bare=True)

    assert fleet.outcomes(fleet.run().run_id) == {"a": "converted"}
    assert fleet.drafts() == written


def test_a_saved_draft_that_is_edited_too_is_kept(fleet: Fleet) -> None:
    fleet.add("a", a_drawn_workflow())
    fleet.run()
    draft = save(fleet)["a"]
    draft["nodes"][1]["data"]["note"] = "mine"
    fleet.set_draft("a", draft)

    assert fleet.outcomes(fleet.run().run_id) == {"a": "skipped draft_edited"}
    assert fleet.drafts() == {"a": draft}
    assert fleet.outcomes(fleet.run(dry_run=True).run_id) == {"a": "skipped draft_edited"}


def test_a_dry_run_says_of_a_saved_draft_what_the_run_does(fleet: Fleet) -> None:
    fleet.add("a", a_drawn_workflow())
    fleet.run()
    saved = save(fleet)

    assert fleet.outcomes(fleet.run(dry_run=True).run_id) == {"a": "unchanged"}
    assert fleet.drafts() == saved


def test_a_fleet_converted_before_is_known_by_its_ledger_and_not_called_edited(
    fleet: Fleet,
) -> None:
    fleet.add_many(40, workflow=a_drawn_workflow())
    fleet.run()
    # What runs wrote before drafts were compared as the interface saves them: a hash of the content.
    old = {
        bot: draft | {"written_by": "an earlier converter"} for bot, draft in fleet.drafts().items()
    }
    for bot, draft in old.items():
        fleet.set_draft(bot, draft)
    fleet.execute(
        'UPDATE flowshift.ledger l SET draft_hash = hashtextextended(d.graph::text COLLATE "C", 0)'
        " FROM bot_workflow_versions d WHERE d.bot_id = l.bot_id"
    )

    assert set(fleet.outcomes(fleet.run().run_id).values()) == {"converted"}


def test_a_saved_draft_stays_where_triggers_make_a_run_look_again(fleet: Fleet) -> None:
    fleet.add("a", a_drawn_workflow())
    fleet.run()
    saved = save(fleet)
    fleet.execute(
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
    )
    fleet.execute(
        "CREATE TRIGGER watching BEFORE INSERT OR UPDATE ON bot_workflow_versions "
        "FOR EACH ROW EXECUTE FUNCTION nothing()"
    )

    assert fleet.outcomes(fleet.run().run_id) == {"a": "unchanged"}
    assert fleet.drafts() == saved
