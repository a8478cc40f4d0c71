"""Real traffic on the platform in the last minutes: how many executions, how many failed, how long.

What counts as failed is what the gate says (`worker.db.publication.traffic`). Trials never count.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.metrics.catalogue import QUANTILES, TRAFFIC_ROWS, TRAFFIC_WINDOW_S
from worker.db.publication.traffic import Rules, bound, columns, moment_sql, seen_sql


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """Executions in the last `window_s` seconds; `durations_s` by quantile, none if none has one."""

    succeeded: int
    failed: int
    durations_s: tuple[float, ...]
    window_s: float


# From the index of the times of creation, newest first, and no further than so many rows.
_FULL_AT: Final = """
    SELECT e.created_at::timestamptz FROM workflow_execution_runs e
    WHERE e.created_at >= {since} ORDER BY e.created_at DESC OFFSET :rows LIMIT 1
"""

_SUMS: Final = """
    WITH seen AS ({seen})
    SELECT count(*) FILTER (WHERE NOT s.failed) AS succeeded, count(*) FILTER (WHERE s.failed) AS failed,
           percentile_cont(CAST(:quantiles AS float8[])) WITHIN GROUP (ORDER BY s.elapsed / 1000)
               FILTER (WHERE s.failed IS NOT NULL AND s.elapsed IS NOT NULL) AS durations_s
    FROM seen s
"""


def read(connection: sa.Connection, rules: Rules) -> Traffic:
    """The executions of the last `TRAFFIC_WINDOW_S`, as far back as `TRAFFIC_ROWS` of them reach.

    Raises:
        ConfigError: the platform's table of executions is not there.
    """
    found = columns(connection)
    now = connection.execute(sa.text("SELECT now()")).scalar_one()
    since = now - dt.timedelta(seconds=TRAFFIC_WINDOW_S)
    looked = sa.text(_FULL_AT.format(since=moment_sql(found, "since")))
    values = {"since": since.isoformat(), "rows": TRAFFIC_ROWS}
    full_at = connection.execute(looked, values).scalar()
    if full_at is not None:
        since = full_at + dt.timedelta(microseconds=1)
    row = connection.execute(
        sa.text(_SUMS.format(seen=seen_sql(found))),
        {**bound(rules, since, None), "quantiles": list(QUANTILES)},
    ).one()
    return Traffic(
        succeeded=row.succeeded,
        failed=row.failed,
        durations_s=tuple(one for one in row.durations_s or () if one is not None),
        window_s=max(0.0, (now - since).total_seconds()),
    )
