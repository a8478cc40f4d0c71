"""Forget what the gate has counted of a wave: a person decided on it, only what comes now counts."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

_FORGET: Final = (
    "DELETE FROM flowshift.gate_bots WHERE publication_id = :id AND wave = :wave",
    "DELETE FROM flowshift.gate_bad_minutes WHERE publication_id = :id AND wave = :wave",
    "DELETE FROM flowshift.gate_control_minutes WHERE publication_id = :id AND wave = :wave",
    """
    UPDATE flowshift.gate_looks SET counted_until = now(), alarmed = NULL, unknown = NULL
    WHERE publication_id = :id AND wave = :wave
    """,
    """
    UPDATE flowshift.waves SET watched_from = now()
    WHERE publication_id = :id AND number = :wave AND state = 'watching'
    """,
)


def count_anew(connection: sa.Connection, publication_id: int, wave: int) -> None:
    """Let only executions from now on count for a wave, and begin its soak again.

    What is normal stays, and so do the verdicts that were given. The caller has the state locked.
    """
    for statement in _FORGET:
        connection.execute(sa.text(statement), {"id": publication_id, "wave": wave})
