"""Roll back the bots of a batch: V1 answers again where the live version is still ours.

Only the platform's flag changes. Versions and drafts stay as they are: the platform numbers versions
by those that are published, and a version that was archived would not be taken back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec
import sqlalchemy as sa

from worker.core.publication.states import LIVE
from worker.db.bulk import driver
from worker.db.publication.locks import lock_bots, lock_rows

Back = Literal["rolled_back", "superseded", "no_way_back", "busy"]


class Returned(msgspec.Struct, frozen=True):
    """What happened to a bot.

    `rolled_back`: V1 answers (again), or the bot is gone. `superseded`: a version that this
    publication did not make is live, and stays so. `no_way_back`: V1 is gone, and the version stays.
    `busy`: another session has it locked, and it comes again.
    """

    bot_id: str
    state: Back


class Place(msgspec.Struct, frozen=True):
    """Where a list of live bots goes on: after this bot of this wave."""

    wave: int
    bot_id: str


# Who publishes in the platform at this moment archives the version that is live: ours.
_LOCK_OURS: Final = """
    SELECT v.id FROM flowshift.publication_bots p
    JOIN bot_workflow_versions v ON v.id = p.version_id
    WHERE p.publication_id = %s AND p.bot_id = ANY(%s)
    ORDER BY v.id FOR NO KEY UPDATE OF v SKIP LOCKED
"""

_READ: Final = """
    SELECT p.bot_id::varchar, b.bot_id IS NOT NULL, p.version_id, v.id, b.use_workflow_v2,
           b.workflow IS NOT NULL AND b.workflow::text !~ '^\\s*null\\s*$'
    FROM flowshift.publication_bots p
    LEFT JOIN bots b ON b.bot_id = p.bot_id
    LEFT JOIN LATERAL (
        SELECT o.id FROM bot_workflow_versions o
        WHERE o.bot_id = b.bot_id AND o.status::text = 'published'
        ORDER BY o.published_at DESC NULLS FIRST LIMIT 1) v ON true
    WHERE p.publication_id = %s AND p.bot_id = ANY(%s)
    ORDER BY p.bot_id
"""

_FLAG: Final = """
    UPDATE bots SET use_workflow_v2 = false WHERE bot_id = ANY(%s) AND use_workflow_v2
"""

_NOTE: Final = """
    UPDATE flowshift.publication_bots p SET state = n.state, moved_at = now()
    FROM unnest(%s::text[], %s::text[]) AS n (bot_id, state)
    WHERE p.publication_id = %s AND p.bot_id = n.bot_id
"""


def roll_back_bots(
    connection: sa.Connection,
    publication_id: int,
    bot_ids: Sequence[str],
    *,
    note_as: Literal["rolled_back", "quarantined"] = "rolled_back",
) -> list[Returned]:
    """Give these bots back to V1; returns what happened to each, by id.

    Bots that this publication has not live are left out: on repeat nothing changes. Neither Redis
    nor a worker is needed, and no state of the publication: a rollback is always allowed. Our row
    says `note_as`. Set-based, and nothing waits for a row of the platform's that is locked.
    """
    ids = lock_rows(connection, publication_id, bot_ids, LIVE)
    if not ids:
        return []
    locked = lock_bots(connection, ids)
    with driver(connection).cursor() as cursor:
        cursor.execute(_LOCK_OURS, [publication_id, sorted(locked)])
        versions = {version_id for (version_id,) in cursor.fetchall()}
        cursor.execute(_READ, [publication_id, ids])
        returned = [
            Returned(
                bot_id,
                _back(
                    exists,
                    is_ours=ours == live,
                    is_locked=bot_id in locked and (ours != live or ours in versions),
                    may_return=has_v1 or not uses_v2,
                ),
            )
            for bot_id, exists, ours, live, uses_v2, has_v1 in dict.fromkeys(cursor.fetchall())
        ]
        back = [one.bot_id for one in returned if one.state == "rolled_back"]
        gone = [one.bot_id for one in returned if one.state == "superseded"]
        cursor.execute(_FLAG, [back])
        states = [note_as] * len(back) + ["superseded"] * len(gone)
        cursor.execute(_NOTE, [back + gone, states, publication_id])
    return returned


def _back(exists: bool, *, is_ours: bool, is_locked: bool, may_return: bool) -> Back:
    if not exists:
        return "rolled_back"
    if not is_locked:
        return "busy"
    if not is_ours:
        return "superseded"
    return "rolled_back" if may_return else "no_way_back"


_LIVE: Final = """
    SELECT wave, bot_id::varchar FROM flowshift.publication_bots
    WHERE publication_id = %(id)s AND state IN ('published', 'confirmed')
      AND (%(wave)s::int IS NULL OR wave = %(wave)s)
      AND (%(after_wave)s::int IS NULL OR (wave, bot_id) < (%(after_wave)s, %(after)s))
    ORDER BY wave DESC, bot_id DESC LIMIT %(limit)s
"""


def live_bots(
    connection: sa.Connection,
    publication_id: int,
    *,
    wave: int | None = None,
    after: Place | None = None,
    limit: int,
) -> list[Place]:
    """The bots that a publication has live, or one wave of it, the newest wave first, a page at a time."""
    with driver(connection).cursor() as cursor:
        cursor.execute(
            _LIVE,
            {
                "id": publication_id,
                "wave": wave,
                "after_wave": after and after.wave,
                "after": after and after.bot_id,
                "limit": limit,
            },
        )
        return [Place(*row) for row in cursor.fetchall()]
