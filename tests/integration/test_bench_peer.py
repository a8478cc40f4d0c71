"""The plain script, and what the bench reads of a run, on a real database."""

from __future__ import annotations

from bench.floor import load_fleet
from bench.peer import measure_peer
from bench.stored import ends_of_batches, table_sizes
from tests.fleet import Fleet


def test_the_peer_converts_a_fleet_and_leaves_the_database_as_it_was(fleet: Fleet) -> None:
    load_fleet(fleet.engine, 600)

    result = measure_peer(fleet.engine)

    assert result.converted > 500
    assert result.converted + result.failed == 600 - 6 - 6  # without a workflow, on V2
    assert fleet.drafts() == {}
    assert fleet.rows("SELECT FROM pg_class WHERE relname LIKE 'peer%'") == []


def test_every_batch_of_a_run_and_every_table_is_told(fleet: Fleet) -> None:
    load_fleet(fleet.engine, 100)
    progress = fleet.run(batch_size=40)

    with fleet.engine.connect() as connection:
        began_s, ended = ends_of_batches(connection, progress.run_id)
    assert sorted(bots for _, bots in ended) == [20, 40, 40]
    assert all(at_s >= began_s > 0 for at_s, _ in ended)

    sizes = {size.table: size for size in table_sizes(fleet.engine)}
    assert sizes["flowshift.ledger"].rows == 100
    assert "flowshift.ledger_pkey" in sizes["flowshift.ledger"].index_bytes
    assert sizes["public.bot_workflow_versions"].total_bytes > 100_000
