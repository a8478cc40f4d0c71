"""The platform's executions in a stretch of time: of a wave's bots, and of the control beside them.

Found by the time of their creation alone, which every platform has an index for; the stretch is
short, so whatever else happens on the platform is passed by. Nothing is locked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, cast

import msgspec
import sqlalchemy as sa

from worker.core.parity.recording import SESSION_PREFIX
from worker.core.publication.alarm import BRAKE_S
from worker.core.publication.ignored import LOOKED_AT
from worker.core.publication.states import LIVE
from worker.core.publication.tally import FIRST, Minute, Tally
from worker.errors import ConfigError

TABLE: Final = "workflow_execution_runs"


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What makes an execution bad. `ignored` are patterns for LIKE, of error messages."""

    ignored: tuple[str, ...]
    running_s: int
    slow_ms: int
    costly: int


# Who takes longer than allowed has failed, whatever comes of it: so it was while it was running.
# What is neither succeeded, failed nor running is not known to be either.
STATUS: Final = """
    CASE WHEN e.status::text = 'failed' THEN
              CASE WHEN COALESCE(left({error}, {looked_at}) COLLATE "C" LIKE ANY
                                 (CAST(:ignored AS text[])), false) THEN NULL ELSE true END
         WHEN e.status::text = 'succeeded' THEN COALESCE({elapsed} > :running_s * 1000.0, false)
         WHEN e.status::text = 'running' AND {created} < now() - make_interval(secs => :running_s)
              THEN true
    END
"""

_SEEN: Final = """
    SELECT e.bot_id::text COLLATE "default" AS bot_id, e.workflow_version_id::text AS version_id,
           e.id::text AS id, {created} AS at, {elapsed} AS elapsed, {tokens} AS tokens,
           {status} AS failed, {session} AS session_id
    FROM workflow_execution_runs e
    WHERE e.created_at >= {since} AND e.created_at < {until}
      AND NOT COALESCE(starts_with({session}, :ours), false)
"""

_MINUTES: Final = """
    WITH seen AS MATERIALIZED ({seen}), judged AS (
        SELECT CASE WHEN p.publication_id = :publication_id AND p.wave = :wave THEN 'wave'
                    ELSE 'waves' END AS who,
               s.bot_id, s.id, s.at, s.elapsed, s.tokens, s.failed, p.state = ANY (:live) AS is_out,
               COALESCE(s.elapsed > COALESCE(g.slow_over_ms, :slow_ms), false) AS slow,
               COALESCE(s.tokens > COALESCE(g.costly_over, :costly), false) AS costly
        FROM seen s
        JOIN flowshift.publication_bots p
          ON p.bot_id = s.bot_id AND p.version_id::text = s.version_id
        JOIN flowshift.waves w ON w.publication_id = p.publication_id AND w.number = p.wave
        LEFT JOIN flowshift.gate_bots g
          ON g.publication_id = p.publication_id AND g.wave = p.wave AND g.bot_id = p.bot_id
        WHERE p.publication_id = :publication_id AND p.wave = :wave
           OR s.failed IS NOT NULL AND p.state = ANY (:live) AND w.state IN ('passed', 'accepted')
        UNION ALL
        SELECT 'v1', s.bot_id, s.id, s.at, s.elapsed, s.tokens, s.failed, true,
               COALESCE(s.elapsed > :slow_ms, false), COALESCE(s.tokens > :costly, false)
        FROM seen s WHERE s.failed IS NOT NULL AND s.version_id IS NULL
    )
    SELECT j.who, CASE WHEN j.who = 'wave' THEN j.bot_id ELSE '' END AS bot_id,
           EXTRACT(epoch FROM date_trunc('minute', j.at))::float8 AS minute_s,
           j.is_out, j.at >= now() - make_interval(secs => :recent_s) AS is_recent,
           count(j.failed), count(*) FILTER (WHERE j.failed),
           count(*) FILTER (WHERE j.slow AND j.failed IS NOT NULL),
           count(*) FILTER (WHERE j.costly AND j.failed IS NOT NULL),
           count(j.elapsed) FILTER (WHERE j.failed IS NOT NULL),
           count(j.tokens) FILTER (WHERE j.failed IS NOT NULL), count(*),
           CASE WHEN j.who = 'wave' THEN COALESCE(left(string_agg(
               (j.failed::int + 2 * j.slow::int + 4 * j.costly::int)::text, ''
               ORDER BY j.at, j.id), {first}), '') ELSE '' END
    FROM judged j GROUP BY 1, 2, 3, 4, 5
"""


