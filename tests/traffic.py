"""Executions of published versions, as a platform writes them, and waves that they belong to."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from tests.fleet import Fleet
from worker.core.publication.evidence import MetricReading, Reading
from worker.runtime import Runtime
from worker.steps.publication.look import look

OUT = ("published", "confirmed", "quarantined", "rolled_back", "superseded")


class Traffic:
    """Publication 1 of a test's own database, and what its bots are asked."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.versions: dict[str, str] = {}
        fleet.execute(
            "INSERT INTO flowshift.publications (publication_id, request_id, requested_by, state)"
            " VALUES (1, 'r', 'test', 'watching')"
        )

    def wave(
        self,
        number: int,
        *bot_ids: str,
        state: str = "watching",
        bots: str = "published",
        age: str = "2 hours",
    ) -> None:
        """A wave whose bots are out for so long."""
        accepted = state == "accepted"
        self.fleet.execute(
            "INSERT INTO flowshift.waves (publication_id, number, label, state, bot_count,"
            " watched_from, accepted_by, accepted_reason) VALUES (1, :number, 'w', :state, :count,"
            " CASE WHEN NOT :state IN ('pending', 'publishing') THEN now() - CAST(:age AS interval) END,"
            " CASE WHEN :accepted THEN 'me' END, CASE WHEN :accepted THEN 'fine' END)",
            number=number,
            state=state,
            count=len(bot_ids),
            age=age,
            accepted=accepted,
        )
        for bot_id in bot_ids:
            self.bot(number, bot_id, bots, age)

    def bot(self, number: int, bot_id: str, state: str = "published", age: str = "2 hours") -> None:
        """A bot of a wave."""
        self.fleet.execute(
            "INSERT INTO bots (bot_id, name, use_workflow_v2) VALUES (:b, 'B', true)"
            " ON CONFLICT DO NOTHING",
            b=bot_id,
        )
        version_id = str(uuid.uuid4()) if state in OUT else None
        if version_id:
            self.versions[bot_id] = version_id
            self.fleet.execute(
                "INSERT INTO bot_workflow_versions (id, bot_id, version, status, graph)"
                " VALUES (:id, :b, 'v1.0', 'published', '{}')",
                id=version_id,
                b=bot_id,
            )
        self.fleet.execute(
            "INSERT INTO flowshift.publication_bots (bot_id, publication_id, wave, state, version_id,"
            " version, content_hash, workflow_hash, published_at) SELECT :b, 1, :number, :state,"
            " CAST(:id AS uuid), v.version, v.hash, v.hash, v.at FROM (SELECT 'v1.0', 1,"
            " now() - CAST(:age AS interval)) AS v (version, hash, at) WHERE :out UNION ALL"
            " SELECT :b, 1, :number, :state, NULL, NULL, NULL, NULL, NULL WHERE NOT :out",
            b=bot_id,
            number=number,
            state=state,
            id=version_id,
            age=age,
            out=version_id is not None,
        )

    def ask(
        self,
        bot_id: str,
        count: int = 1,
        *,
        status: str = "succeeded",
        error: str | None = None,
        ago: str = "1 minute",
        elapsed_ms: int | None = 900,
        tokens: int | None = 100,
        session: str | None = "s",
        version: str | None = "its own",
    ) -> list[str]:
        """Executions of a bot, a millisecond after one another; returns their ids."""
        ids = [str(uuid.uuid4()) for _ in range(count)]
        self.fleet.execute(
            "INSERT INTO workflow_execution_runs (id, bot_id, workflow_version_id, session_id,"
            " graph_snapshot, status, error_message, created_at, started_at, elapsed_time, total_tokens)"
            " SELECT i.id, :b, CAST(:version AS uuid), :session, '{}', :status, :error, t.at, t.at,"
            " CAST(:elapsed AS int), CAST(:tokens AS int)"
            " FROM unnest(CAST(:ids AS uuid[])) WITH ORDINALITY AS i (id, n) CROSS JOIN LATERAL"
            " (SELECT now() - CAST(:ago AS interval) + i.n * interval '1 ms' AS at) t",
            ids=ids,
            b=bot_id,
            version=self.versions[bot_id] if version == "its own" else version,
            session=session,
            status=status,
            error=error,
            ago=ago,
            elapsed=elapsed_ms,
            tokens=tokens,
        )
        return ids

    def look(self, wave: int = 1, **settings: Any) -> Reading:
        """A look, with settings of its own."""
        current = self.fleet.current
        if not settings:
            return look(current, 1, wave)
        changed = msgspec.structs.replace(current.settings, **settings)
        other = Runtime(changed, current.servers)
        try:
            return look(other, 1, wave)
        finally:
            other.close()


def metric(reading: Reading, name: str = "failed") -> MetricReading:
    """One metric of a reading."""
    return next(one for one in reading.metrics if one.metric == name)


def counts(reading: Reading, name: str = "failed") -> tuple[int, int]:
    """How many failed, of how many."""
    count = metric(reading, name).count
    return count.failed, count.executions
