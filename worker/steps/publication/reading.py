"""Put a reading together: the counts of a wave, what they are held against, and the control."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from worker.core.publication.alarmed import Later
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
from worker.core.publication.normal import Normal, cap_of, least_bad, normal
from worker.core.publication.quarantine import SILENT_FROM, is_suspect
from worker.core.publication.tally import NONE, Minute, Tally, Who, control_of
from worker.core.publication.visits import at_least, expected_by
from worker.db.publication import traffic, traffic_later, traffic_normal, traffic_sums
from worker.db.publication.traffic import Rules
from worker.db.publication.traffic_sums import Counted, Sums, Wave
from worker.errors import TransientError
from worker.settings import Settings


def read(
    connection: sa.Connection,
    publication_id: int,
    wave: int,
    found: Wave,
    minutes: Sequence[Minute],
    settings: Settings,
    rules: Rules,
) -> Reading:
    """The reading of a wave: what is settled, with `minutes`, which are not. One snapshot for all."""
    against = traffic_normal.kept(connection, publication_id, wave)
    if against is None:
        raise TransientError(
            f"wave {wave} of publication {publication_id} was begun anew meanwhile"
        )
    minutes = [one for one in minutes if one.is_out]
    columns = traffic.columns(connection)
    metrics = [metric for metric in METRICS if metric in traffic.measured(columns)]
    cap = cap_of(found.out, against, metrics, settings.gate_p1)
    counted = Counted(connection, publication_id, wave, minutes, cap=cap)
    sums = counted.sums()
    metrics = [metric for metric in metrics if sums.total.measures(metric)]
    silent = counted.silent(against, found.now.timestamp())
    limits = _limits(settings)
    alarmed = traffic_later.stands(connection, publication_id, wave)
    later = Later()
    if alarmed is not None:
        later = traffic_later.later(connection, publication_id, wave, rules, alarmed, now=found.now)
    return Reading(
        publication_id=publication_id,
        wave=wave,
        bots=found.out + found.quarantined,
        quarantined=found.quarantined,
        since_s=found.since.timestamp(),
        until_s=found.now.timestamp(),
        is_whole=found.is_whole,
        metrics=_metrics(
            sums, metrics, against, _control(connection, publication_id, wave, minutes), settings
        ),
        suspects=_suspects(counted, silent, metrics, against, limits),
        recent=_recent(minutes),
        traffic=_traffic(sums, silent),
        control_traffic=_control_traffic(
            connection, publication_id, wave, minutes, against, found.now.timestamp()
        ),
        alarmed=alarmed,
        later=later,
        limits=limits,
    )


def nothing_out(publication_id: int, wave: int, found: Wave, settings: Settings) -> Reading:
    """The reading of a wave of which no bot was published yet."""
    none = Sums(NONE, {"failed": NOTHING}, {"failed": 0})
    return Reading(
        publication_id=publication_id,
        wave=wave,
        bots=0,
        since_s=found.since.timestamp(),
        until_s=found.now.timestamp(),
        is_whole=found.is_whole,
        metrics=_metrics(none, ["failed"], normal({}, {}), {}, settings),
        limits=_limits(settings),
    )


def _limits(settings: Settings) -> Limits:
    return Limits(
        min_soak_s=settings.gate_min_soak_s,
        max_soak_s=settings.gate_max_soak_s,
        confirm_s=settings.gate_confirm_s,
    )


def _metrics(
    sums: Sums,
    metrics: Sequence[Metric],
    against: Normal,
    control: dict[tuple[Who, Metric], Count],
    settings: Settings,
) -> tuple[MetricReading, ...]:
    return tuple(
        MetricReading(
            metric=metric,
            count=sums.capped[metric],
            bots_failing=sums.failing[metric],
            p0=against.of(metric).p0,
            source=against.of(metric).source,
            p1=refuted_rate(against.of(metric).p0, settings.gate_p1),
            control=_best(
                control.get(("waves", metric), NOTHING), control.get(("v1", metric), NOTHING)
            ),
        )
        for metric in metrics
    )


# -- single bots -----------------------------------------------------------------------------------


def _suspects(
    counted: Counted,
    silent: dict[str, float],
    metrics: Sequence[Metric],
    against: Normal,
    limits: Limits,
) -> tuple[BotReading, ...]:
    share = limits.false_quarantines
    least = {metric: least_bad(against.of(metric).p0, share) for metric in METRICS}
    tallies = {one.bot_id: one.tally for one in counted.worst(least)}
    tallies.update((bot_id, NONE) for bot_id, came in silent.items() if came >= SILENT_FROM)
    readings = (
        _bot(bot_id, tally, metrics, against, silent.get(bot_id, 0.0))
        for bot_id, tally in sorted(tallies.items())
    )
    return tuple(one for one in readings if is_suspect(one, share))


def _bot(
    bot_id: str, tally: Tally, metrics: Sequence[Metric], against: Normal, expected: float
) -> BotReading:
    return BotReading(
        bot_id=bot_id,
        metrics=tuple(
            BotMetric(metric, tally.count(metric), against.of(metric).p0) for metric in metrics
        ),
        expected=at_least(expected),
        seen=tally.seen,
    )


# -- the control, and the last minutes -------------------------------------------------------------


def _best(waves: Count, v1: Count) -> Count:
    """The waves that are out; V1 where these had no executions."""
    return waves if waves.executions else v1


def _control(
    connection: sa.Connection, publication_id: int, wave: int, minutes: Sequence[Minute]
) -> dict[tuple[Who, Metric], Count]:
    control = traffic_sums.control(connection, publication_id, wave)
    for key, count in control_of(minutes).items():
        control[key] = control.get(key, NOTHING).plus(count)
    return control


def _traffic(sums: Sums, silent: dict[str, float]) -> Traffic:
    """What should have come is only of interest where nothing came: then every bot is silent."""
    came = 0.0 if sums.total.seen else sum(silent.values())
    return Traffic(expected=at_least(came), seen=sums.total.seen)


def _control_traffic(
    connection: sa.Connection,
    publication_id: int,
    wave: int,
    minutes: Sequence[Minute],
    against: Normal,
    now_s: float,
) -> Traffic:
    seen = traffic_sums.control_seen(connection, publication_id, wave, against.until_s)
    for one in minutes:
        if one.who != "wave" and one.minute_s >= against.until_s:
            seen[one.who] = seen.get(one.who, 0) + one.tally.executions
    expected = expected_by(against.control_hours, now_s - against.until_s)
    return Traffic(expected=expected, seen=sum(seen.values()))


def _recent(minutes: Sequence[Minute]) -> Recent:
    recent = [one for one in minutes if one.is_recent]

    def together(who: Who) -> Count:
        tally = NONE
        for one in recent:
            tally = tally.plus(one.tally) if one.who == who else tally
        return tally.count("failed")

    return Recent(
        count=together("wave"),
        bots=len({one.bot_id for one in recent if one.who == "wave" and one.tally.failed}),
        control=_best(together("waves"), together("v1")),
    )
