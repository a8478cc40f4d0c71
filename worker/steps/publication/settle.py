"""End a wave's publishing once no bot of it is left: it is watched from then on."""

from __future__ import annotations

import sqlalchemy as sa

from worker.db.engine import map_database_errors
from worker.db.publication import moves, waves
from worker.db.publication.locks import lock_state
from worker.log import get_logger
from worker.steps.publication.state import wave_in

log = get_logger(__name__)


def settle(engine: sa.Engine, publication_id: int, wave: int) -> bool:
    """Take a wave without pending bots, and its publication, to `watching`; says whether it did.

    Called after each of its batches has committed: the last one finds none pending. If its worker
    dies before that, the gate's next tick does it. On repeat nothing changes.
    """
    with map_database_errors(), engine.begin() as connection:
        if waves.any_pending(connection, publication_id, wave):
            return False
        lock_state(connection, publication_id, alone=True)
        return settle_locked(connection, publication_id)


def settle_locked(connection: sa.Connection, publication_id: int) -> bool:
    """The same, of the wave that is being published, for a caller that has the state locked."""
    found = waves.get(connection, publication_id)
    one = wave_in(waves.of(connection, publication_id), "publishing")
    if found is None or found.state != "publishing" or one is None or one.pending:
        return False
    number = one.number
    moves.move_wave(connection, publication_id, number, "watching", watched_from=sa.func.now())
    moves.move(connection, publication_id, "watching")
    log.info("wave.published", publication_id=publication_id, wave=number, bots=one.published)
    return True
