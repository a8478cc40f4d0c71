"""Bots of a publication that are to be published anew, and those of them that a run has proven since."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from worker.db.bulk import driver

# A scan of the publication's bots: no index holds those that are back, which would make every rollback
# slower. What a later publication has live, or is about to publish, is not taken again.
_TO_RETRY: Final = """
    SELECT b.bot_id, b.state FROM flowshift.publication_bots b
    WHERE b.publication_id = %(id)s
      AND (%(code)s::text IS NULL AND b.state IN ('rolled_back', 'quarantined', 'failed')
           OR b.state IN ('skipped', 'failed') AND b.code = %(code)s)
      AND (%(bot_ids)s::text[] IS NULL OR b.bot_id = ANY(%(bot_ids)s))
      AND EXISTS (SELECT FROM bots p WHERE p.bot_id = b.bot_id)
      AND NOT EXISTS (
          SELECT FROM flowshift.publication_bots n
          JOIN flowshift.publications p ON p.publication_id = n.publication_id
          WHERE n.bot_id = b.bot_id AND n.publication_id > b.publication_id
            AND (n.state IN ('published', 'confirmed')
                 OR n.state = 'pending' AND p.finished_at IS NULL))
    ORDER BY b.bot_id
"""


def to_retry(
    connection: sa.Connection,
    publication_id: int,
    *,
    code: str | None,
    bot_ids: Sequence[str] | None,
) -> dict[str, str]:
    """The bots of a publication that may be published anew, and the state of each there.

    Those that were rolled back, quarantined or failed; with `code` those that were skipped or failed
    with it; of `bot_ids` only, if given. A bot that is gone is left out, and so is one that a later
    publication has live or is about to publish.
    """
    named = None if bot_ids is None else list(bot_ids)
    with driver(connection).cursor() as cursor:
        cursor.execute(_TO_RETRY, {"id": publication_id, "code": code, "bot_ids": named})
        return dict(cursor.fetchall())


_PROVEN: Final = """
    SELECT l.bot_id FROM flowshift.ledger l
    JOIN flowshift.proofs p ON p.bot_id = l.bot_id AND p.run_id >= l.run_id
    WHERE l.run_id = %(run_id)s
      AND (l.outcome IN ('converted', 'unchanged')
           OR %(edited)s AND l.outcome = 'skipped' AND l.code = 'draft_edited')
    ORDER BY l.bot_id
"""


def proven(connection: sa.Connection, run_id: int, *, with_edited: bool) -> list[str]:
    """The bots of a run whose drafts it, or a later run, has proven.

    `with_edited`: also those whose draft a person changed, if a later run has proven that.
    """
    with driver(connection).cursor() as cursor:
        cursor.execute(_PROVEN, {"run_id": run_id, "edited": with_edited})
        return [bot_id for (bot_id,) in cursor.fetchall()]


_EDITED: Final = """
    SELECT bot_id FROM flowshift.ledger
    WHERE run_id = %s AND outcome = 'skipped' AND code = 'draft_edited' ORDER BY bot_id
"""


def edited(connection: sa.Connection, run_id: int) -> list[str]:
    """The bots that a run left alone, since a person changed their drafts."""
    with driver(connection).cursor() as cursor:
        cursor.execute(_EDITED, [run_id])
        return [bot_id for (bot_id,) in cursor.fetchall()]