def minutes(
    connection: sa.Connection,
    publication_id: int,
    wave: int,
    rules: Rules,
    *,
    since: datetime,
    until: datetime | None = None,
) -> list[Minute]:
    """The executions created in a stretch of time, by minute and bot; without `until`, all since.

    Those that are still running and may be are left out, and so are ours and those ignored.
    """
    found = columns(connection)
    query = sa.text(_MINUTES.format(seen=seen_sql(found), first=FIRST))
    rows = connection.execute(
        query,
        {
            **bound(rules, since, until),
            "publication_id": publication_id,
            "wave": wave,
            "live": list(LIVE),
            "slow_ms": float(rules.slow_ms),
            "costly": float(rules.costly),
            "recent_s": BRAKE_S,
        },
    )
    return [_minute(row) for row in rows]


def _minute(row: sa.Row[Any]) -> Minute:
    who, bot_id, minute_s, is_out, is_recent, *counts, first = tuple(row)
    return Minute(
        who=who,
        bot_id=bot_id,
        minute_s=minute_s,
        is_out=is_out,
        is_recent=is_recent,
        tally=Tally(*counts),
        first=first,
    )


# -- the platform's columns ------------------------------------------------------------------------


class Column(msgspec.Struct, frozen=True):
    """A column's type as PostgreSQL writes it, and the category of that type."""

    type: str
    category: str


Columns = Mapping[str, Column]
"""The columns of the table of executions as this platform has it, by name."""

_COLUMNS: Final = sa.text("""
    SELECT a.attname::text, format_type(a.atttypid, NULL), t.typcategory::text
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = to_regclass(:table) AND a.attnum > 0 AND NOT a.attisdropped
""")


def columns(connection: sa.Connection) -> Columns:
    """The columns of the table of executions; asked once a connection.

    Raises:
        ConfigError: the table is not there.
    """
    info = cast("dict[str, Any]", connection.info)
    if "executions_columns" not in info:
        rows = connection.execute(_COLUMNS, {"table": TABLE})
        info["executions_columns"] = {name: Column(*kind) for name, *kind in rows}
    found: Columns = info["executions_columns"]
    if not found:
        raise ConfigError(f"{TABLE} is not there: run `flowshift db check`")
    return found


def seen_sql(found: Columns) -> str:
    """SQL for the executions of a stretch of time; takes what `bound` gives."""
    created, elapsed = "e.created_at::timestamptz", _number(found, "elapsed_time")
    error = _text(found, "error_message")
    return _SEEN.format(
        created=created,
        elapsed=elapsed,
        tokens=_number(found, "total_tokens"),
        status=STATUS.format(error=error, looked_at=LOOKED_AT, elapsed=elapsed, created=created),
        session=_text(found, "session_id"),
        since=_moment(found, "since"),
        until=_moment(found, "until"),
    )


def bound(rules: Rules, since: datetime, until: datetime | None) -> dict[str, Any]:
    """The parameters of `seen_sql`."""
    return {
        "ignored": list(rules.ignored),
        "running_s": rules.running_s,
        "ours": SESSION_PREFIX,
        "since": since.isoformat(),
        "until": "infinity" if until is None else until.isoformat(),
    }


def measured(found: Columns) -> Sequence[str]:
    """The metrics that the platform's columns allow to measure."""
    needs = {"failed": None, "slow": "elapsed_time", "costly": "total_tokens"}
    return [metric for metric, name in needs.items() if name is None or _is_number(found, name)]


def _is_number(found: Columns, name: str) -> bool:
    return name in found and found[name].category == "N"


def _number(found: Columns, name: str) -> str:
    return f"e.{name}::float8" if _is_number(found, name) else "NULL::float8"


def _text(found: Columns, name: str) -> str:
    return f"e.{name}::text" if name in found else "NULL::text"


def _moment(found: Columns, name: str) -> str:
    """SQL for the bound time `name`, comparable with `created_at`; the session is in UTC."""
    if found["created_at"].type.endswith("without time zone"):
        return f"CAST(CAST(:{name} AS timestamptz) AS timestamp)"
    return f"CAST(:{name} AS timestamptz)"
