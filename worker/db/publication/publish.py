"""Publish the bots of a batch: one transaction, after which each is completely live or unchanged.

    lock (state, our rows, bots, versions) ─► read again ─► decide ─┐
    archive what was live ─► insert the version ─► next draft ─► flag ─► our row ◄┘

The caller commits, and adds in the same transaction what it keeps besides: ledger, counters, audit.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Literal

import msgspec
import sqlalchemy as sa
from psycopg import sql

from worker.core.codes import quote
from worker.core.policy.states import states_before
from worker.core.publication.eligibility import Heard, Refusal, Rules, decide
from worker.core.publication.states import BOT_TRANSITIONS, LIVE
from worker.core.publication.versions import NextDraft, draft_after, next_version
from worker.db.bulk import JsonText, driver
from worker.db.column_types import type_of
from worker.db.publication import seen
from worker.db.publication.content import content_hash
from worker.db.publication.copied import copied_columns
from worker.db.publication.locks import (
    lock_rows,
    lock_state,
    lock_with_versions,
    need_state,
)
from worker.db.publication.seen import Found, V1Problem
from worker.errors import BotError


class Published(msgspec.Struct, frozen=True):
    """A bot's new version: it is live once the transaction commits."""

    bot_id: str
    version_id: uuid.UUID
    version: str
    content_hash: int
    published_at: datetime


class Outcome(msgspec.Struct, frozen=True):
    """What happened to a bot: `published`, `skipped` with its refusal, or `busy`: it comes again."""

    bot_id: str
    state: Literal["published", "skipped", "busy"]
    published: Published | None = None
    refusal: Refusal | None = None


def publish_bots(
    connection: sa.Connection,
    publication_id: int,
    bot_ids: Sequence[str],
    *,
    rules: Rules,
    next_draft: NextDraft,
    v1_problem: V1Problem,
    heard: Mapping[str, Heard] = {},
) -> list[Outcome]:
    """Make the drafts of these bots their live versions; returns what happened to each, by id.

    Bots of this publication that are not pending are left out: delivered twice, it acts once. What
    another session has locked is `busy`, stays pending, and nothing waits for it. `heard` is what the
    platform said of their drafts. Set-based: as many statements for 200 bots as for one.

    Raises:
        StaleError: the publication is not publishing (any more).
        BotError: a version came out other than its draft, so that nothing of the batch is published.
    """
    lock_state(connection, publication_id, alone=False)
    need_state(connection, publication_id, "publishing")
    pending = states_before(BOT_TRANSITIONS, "published")
    ids = lock_rows(connection, publication_id, bot_ids, pending)
    locked = lock_with_versions(connection, ids)
    found = seen.read(connection, ids, locked, v1_problem, heard)
    refused = {one.seen.bot_id: decide(one.seen, rules) for one in found}
    going = [one for one in found if refused[one.seen.bot_id] is None]
    published = _publish(connection, going, next_draft)
    _note_published(connection, publication_id, going, published)
    outcomes = [_outcome(bot_id, refused[bot_id], published.get(bot_id)) for bot_id in ids]
    _note_skipped(connection, publication_id, outcomes)
    return outcomes


def _outcome(bot_id: str, refusal: Refusal | None, published: Published | None) -> Outcome:
    if refusal is None:
        return Outcome(bot_id, "published", published=published)
    return Outcome(bot_id, "busy" if refusal.code == "busy" else "skipped", refusal=refusal)


# -- the platform's rows ---------------------------------------------------------------------------

# Before the insert: a platform may hold that a bot has one published version.
_ARCHIVE: Final = """
    UPDATE bot_workflow_versions SET status = 'archived', updated_at = now()
    WHERE bot_id = ANY(%s) AND status::text = 'published'
"""

# Its time is the database's, and later than that of any other version of the bot: by it the platform
# chooses what it serves.
_INSERT: Final = f"""
    INSERT INTO bot_workflow_versions
        (id, bot_id, version, status, published_at, created_at, updated_at, {{columns}})
    SELECT gen_random_uuid(), d.bot_id, n.version::{{version}}, 'published',
           GREATEST(clock_timestamp()::{{time}}, (
               SELECT max(o.published_at) + interval '1 microsecond' FROM bot_workflow_versions o
               WHERE o.bot_id = d.bot_id)),
           now(), now(), {{values}}
    FROM unnest(%b::uuid[], %b::text[]) AS n (draft_id, version)
    JOIN bot_workflow_versions d ON d.id = n.draft_id
    RETURNING bot_id::varchar, id, version::varchar, {content_hash("bot_workflow_versions")},
              published_at::timestamptz
"""  # noqa: S608  (constants)

