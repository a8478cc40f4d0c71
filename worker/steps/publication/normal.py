"""Find what a wave is held against, at its first look: V1's executions, and those of earlier waves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy import exc

from worker.core.publication.baseline import Count, Metric
from worker.core.publication.normal import normal
from worker.core.publication.visits import DAY_H
from worker.db.engine import sqlstate
from worker.db.publication import traffic_normal, traffic_v1
from worker.db.publication.traffic import Rules
from worker.db.sqlstate import CANCELLED
from worker.log import get_logger
from worker.settings import Settings

log = get_logger(__name__)

LESS_H: Final = (DAY_H, 1)
"""So many hours are read of V1 where more take too long."""


def find_normal(
    engine: sa.Engine,
    publication_id: int,
    wave: int,
    rules: Rules,
    settings: Settings,
    *,
    until: datetime,
) -> None:
    """Find it by what was executed before `until`, and keep it; found before, nothing is done."""
    with engine.begin() as connection:
        if traffic_normal.kept(connection, publication_id, wave) is not None:
            return
        waves = traffic_normal.of_waves(connection, publication_id, wave)
    hours, v1 = _of_v1(engine, publication_id, wave, rules, settings.gate_baseline_h, until)
    control = _control(engine, publication_id, wave, rules, until)
    against = normal(v1, waves, until_s=until.timestamp(), hours=hours, control_hours=control)
    with engine.begin() as connection:
        traffic_normal.keep(connection, publication_id, wave, against)
    log.info(
        "wave.normal_found",
        publication_id=publication_id,
        wave=wave,
        source=against.failed.source,
        hours=hours,
    )


def _of_v1(
    engine: sa.Engine,
    publication_id: int,
    wave: int,
    rules: Rules,
    most_h: int,
    until: datetime,
) -> tuple[int, dict[Metric, Count]]:
    """How many hours could be read, and how V1 did in them; no hours where nothing came of late."""
    for hours in _tries(most_h):
        try:
            with engine.begin() as connection:
                traffic_v1.limit_time(connection)
                if not traffic_v1.is_any(connection, publication_id, wave, rules, until):
                    return 0, {}
                return hours, traffic_v1.find(
                    connection, publication_id, wave, rules, until=until, hours=hours
                )
        except exc.DBAPIError as error:
            _need_too_long(error)
    return 0, {}


def _tries(most_h: int) -> Iterator[int]:
    if most_h:
        yield most_h
    yield from (hours for hours in LESS_H if hours < most_h)


def _control(
    engine: sa.Engine, publication_id: int, wave: int, rules: Rules, until: datetime
) -> tuple[int, ...]:
    try:
        with engine.begin() as connection:
            traffic_v1.limit_time(connection)
            return traffic_v1.control_by_hour(connection, publication_id, wave, rules, until)
    except exc.DBAPIError as error:
        _need_too_long(error)
        return ()


def _need_too_long(error: exc.DBAPIError) -> None:
    """Let every error through but that a statement took too long."""
    if sqlstate(error) != CANCELLED:
        raise error
