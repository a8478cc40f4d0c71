"""What is looked at after a run under faults is seen where it is wrong."""

from __future__ import annotations

import pytest

from tests.fleet import Fleet, a_broken_workflow
from tests.invariants import CLAIMS, must_hold, verdicts

WRONGS = {
    "every bot has exactly one outcome": "DELETE FROM flowshift.ledger WHERE bot_id = 'bot-00001'",
    "every outcome is the right one": (
        "UPDATE flowshift.ledger SET outcome = 'skipped', code = 'no_workflow' "
        "WHERE bot_id = 'bot-00001'"
    ),
    "every draft is the expected one, to the byte": (
        "UPDATE bot_workflow_versions SET graph = graph || '{\"x\": 1}' WHERE bot_id = 'bot-00001'"
    ),
    "every backup is what V1 was, and never written over": (
        "UPDATE bots SET legacy_workflow = '{}' WHERE bot_id = 'bot-00001'"
    ),
    "counters equal the rows": "UPDATE flowshift.batches SET warnings = 7 WHERE number = 1",
    "the run's state is honest, and no batch is left": (
        "UPDATE flowshift.runs SET state = 'completed'"
    ),
    "each bot and message has one set of execution rows": (
        "INSERT INTO workflow_execution_runs (id, bot_id, session_id, graph_snapshot, status, "
        "total_steps) SELECT gen_random_uuid(), bot_id, session_id, graph_snapshot, status, "
        "total_steps FROM workflow_execution_runs WHERE bot_id = 'bot-00001'"
    ),
    "no bot is blamed for what happened to the servers": (
        "UPDATE flowshift.ledger SET code = 'worker_lost' WHERE bot_id = 'wrong'"
    ),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_each_claim_fails_where_the_rows_speak_against_it(fleet: Fleet, claim: str) -> None:
    fleet.add_many(4)
    fleet.add("wrong", a_broken_workflow())
    run_id = fleet.run(validate="sample:2").run_id
    must_hold(fleet, run_id)
    fleet.execute(WRONGS[claim])
    assert claim in {verdict.claim for verdict in verdicts(fleet, run_id) if verdict.faults}
