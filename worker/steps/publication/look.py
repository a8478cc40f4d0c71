"""Look at a wave: what its executions came to so far, as a reading that the gate judges.

    begin ─► what is normal, once ─► settle what is old ─► read: settled + the last minutes

Each step is a short transaction of its own and safe to repeat; nothing of the platform's is locked.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from worker.core.publication.baseline import METRICS, NOTHING, Count, Metric, refuted_rate
from worker.core.publication.evidence import (
    BotMetric,
    BotReading,
    Limits,
    MetricReading,
    Reading,
    Recent,
    Traffic,
)
from worker.core.publication.ignored import like_patterns
from worker.core.publication.normal import Normal, cap_of, least_bad, normal
from worker.core.publication.quarantine import is_suspect
from worker.core.publication.tally import NONE, Minute, Who, add, control_of
from worker.db.engine import map_database_errors
from worker.db.publication import traffic, traffic_counts, traffic_normal
from worker.db.publication.traffic import Rules
from worker.db.publication.traffic_counts import Counted, Wave
from worker.errors import TransientError, UsageError
from worker.runtime import Runtime
from worker.settings import Settings

LATE: Final = timedelta(minutes=10)
"""So much later than it was created an execution may be committed, and still counts."""

SLICE: Final = timedelta(hours=1)
"""So much is settled in one transaction."""

BEHIND: Final = timedelta(hours=2)
"""No look counts more than this anew: what is older is settled first."""


def look(current: Runtime, publication_id: int, wave: int) -> Reading:
    """What is known of a wave now.

    Safe to repeat, and from several processes at once: each execution counts once.

    Raises:
        UsageError: there is no such wave.
        TransientError: the database is unavailable or busy, or another process is about to count what
            is old: look again later.
    """
    rules, settings = _rules(current.settings), current.settings
    with map_database_errors():
        with current.engine.begin() as connection:
            found = _need(connection, publication_id, wave)
            if found.first_out is None:
                return _nothing_out(publication_id, wave, found, settings)
            traffic_counts.begin(connection, publication_id, wave, found.first_out - LATE)
            _find_normal(connection, publication_id, wave)
        _settle(current.engine, publication_id, wave, rules)
        snapshot = current.engine.execution_options(isolation_level="REPEATABLE READ")
        with snapshot.begin() as connection:
            return _read(connection, publication_id, wave, rules, settings)


def _rules(settings: Settings) -> Rules:
    return Rules(
        ignored=like_patterns(settings.gate_ignore),
        running_s=settings.gate_running_s,
        slow_ms=settings.gate_slow_ms,
        costly_tokens=settings.gate_costly,
    )


def _limits(settings: Settings) -> Limits:
    return Limits(min_soak_s=settings.gate_min_soak_s, max_soak_s=settings.gate_max_soak_s)


def _need(connection: sa.Connection, publication_id: int, wave: int) -> Wave:
    found = traffic_counts.wave_of(connection, publication_id, wave)
    if found is None:
        raise UsageError(
            f"there is no wave {wave} of publication {publication_id}:"
            f" `flowshift publication {publication_id}` lists them"
        )
    return found


def _find_normal(connection: sa.Connection, publication_id: int, wave: int) -> None:
    if traffic_normal.kept(connection, publication_id, wave) is None:
        waves = traffic_normal.of_waves(connection, publication_id, wave)
        traffic_normal.keep(connection, publication_id, wave, normal({}, waves))


def _settle(engine: sa.Engine, publication_id: int, wave: int, rules: Rules) -> None:
    """Count for good what is too old to change, unless another look is at it."""
    while True:
        with engine.begin() as connection:
            since = traffic_counts.counted_until(connection, publication_id, wave, lock=True)
            if since is None:
                return
            now = connection.execute(sa.select(sa.func.now())).scalar_one()
            until = min(since + SLICE, _settled_before(now, rules))
            if until <= since:
                return
            minutes = traffic.minutes(
                connection, publication_id, wave, rules, since=since, until=until
            )
            traffic_counts.settle(connection, publication_id, wave, minutes, until)


def _settled_before(now: datetime, rules: Rules) -> datetime:
    """What was created before has ended, or failed, and is committed."""
    before = now - LATE - timedelta(seconds=rules.running_s)
    return before.replace(second=0, microsecond=0)


# -- the reading -----------------------------------------------------------------------------------


def _read(
    connection: sa.Connection, publication_id: int, wave: int, rules: Rules, settings: Settings
) -> Reading:
    found = _need(connection, publication_id, wave)
    since = traffic_counts.counted_until(connection, publication_id, wave)
    against = traffic_normal.kept(connection, publication_id, wave)
    if since is None or against is None or found.first_out is None:
        raise TransientError(f"wave {wave} of publication {publication_id} has changed meanwhile")
    if found.now - since > BEHIND:
        raise TransientError(f"another process is counting the executions of wave {wave}")
    minutes = traffic.minutes(connection, publication_id, wave, rules, since=since)
    minutes = [one for one in minutes if one.is_out]
    metrics: Sequence[Metric] = [
        m for m in METRICS if m in traffic.measured(traffic.columns(connection))
    ]
    cap = cap_of(found.out, against, metrics, settings.gate_p1)
    counted = Counted(connection, publication_id, wave, minutes, cap=cap)
    sums = counted.sums()
    metrics = [metric for metric in metrics if sums.total.measures(metric)]
    control = traffic_counts.control(connection, publication_id, wave)
    for key, count in control_of(minutes).items():
        control[key] = add(control.get(key, NOTHING), count)
    limits = _limits(settings)
    return Reading(
        publication_id=publication_id,
        wave=wave,
        bots=found.out + found.quarantined,
        quarantined=found.quarantined,
        since_s=min(found.watched_from or found.first_out, found.now).timestamp(),
        until_s=found.now.timestamp(),
        is_whole=found.state not in {"pending", "publishing"},
        metrics=tuple(
            MetricReading(
                metric=metric,
                count=sums.capped[metric],
                bots_failing=sums.failing[metric],
                p0=against.of(metric).p0,
                source=against.of(metric).source,
                p1=refuted_rate(against.of(metric).p0, settings.gate_p1),
                control=_control(control, metric),
            )
            for metric in metrics
        ),
        suspects=_suspects(counted, metrics, against, limits),
        recent=_recent(minutes),
        traffic=Traffic(seen=sums.total.executions),
        limits=limits,
    )


def _nothing_out(publication_id: int, wave: int, found: Wave, settings: Settings) -> Reading:
    """Of a wave of which no bot is out yet, or none was ever published."""
    against = normal({}, {})
    now_s = found.now.timestamp()
    return Reading(
        publication_id=publication_id,
        wave=wave,
        bots=0,
        since_s=min(found.watched_from or found.now, found.now).timestamp(),
        until_s=now_s,
        is_whole=found.state not in {"pending", "publishing"},
        metrics=(
            MetricReading(
                metric="failed",
                count=NOTHING,
                bots_failing=0,
                p0=against.failed.p0,
                source=against.failed.source,
                p1=refuted_rate(against.failed.p0, settings.gate_p1),
            ),
        ),
        limits=_limits(settings),
    )


def _control(found: dict[tuple[Who, Metric], Count], metric: Metric) -> Count:
    """The waves that are out; V1 where these had no executions."""
    waves = found.get(("waves", metric), NOTHING)
    return waves if waves.executions else found.get(("v1", metric), NOTHING)


def _suspects(
    counted: Counted, metrics: Sequence[Metric], against: Normal, limits: Limits
) -> tuple[BotReading, ...]:
    share = limits.false_quarantines
    least = {metric: least_bad(against.of(metric).p0, share) for metric in METRICS}
    readings = (
        BotReading(
            bot_id=one.bot_id,
            metrics=tuple(
                BotMetric(metric, one.tally.count(metric), against.of(metric).p0)
                for metric in metrics
            ),
            seen=one.tally.executions,
        )
        for one in counted.worst(least)
    )
    return tuple(one for one in readings if is_suspect(one, share))


def _recent(minutes: Sequence[Minute]) -> Recent:
    recent = [one for one in minutes if one.is_recent]

    def together(who: Who) -> Count:
        tally = NONE
        for one in recent:
            tally = tally.plus(one.tally) if one.who == who else tally
        return tally.count("failed")

    waves = together("waves")
    return Recent(
        count=together("wave"),
        bots=len({one.bot_id for one in recent if one.who == "wave" and one.tally.failed}),
        control=waves if waves.executions else together("v1"),
    )
