"""The heartbeats of processes that keep running: each process writes its own, every process reads them.

All times are the database's, whatever the clocks of the processes say.
"""

from __future__ import annotations

import uuid
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from worker.core.policy.processes import Process, ProcessKind
from worker.core.policy.run_kinds import QueueName
from worker.db import sqlstate as states
from worker.db.engine import reason_of, sqlstate
from worker.db.tables import heartbeats

KEPT_S: Final = 86_400
"""So long the row of a process that is gone tells when and where it was."""

REPLACED_S: Final = 600
"""So long where another process of its kind has begun on its host: one that keeps dying leaves few."""


_NOT_OUR_TABLES: Final = {states.NO_SUCH_SCHEMA, states.NO_SUCH_TABLE, states.NO_SUCH_COLUMN}


class Identity(msgspec.Struct, frozen=True):
    """Who writes: `instance_id` is this very process, and no restart has the same again.

    `queues` are those that it takes messages from.
    """

    instance_id: uuid.UUID
    kind: ProcessKind
    name: str
    host: str
    pid: int
    version: str
    queues: tuple[QueueName, ...] = ()


class Sign(msgspec.Struct, frozen=True):
    """What a process can say of its work: when it was last seen to work (None: never), and how.

    `problem` is what is wrong now, where it knows.
    """

    age_s: float | None
    evidence: str | None = None
    problem: str | None = None


class Usage(msgspec.Struct, frozen=True):
    """What a process and its children take; None where that is not known."""

    cpu_cores: float | None = None
    memory_bytes: int | None = None


UNKNOWN: Final = Usage()


def begin(connection: sa.Connection, me: Identity) -> None:
    """Write the first row of a process, and delete old rows. Safe to repeat."""
    beat_s = _seconds_since(heartbeats.c.beat_at)
    replaced = sa.and_(
        heartbeats.c.kind == me.kind, heartbeats.c.host == me.host, beat_s > REPLACED_S
    )
    connection.execute(sa.delete(heartbeats).where(sa.or_(beat_s > KEPT_S, replaced)))
    beat(connection, me, Sign(None))


def longest_s(every_s: float) -> float:
    """How long after a heartbeat the next one is there at the latest, where one is due `every_s`.

    A process asks whether its work works before each, which may take a while.

    >>> longest_s(1), longest_s(10)
    (4, 20)
    """
    return max(every_s + 3, 2 * every_s)


def beat(
    connection: sa.Connection,
    me: Identity,
    sign: Sign,
    *,
    every_s: float = 10,
    usage: Usage = UNKNOWN,
) -> None:
    """Write that a process lives, what it says of its work, and what it takes.

    The row is made if it is not there.

    A sign of work that is older than the one written before, or none, leaves that one. Where the last
    heartbeat is further back than it may be, they are unbroken only from this one on.
    """
    is_broken = _seconds_since(heartbeats.c.beat_at) > longest_s(every_s)
    worked_at = (
        sa.null()
        if sign.age_s is None
        else sa.func.now() - sa.func.make_interval(0, 0, 0, 0, 0, 0, sign.age_s)
    )
    row = insert(heartbeats).values(
        instance_id=me.instance_id,
        kind=me.kind,
        name=me.name,
        host=me.host,
        pid=me.pid,
        version=me.version,
        queues=list(me.queues),
        worked_at=worked_at,
        evidence=sign.evidence,
        problem=sign.problem,
        cpu_cores=usage.cpu_cores,
        memory_bytes=usage.memory_bytes,
    )
    connection.execute(
        row.on_conflict_do_update(
            index_elements=[heartbeats.c.instance_id],
            set_={
                "beat_at": sa.func.now(),
                "unbroken_since": sa.case(
                    (is_broken, sa.func.now()), else_=heartbeats.c.unbroken_since
                ),
                "worked_at": sa.func.greatest(heartbeats.c.worked_at, row.excluded.worked_at),
                "evidence": sa.func.coalesce(row.excluded.evidence, heartbeats.c.evidence),
                "problem": row.excluded.problem,
                "cpu_cores": row.excluded.cpu_cores,
                "memory_bytes": row.excluded.memory_bytes,
                "stopped_at": None,
            },
        )
    )


def stop(connection: sa.Connection, me: Identity) -> None:
    """Write that a process stops on request. Safe to repeat."""
    connection.execute(
        sa.update(heartbeats)
        .where(heartbeats.c.instance_id == me.instance_id)
        .values(stopped_at=sa.func.now(), problem=None)
    )


def processes(connection: sa.Connection, *, host: str | None = None) -> list[Process]:
    """The processes of the last day, or those of one host; by kind, the newest heartbeat first."""
    query = sa.select(
        sa.cast(heartbeats.c.instance_id, sa.Text),
        heartbeats.c.kind,
        heartbeats.c.name,
        heartbeats.c.host,
        heartbeats.c.pid,
        heartbeats.c.version,
        _seconds_since(heartbeats.c.started_at),
        _seconds_since(heartbeats.c.beat_at),
        _seconds_since(heartbeats.c.worked_at),
        heartbeats.c.evidence,
        heartbeats.c.problem,
        heartbeats.c.stopped_at.is_not(None),
        heartbeats.c.queues,
        heartbeats.c.cpu_cores,
        heartbeats.c.memory_bytes,
    ).where(_seconds_since(heartbeats.c.beat_at) <= KEPT_S)
    if host is not None:
        query = query.where(heartbeats.c.host == host)
    rows = connection.execute(query.order_by(heartbeats.c.kind, heartbeats.c.beat_at.desc()))
    return [msgspec.structs.replace(Process(*row), queues=tuple(row.queues)) for row in rows]


def workers_alive(connection: sa.Connection, queue: QueueName, *, within_s: float) -> int:
    """How many workers were seen to take messages of a queue within the last `within_s` seconds."""
    query = sa.select(sa.func.count()).where(
        heartbeats.c.kind == "worker",
        sa.literal(queue) == sa.any_(heartbeats.c.queues),
        heartbeats.c.stopped_at.is_(None),
        _seconds_since(heartbeats.c.worked_at) <= within_s,
        _seconds_since(heartbeats.c.beat_at) <= within_s,
    )
    return connection.scalar(query) or 0


def why_unusable(error: BaseException) -> str:
    """Why heartbeats cannot be written or read, in one sentence without the statement."""
    reason = reason_of(error)
    if sqlstate(error) not in _NOT_OUR_TABLES:
        return reason
    return f"the table of heartbeats is not as this version needs it ({reason}): run `flowshift db upgrade`"


def _seconds_since(time: sa.ColumnElement[Any]) -> sa.ColumnElement[float]:
    """How long ago by the database's clock; never below 0, null for never."""
    seconds = sa.cast(sa.extract("epoch", sa.func.clock_timestamp() - time), sa.Float)
    return sa.case((time.is_(None), None), else_=sa.func.greatest(0.0, seconds))
