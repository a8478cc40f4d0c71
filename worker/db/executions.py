"""Executions as they were recorded, by the platform or by a run: read, never written.

The two tables are the platform's and may be large, so that every question goes through one of
their indexes, and lists never touch the large columns.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
import sqlalchemy as sa

from worker.core.parity.messages import MAX_MESSAGES
from worker.core.parity.recording import run_and_message, session_id
from worker.db.platform_tables import execution_runs, node_executions, versions

LOOKED_AT: Final = 100_000
"""No index knows which executions failed: they are looked for among this many of the newest."""

_HEX: Final = re.compile(r"[0-9a-f]{1,32}")


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a list. `elapsed_ms` is in milliseconds; times are UTC."""

    execution_id: uuid.UUID
    bot_id: str
    session_id: str | None
    status: str
    error: str | None
    elapsed_ms: int | None
    tokens: int | None
    steps: int | None
    created_at: dt.datetime

    @property
    def validates(self) -> tuple[int, int] | None:
        """The run and the number of the message that it tried a draft with; None for real traffic."""
        return run_and_message(self.session_id)


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """One execution whole; `inputs` and `outputs` are JSON text."""

    execution: Execution
    version_id: uuid.UUID | None
    version: str | None
    user_id: str | None
    inputs: str | None
    outputs: str | None
    started_at: dt.datetime | None
    finished_at: dt.datetime | None


class NodeExecution(msgspec.Struct, frozen=True, kw_only=True):
    """What one node did; `inputs` and `outputs` are JSON text, `elapsed_us` in microseconds.

    `elapsed_us` is finer than `elapsed_ms` where the recorder kept it. `truncated` holds, by field,
    what was cut when it was recorded, as JSON text.
    """

    order: int
    node_id: str
    type: str
    status: str
    error: str | None
    elapsed_us: int | None
    tokens: int | None
    is_truncated: bool
    truncated: str | None
    inputs: str | None = None
    outputs: str | None = None


# -- lists -----------------------------------------------------------------------------------------

_LISTED: Final = (
    execution_runs.c.id,
    execution_runs.c.bot_id,
    execution_runs.c.session_id,
    execution_runs.c.status,
    execution_runs.c.error_message,
    execution_runs.c.elapsed_time,
    execution_runs.c.total_tokens,
    execution_runs.c.total_steps,
    execution_runs.c.created_at,
)


def newest(connection: sa.Connection, limit: int, *, failed: bool = False) -> list[Execution]:
    """The newest executions of all, newest first (by the index on `created_at`)."""
    return _listed(connection, sa.true(), limit, failed=failed)


def of_bot(
    connection: sa.Connection, bot_id: str, limit: int, *, failed: bool = False, offset: int = 0
) -> list[Execution]:
    """The executions of a bot, newest first (by the index on `bot_id`), after the first `offset`."""
    of = execution_runs.c.bot_id == bot_id
    return _listed(connection, of, limit, failed=failed, offset=offset)


def count_of_bot(connection: sa.Connection, bot_id: str, *, most: int) -> int:
    """How many executions a bot has; no more than `most` are counted (by the index on `bot_id`)."""
    seen = sa.select(sa.literal(1)).where(execution_runs.c.bot_id == bot_id).limit(most).subquery()
    return connection.scalar(sa.select(sa.func.count()).select_from(seen)) or 0


def of_run(
    connection: sa.Connection, run_id: int, limit: int, *, failed: bool = False
) -> list[Execution]:
    """The executions that a run made, newest first (by the index on `session_id`)."""
    sessions = [session_id(run_id, number) for number in range(1, MAX_MESSAGES + 1)]
    among = execution_runs.c.session_id == sa.any_(sa.cast(sessions, sa.ARRAY(sa.Text)))
    return _listed(connection, among, limit, failed=failed)


def _listed(
    connection: sa.Connection,
    which: sa.ColumnElement[bool],
    limit: int,
    *,
    failed: bool,
    offset: int = 0,
) -> list[Execution]:
    # Executions recorded together have one time: then by session, which numbers a run's messages.
    newest_first = (execution_runs.c.created_at.desc(), execution_runs.c.session_id)
    query = sa.select(*_LISTED).where(which).order_by(*newest_first)
    if failed:
        looked_at = query.limit(LOOKED_AT).subquery()
        query = sa.select(looked_at).where(sa.cast(looked_at.c.status, sa.Text) == "failed")
        query = query.order_by(looked_at.c.created_at.desc(), looked_at.c.session_id)
    return [_execution(row) for row in connection.execute(query.limit(limit).offset(offset))]


