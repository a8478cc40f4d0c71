"""A batch that publishes or rolls back finds its bots by their keys, however large the fleet is."""

from __future__ import annotations

import re

from bench.plans import Plan, explained
from bench.publish import begin_wave, fill, publish
from tests.fleet import Fleet
from worker.core.publication.sizes import Wave
from worker.core.publication.waves import Plan as WavePlan
from worker.db.publication import waves
from worker.db.publication.rolling import Which
from worker.steps.batch.kinds import KINDS
from worker.steps.publication import control, detached, rollback, tick
from worker.steps.publication.settle import settle

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


def test_the_planner_knows_a_publication_that_was_just_planned(fleet: Fleet) -> None:
    """Taken for an empty one, all its bots are read for each batch, until autovacuum comes."""
    assert known_bots(fleet, waves.ANALYZED_FROM) == waves.ANALYZED_FROM


def test_one_bot_that_is_published_has_no_table_analyzed(fleet: Fleet) -> None:
    """Of a large table that takes as long as publishing the bot."""
    assert known_bots(fleet, 1) == 0


def known_bots(fleet: Fleet, bots: int) -> int:
    """How many rows the planner knows of a publication of so many bots, which is the only one."""
    fleet.execute("ALTER TABLE flowshift.publication_bots SET (autovacuum_enabled = off)")
    fleet.execute("ANALYZE flowshift.publication_bots")
    bot_ids = tuple(f"bot-{number:05}" for number in range(bots))
    plan = WavePlan(bot_ids, (Wave("all", bots),), canaries=0)
    options = waves.Options(target="guide")
    with fleet.engine.begin() as connection:
        new, _ = waves.create(
            connection, request_id="new", source_run_id=None, options=options, requested_by="test"
        )
        waves.add_plan(connection, new, plan)
    query = "SELECT reltuples FROM pg_class WHERE oid = 'flowshift.publication_bots'::regclass"
    return int(fleet.rows(query)[0][0])


def test_whether_a_large_wave_is_out_is_asked_of_its_first_bot(fleet: Fleet) -> None:
    """Nearly every row is pending: EXISTS would read rows in their order, past all that are out."""
    fill(fleet.engine, 10_000, 400, shapes=1)
    fleet.execute("DELETE FROM flowshift.publication_bots WHERE publication_id < 3")
    fleet.execute("ANALYZE flowshift.publication_bots")
    begin_wave(fleet.current)
    with explained(fleet.engine) as plans:
        assert not settle(fleet.engine, 3, 2)
    assert len(plans) == 1
    assert whole_tables(plans) == []
    assert re.search(r"Index Only Scan using publication_bots_pending.*rows=1\b", plans[0].text)


def test_where_a_publication_stands_is_read_without_its_bots(fleet: Fleet) -> None:
    """By whatever has its state locked: hold, go, and the gate's tick before it looks."""
    fill(fleet.engine, 1_000, 400, shapes=1)
    begin_wave(fleet.current)
    with explained(fleet.engine) as plans:
        control.hold(fleet.current, 3, actor="me", reason="lunch")
        control.go(fleet.current, 3, actor="me", reason=None)
        tick._prepare(fleet.engine, 3, "gate")
        with fleet.engine.connect() as connection:
            first, second = waves.of(connection, 3)
    assert [(one.bot_count, one.pending) for one in (first, second)] == [(400, 400), (600, 600)]
    assert len(plans) > 20
    assert [str(plan) for plan in plans if "publication_bots" in plan.text] == []
