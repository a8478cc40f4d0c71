"""Plan a publication that retries another, once a run has converted and proven its bots.

    conversion ─► (edited drafts: validation) ─► what is proven ─► waves, the first of one bot

Until then it has no bots and no waves, is `planned`, and waits for its run: `source_run_id`.
"""

from __future__ import annotations

from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.parity.messages import trials
from worker.core.policy.states import OVER, words
from worker.core.publication.sizes import parse_waves
from worker.core.publication.waves import Wishes, plan_waves
from worker.core.targets.convert import CONVERTER_VERSION
from worker.db import outbox, planning, run_transitions, runs
from worker.db.publication import moves, retried, waves
from worker.db.publication.waves import Publication
from worker.db.runs import Run
from worker.log import get_logger
from worker.steps.publication.state import note

log = get_logger(__name__)

_ENDED: Final = ("cancelled", "failed")


class Waits(msgspec.Struct, frozen=True):
    """What a publication without a plan waits for, or why it ended; `run_id` is a run that works now."""

    run_id: int | None
    said: str


def plan_proven(connection: sa.Connection, found: Publication, actor: str) -> Waits | None:
    """Put the bots that are proven into waves; None if that is done, else what it waits for.

    The caller has the state locked. If the run was cancelled, or has proven no bot, the publication is
    stopped. On repeat nothing changes.
    """
    run = _run_of(connection, found)
    if run is not None and run.state not in OVER:
        return _wait(connection, found, run)
    if run is None or run.state in _ENDED:
        ended = "is gone" if run is None else words(run.state)
        return _stop(connection, found, actor, f"run {found.source_run_id} {ended}")
    if run.kind == "convert" and found.options.publish_edited:
        changed = retried.edited(connection, run.run_id)
        if changed:
            return _validate(connection, found, run, changed, actor)
    converted_by = run.parent_run_id if run.kind == "validate" else run.run_id
    with_edited = found.options.publish_edited
    bot_ids = retried.proven(connection, converted_by or run.run_id, with_edited=with_edited)
    if not bot_ids:
        why = f"run {run.run_id} has proven none of its bots: flowshift failures {run.run_id}"
        return _stop(connection, found, actor, why)
    _plan(connection, found, bot_ids, converted_by, actor)
    return None


def resume(connection: sa.Connection, found: Publication, actor: str) -> None:
    """Let the run that a publication waits for go on, if it was paused with it."""
    run = _run_of(connection, found)
    if run is not None and run.state == "paused":
        outbox.put_back_all(connection, run.run_id)
        run_transitions.apply(connection, run.run_id, "running", reason=None, actor=actor)


def _run_of(connection: sa.Connection, found: Publication) -> Run | None:
    return None if found.source_run_id is None else runs.get(connection, found.source_run_id)


def _wait(connection: sa.Connection, found: Publication, run: Run) -> Waits:
    does = "validates" if run.kind == "validate" else "converts and proves"
    said = f"run {run.run_id} {does} its bots first"
    if run.state == "paused":
        why = f": {run.state_reason}" if run.state_reason else ""
        said = f"run {run.run_id}, which {does} its bots first, is paused{why}"
    moves.wait(connection, found.publication_id, said)
    return Waits(run.run_id if run.state == "running" else None, f"waits: {said}")


def _stop(connection: sa.Connection, found: Publication, actor: str, why: str) -> Waits:
    reason = f"nothing is to be published: {why}"
    moves.move(connection, found.publication_id, "stopped", reason=reason)
    note(connection, found.publication_id, "stopped", actor, reason)
    log.warning("publication.stopped", publication_id=found.publication_id, reason=reason)
    return Waits(None, f"is stopped: {reason}")


def _validate(
    connection: sa.Connection, found: Publication, run: Run, bot_ids: list[str], actor: str
) -> Waits:
    """Make the run that executes drafts which a person changed; it runs once this commits."""
    options = msgspec.structs.replace(run.options, selection="listed", trials=trials("all", ()))
    made, _ = runs.create(
        connection,
        request_id=f"publication-{found.publication_id}-validate",
        kind="validate",
        options=options,
        dry_run=False,
        requested_by=actor,
        converter_version=CONVERTER_VERSION,
        parent_run_id=run.run_id,
    )
    planned = planning.plan_listed(connection, made.run_id, bot_ids, options.batch_size)
    runs.note_planned(
        connection,
        made.run_id,
        through=None,
        batch_count=planned.batches,
        bot_count=planned.bots,
    )
    run_transitions.apply(connection, made.run_id, "running", reason=None, actor=actor)
    waves.wait_for_run(connection, found.publication_id, made.run_id)
    return _wait(connection, found, runs.existing(connection, made.run_id))


def _plan(
    connection: sa.Connection,
    found: Publication,
    bot_ids: list[str],
    converted_by: int | None,
    actor: str,
) -> None:
    candidates = list(waves.candidates(connection, bot_ids, converted_by))
    salt = str(found.publication_id)
    steps = parse_waves(found.options.waves)
    plan = plan_waves(candidates, steps, salt=salt, wishes=Wishes())
    waves.add_plan(connection, found.publication_id, plan)
    bots = len(plan.bot_ids)
    note(connection, found.publication_id, "planned", actor, None, bots=bots)
    log.info("publication.planned", publication_id=found.publication_id, bots=bots)
