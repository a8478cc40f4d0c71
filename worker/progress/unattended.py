"""Runs that no worker works on, shown in Redis and Flower by what still runs: the beat, and commands.

And publications, which wait for hours without a run: each is shown again every few seconds.

Workers report how far a run is. If none is left, the last report would remain, with a rate and
a time left that are no longer true.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import sqlalchemy as sa
from celery import Celery

from worker.db import run_progress, runs
from worker.db.engine import map_database_errors
from worker.db.publication import outline
from worker.errors import FlowshiftError
from worker.log import get_logger
from worker.progress.flower import FlowerRow
from worker.progress.redis import RedisPublisher
from worker.runtime import Runtime

log = get_logger(__name__)

EVERY_S: Final = 5.0


class Unattended:
    """Reports runs without a worker, for one process."""

    def __init__(
        self,
        current: Runtime,
        app: Celery,
        hostname: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        settings = current.settings
        self._current = current
        self._redis = RedisPublisher(current.redis, settings.namespace, settings.progress_keep_s)
        self._flower = FlowerRow(app, hostname, settings.web_url)
        self._clock = clock
        self._next_at = 0.0

    def tend(self) -> None:
        """Report if it is time to; call it as often as you like. Never raises."""
        if self._clock() < self._next_at:
            return
        self._next_at = self._clock() + EVERY_S
        try:
            self.report()
        except (FlowshiftError, sa.exc.SQLAlchemyError) as error:
            log.info("run.unreported", error=str(error))

    def report(self) -> list[int]:
        """Show every run that no worker works on, and every publication; returns which runs.

        Raises:
            TransientError: the database was unavailable.
        """
        with map_database_errors(), self._current.engine.connect() as connection:
            found = [
                run_progress.read(connection, run_id) for run_id in runs.recent_ids(connection)
            ]
            publications = outline.recent(connection)
        for one in publications:
            self._redis.publish_publication(one)
        alone = [progress for progress in found if progress is not None and progress.has_no_worker]
        for progress in alone:
            if self._redis.publish(progress):
                self._flower.publish(progress)
        return [progress.run_id for progress in alone]
