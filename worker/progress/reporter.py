"""Reports the progress of runs, and what their batches hold, to Redis and to Flower."""

from __future__ import annotations

from celery import Celery

from worker.core.policy.batch_ref import BatchRef
from worker.core.policy.progress import Progress
from worker.db import run_progress
from worker.db.engine import map_database_errors
from worker.db.publication import outline
from worker.db.publication.outline import Outline
from worker.progress.flower import FlowerRow
from worker.progress.redis import RedisPublisher, Ticker
from worker.runtime import Runtime


class Reporter:
    """Reports from one process. Redis and Flower may be unavailable: what is newer is reported later."""

    def __init__(self, runtime: Runtime, app: Celery, hostname: str) -> None:
        settings = runtime.settings
        self._runtime = runtime
        self._redis = RedisPublisher(runtime.redis, settings.namespace, settings.progress_keep_s)
        self._flower = FlowerRow(app, hostname, settings.web_url)
        self._ticker = Ticker(settings.progress_interval_ms / 1000)

    def report(self, progress: Progress) -> None:
        """Report `progress`, unless something newer was reported."""
        if self._redis.publish(progress):
            self._flower.publish(progress)

    def report_publication(self, one: Outline) -> None:
        """Report how a publication stands, unless something newer was reported."""
        self._redis.publish_publication(one)

    def report_run(self, run_id: int) -> None:
        """Report how far a run is, and how the publication stands whose wave it publishes.

        Raises:
            TransientError: the database was unavailable.
        """
        with map_database_errors(), self._runtime.engine.connect() as connection:
            progress = run_progress.read(connection, run_id)
            wave = None if progress is None else progress.wave
            shown = None if wave is None else outline.one(connection, wave.publication_id)
        if progress is not None:
            self.report(progress)
        if shown is not None:
            self.report_publication(shown)

    def report_now_and_then(self, run_id: int) -> None:
        """Report how far a run is, at most once in `progress_interval_ms`, less often if that takes long.

        Raises:
            TransientError: the database was unavailable.
        """
        if self._ticker.is_due():
            with self._ticker.timed():
                self.report_run(run_id)

    def report_batch(self, ref: BatchRef, bots: str) -> None:
        """Show in Flower which bots a claimed batch has: since its message was sent it may be cut."""
        self._flower.show_batch(ref, bots)

    def report_gate(self, publication_id: int, said: str, *, is_over: bool) -> None:
        """Show in Flower what the gate says of a publication."""
        self._flower.show_publication(publication_id, said, is_over=is_over)

    def claim_refresh(self) -> bool:
        """Whether this process is to report all runs again; False, too, while Redis is unavailable."""
        return self._redis.claim_refresh()
