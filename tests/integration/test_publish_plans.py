"""A batch that publishes or rolls back finds its bots by their keys, however large the fleet is."""

from __future__ import annotations

import re

from bench.plans import Plan, explained
from bench.publish import begin_wave, fill, publish
from tests.fleet import Fleet
from worker.db.publication.rolling import Which
from worker.steps.batch.kinds import KINDS
from worker.steps.publication import detached, rollback

OURS = ("ledger", "proofs", "backups")
FLEET = (*OURS, "publication_bots", "bots", "bot_workflow_versions", "workflow_execution_runs")


def whole_tables(plans: list[Plan], tables: tuple[str, ...] = FLEET) -> list[str]:
    """The statements that read a table whole which grows with the fleet."""
    return [
        str(plan) for plan in plans if re.search(rf"Seq Scan on ({'|'.join(tables)})\b", plan.text)
    ]


def cost_like_a_large_fleet(fleet: Fleet) -> None:
    """Let reading a few pages apart cost less, as it does of a table that is larger than these."""
    fleet.execute(f"ALTER DATABASE {fleet.engine.url.database} SET random_page_cost = 1.1")
    fleet.engine.dispose()


def test_no_statement_of_a_batch_reads_a_table_whole(fleet: Fleet) -> None:
    """Of 10,000 bots with 30,000 versions, in three publications, and 40,000 rows of the ledger."""
    fill(fleet.engine, 10_000, 400, shapes=1)
    run_id = begin_wave(fleet.current)
    with explained(fleet.engine) as plans:
        publish(fleet.current, run_id, 1)
    assert len(plans) > 20
    assert whole_tables(plans, OURS) == []
    looks = [plan for plan in plans if plan.statement.lstrip().startswith("SELECT")]
    assert whole_tables(looks, ("publication_bots",)) == []
    cost_like_a_large_fleet(fleet)
    with explained(fleet.engine) as plans:
        publish(fleet.current, run_id, 2)
    assert whole_tables(plans) == []

    ids = [row.bot_id for row in fleet.rows("SELECT bot_id FROM bots WHERE use_workflow_v2")]
    assert len(ids) == 400
    with explained(fleet.engine) as plans:
        rollback.look(fleet.current, Which(bot_ids=tuple(ids[:1])))
        [begun] = detached.detach(
            fleet.current, Which(publication_id=3), digest=None, actor="test", reason=None
        )
        claimed = fleet.claim(begun.run_id or 0)
        assert claimed is not None
        assert KINDS["roll_back"].run(claimed, fleet.current).counts.rolled_back == 400
    assert len(plans) > 10
    assert whole_tables(plans) == []