def _execution(row: Sequence[Any]) -> Execution:
    return Execution(
        execution_id=row[0],
        bot_id=row[1],
        session_id=row[2],
        status=row[3],
        error=row[4],
        elapsed_ms=row[5],
        tokens=row[6],
        steps=row[7],
        created_at=_utc(row[8]),
    )


# -- one -------------------------------------------------------------------------------------------


def ids_like(connection: sa.Connection, prefix: str, limit: int = 6) -> list[uuid.UUID]:
    """The ids that begin with `prefix`, in order; none if it is no beginning of an id.

    With or without dashes; a range of the primary key.
    """
    digits = prefix.strip().lower().replace("-", "")
    if not _HEX.fullmatch(digits):
        return []
    low, high = (uuid.UUID(digits.ljust(32, end)) for end in "0f")
    query = (
        sa.select(execution_runs.c.id)
        .where(execution_runs.c.id >= low, execution_runs.c.id <= high)
        .order_by(execution_runs.c.id)
        .limit(limit)
    )
    return list(connection.scalars(query))


def whole(connection: sa.Connection, execution_id: uuid.UUID) -> Whole | None:
    """One execution, None if there is none."""
    version = (
        sa.select(versions.c.version)
        .where(versions.c.id == execution_runs.c.workflow_version_id)
        .scalar_subquery()
    )
    query = sa.select(
        *_LISTED,
        execution_runs.c.workflow_version_id,
        version,
        execution_runs.c.user_id,
        sa.cast(execution_runs.c.inputs, sa.Text),
        sa.cast(execution_runs.c.outputs, sa.Text),
        execution_runs.c.started_at,
        execution_runs.c.finished_at,
    ).where(execution_runs.c.id == execution_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    version_id, name, user_id, inputs, outputs, started_at, finished_at = row[len(_LISTED) :]
    return Whole(
        execution=_execution(row),
        version_id=version_id,
        version=name,
        user_id=user_id,
        inputs=inputs,
        outputs=outputs,
        started_at=None if started_at is None else _utc(started_at),
        finished_at=None if finished_at is None else _utc(finished_at),
    )


_TIMED: Final = (
    node_executions.c.execution_order,
    node_executions.c.node_id,
    node_executions.c.node_type,
    node_executions.c.status,
    node_executions.c.error_message,
    node_executions.c.elapsed_time,
    sa.cast(node_executions.c.process_data, sa.Text),
    node_executions.c.tokens_used,
    node_executions.c.is_truncated,
    sa.cast(node_executions.c.truncated_fields, sa.Text),
)


def nodes(
    connection: sa.Connection, execution_id: uuid.UUID, *, with_values: bool = True
) -> list[NodeExecution]:
    """What the nodes of an execution did, in the order of execution (by the index on the run).

    Without values `inputs` and `outputs` are not read.
    """
    values = (node_executions.c.inputs, node_executions.c.outputs) if with_values else ()
    query = (
        sa.select(*_TIMED, *(sa.cast(column, sa.Text) for column in values))
        .where(node_executions.c.workflow_run_id == execution_id)
        .order_by(node_executions.c.execution_order, node_executions.c.created_at)
    )
    return [_node(row) for row in connection.execute(query)]


def slowest_first(nodes: Sequence[NodeExecution]) -> list[NodeExecution]:
    """Nodes by the time that they took, longest first; those that did not run are left out."""
    ran = [node for node in nodes if node.status != "skipped"]
    return sorted(ran, key=lambda node: -(node.elapsed_us or 0))


def _node(row: Sequence[Any]) -> NodeExecution:
    inputs, outputs = row[len(_TIMED) :] or (None, None)
    return NodeExecution(
        order=row[0],
        node_id=row[1],
        type=row[2],
        status=row[3],
        error=row[4],
        elapsed_us=_elapsed_us(row[5], row[6]),
        tokens=row[7],
        is_truncated=bool(row[8]),
        truncated=row[9],
        inputs=inputs,
        outputs=outputs,
    )


class _ProcessData(msgspec.Struct, frozen=True):
    # A number beyond years is the platform's own, and means something else.
    elapsed_us: Annotated[int, msgspec.Meta(ge=0, le=10**15)] | None = None


_process_data = msgspec.json.Decoder(_ProcessData)


def _elapsed_us(elapsed_ms: int | None, process_data: str | None) -> int | None:
    """Microseconds where a recorder of ours kept them, else the platform's milliseconds."""
    try:
        fine = _process_data.decode(process_data or "{}").elapsed_us
    except (msgspec.DecodeError, RecursionError):  # the platform may keep anything there
        fine = None
    if fine is not None:
        return fine
    return None if elapsed_ms is None else elapsed_ms * 1000


def _utc(time: dt.datetime) -> dt.datetime:
    """A platform's column may have no time zone: then it holds UTC."""
    return time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time
