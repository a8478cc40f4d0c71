"""Look at a wave: what its executions came to so far, as a reading that the gate judges.

    begin ─► what is normal, once ─► settle what is old ─► read: settled + the last minutes

Each step is a short transaction of its own and safe to repeat; nothing of the platform's is locked.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import exc

from worker.core.publication.evidence import Reading
from worker.core.publication.ignored import like_patterns
from worker.core.publication.statuses import together
from worker.core.publication.tally import first_kept
from worker.db.engine import map_database_errors, sqlstate
from worker.db.publication import traffic, traffic_settle, traffic_sums
from worker.db.publication.traffic import Rules
from worker.db.publication.traffic_sums import Wave
from worker.db.sqlstate import CANCELLED
from worker.errors import NotFoundError, TransientError
from worker.runtime import Runtime
from worker.settings import Settings
from worker.steps.publication.normal import find_normal
from worker.steps.publication.reading import nothing_out, read

LATE: Final = timedelta(minutes=10)
"""So much later than it was created an execution may be committed, and still counts."""

SLICE: Final = timedelta(hours=1)
LEAST_SLICE: Final = timedelta(minutes=1)
"""So much is settled in one transaction: less where that takes too long."""

SETTLE_S: Final = 20.0
"""So long a look settles what is old; the next one goes on."""

BEHIND: Final = timedelta(hours=2)
"""No look counts more than this anew: what is older is settled first."""


def look(current: Runtime, publication_id: int, wave: int) -> Reading:
    """What is known of a wave now.

    Safe to repeat, and from several processes at once: each execution counts once.

    Raises:
        UsageError: there is no such wave.
        TransientError: the database is unavailable or busy, or what is old is still being counted, here
            or by another process: look again later.
    """
    settings = current.settings
    with map_database_errors():
        with current.engine.begin() as connection:
            found = _need(connection, publication_id, wave)
            began = _begin(connection, publication_id, wave)
            if began is None:
                return nothing_out(publication_id, wave, found, settings)
        rules = rules_of(settings, found.bot_count)
        find_normal(current.engine, publication_id, wave, rules, settings, until=began)
        _settle(current.engine, publication_id, wave, rules)
        snapshot = current.engine.execution_options(isolation_level="REPEATABLE READ")
        with snapshot.begin() as connection:
            found = _need(connection, publication_id, wave)
            since = _not_too_far_behind(connection, publication_id, wave, found)
            minutes = traffic.minutes(connection, publication_id, wave, rules, since=since)
            unknown = together(
                traffic_settle.unknown_of(connection, publication_id, wave),
                traffic.unknown(connection, publication_id, wave, since=since),
            )
            reading = read(connection, publication_id, wave, found, minutes, settings, rules)
            return msgspec.structs.replace(reading, unknown=unknown)


def rules_of(settings: Settings, bots: int) -> Rules:
    """What makes an execution bad, by the settings, in a wave of so many bots."""
    return Rules(
        ignored=like_patterns(settings.gate_ignore),
        running_s=settings.gate_running_s,
        slow_ms=settings.gate_slow_ms,
        costly=settings.gate_costly,
        first=first_kept(bots),
    )


def _need(connection: sa.Connection, publication_id: int, wave: int) -> Wave:
    found = traffic_sums.wave_of(connection, publication_id, wave)
    if found is None:
        raise NotFoundError(
            f"there is no wave {wave} of publication {publication_id}:"
            f" `flowshift publication {publication_id}` lists them"
        )
    return found


def _begin(connection: sa.Connection, publication_id: int, wave: int) -> datetime | None:
    """When the wave's first bot was published, counting from then on; None if none was yet."""
    began = traffic_settle.opened(connection, publication_id, wave)
    if began is None:
        began = traffic_sums.first_out(connection, publication_id, wave)
        if began is not None:
            traffic_settle.begin(connection, publication_id, wave, began, began - LATE)
    return began


def _settle(engine: sa.Engine, publication_id: int, wave: int, rules: Rules) -> None:
    """Count for good what is too old to change, unless another look is at it."""
    size, until = SLICE, time.monotonic() + SETTLE_S
    while time.monotonic() < until:
        try:
            if not _settle_slice(engine, publication_id, wave, rules, size):
                return
        except exc.DBAPIError as error:
            if sqlstate(error) != CANCELLED or size <= LEAST_SLICE:
                raise
            size = max(LEAST_SLICE, size / 4)


def _settle_slice(
    engine: sa.Engine, publication_id: int, wave: int, rules: Rules, size: timedelta
) -> bool:
    """Count the next stretch; False if there is nothing to do."""
    with engine.begin() as connection:
        since = traffic_settle.counted_until(connection, publication_id, wave, lock=True)
        if since is None:
            return False
        now = connection.execute(sa.select(sa.func.now())).scalar_one()
        until = min(since + _whole_minutes(size), _settled_before(now, rules))
        if until <= since:
            return False
        minutes = traffic.minutes(connection, publication_id, wave, rules, since=since, until=until)
        unknown = traffic.unknown(connection, publication_id, wave, since=since, until=until)
        traffic_settle.settle(
            connection, publication_id, wave, minutes, until, first=rules.first, unknown=unknown
        )
        return True


def _whole_minutes(size: timedelta) -> timedelta:
    return size // LEAST_SLICE * LEAST_SLICE


def _settled_before(now: datetime, rules: Rules) -> datetime:
    """What was created before has ended, or failed, and is committed."""
    before = now - LATE - timedelta(seconds=rules.running_s)
    return before.replace(second=0, microsecond=0)


def _not_too_far_behind(
    connection: sa.Connection, publication_id: int, wave: int, found: Wave
) -> datetime:
    since = traffic_settle.counted_until(connection, publication_id, wave)
    if since is None or found.now - since > BEHIND:
        raise TransientError(
            f"the executions of wave {wave} of publication {publication_id} are being counted, and are"
            f" so up to {since}: look again later"
        )
    return since
