"""A fleet in a test's own database: putting bots in, taking runs through, looking at what is there."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Sequence
from typing import Any

import psycopg
import sqlalchemy as sa

from tests.queues import TestQueue
from worker.app import app
from worker.core.codes import parse_differences
from worker.core.policy.batch_ref import BatchRef
from worker.core.policy.progress import Progress
from worker.db import admission, outbox, run_progress, runs
from worker.db.batches import Batch
from worker.db.engine import map_database_errors
from worker.db.runs import Run
from worker.errors import StaleError
from worker.progress.reporter import Reporter
from worker.queue.dispatch import Queue
from worker.runtime import Runtime
from worker.steps.batch.kinds import KINDS
from worker.steps.batch.process import Process
from worker.steps.batch.tally import Report
from worker.steps.finish import finish_run
from worker.steps.plan import plan_run
from worker.steps.request import Request
from worker.steps.start import record_run

Json = dict[str, Any]

BACKUPS = """
    SELECT bot_id, legacy_workflow::text AS said FROM bots WHERE legacy_workflow IS NOT NULL
    UNION ALL SELECT bot_id, workflow::text FROM flowshift.backups
"""


def node(node_id: str, node_type: str, **data: Any) -> Json:
    """A node of V1."""
    return {"id": node_id, "type": node_type, "position": {"x": 1, "y": 2}, "data": data}


def edge(source: str, target: str) -> Json:
    """An edge of V1."""
    return {"id": f"{source}-{target}", "source": source, "target": target}


def a_workflow(prompt: str = "{context} {question}", **llm: Any) -> Json:
    """start → knowledge → llm → end."""
    return {
        "nodes": [
            node("start", "start"),
            node("k", "knowledge", document_ids=["doc-1"]),
            node("llm", "llm", **{"model": "gpt-4", "prompt_template": prompt, **llm}),
            node("end", "end"),
        ],
        "edges": [edge("start", "k"), edge("k", "llm"), edge("llm", "end")],
    }


def a_broken_workflow() -> Json:
    """A workflow that fails with `invalid_config`."""
    return a_workflow(temperature=1.5)


class Fleet:
    """The bots of one database, and runs over them, without Celery."""

    def __init__(self, current: Runtime) -> None:
        self.backup = current.settings.backup
        self.engine = current.engine
        self.current = current

    def told(self) -> list[tuple[str, str, str | None]]:
        """What people are told of, in its order: kind, title, reason."""
        query = "SELECT kind, title, reason FROM flowshift.notifications ORDER BY notification_id"
        return [(row.kind, row.title, row.reason) for row in self.rows(query)]

    # -- bots --------------------------------------------------------------------------------------

    def add(
        self,
        bot_id: str,
        workflow: Json | str | None = None,
        *,
        uses_v2: bool = False,
        published: bool | None = None,
    ) -> None:
        """Add a bot; a text is put into the column as it stands.

        One that uses V2 has a published version, unless `published` says otherwise.
        """
        text = workflow if isinstance(workflow, str) or workflow is None else json.dumps(workflow)
        self.execute(
            "INSERT INTO bots (bot_id, name, workflow, use_workflow_v2) "
            "VALUES (:bot_id, '봇', CAST(:text AS json), :uses_v2)",
            bot_id=bot_id,
            text=text,
            uses_v2=uses_v2,
        )
        if uses_v2 if published is None else published:
            self.add_version(bot_id, "v1.0", "published")

    def add_version(self, bot_id: str, version: str, status: str) -> None:
        """Add a version of a bot, as the platform does when it publishes."""
        self.execute(
            "INSERT INTO bot_workflow_versions (id, bot_id, version, status, graph) "
            "VALUES (gen_random_uuid(), :bot_id, :version, :status, '{\"nodes\": []}')",
            bot_id=bot_id,
            version=version,
            status=status,
        )

    def add_many(self, count: int, prefix: str = "bot-", workflow: Json | None = None) -> list[str]:
        """Add bots that convert; returns their ids in key order."""
        ids = [f"{prefix}{number:05d}" for number in range(count)]
        self.execute(
            "INSERT INTO bots (bot_id, name, workflow) "
            "SELECT unnest(CAST(:ids AS text[])), '봇', CAST(:text AS json)",
            ids=ids,
            text=json.dumps(workflow or a_workflow()),
        )
        return ids

    def change(self, bot_id: str, workflow: Json) -> None:
        """Change a bot's workflow as the platform does."""
        self.execute(
            "UPDATE bots SET workflow = CAST(:text AS json) WHERE bot_id = :bot_id",
            bot_id=bot_id,
            text=json.dumps(workflow),
        )

    def set_draft(self, bot_id: str, graph: Json, status: str = "draft") -> None:
        """Put a draft there as a person does: over the one that exists, or a new one."""
        self.execute(
            "INSERT INTO bot_workflow_versions (bot_id, version, status, graph) "
            "VALUES (:bot_id, 'draft', :status, CAST(:graph AS jsonb)) "
            "ON CONFLICT (bot_id, version) DO UPDATE SET graph = excluded.graph",
            bot_id=bot_id,
            graph=json.dumps(graph),
            status=status,
        )

    def swap_prompts(self) -> None:
        """In every draft the nodes `a` and `b` give each other their prompts, as a person does it."""
        for bot_id, graph in self.drafts().items():
            a, b = (one["data"] for one in graph["nodes"] if one["id"] in "ab")
            a["prompt_template"], b["prompt_template"] = b["prompt_template"], a["prompt_template"]
            self.set_draft(bot_id, graph)

    def drafts(self) -> dict[str, Json]:
        """Every draft by bot."""
        rows = self.rows("SELECT bot_id, graph FROM bot_workflow_versions WHERE status = 'draft'")
        assert len({row.bot_id for row in rows}) == len(rows)
        return {row.bot_id: row.graph for row in rows}

    def backups(self) -> dict[str, Json]:
        """Every backup by bot, wherever it is."""
        return {bot_id: json.loads(text) for bot_id, text in self.backup_texts().items()}

    def backup_texts(self) -> dict[str, str]:
        """The text of every backup by bot, wherever it is; no bot has two."""
        rows = self.rows(BACKUPS)
        found: dict[str, str] = {row.bot_id: row.said for row in rows}
        assert len(found) == len(rows)
        return found

    # -- runs --------------------------------------------------------------------------------------

    def start(self, **request: Any) -> Run:
        """Write down a run."""
        return record_run(
            self.engine,
            Request(**request),
            request_id=str(uuid.uuid4()),
            requested_by="test",
            default_batch_size=self.current.settings.batch_size,
            backup=self.backup,
            default_target=self.current.settings.target,
            default_strict=parse_differences(self.current.settings.strict),
        )

    def planned(self, **request: Any) -> Run:
        """Write down a run and plan it."""
        run = self.start(**request)
        plan_run(self.engine, run.run_id, actor="test")
        return self.get(run.run_id)

    def get(self, run_id: int) -> Run:
        """A run as it stands."""
        with self.engine.connect() as connection:
            run = runs.get(connection, run_id)
        assert run is not None
        return run

    def claim(
        self, run_id: int, number: int = 1, *, worker: str = "test", target_ms: int = 0
    ) -> Batch | None:
        """Claim a batch, within its run's limits."""
        with map_database_errors(), self.engine.begin() as connection:
            ref = BatchRef(run_id, number)
            return admission.claim(connection, ref, worker=worker, lease_s=60, target_ms=target_ms)

    def convert(
        self, run_id: int, number: int, *, worker: str = "test", target_ms: int = 0
    ) -> Report:
        """Do one batch, whatever its kind; StaleError if there is nothing to do."""
        batch = self.claim(run_id, number, worker=worker, target_ms=target_ms)
        if batch is None:
            raise StaleError
        return KINDS[batch.kind].run(batch, self.current)

    def process(self, queue: Queue | None = None, **values: Any) -> Process:
        """A worker's process, which has no queue but the one given."""
        values = {"hostname": "test", "name": "test", **values}
        reporter = Reporter(self.current, app, "test")
        return Process(self.current, queue or TestQueue(), reporter, **values)

    def run(self, **request: Any) -> Progress:
        """Take a run from beginning to end."""
        run = self.planned(**request)
        for number in range(1, run.batch_count + 1):
            self.convert(run.run_id, number)
        finish_run(self.engine, run.run_id, actor="test")
        return self.progress(run.run_id)

    def try_convert(self, run_id: int, batch: int) -> Report | None:
        """Do one batch, each thread as a worker of its own; None where there is nothing to do."""
        try:
            return self.convert(run_id, batch, worker=threading.current_thread().name)
        except StaleError:
            return None

    def progress(self, run_id: int) -> Progress:
        """How far a run is."""
        with self.engine.connect() as connection:
            progress = run_progress.read(connection, run_id)
        assert progress is not None
        return progress

    def outcomes(self, run_id: int) -> dict[str, str]:
        """What the run did for each bot: `converted`, `failed cycle` …"""
        rows = self.rows(
            "SELECT bot_id, outcome, code FROM flowshift.ledger WHERE run_id = :run_id",
            run_id=run_id,
        )
        assert len({row.bot_id for row in rows}) == len(rows)
        return {row.bot_id: " ".join(filter(None, (row.outcome, row.code))) for row in rows}

    def batch_slices(self, run_id: int) -> list[tuple[Any, ...]]:
        """The batches of a run in order: (number, after, through, ids, bots, state)."""
        rows = self.rows(
            "SELECT number, after_bot_id, through_bot_id, bot_ids, bot_count, state "
            "FROM flowshift.batches WHERE run_id = :run_id ORDER BY number",
            run_id=run_id,
        )
        return [tuple(row) for row in rows]

    def take(self, run_id: int, count: int) -> list[int]:
        """Mark batches as enqueued."""
        with self.engine.begin() as connection:
            return [batch.ref.number for batch in outbox.take(connection, run_id, count)]

    # -- the database ------------------------------------------------------------------------------

    def execute(self, statement: str, **values: Any) -> None:
        """Run a statement of the test's own."""
        with self.engine.begin() as connection:
            connection.execute(sa.text(statement), values)

    def rows(self, query: str, **values: Any) -> Sequence[sa.Row[Any]]:
        """The rows of a query of the test's own."""
        with self.engine.connect() as connection:
            return connection.execute(sa.text(query), values).all()

    def connect(self) -> psycopg.Connection[Any]:
        """A connection of somebody else's: the platform's."""
        url = self.engine.url.set(drivername="postgresql")
        return psycopg.connect(url.render_as_string(hide_password=False))


def two_prompts(values_between: int) -> Json:
    """A workflow of two LLM nodes, `a` and `b`, whose prompts are further apart the more is between."""
    more = {"tags": ["t"] * values_between}
    nodes = [
        node("s", "start"),
        node("a", "llm", prompt_template="Be kind. {question}", **more),
        node("b", "llm", prompt_template="Be strict. {question}", **more),
        node("e", "end"),
    ]
    return {"nodes": nodes, "edges": [edge("s", "a"), edge("a", "b"), edge("b", "e")]}
