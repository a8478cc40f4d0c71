"""Each claim about publications can fail: rows that break it are seen."""

from __future__ import annotations

import pytest

from tests.beside import Beside
from tests.fleet import Fleet
from tests.publication_invariants import CLAIMS, must_hold, verdicts
from worker.core.publication.sizes import parse_waves
from worker.core.publication.waves import Wishes
from worker.db.publication.rolling import Which
from worker.db.publication.waves import Options
from worker.steps.finish import finish_run
from worker.steps.publication import control
from worker.steps.publication.plan import Wanted
from worker.steps.publication.rollback import roll_back

SAVE = (
    "INSERT INTO platform_journal (kind, bot_id, version_id, said) SELECT 'draft', bot_id, id, '{}'"
    " FROM bot_workflow_versions WHERE bot_id = 'bot-00001'"
)
OURS = "(SELECT version_id FROM flowshift.publication_bots WHERE bot_id = 'bot-00001')"

BREAKS = {
    "no bot has two published versions": (
        "INSERT INTO bot_workflow_versions (bot_id, version, status, graph)"
        " VALUES ('bot-00001', 'v9', 'published', '{}')"
    ),
    "no bot has the flag without a published version": (
        "UPDATE bots SET use_workflow_v2 = true WHERE bot_id = 'bot-00003'"
    ),
    "the platform's reader never failed": (
        "INSERT INTO platform_journal (kind, bot_id) VALUES ('broken', 'bot-00001')"
    ),
    "every bot has one draft": (
        "UPDATE bot_workflow_versions SET status = 'archived'"
        " WHERE bot_id = 'bot-00001' AND status = 'draft'"
    ),
    "a live bot is wholly published": (
        "UPDATE bots SET use_workflow_v2 = false WHERE bot_id = 'bot-00001'"
    ),
    "every draft is as promised": (
        "UPDATE bot_workflow_versions SET graph = '{\"nodes\": [1]}'"
        " WHERE bot_id = 'bot-00001' AND status = 'draft'"
    ),
    "a bot that was not published is untouched": (
        "UPDATE bots SET use_workflow_v2 = true WHERE bot_id = 'bot-00003'"
    ),
    "a bot that was rolled back answers with V1, and keeps its version": (
        "UPDATE bots SET use_workflow_v2 = true WHERE bot_id = 'bot-00000'"
    ),
    "after a rollback's end V1 answered": (
        "UPDATE flowshift.publications SET state = 'rolled_back', finished_at = now();"
        " INSERT INTO platform_journal (kind, bot_id, version_id) SELECT 'served', bot_id, version_id"
        " FROM flowshift.publication_bots WHERE bot_id = 'bot-00000'"
    ),
    "the ledger has every bot that a wave took, once": (
        "DELETE FROM flowshift.ledger WHERE bot_id = 'bot-00001' AND run_id > 1"
    ),
    "no edit is lost": f"{SAVE} AND status = 'draft'",
    "nothing unproven went live": (
        f"UPDATE bot_workflow_versions SET graph = graph || '{{\"note\": 1}}' WHERE id = {OURS}"
    ),
    "no live version of ours was changed": f"{SAVE} AND status = 'published'",
    "a version was always executed as the same graph": (
        "INSERT INTO workflow_execution_runs"
        " (id, bot_id, workflow_version_id, session_id, graph_snapshot, status, started_at)"
        f" SELECT gen_random_uuid(), 'bot-00001', {OURS}, 's', to_jsonb(n), 'running', now()"
        " FROM generate_series(1, 2) n"
    ),
    "a person's version stays live": (
        "INSERT INTO platform_journal (kind, bot_id, version_id)"
        " VALUES ('published', 'bot-00001', gen_random_uuid())"
    ),
    "counters of waves equal rows": "UPDATE flowshift.waves SET skipped = skipped + 1",
    "counters of runs equal rows, and no run outlives its publication": (
        "UPDATE flowshift.batches SET published = published + 1 WHERE run_id = 2"
    ),
    "runs take a bot back once, and count it once": (
        "INSERT INTO flowshift.runs (request_id, kind, state, options, dry_run, requested_by,"
        " converter_version) VALUES ('b', 'roll_back', 'running', '{\"publication\": 1}', false, '', '1');"
        " INSERT INTO flowshift.ledger (run_id, batch, bot_id, outcome)"
        " SELECT run_id, 1, 'bot-00001', 'rolled_back' FROM flowshift.runs WHERE kind = 'roll_back'"
    ),
    "states of publications and waves agree": ("UPDATE flowshift.waves SET state = 'publishing'"),
    "the audit trail has what happened": (
        "DELETE FROM flowshift.audit WHERE action = 'publication.created'"
    ),
}


@pytest.fixture
def beside(fleet: Fleet) -> Beside:
    """Four bots beside a platform: one was rolled back, two are live, one was edited and skipped."""
    fleet.add_many(4)
    fleet.run(validate="sample:1")
    beside = Beside(fleet)
    fleet.set_draft("bot-00003", {"nodes": [{"id": "mine"}], "edges": []})
    fleet.execute(
        "INSERT INTO platform_journal (kind, bot_id, version_id, said)"
        " SELECT 'draft', bot_id, id, graph::text FROM bot_workflow_versions"
        " WHERE bot_id = 'bot-00003'"
    )
    wanted = Wanted(
        run_id=1,
        steps=parse_waves("1, all"),
        wishes=Wishes(first=("bot-00000",)),
        options=Options(target="guide"),
    )
    run_id = control.publish(fleet.current, wanted, request_id="r", actor="me").run_id
    for wave in (1, 2):
        assert run_id is not None
        fleet.convert(run_id, 1)
        finish_run(fleet.engine, run_id, actor="test")
        run_id = control.accept(fleet.current, 1, wave, actor="me", reason="seen").run_id
    which = Which(bot_ids=("bot-00000",))
    roll_back(fleet.current, which, digest=None, actor="me", reason=None, show=lambda _: None)
    return beside


def test_every_claim_holds_of_what_is_whole(fleet: Fleet, beside: Beside) -> None:
    must_hold(fleet, beside)


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_claim_that_is_broken_is_seen(claim: str, fleet: Fleet, beside: Beside) -> None:
    for statement in BREAKS[claim].split(";"):
        fleet.execute(statement)
    assert claim in [one.claim for one in verdicts(fleet, beside) if one.faults]
