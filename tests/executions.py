"""Executions in a test's own database: as a platform writes them, and pruning them."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa

from tests.fleet import Fleet
from worker.core.policy.prune import DAY_S
from worker.steps.prune.prune import Keep, Result, look, prune

KEEP = Keep()


class Executions:
    """Executions of the bot `b` of a fleet."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.engine = fleet.engine

    def add(self, age: str = "31 days", *, nodes: int = 2, count: int = 1) -> list[str]:
        """Add executions of an age, each a microsecond older than the one before; returns ids."""
        self.fleet.execute(
            "INSERT INTO bots (bot_id, name) VALUES ('b', 'B') ON CONFLICT DO NOTHING"
        )
        ids = [str(uuid.uuid4()) for _ in range(count)]
        self.fleet.execute(
            "WITH run AS ("
            "  INSERT INTO workflow_execution_runs"
            "    (id, bot_id, graph_snapshot, status, started_at, created_at)"
            "  SELECT i.id, 'b', '{\"nodes\": []}', 'succeeded', t.at, t.at"
            "  FROM unnest(CAST(:ids AS uuid[])) WITH ORDINALITY AS i (id, number)"
            "  CROSS JOIN LATERAL (SELECT now() - CAST(:age AS interval)"
            "    - i.number * interval '1 microsecond' AS at) AS t"
            "  RETURNING id, created_at"
            ") INSERT INTO workflow_node_executions"
            "    (id, workflow_run_id, node_id, node_type, execution_order, status, started_at,"
            "     created_at)"
            "  SELECT gen_random_uuid(), run.id, 'n' || k, 'llm', k, 'succeeded', run.created_at,"
            "         run.created_at"
            "  FROM run, generate_series(1, :nodes) AS k",
            ids=ids,
            age=age,
            nodes=nodes,
        )
        return ids

    def runs(self) -> set[str]:
        """The ids of the runs that are there."""
        return {str(row.id) for row in self.fleet.rows("SELECT id FROM workflow_execution_runs")}

    def node_counts(self) -> dict[str, int]:
        """How many nodes are there, by run."""
        rows = self.fleet.rows(
            "SELECT workflow_run_id AS id, count(*) AS nodes FROM workflow_node_executions GROUP BY 1"
        )
        return {str(row.id): row.nodes for row in rows}

    def prune(self, **options: Any) -> Result:
        """Prune without pauses."""
        keep = options.pop("keep", KEEP)
        return prune(self.engine, keep, **{"actor": "test", "pause_s": 0.0, **options})

    def prune_as(self, role: str) -> Result:
        """Prune with the rights of another role."""
        url = self.engine.url
        engine = sa.create_engine(
            url, connect_args={"options": f"-c role={role} -c timezone=UTC"}, hide_parameters=True
        )
        try:
            return prune(engine, KEEP, actor="test", pause_s=0.0)
        finally:
            engine.dispose()

    def look(self, keep: Keep = KEEP) -> Result:
        """A dry run."""
        return look(self.engine, keep)

    def audit(self, action: str) -> list[dict[str, Any]]:
        """The details of the audit trail's lines of an action."""
        rows = self.fleet.rows(
            "SELECT detail FROM flowshift.audit WHERE action = :action ORDER BY id", action=action
        )
        return [row.detail for row in rows]


def days(count: float) -> int:
    return round(count * DAY_S)