# In place: the row stays the draft, whatever is published, so that an editor that is open writes into it.
_EMPTY: Final = """
    UPDATE bot_workflow_versions SET graph = %b, updated_at = now() WHERE id = ANY(%b)
"""

_FLAG: Final = """
    UPDATE bots SET use_workflow_v2 = true WHERE bot_id = ANY(%s) AND NOT use_workflow_v2
"""


def _publish(
    connection: sa.Connection, going: Sequence[Found], next_draft: NextDraft
) -> dict[str, Published]:
    if not going:
        return {}
    ids = [one.seen.bot_id for one in going]
    draft_ids = [one.draft_id for one in going]
    columns = copied_columns(connection)
    insert = sql.SQL(_INSERT).format(
        columns=sql.SQL(", ").join(columns),
        values=sql.SQL(", ").join(sql.SQL("d.") + column for column in columns),
        version=type_of(connection, "bot_workflow_versions", "version"),
        time=type_of(connection, "bot_workflow_versions", "published_at"),
    )
    with driver(connection).cursor() as cursor:
        cursor.execute(_ARCHIVE, [ids])
        cursor.execute(insert, (draft_ids, [next_version(one.versions) for one in going]))
        published = {row[0]: Published(*row) for row in cursor.fetchall()}
        _need_same_content(going, published)
        if next_draft == "empty":
            cursor.execute(_EMPTY, (JsonText(draft_after(b"", next_draft)), draft_ids))
        cursor.execute(_FLAG, [ids])
    return published


def _need_same_content(going: Sequence[Found], published: dict[str, Published]) -> None:
    for one in going:
        version = published.get(one.seen.bot_id)
        if version is None or version.content_hash != one.seen.content_hash:
            raise BotError(
                "internal_error",
                f"the version that was inserted for {quote(one.seen.bot_id)} is not its draft: does a"
                " trigger on bot_workflow_versions change it?",
            )


# -- our rows --------------------------------------------------------------------------------------

_NOTE_PUBLISHED: Final = """
    UPDATE flowshift.publication_bots p
    SET state = 'published', version_id = n.version_id, version = n.version,
        content_hash = n.content_hash, workflow_hash = n.workflow_hash,
        previous_id = n.previous_id, published_at = n.published_at, moved_at = now(),
        row_version = (SELECT v.xmin::text FROM bot_workflow_versions v WHERE v.id = n.version_id)
    FROM unnest(%b::text[], %b::uuid[], %b::text[], %b::int8[], %b::int8[], %b::uuid[],
                %b::timestamptz[])
         AS n (bot_id, version_id, version, content_hash, workflow_hash, previous_id, published_at)
    WHERE p.publication_id = %b AND p.bot_id = n.bot_id
"""

# Of an earlier publication: its version is live no more.
_NOTE_SUPERSEDED: Final = """
    UPDATE flowshift.publication_bots SET state = 'superseded', moved_at = now()
    WHERE bot_id = ANY(%s) AND publication_id <> %s AND state = ANY(%s)
"""

_NOTE_SKIPPED: Final = """
    UPDATE flowshift.publication_bots p
    SET state = 'skipped', code = n.code, message = n.message, moved_at = now()
    FROM unnest(%b::text[], %b::text[], %b::text[]) AS n (bot_id, code, message)
    WHERE p.publication_id = %b AND p.bot_id = n.bot_id
"""


def _note_published(
    connection: sa.Connection,
    publication_id: int,
    going: Sequence[Found],
    published: dict[str, Published],
) -> None:
    if not going:
        return
    ids = [one.seen.bot_id for one in going]
    versions = [published[bot_id] for bot_id in ids]
    with driver(connection).cursor() as cursor:
        cursor.execute(
            _NOTE_PUBLISHED,
            (
                ids,
                [one.version_id for one in versions],
                [one.version for one in versions],
                [one.content_hash for one in versions],
                [one.seen.workflow_hash for one in going],
                [one.live for one in going],
                [one.published_at for one in versions],
                publication_id,
            ),
        )
        cursor.execute(_NOTE_SUPERSEDED, [ids, publication_id, list(LIVE)])


def _note_skipped(
    connection: sa.Connection, publication_id: int, outcomes: Sequence[Outcome]
) -> None:
    refusals = [
        (one.bot_id, one.refusal) for one in outcomes if one.state == "skipped" and one.refusal
    ]
    if not refusals:
        return
    with driver(connection).cursor() as cursor:
        cursor.execute(
            _NOTE_SKIPPED,
            (
                [bot_id for bot_id, _ in refusals],
                [refusal.code for _, refusal in refusals],
                [refusal.message for _, refusal in refusals],
                publication_id,
            ),
        )
