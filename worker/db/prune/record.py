"""Prunes: their record in `flowshift.prunes`, and the lock that lets one go on at a time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from worker.core.metrics.pruned import pruned
from worker.core.notify.publications import prune_stopped
from worker.db.audit import record
from worker.db.measuring import totals
from worker.db.notifications import notify
from worker.db.tables import prunes

PruneState = Literal["running", "done", "stopped"]

# "flowshp" in ASCII. Held by the session that prunes: it goes when that session does, however its
# process ends. Advisory locks belong to one database.
_LOCK = 0x666C6F77736870


class Prune(msgspec.Struct, frozen=True, kw_only=True):
    """One prune: `cutoffs` and how many are `gone`, by kind. `slot` is the beat's."""

    prune_id: int
    slot: dt.datetime | None
    actor: str
    state: PruneState
    reason: str | None
    cutoffs: dict[str, dt.datetime]
    gone: dict[str, int]
    started_at: dt.datetime
    moved_at: dt.datetime
    finished_at: dt.datetime | None


def lock(connection: sa.Connection) -> bool:
    """Take the lock for as long as this connection lasts; False if another session has it."""
    return bool(connection.execute(_TRY_LOCK, {"key": _LOCK}).scalar_one())


def unlock(connection: sa.Connection) -> None:
    """Release the lock that `lock` has taken."""
    connection.execute(_UNLOCK, {"key": _LOCK})


def lock_in_transaction(connection: sa.Connection) -> bool:
    """Take the lock for as long as the transaction that this begins stays open, idle or not.

    Without a snapshot it keeps no row from being vacuumed.
    """
    connection.execute(_MAY_IDLE)
    return bool(connection.execute(_TRY_LOCK_IN_TRANSACTION, {"key": _LOCK}).scalar_one())


def begin(
    connection: sa.Connection,
    *,
    actor: str,
    cutoffs: Mapping[str, dt.datetime],
    slot: dt.datetime | None,
) -> Prune | None:
    """Write a prune down, under the lock; None if the one of `slot` is over.

    On repeat with the same `slot` the prune that was begun goes on, with its cut-offs and counts.
    One that was not ended, and that no process works on because we have the lock, is ended here.
    """
    _end_abandoned(connection, slot)
    statement = (
        insert(prunes)
        .values(
            slot=slot,
            actor=actor,
            cutoffs={kind: cutoff.isoformat() for kind, cutoff in cutoffs.items()},
        )
        .on_conflict_do_nothing(index_elements=[prunes.c.slot])
        .returning(prunes)
    )
    row = connection.execute(statement).one_or_none()
    if row is not None:
        begun = _prune(row)
        _record(connection, begun, actor, "prune.started", None)
        return begun
    known = connection.execute(sa.select(prunes).where(prunes.c.slot == slot)).one()
    return _prune(known) if known.state == "running" else None


def state_of(connection: sa.Connection, slot: dt.datetime) -> PruneState | None:
    """The state of the prune of `slot`, None if it has not begun."""
    state: PruneState | None = connection.scalar(
        sa.select(prunes.c.state).where(prunes.c.slot == slot)
    )
    return state


def add(connection: sa.Connection, prune_id: int, gone: Mapping[str, int]) -> None:
    """Count what a batch deleted, in the batch's own transaction; nothing if that is nothing.

    It is added to the totals of metrics, too, which outlive the record.
    """
    counts = {kind: number for kind, number in gone.items() if number}
    if counts:
        bound = {"prune_id": prune_id, "gone": msgspec.json.encode(counts).decode()}
        connection.execute(_ADD, bound)
        totals.add(connection, pruned(counts))


def end(
    connection: sa.Connection, prune_id: int, state: PruneState, *, reason: str | None, actor: str
) -> Prune:
    """End a prune, if it has not ended; returns it as it stands. The audit trail gets its counts."""
    row = connection.execute(
        sa.update(prunes)
        .where(prunes.c.prune_id == prune_id, prunes.c.state == "running")
        .values(state=state, reason=reason, finished_at=sa.func.now())
        .returning(prunes)
    ).one_or_none()
    if row is None:
        return get(connection, prune_id)
    ended = _prune(row)
    _record(connection, ended, actor, f"prune.{state}", reason)
    if state == "stopped":
        notify(connection, prune_stopped(prune_id, reason))
    return ended


def get(connection: sa.Connection, prune_id: int) -> Prune:
    """A prune as it stands."""
    return _prune(connection.execute(sa.select(prunes).where(prunes.c.prune_id == prune_id)).one())


def last(connection: sa.Connection) -> Prune | None:
    """The prune that began last, None if there was none."""
    row = connection.execute(sa.select(prunes).order_by(prunes.c.prune_id.desc()).limit(1)).first()
    return None if row is None else _prune(row)


def last_ended(connection: sa.Connection, state: PruneState | None = None) -> Prune | None:
    """The prune that began last of those that are over, or of those that ended in `state`."""
    is_over = prunes.c.state != "running" if state is None else prunes.c.state == state
    query = sa.select(prunes).where(is_over).order_by(prunes.c.prune_id.desc()).limit(1)
    row = connection.execute(query).first()
    return None if row is None else _prune(row)


def _end_abandoned(connection: sa.Connection, slot: dt.datetime | None) -> None:
    mine = prunes.c.slot == slot if slot is not None else sa.false()
    abandoned = connection.scalars(
        sa.select(prunes.c.prune_id).where(
            prunes.c.state == "running", sa.not_(sa.func.coalesce(mine, False))
        )
    ).all()
    for prune_id in abandoned:
        reason = "its process ended, or the next day's came; another prune went on from there"
        end(connection, prune_id, "stopped", reason=reason, actor="flowshift")


def _record(
    connection: sa.Connection, prune: Prune, actor: str, action: str, reason: str | None
) -> None:
    detail: dict[str, Any] = {
        "prune_id": prune.prune_id,
        "cutoffs": {kind: cutoff.isoformat() for kind, cutoff in prune.cutoffs.items()},
        "gone": prune.gone,
    }
    record(connection, None, actor, action, reason, detail)


def _prune(row: sa.Row[Any]) -> Prune:
    values = row._asdict()
    cutoffs = {
        kind: dt.datetime.fromisoformat(cutoff) for kind, cutoff in values.pop("cutoffs").items()
    }
    return Prune(**values, cutoffs=cutoffs)


_TRY_LOCK = sa.text("SELECT pg_try_advisory_lock(:key)")
_UNLOCK = sa.text("SELECT pg_advisory_unlock(:key)")
_MAY_IDLE = sa.text("SELECT set_config('idle_in_transaction_session_timeout', '0', true)")
_TRY_LOCK_IN_TRANSACTION = sa.text("SELECT pg_try_advisory_xact_lock(:key)")

# Adds number by number: {"runs": 5} to {"runs": 7, "nodes": 9} is {"runs": 12, "nodes": 9}.
_ADD = sa.text("""
    UPDATE flowshift.prunes p SET moved_at = clock_timestamp(), gone = p.gone || (
        SELECT COALESCE(jsonb_object_agg(
            e.key, COALESCE((p.gone ->> e.key)::bigint, 0) + e.value::bigint
        ), '{}') FROM jsonb_each_text(CAST(:gone AS jsonb)) AS e
    ) WHERE p.prune_id = :prune_id
""")
