"""Begin the next wave of a publication, or end the publication after its last one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.counted import counted
from worker.core.policy.health import Verdict as Health
from worker.core.targets.convert import CONVERTER_VERSION
from worker.db import planning, run_transitions, runs
from worker.db.publication import moves, tables, turns, waves
from worker.db.publication.waves import Publication, Wave
from worker.db.runs import RunOptions
from worker.log import get_logger
from worker.steps.backup.recent import why_no_wave
from worker.steps.publication.ask_alerts import why_alerts
from worker.steps.publication.proven import plan_proven
from worker.steps.publication.state import need, note, wave_in

log = get_logger(__name__)

BATCH: Final = 200


class Going(msgspec.Struct, frozen=True):
    """A publication, and the run that publishes its wave now; None if none does."""

    publication_id: int
    run_id: int | None
    said: str


def begin_next(
    connection: sa.Connection, publication_id: int, actor: str, *, health: Health | None = None
) -> Going:
    """Begin the next wave; after the last one the publication is completed.

    The caller has the state locked, and no wave is being published or watched. A wave that may not
    begin yet waits: the publication stays `watching` and says for what, and the next tick tries
    again. `health` is what the health checks say, for a wave that begins by itself. One that retries
    another has no waves until its bots are proven: they are planned here.
    """
    found = need(connection, publication_id)
    if not found.is_planned:
        waits = plan_proven(connection, found, actor)
        if waits is not None:
            return Going(publication_id, waits.run_id, waits.said)
        found = need(connection, publication_id)
    wave = wave_in(waves.of(connection, publication_id), "pending")
    if wave is None:
        if found.state != "watching":
            moves.move(connection, publication_id, "watching")
        moves.move(connection, publication_id, "completed")
        note(connection, publication_id, "completed", actor, None)
        log.info("publication.completed", publication_id=publication_id)
        return Going(publication_id, None, "is completed: every wave is out")
    why = not_yet(connection, found, wave, health)
    if why is not None:
        if found.state in ("held", "publishing"):
            moves.move(connection, publication_id, "watching")
        said = f"wave {wave.number} waits: {why}"
        moves.wait(connection, publication_id, said)
        log.info("wave.waited", publication_id=publication_id, wave=wave.number, reason=why)
        return Going(publication_id, None, f"{said}. It begins by itself afterwards")
    moves.move(connection, publication_id, "publishing")
    return begin(connection, found, wave, actor)


def begin(connection: sa.Connection, found: Publication, wave: Wave, actor: str) -> Going:
    """Make the run that publishes what is pending of a wave; it runs once this commits."""
    publication_id = found.publication_id
    attempt = f":{wave.run_id}" if wave.run_id is not None else ""
    run, _ = runs.create(
        connection,
        request_id=f"publication-{publication_id}-wave-{wave.number}{attempt}",
        kind="publish",
        options=RunOptions(selection="listed", batch_size=BATCH, target=found.options.target),
        dry_run=False,
        requested_by=actor,
        converter_version=CONVERTER_VERSION,
    )
    pending = waves.pending_bots(publication_id, wave.number)
    planned = planning.plan_selected(connection, run.run_id, pending, BATCH)
    runs.note_planned(
        connection,
        run.run_id,
        through=None,
        batch_count=planned.batches,
        bot_count=planned.bots,
    )
    run_transitions.apply(connection, run.run_id, "running", reason=None, actor=actor)
    moves.move_wave(
        connection,
        publication_id,
        wave.number,
        "publishing",
        run_id=run.run_id,
        started_at=sa.func.coalesce(tables.waves.c.started_at, sa.func.now()),
    )
    note(connection, publication_id, "publishing", actor, None, wave=wave.number)
    log.info(
        "wave.begun",
        publication_id=publication_id,
        wave=wave.number,
        run_id=run.run_id,
        bots=planned.bots,
    )
    bots = counted(planned.bots, "bot")
    return Going(publication_id, run.run_id, f"publishes wave {wave.number}: {bots}")


# -- what keeps a wave from beginning ----------------------------------------------------------------


def not_yet(
    connection: sa.Connection, found: Publication, wave: Wave, health: Health | None
) -> str | None:
    """Why a wave may not begin yet, in words that complete "wave 3 waits: …"; None if it may."""
    if health is not None and health.decision != "go":
        return f"{health.check}: {health.reason}"
    for ask in _ASKED:
        if why := ask(connection, found, wave):
            return why
    return None


def _held_by_another_run(connection: sa.Connection, found: Publication, wave: Wave) -> str | None:
    holder = turns.holder(connection, found.publication_id, wave.number)
    if holder is None:
        return None
    return f"run {holder.run_id} ({holder.kind}) has bots of it at work"


Asked = Callable[[sa.Connection, Publication, Wave], str | None]

_ASKED: Final[tuple[Asked, ...]] = (_held_by_another_run, why_no_wave, why_alerts)
"""What is asked before each wave, whoever begins it: a condition is one function here."""
