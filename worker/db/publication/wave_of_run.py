"""Which wave a run publishes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from worker.core.publication.wave_ref import WaveRef

# Runs that publish no wave cost one look at their rows.
_OF_RUNS: Final = sa.text("""
    SELECT DISTINCT ON (r.run_id) r.run_id, w.publication_id, w.number, w.label
    FROM flowshift.runs r JOIN flowshift.waves w ON w.run_id = r.run_id
    WHERE r.run_id = ANY(:run_ids) AND r.kind = 'publish'
    ORDER BY r.run_id, w.publication_id DESC, w.number DESC
""")


def wave_of_run(connection: sa.Connection, run_id: int) -> WaveRef | None:
    """The wave that a run publishes; None if it publishes none, or another run went on with the wave."""
    return waves_of_runs(connection, [run_id]).get(run_id)


def waves_of_runs(connection: sa.Connection, run_ids: Sequence[int]) -> dict[int, WaveRef]:
    """The wave that each of some runs publishes, by the run; those that publish none are left out."""
    rows = connection.execute(_OF_RUNS, {"run_ids": list(run_ids)})
    return {run_id: WaveRef(*wave) for run_id, *wave in rows}
