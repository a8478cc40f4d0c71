"""The platform's executions in a stretch of time: of a wave's bots, and of the control beside them.

Found by the time of their creation alone, which every platform has an index for; the stretch is
short, so whatever else happens on the platform is passed by. Nothing is locked.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, cast

import msgspec
import sqlalchemy as sa

from worker.core.parity.recording import SESSION_PREFIX
from worker.core.publication.alarm import BRAKE_S
from worker.core.publication.ignored import LOOKED_AT
from worker.core.publication.states import LIVE
from worker.core.publication.statuses import KNOWN
from worker.core.publication.tally import FIRST, Minute, Tally
from worker.errors import ConfigError

TABLE: Final = "workflow_execution_runs"


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What makes an execution bad. `ignored` are patterns for LIKE, of error messages.

    Of each bot the `first` executions are kept one by one.
    """

    ignored: tuple[str, ...]
    running_s: int
    slow_ms: int
    costly: int
    first: int = FIRST


# What takes longer than allowed has failed, whatever comes of it: so it was while it was running.
# What is neither succeeded, failed nor running is not known to be either.
_OVERRAN: Final = """(COALESCE({elapsed} > :running_s * 1000.0, false) OR
                 e.status::text = 'running' AND {created} < now() - make_interval(secs => :running_s))"""

_FAILED: Final = """
    CASE WHEN NOT e.status::text IN ('succeeded', 'failed', 'running') THEN NULL
         WHEN {overran} THEN true
         WHEN e.status::text = 'succeeded' THEN false
         WHEN e.status::text = 'failed'
              AND NOT COALESCE(left({error}, {looked_at}) COLLATE "C"
                               LIKE ANY (CAST(:ignored AS text[])), false) THEN true
    END
"""

_SEEN: Final = """
    SELECT e.bot_id::text COLLATE "default" AS bot_id, e.workflow_version_id::text AS version_id,
           e.id::text AS id, {created} AS at, {elapsed} AS elapsed, {tokens} AS tokens,
           {failed} AS failed, {overran} AS overran, {session} AS session_id,
           e.status::text = 'running' AS is_running
    FROM workflow_execution_runs e
    WHERE e.created_at >= {since} AND e.created_at < {until}
      AND NOT COALESCE(starts_with({session}, :ours), false)
"""

_MINUTES: Final = """
    WITH seen AS MATERIALIZED ({seen}), judged AS (
        SELECT CASE WHEN p.publication_id = :publication_id AND p.wave = :wave THEN 'wave'
                    ELSE 'waves' END AS who,
               s.bot_id, s.id, s.at, s.elapsed, s.tokens, s.failed, p.state = ANY (:live) AS is_out,
               {slow_over_own} AS slow, {costly_over_own} AS costly
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
               {slow}, {costly}
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
    query = sa.text(
        _MINUTES.format(
            seen=seen_sql(found),
            first=rules.first,
            slow=slow("NULL"),
            costly=costly("NULL"),
            slow_over_own=slow("g.slow_over_ms"),
            costly_over_own=costly("g.costly_over"),
        )
    )
    rows = connection.execute(
        query,
        {
            **bound(rules, since, until),
            "publication_id": publication_id,
            "wave": wave,
            "live": list(LIVE),
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


_UNKNOWN: Final = """
    SELECT left(COALESCE(e.status::text, ''), {most}) AS status, count(*) AS executions
    FROM workflow_execution_runs e
    JOIN flowshift.publication_bots p
      ON p.bot_id = e.bot_id::text COLLATE "default" AND p.version_id::text = e.workflow_version_id::text
    WHERE e.created_at >= {since} AND e.created_at < {until}
      AND COALESCE(e.status::text, '') <> ALL (CAST(:known AS text[]))
      AND NOT COALESCE(starts_with({session}, :ours), false)
      AND p.publication_id = :publication_id AND p.wave = :wave AND p.state = ANY (:live)
    GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {names}
