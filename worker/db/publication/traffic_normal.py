"""What a wave is held against: found in the database at its first look, and kept with it."""

from __future__ import annotations

from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.publication.baseline import Count, Metric
from worker.core.publication.normal import Normal
from worker.core.publication.states import LIVE

_KEPT: Final = sa.text("""
    SELECT normal::text FROM flowshift.gate_looks WHERE publication_id = :publication_id AND wave = :wave
""")

_KEEP: Final = sa.text("""
    UPDATE flowshift.gate_looks SET normal = CAST(:normal AS jsonb)
    WHERE publication_id = :publication_id AND wave = :wave AND normal IS NULL
""")

_WAVES: Final = sa.text("""
    SELECT COALESCE(sum(g.executions), 0)::int8 AS executions, COALESCE(sum(g.failed), 0)::int8 AS failed,
           COALESCE(sum(g.slow), 0)::int8 AS slow, COALESCE(sum(g.costly), 0)::int8 AS costly,
           COALESCE(sum(g.timed), 0)::int8 AS timed, COALESCE(sum(g.metered), 0)::int8 AS metered
    FROM flowshift.waves w
    JOIN flowshift.gate_bots g ON g.publication_id = w.publication_id AND g.wave = w.number
    JOIN flowshift.publication_bots p
      ON p.bot_id = g.bot_id AND p.publication_id = g.publication_id AND p.state = ANY (:live)
    WHERE w.publication_id = :publication_id AND w.number < :wave AND w.state IN ('passed', 'accepted')
""")


def kept(connection: sa.Connection, publication_id: int, wave: int) -> Normal | None:
    """What was kept; None before the first look."""
    values = {"publication_id": publication_id, "wave": wave}
    text = connection.execute(_KEPT, values).scalar_one_or_none()
    return None if text is None else msgspec.json.decode(text, type=Normal)


def keep(connection: sa.Connection, publication_id: int, wave: int, against: Normal) -> None:
    """Keep it, unless another look was faster."""
    text = msgspec.json.encode(against).decode()
    values = {"publication_id": publication_id, "wave": wave, "normal": text}
    connection.execute(_KEEP, values)


def of_waves(connection: sa.Connection, publication_id: int, wave: int) -> dict[Metric, Count]:
    """What the waves before did that were accepted, as far as it is settled."""
    values = {"publication_id": publication_id, "wave": wave, "live": list(LIVE)}
    row = connection.execute(_WAVES, values).one()
    found: dict[Metric, Count] = {"failed": Count(row.failed, row.executions)}
    if row.timed:
        found["slow"] = Count(row.slow, row.executions)
    if row.metered:
        found["costly"] = Count(row.costly, row.executions)
    return found
