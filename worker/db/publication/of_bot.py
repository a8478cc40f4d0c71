"""What publications say of one bot: its part in each, and the proof of its draft."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.policy.states import states_before
from worker.core.publication.states import (
    BOT_TRANSITIONS,
    LIVE,
    BotState,
    PublicationState,
)
from worker.db.bulk import driver
from worker.db.publication.content import content_hash, workflow_hash


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A bot's part in a publication: the wave it is in, and what became of it there.

    `version_id` and `version` are of the version that was made of its draft, None if none was.
    """

    publication_id: int
    publication_state: PublicationState
    wave: int
    label: str
    state: BotState
    code: str | None
    message: str | None
    version_id: uuid.UUID | None
    version: str | None
    published_at: dt.datetime | None
    moved_at: dt.datetime

    @property
    def is_live(self) -> bool:
        """Whether the publication counts the bot as live."""
        return self.state in LIVE

    @property
    def is_taken_back(self) -> bool:
        """Whether it gave the bot back to V1."""
        return self.state in ("rolled_back", "quarantined")


_PARTS: Final = """
    SELECT b.publication_id, p.state, b.wave, COALESCE(w.label, ''), b.state, b.code, b.message,
           b.version_id, b.version, b.published_at, b.moved_at
    FROM flowshift.publication_bots b
    JOIN flowshift.publications p ON p.publication_id = b.publication_id
    LEFT JOIN flowshift.waves w ON w.publication_id = b.publication_id AND w.number = b.wave
    WHERE b.bot_id = %s
    ORDER BY b.publication_id DESC
"""


def parts(connection: sa.Connection, bot_id: str) -> list[Part]:
    """A bot's part in every publication that it was in, the newest first."""
    with driver(connection).cursor() as cursor:
        cursor.execute(_PARTS, [bot_id])
        names = Part.__struct_fields__
        return [Part(**dict(zip(names, row, strict=True))) for row in cursor.fetchall()]


class TakenBack(msgspec.Struct, frozen=True):
    """Who gave a bot back to V1, and why; `reason` is None if none was given."""

    publication_id: int
    wave: int
    version: str | None
    state: BotState
    at: dt.datetime
    actor: str | None
    reason: str | None


# A rollback notes who began it, and its batches follow: within a day, by the index on the time.
_WHO: Final = """
    SELECT actor, reason FROM flowshift.audit
    WHERE at <= %(at)s AND at > %(at)s - interval '1 day'
      AND action IN ('publication.rolling_back', 'publication.quarantined')
      AND detail ->> 'publication' = %(id)s::text
    ORDER BY at DESC, id DESC LIMIT 1
"""


def taken_back(connection: sa.Connection, found: Iterable[Part]) -> TakenBack | None:
    """The last time that V1 was made to answer again, of a bot's parts; None if it never was."""
    last = max((one for one in found if one.is_taken_back), key=_moved_at, default=None)
    if last is None:
        return None
    with driver(connection).cursor() as cursor:
        values = {"at": last.moved_at, "id": last.publication_id}
        who = cursor.execute(_WHO, values).fetchone() or (None, None)
    return TakenBack(
        publication_id=last.publication_id,
        wave=last.wave,
        version=last.version,
        state=last.state,
        at=last.moved_at,
        actor=who[0],
        reason=last.message or who[1],
    )


def _moved_at(part: Part) -> dt.datetime:
    return part.moved_at


_SUPERSEDE: Final = """
    UPDATE flowshift.publication_bots SET state = 'superseded', moved_at = now()
    WHERE bot_id = %s AND version_id = %s AND state = ANY(%s)
    RETURNING publication_id
"""


def supersede(connection: sa.Connection, bot_id: str, version_id: uuid.UUID) -> list[int]:
    """Note that a version is not the one that answers; returns the publications that made it.

    The caller has the bot locked, and has seen that another version is served. On repeat none.
    """
    before = list(states_before(BOT_TRANSITIONS, "superseded"))
    with driver(connection).cursor() as cursor:
        cursor.execute(_SUPERSEDE, [bot_id, version_id, before])
        return [publication_id for (publication_id,) in cursor.fetchall()]


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """The last content of a draft of a bot that did what V1 did.

    `is_draft`: the draft is that content. `is_v1`: V1 is still what it was held against. `versions`:
    the names of the other versions that hold it, the one that was published last first.
    """

    run_id: int
    proven_at: dt.datetime
    is_draft: bool
    is_v1: bool
    versions: tuple[str, ...]


_PROOF: Final = f"""
    SELECT p.run_id, p.proven_at,
           EXISTS (SELECT FROM bot_workflow_versions d
                   WHERE d.bot_id = %(bot)s AND d.status::text = 'draft'
                     AND {content_hash("d")} = p.content_hash),
           EXISTS (SELECT FROM bots b
                   WHERE b.bot_id = %(bot)s AND {workflow_hash("b")} = p.workflow_hash),
           ARRAY(SELECT v.version::varchar FROM bot_workflow_versions v
                 WHERE v.bot_id = %(bot)s AND v.status::text <> 'draft'
                   AND {content_hash("v")} = p.content_hash
                 ORDER BY v.published_at DESC NULLS LAST, v.version)
    FROM flowshift.proofs p WHERE p.bot_id = %(bot)s
"""  # noqa: S608  (constants)


def proof(connection: sa.Connection, bot_id: str) -> Proof | None:
    """The proof of a bot, held against its draft and its V1 as they stand; None if there is none."""
    with driver(connection).cursor() as cursor:
        row = cursor.execute(_PROOF, {"bot": bot_id}).fetchone()
    if row is None:
        return None
    run_id, proven_at, is_draft, is_v1, versions = row
    return Proof(
        run_id=run_id,
        proven_at=proven_at,
        is_draft=is_draft,
        is_v1=is_v1,
        versions=tuple(versions),
    )