"""

LONGEST_STATUS: Final = 40
MOST_STATUSES: Final = 20
"""So many characters of a status that is not known are read, and so many such statuses."""


def unknown(
    connection: sa.Connection,
    publication_id: int,
    wave: int,
    *,
    since: datetime,
    until: datetime | None = None,
) -> dict[str, int]:
    """How many executions of a wave have a status that the gate does not know, by that status."""
    found = columns(connection)
    query = sa.text(
        _UNKNOWN.format(
            most=LONGEST_STATUS,
            names=MOST_STATUSES,
            session=text_sql(found, "session_id"),
            since=moment_sql(found, "since"),
            until=moment_sql(found, "until"),
        )
    )
    values = {
        **_stretch(since, until),
        "known": list(KNOWN),
        "ours": SESSION_PREFIX,
        "publication_id": publication_id,
        "wave": wave,
        "live": list(LIVE),
    }
    return {row.status: row.executions for row in connection.execute(query, values)}


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


def slow(own: str) -> str:
    """SQL: the execution `s` is slow, by the bot's own limit, or the one for all."""
    return f"(s.overran OR COALESCE(s.elapsed > COALESCE({own}, :slow_ms), false))"


def costly(own: str) -> str:
    """SQL: the execution `s` is costly. What overran is not held against that: its tokens come late."""
    return f"(NOT s.overran AND COALESCE(s.tokens > COALESCE({own}, :costly), false))"


def seen_sql(found: Columns) -> str:
    """SQL for the executions of a stretch of time; takes what `bound` gives."""
    created, elapsed = "e.created_at::timestamptz", _elapsed(found)
    overran = _OVERRAN.format(elapsed=elapsed, created=created)
    return _SEEN.format(
        created=created,
        elapsed=elapsed,
        tokens=_number(found, "total_tokens"),
        overran=overran,
        failed=_FAILED.format(
            overran=overran, error=text_sql(found, "error_message"), looked_at=LOOKED_AT
        ),
        session=text_sql(found, "session_id"),
        since=moment_sql(found, "since"),
        until=moment_sql(found, "until"),
    )


def bound(rules: Rules, since: datetime, until: datetime | None) -> dict[str, Any]:
    """The parameters of `seen_sql`."""
    return {
        "ignored": list(rules.ignored),
        "running_s": rules.running_s,
        "slow_ms": float(rules.slow_ms),
        "costly": float(rules.costly),
        "ours": SESSION_PREFIX,
        **_stretch(since, until),
    }


def _stretch(since: datetime, until: datetime | None) -> dict[str, str]:
    return {
        "since": since.isoformat(),
        "until": "infinity" if until is None else until.isoformat(),
    }


def measured(found: Columns) -> frozenset[str]:
    """The metrics that the platform's columns allow to measure."""
    is_timed, is_metered = _elapsed(found) != _NO_NUMBER, _is_number(found, "total_tokens")
    known = {"failed": True, "slow": is_timed, "costly": is_metered}
    return frozenset(metric for metric, is_known in known.items() if is_known)


_NO_NUMBER: Final = "NULL::float8"


def _is_number(found: Columns, name: str) -> bool:
    return name in found and found[name].category == "N"


def _number(found: Columns, name: str) -> str:
    return f"e.{name}::float8" if _is_number(found, name) else _NO_NUMBER


def _elapsed(found: Columns) -> str:
    """SQL for the milliseconds that an execution took: as noted, else between its two times."""
    noted = _number(found, "elapsed_time")
    times = ("started_at", "finished_at")
    if any(name not in found or found[name].category != "D" for name in times):
        return noted
    between = "EXTRACT(epoch FROM e.finished_at::timestamptz - e.started_at::timestamptz) * 1000"
    return f"COALESCE({noted}, ({between})::float8)"


def text_sql(found: Columns, name: str) -> str:
    """SQL for a column as text; NULL where the platform has none."""
    return f"e.{name}::text" if name in found else "NULL::text"


def moment_sql(found: Columns, name: str) -> str:
    """SQL for the bound time `name`, comparable with `created_at`; the session is in UTC."""
    if found["created_at"].type.endswith("without time zone"):
        return f"CAST(CAST(:{name} AS timestamptz) AS timestamp)"
    return f"CAST(:{name} AS timestamptz)"
