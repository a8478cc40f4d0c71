"""What came since an alarm: of the bots that were sick then, of the rest of their wave, and of others.

A short stretch, found by the time of creation like every other, and counted anew at each look.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.publication.alarmed import NONE_CAME, Alarmed, Came, Later
from worker.core.publication.states import LIVE
from worker.db.publication.traffic import Rules, bound, columns, costly, seen_sql, slow

MOST: Final = timedelta(hours=1)
"""So far back is read at most, however long an alarm stands because nobody comes."""

_LATER: Final = """
    WITH seen AS MATERIALIZED ({seen}), came AS (
        SELECT CASE WHEN NOT (p.publication_id = :publication_id AND p.wave = :wave) THEN 'waves'
                    WHEN p.bot_id = ANY (CAST(:sick AS text[])) THEN 'sick' ELSE 'others' END AS who,
               s.bot_id, s.failed, s.is_running,
               {slow_over_own} AS slow, {costly_over_own} AS costly
        FROM seen s
        JOIN flowshift.publication_bots p
          ON p.bot_id = s.bot_id AND p.version_id::text = s.version_id
        JOIN flowshift.waves w ON w.publication_id = p.publication_id AND w.number = p.wave
        LEFT JOIN flowshift.gate_bots g
          ON g.publication_id = p.publication_id AND g.wave = p.wave AND g.bot_id = p.bot_id
        WHERE p.state = ANY (:live)
          AND (p.publication_id = :publication_id AND p.wave = :wave
               OR w.state IN ('passed', 'accepted'))
        UNION ALL
        SELECT 'v1', s.bot_id, s.failed, s.is_running, {slow}, {costly}
        FROM seen s WHERE s.version_id IS NULL
    )
    SELECT c.who, CASE WHEN c.who = 'sick' THEN c.bot_id ELSE '' END AS bot_id,
           count(c.failed) AS executions, count(*) FILTER (WHERE c.failed) AS failed,
           count(*) FILTER (WHERE c.slow AND c.failed IS NOT NULL) AS slow,
           count(*) FILTER (WHERE c.costly AND c.failed IS NOT NULL) AS costly,
           count(*) FILTER (WHERE c.is_running AND c.failed IS NULL) AS running
    FROM came c GROUP BY 1, 2
"""


def later(
    connection: sa.Connection,
    publication_id: int,
    wave: int,
    rules: Rules,
    alarmed: Alarmed,
    *,
    now: datetime,
) -> Later:
    """What was executed since an alarm, or in the last hour where that is shorter.

    The control are the waves that are out; V1 where these had no executions.
    """
    since = max(datetime.fromtimestamp(alarmed.at_s, UTC), now - MOST)
    query = sa.text(
        _LATER.format(
            seen=seen_sql(columns(connection)),
            slow=slow("NULL"),
            costly=costly("NULL"),
            slow_over_own=slow("g.slow_over_ms"),
            costly_over_own=costly("g.costly_over"),
        )
    )
    values = {
        **bound(rules, since, None),
        "publication_id": publication_id,
        "wave": wave,
        "live": list(LIVE),
        "sick": list(alarmed.bots),
    }
    found: dict[tuple[str, str], Came] = {}
    for row in connection.execute(query, values):
        came = row._asdict()
        who, bot_id = came.pop("who"), came.pop("bot_id")
        found[who, bot_id] = Came(**came)
    waves = found.get(("waves", ""), NONE_CAME)
    return Later(
        sick={bot_id: came for (who, bot_id), came in sorted(found.items()) if who == "sick"},
        others=found.get(("others", ""), NONE_CAME),
        control=waves if waves != NONE_CAME else found.get(("v1", ""), NONE_CAME),
    )


# -- what stands -----------------------------------------------------------------------------------

_STANDS: Final = sa.text("""
    SELECT alarmed::text FROM flowshift.gate_looks
    WHERE publication_id = :publication_id AND wave = :wave
""")

_STAND: Final = sa.text("""
    UPDATE flowshift.gate_looks SET alarmed = CAST(:alarmed AS jsonb)
    WHERE publication_id = :publication_id AND wave = :wave
""")


def stands(connection: sa.Connection, publication_id: int, wave: int) -> Alarmed | None:
    """The alarm that stands, or the single bots that may be sick; None if nothing is wrong."""
    values = {"publication_id": publication_id, "wave": wave}
    text = connection.execute(_STANDS, values).scalar_one_or_none()
    return None if text is None else msgspec.json.decode(text, type=Alarmed)


def stand(
    connection: sa.Connection, publication_id: int, wave: int, alarmed: Alarmed | None
) -> None:
    """Note what stands from now on, in the transaction of the verdict that says so."""
    text = None if alarmed is None else msgspec.json.encode(alarmed).decode()
    values = {"publication_id": publication_id, "wave": wave, "alarmed": text}
    connection.execute(_STAND, values)
