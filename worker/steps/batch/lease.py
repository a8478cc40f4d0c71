"""A claimed batch's lease, renewed by a thread while its worker is at it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from worker.db import batches
from worker.db.batches import Batch
from worker.db.engine import map_database_errors
from worker.errors import TransientError
from worker.log import get_logger

log = get_logger(__name__)


@contextmanager
def renewed(engine: sa.Engine, batch: Batch, lease_s: int) -> Iterator[None]:
    """Renew the lease of `batch` every third of `lease_s` until the block ends.

    On a connection of its own, so that neither the batch's transaction nor a long computation keeps
    it waiting. It stops by itself once another worker has the batch. What ends a worker that hangs
    is its time limit (`worker.queue.limits`): no thread of its own does.
    """
    over = threading.Event()
    thread = threading.Thread(
        target=_renew, args=(engine, batch, lease_s, over), name="lease", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _renew(engine: sa.Engine, batch: Batch, lease_s: int, over: threading.Event) -> None:
    while not over.wait(lease_s / 3):
        try:
            with map_database_errors(), engine.begin() as connection:
                if not batches.renew(connection, batch, lease_s=lease_s):
                    return
        except TransientError as error:
            log.warning(
                "lease.unrenewed", run_id=batch.run_id, batch=batch.number, error=str(error)
            )
