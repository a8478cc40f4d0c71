"""Which wave a run publishes."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from worker.core.publication.wave_ref import WaveRef

# A run that publishes no wave costs one look at its row.
_OF_RUN: Final = sa.text("""
    SELECT w.publication_id, w.number, w.label
    FROM flowshift.runs r JOIN flowshift.waves w ON w.run_id = r.run_id
    WHERE r.run_id = :run_id AND r.kind = 'publish'
    ORDER BY w.publication_id DESC, w.number DESC LIMIT 1
""")


def wave_of_run(connection: sa.Connection, run_id: int) -> WaveRef | None:
    """The wave that a run publishes; None if it publishes none, or another run went on with the wave."""
    row = connection.execute(_OF_RUN, {"run_id": run_id}).one_or_none()
    return None if row is None else WaveRef(*row)
