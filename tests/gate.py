"""A publication under the gate in a test's own database: executions as the platform writes them, looks."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tests.publishing import Publishing
from tests.queues import TestQueue
from worker.core.policy.health import Verdict
from worker.core.publication.baseline import Count
from worker.core.publication.evidence import Limits, Reading
from worker.core.publication.gate import GateMode
from worker.core.publication.sizes import parse_waves
from worker.core.publication.waves import Wishes
from worker.db.publication import waves
from worker.db.publication.waves import Options, Publication, Wave
from worker.runtime import Runtime
from worker.steps.finish import finish_run
from worker.steps.publication import control
from worker.steps.publication.begin import Going
from worker.steps.publication.look import look
from worker.steps.publication.plan import Wanted
from worker.steps.publication.tick import Look, tick

HEALTHY = Verdict("go")
NO_SOAK = Limits(min_soak_s=0, max_soak_s=86_400)


class Gate:
    """A fleet with proven drafts, a publication of it, and ticks."""

    def __init__(self, publishing: Publishing) -> None:
        self.publishing = publishing
        self.fleet = publishing.fleet
        self.queue = TestQueue()
        self.limits = NO_SOAK
        self.control: Count | None = None

    def start(self, text: str = "1, 2, all", mode: GateMode = "pause") -> Going:
        """Plan a publication of the bots of run 1 and begin it."""
        wanted = Wanted(
            run_id=1, steps=parse_waves(text), wishes=Wishes(), options=Options(target="guide")
        )
        current = self.fleet.current
        return control.publish(current, wanted, request_id="r", actor="me", gate=mode)

    def work(self, run_id: int | None = None) -> None:
        """Do every batch of a run; of the newest one that publishes if none is named."""
        query = "SELECT max(run_id) FROM flowshift.runs WHERE kind = 'publish'"
        run_id = run_id or int(self.publishing.one(query))
        while numbers := self.fleet.rows(
            "SELECT number FROM flowshift.batches WHERE run_id = :id AND state = 'pending'"
            " ORDER BY number",
            id=run_id,
        ):
            self.fleet.convert(run_id, numbers[0].number)
        finish_run(self.fleet.engine, run_id, actor="test")

    def execute(self, bot_ids: Sequence[str], succeeded: int, failed: int = 0) -> None:
        """Write executions of the live versions of these bots, as the platform does."""
        for status, count in (("succeeded", succeeded), ("failed", failed)):
            self.fleet.execute(
                "INSERT INTO workflow_execution_runs (id, bot_id, workflow_version_id, session_id,"
                " graph_snapshot, status, error_message, started_at, finished_at, elapsed_time,"
                " total_tokens, created_at)"
                " SELECT gen_random_uuid(), v.bot_id, v.id, 'visitor-' || n, v.graph, s.status,"
                " CASE WHEN s.status = 'failed' THEN 'model away' END, now(), now(), 900, 40, now()"
                " FROM bot_workflow_versions v, generate_series(1, :count) AS n,"
                " (SELECT CAST(:status AS text) AS status) s"
                " WHERE v.status = 'published' AND v.bot_id = ANY(:ids)",
                ids=list(bot_ids),
                status=status,
                count=count,
            )

    def look(self, current: Runtime, publication_id: int, wave: int) -> Reading:
        """The gate's own look, with this test's soak and control."""
        seen = look(current, publication_id, wave)
        changed = msgspec.structs.replace(seen, limits=self.limits)
        if self.control is None:
            return changed
        metrics = tuple(msgspec.structs.replace(m, control=self.control) for m in seen.metrics)
        recent = msgspec.structs.replace(seen.recent, control=self.control)
        return msgspec.structs.replace(changed, metrics=metrics, recent=recent)

    def tick(self, *, look: Look | None = None, health: Verdict = HEALTHY) -> list[str]:
        """One tick; what it said of each publication."""
        done = tick(self.fleet.current, self.queue, look=look or self.look, check=lambda: health)
        return [one.said for one in done]

    def go(self, reason: str | None = None) -> Going:
        """A person lets it go on."""
        return control.go(self.fleet.current, 1, actor="me", reason=reason)

    def read(self, publication_id: int = 1) -> Publication:
        """The publication as it stands."""
        with self.fleet.engine.connect() as connection:
            found = waves.get(connection, publication_id)
        assert found is not None
        return found

    def waves(self, publication_id: int = 1) -> list[Wave]:
        """Its waves as they stand."""
        with self.fleet.engine.connect() as connection:
            return waves.of(connection, publication_id)

    def states(self) -> tuple[str, list[str]]:
        """The state of the publication, with why it is held, and those of its waves."""
        found = self.read()
        state = f"{found.state} {found.held_because}" if found.held_because else found.state
        return state, [wave.state for wave in self.waves()]

    def bots(self, wave: int) -> list[str]:
        """The bots of a wave."""
        rows = self.fleet.rows(
            "SELECT bot_id FROM flowshift.publication_bots WHERE wave = :wave ORDER BY bot_id",
            wave=wave,
        )
        return [row.bot_id for row in rows]

    def live(self) -> set[str]:
        """The bots that use V2 now."""
        return {
            row.bot_id for row in self.fleet.rows("SELECT bot_id FROM bots WHERE use_workflow_v2")
        }

    def audit(self) -> list[str]:
        """What the audit trail tells of publications, in order."""
        rows = self.fleet.rows("SELECT action FROM flowshift.audit ORDER BY id")
        return [
            row.action.removeprefix("publication.")
            for row in rows
            if row.action.startswith("publication.")
        ]

    def kept(self) -> list[tuple[int, str]]:
        """The readings that are kept: wave and outcome."""
        rows = self.fleet.rows(
            "SELECT wave, outcome FROM flowshift.gate_readings ORDER BY reading_id"
        )
        return [(row.wave, row.outcome) for row in rows]


def soaking(min_s: int, max_s: int) -> Limits:
    """The limits with another soak."""
    return msgspec.structs.replace(NO_SOAK, min_soak_s=min_s, max_soak_s=max_s)
