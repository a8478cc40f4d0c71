"""Publications at a glance, each with the wave that it is at: what is out, and what waits.

Nothing of their bots is counted: the waves' counters are written by the batches, in their transactions.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.policy.progress import version_of
from worker.core.publication.gate import GateMode
from worker.core.publication.states import HeldBecause, PublicationState, WaveState


class Outline(msgspec.Struct, frozen=True, kw_only=True):
    """A publication in one row.

    `wave`, `label` and `wave_state` are of the wave that it is at: the one that works, is watched or waits
    for a decision, else the next; None if every wave is decided, or the publication is over. `sentence`
    is the gate's last verdict on it, `looked_at` when the gate last looked. Of `bot_count` bots so many
    were `published`, of which so many were `taken_back`, and so many `skipped`. Ages are seconds by the
    database's clock.
    """

    publication_id: int
    request_id: str
    retry_of: int | None
    state: PublicationState
    held_because: HeldBecause | None
    reason: str | None
    gate: GateMode
    requested_by: str
    bot_count: int
    published: int
    skipped: int
    taken_back: int
    waves: int
    wave: int | None
    label: str | None
    wave_state: WaveState | None
    sentence: str | None
    looked_at: dt.datetime | None
    created_at: dt.datetime
    moved_at: dt.datetime
    moved_ago_s: float
    looked_ago_s: float | None
    finished_at: dt.datetime | None
    row_version: int

    @property
    def is_over(self) -> bool:
        """Whether nothing moves it on by itself."""
        return self.finished_at is not None

    @property
    def version(self) -> int:
        """One number that never goes back: it grows when the state changes, and with every bot."""
        return version_of(self.row_version, self.published + self.skipped + self.taken_back)


_COLUMNS: Final = """
    SELECT p.publication_id, p.request_id, p.retry_of, p.state, p.held_because, p.state_reason AS reason,
           p.gate, p.requested_by, p.bot_count, t.published, t.skipped, t.taken_back, t.waves,
           w.number AS wave, w.label,
           w.state AS wave_state, w.sentence, p.looked_at, p.created_at, p.moved_at,
           extract(epoch FROM now() - p.moved_at)::float8 AS moved_ago_s,
           extract(epoch FROM now() - p.looked_at)::float8 AS looked_ago_s, p.finished_at,
           p.version AS row_version
    FROM flowshift.publications p
    CROSS JOIN LATERAL (
        SELECT count(*) AS waves, COALESCE(sum(published), 0)::bigint AS published,
               COALESCE(sum(skipped + failed), 0)::bigint AS skipped,
               COALESCE(sum(rolled_back + quarantined), 0)::bigint AS taken_back
        FROM flowshift.waves o WHERE o.publication_id = p.publication_id) t
    LEFT JOIN LATERAL (
        SELECT o.number, o.label, o.state, o.sentence FROM flowshift.waves o
        WHERE o.publication_id = p.publication_id
          AND p.finished_at IS NULL
          AND o.state IN ('publishing', 'watching', 'failed', 'inconclusive', 'pending')
        ORDER BY o.state = 'pending', o.number LIMIT 1) w ON true
"""

_ACTIVE: Final = sa.text(f"{_COLUMNS} WHERE p.finished_at IS NULL ORDER BY p.publication_id")

_RECENT: Final = sa.text(f"""
    {_COLUMNS}
    WHERE p.finished_at IS NULL OR p.finished_at > now() - interval '60 seconds'
    ORDER BY p.publication_id
""")

_NEWEST: Final = sa.text(f"""
    {_COLUMNS}
    WHERE p.publication_id < COALESCE(CAST(:before AS bigint), 9223372036854775807)
    ORDER BY p.publication_id DESC LIMIT :limit
""")

_ONE: Final = sa.text(f"{_COLUMNS} WHERE p.publication_id = :id")


def active(connection: sa.Connection) -> list[Outline]:
    """The publications that are not over, the oldest first."""
    return _outlines(connection, _ACTIVE)


def recent(connection: sa.Connection) -> list[Outline]:
    """Those that are not over, or have been for less than a minute; the oldest first."""
    return _outlines(connection, _RECENT)


def newest(connection: sa.Connection, limit: int, *, before: int | None = None) -> list[Outline]:
    """The newest publications, the newest first: one statement, whatever they are at.

    With `before` those that are older than that one.
    """
    return _outlines(connection, _NEWEST, limit=limit, before=before)


def one(connection: sa.Connection, publication_id: int) -> Outline | None:
    """A publication; None if there is none."""
    return next(iter(_outlines(connection, _ONE, id=publication_id)), None)


def _outlines(
    connection: sa.Connection, query: sa.TextClause, **bound: int | None
) -> list[Outline]:
    return [Outline(**row._asdict()) for row in connection.execute(query, bound)]
