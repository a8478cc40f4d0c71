"""The platform's people at work during a run: bots are changed, drafts are edited.

What they did is written down in the same transaction, in a table of the platform's, so that it is
known also where the answer to a commit was lost.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import psycopg

from tests.fleet import Fleet, a_broken_workflow, a_workflow, edge, node
from tests.invariants import History

Json = dict[str, Any]

_CHANGE = """
WITH changed AS (
    UPDATE bots SET workflow = %(text)s::json, updated_at = now() WHERE bot_id = %(bot_id)s
    RETURNING bot_id, workflow::text AS said
) INSERT INTO platform_said (bot_id, kind, said) SELECT bot_id, 'workflow', said FROM changed
"""

_EDIT = """
WITH edited AS (
    UPDATE bot_workflow_versions SET graph = graph || %(edit)s::jsonb, updated_at = now()
    WHERE bot_id = %(bot_id)s AND status = 'draft' RETURNING bot_id, graph::text AS said
) INSERT INTO platform_said (bot_id, kind, said) SELECT bot_id, 'draft', said FROM edited
"""


class Platform:
    """Whoever else uses the database."""

    def __init__(self, fleet: Fleet, url: str) -> None:
        self._fleet = fleet
        self._url = url
        self._connection: psycopg.Connection[Any] | None = None
        self._ids: Sequence[str] = ()
        self._edits = 0
        self._begun_at = 0
        self._before: dict[str, str] = {}
        self._backups: dict[str, str] = {}
        fleet.execute(
            "CREATE TABLE platform_said (id bigserial, bot_id text, kind text, said text)"
        )

    def make_fleet(self, draw: random.Random, bots: int) -> None:
        """Replace all bots by new ones, most of which convert."""
        self._fleet.execute(
            "TRUNCATE bots, bot_workflow_versions, workflow_execution_runs, "
            "workflow_node_executions, platform_said, flowshift.backups CASCADE"
        )
        left = bots
        for name, share in (("plain", 0.5), ("joined", 0.25), ("bare", 0.2)):
            count = int(bots * share)
            self._fleet.add_many(count, f"{name}-", a_variant(name, draw.randrange(3)))
            left -= count
        self._fleet.add_many(left, "wrong-", a_broken_workflow())
        self._ids = [row.bot_id for row in self._fleet.rows("SELECT bot_id FROM bots ORDER BY 1")]

    def begin(self) -> None:
        """Note how everything is before a run."""
        rows = self._fleet.rows("SELECT coalesce(max(id), 0) AS last FROM platform_said")
        self._begun_at = rows[0].last
        rows = self._fleet.rows("SELECT bot_id, workflow::text AS w FROM bots")
        self._before = {row.bot_id: row.w for row in rows}
        self._backups = self._fleet.backup_texts()

    def work(self, draw: random.Random) -> None:
        """Change a few bots and edit a few drafts; what a fault prevents did not happen."""
        for _ in range(draw.randrange(1, 4)):
            bot_id = draw.choice([one for one in self._ids if not one.startswith("wrong")])
            if draw.random() < 0.6:
                text = json.dumps(a_variant(bot_id.split("-")[0], draw.randrange(100)))
                self._do(_CHANGE, bot_id=bot_id, text=text)
            else:
                self._edits += 1
                self._do(_EDIT, bot_id=bot_id, edit=json.dumps({"edited": self._edits}))

    def _do(self, statement: str, **values: Any) -> None:
        try:
            if self._connection is None or self._connection.closed:
                options = "-c statement_timeout=5000"
                self._connection = psycopg.connect(self._url, autocommit=True, options=options)
            self._connection.execute(statement, values)
        except psycopg.Error:
            self.close()

    def close(self) -> None:
        """Leave the database."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def history(self) -> History:
        """What happened since `begin`."""
        workflows: dict[str, list[str]] = {}
        edits: dict[str, list[str]] = {}
        edited: set[str] = set()
        for row in self._fleet.rows("SELECT * FROM platform_said ORDER BY id"):
            if row.kind == "draft":
                edits.setdefault(row.bot_id, []).append(row.said)
                if row.id <= self._begun_at:
                    edited.add(row.bot_id)
            elif row.id > self._begun_at:
                workflows.setdefault(row.bot_id, [self._before[row.bot_id]]).append(row.said)
        return History(workflows, edits, frozenset(edited), self._backups)


def a_variant(kind: str, number: int) -> Json:
    """A workflow of one of three shapes, different for each number."""
    if kind == "plain":
        return a_workflow(f"{number}: {{context}} {{question}}")
    if kind == "bare":
        nodes = [node("start", "start"), node("llm", "llm", prompt=f"{number} {{question}}")]
        edges = [edge("start", "llm"), edge("llm", "end")]
        return {"nodes": [*nodes, node("end", "end")], "edges": edges}
    two = [node(name, "knowledge", documentIds=[f"{name}-{number}"]) for name in ("k1", "k2")]
    ends = [node("start", "start"), node("llm", "llm", model="claude-3"), node("end", "end")]
    routes = [("start", "k1"), ("start", "k2"), ("k1", "llm"), ("k2", "llm"), ("llm", "end")]
    return {"nodes": [*ends, *two], "edges": [edge(*route) for route in routes]}
