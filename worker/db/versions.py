"""The versions of one bot: read, locked, archived, restored into the draft."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Final, cast

import msgspec
import sqlalchemy as sa
from psycopg import sql

from worker.db.bulk import BytesLoader, JsonText, driver
from worker.db.column_types import type_of
from worker.db.drafts import MAX_GRAPH_BYTES
from worker.db.expressions import graph_hash
from worker.db.publication.content import content_hash, variables
from worker.db.publication.copied import copied_columns


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a bot. `is_ours`: a run wrote its graph. `state` is a hash of the graph."""

    version_id: uuid.UUID
    version: str
    status: str
    created_at: datetime | None
    updated_at: datetime | None
    published_at: datetime | None
    nodes: int
    is_ours: bool
    state: str


_STATE: Final = "left(encode(sha256(convert_to({row}.graph::text, 'UTF8')), 'hex'), 32)"

_BOT: Final = "SELECT use_workflow_v2 FROM bots WHERE bot_id = %s"

_LIST: Final = f"""
    SELECT v.id, v.version::text, v.status::text, v.created_at::timestamptz,
           v.updated_at::timestamptz, v.published_at::timestamptz,
           jsonb_array_length(
               CASE WHEN jsonb_typeof(v.graph -> 'nodes') = 'array' THEN v.graph -> 'nodes'
                    ELSE '[]' END),
           EXISTS (SELECT FROM flowshift.ledger l
                   WHERE l.bot_id = v.bot_id COLLATE "default"
                     AND l.draft_hash = {graph_hash("v")}),
           {_STATE.format(row="v")}
    FROM bot_workflow_versions v WHERE v.bot_id = %s
    ORDER BY v.status::text = 'draft' DESC, v.status::text = 'published' DESC,
             v.published_at DESC NULLS FIRST, v.created_at DESC, v.version
"""  # noqa: S608  (constants)


def flags(connection: sa.Connection, bot_id: str, *, lock: bool = False) -> list[bool]:
    """`use_workflow_v2` of each row that has this id; with `lock` they stay until the end."""
    with driver(connection).cursor() as cursor:
        cursor.execute(_BOT + (" FOR NO KEY UPDATE" if lock else ""), [bot_id])
        return [bool(flag) for (flag,) in cursor.fetchall()]


def lock(connection: sa.Connection, bot_id: str) -> None:
    """Keep the versions of a bot as they are until this transaction ends; waits for who writes one.

    After `flags` has locked the bot. Read them after this: only that sees what was just committed.
    """
    with driver(connection).cursor() as cursor:
        cursor.execute(
            "SELECT id FROM bot_workflow_versions WHERE bot_id = %s ORDER BY id FOR NO KEY UPDATE",
            [bot_id],
        )


_DENIED: Final = """
    SELECT current_user::varchar, string_agg(name, ', ' ORDER BY place)::varchar
    FROM unnest(%s::text[]) WITH ORDINALITY AS n (name, place)
    WHERE NOT has_column_privilege('bot_workflow_versions', name, 'UPDATE')
"""


def denied_columns(connection: sa.Connection, columns: Sequence[str]) -> tuple[str, str] | None:
    """The role, and those of these columns of a version that it may not update; None if it may all."""
    with driver(connection).cursor() as cursor:
        row = cursor.execute(_DENIED, [list(columns)]).fetchone()
    return None if row is None or row[1] is None else (row[0], row[1])


def of_bot(connection: sa.Connection, bot_id: str) -> list[Version]:
    """All versions of a bot: the draft, what is published in the platform's order, then the rest."""
    with driver(connection).cursor() as cursor:
        cursor.execute(_LIST, [bot_id])
        names = Version.__struct_fields__
        return [Version(**dict(zip(names, row, strict=True))) for row in cursor.fetchall()]


def has_v1(connection: sa.Connection, bot_id: str) -> bool:
    """Whether a bot has a workflow of V1; JSON null is none."""
    with driver(connection).cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM bots WHERE bot_id = %s AND workflow IS NOT NULL"
            " AND workflow::text !~ '^\\s*null\\s*$')",
            [bot_id],
        )
        return cursor.fetchall() == [(True,)]


_GRAPH: Final = f"""
    SELECT CASE WHEN octet_length(v.graph::text) <= %s THEN v.graph::text END,
           {_STATE.format(row="v")}::varchar
    FROM bot_workflow_versions v WHERE v.id = %s
"""  # noqa: S608  (constants)


def graph(connection: sa.Connection, version_id: uuid.UUID) -> tuple[bytes | None, str]:
    """The graph of a version as JSON, None if it is over `MAX_GRAPH_BYTES`, and its state.

    Raises:
        LookupError: there is no such version any more.
    """
    with driver(connection).cursor() as cursor:
        cursor.adapters.register_loader("text", BytesLoader)
        row = cursor.execute(_GRAPH, [MAX_GRAPH_BYTES, version_id]).fetchone()
    if row is None:
        raise LookupError(version_id)
    return cast("tuple[bytes | None, str]", row)


class Stored(msgspec.Struct, frozen=True):
    """What a version holds, as JSON; `graph` is None if it is over `MAX_GRAPH_BYTES`."""

    graph: bytes | None
    environment_variables: bytes
    conversation_variables: bytes


_WHOLE: Final = """
    SELECT CASE WHEN octet_length(v.graph::text) <= %s THEN v.graph::text END,
           COALESCE(v.environment_variables::text, '{}'),
           COALESCE(v.conversation_variables::text, '{}')
    FROM bot_workflow_versions v WHERE v.id = %s
"""


def whole(connection: sa.Connection, version_id: uuid.UUID) -> Stored | None:
    """What a version holds; None if there is no such version any more."""
    with driver(connection).cursor() as cursor:
        cursor.adapters.register_loader("text", BytesLoader)
        row = cursor.execute(_WHOLE, [MAX_GRAPH_BYTES, version_id]).fetchone()
    return None if row is None else Stored(*row)


_WRITE: Final = f"""
    UPDATE bot_workflow_versions v SET graph = %b, updated_at = now()
    WHERE v.id = %b AND v.status::text = 'draft'
    RETURNING v.graph = %b, {_STATE.format(row="v")}
"""  # noqa: S608  (constants)


def write(connection: sa.Connection, draft_id: uuid.UUID, graph: bytes) -> str | None:
    """Replace the graph of a locked draft; its new state, None if it was not stored as given."""
    with driver(connection).cursor() as cursor:
        row = cursor.execute(_WRITE, [JsonText(graph), draft_id, JsonText(graph)]).fetchone()
    return row[1] if row is not None and row[0] else None


def archive(connection: sa.Connection, version_id: uuid.UUID) -> bool:
    """Archive a locked version; False if it was not stored."""
    with driver(connection).cursor() as cursor:
        cursor.execute(
            "UPDATE bot_workflow_versions SET status = 'archived', updated_at = now()"
            " WHERE id = %s RETURNING status::text = 'archived'",
            [version_id],
        )
        return cursor.fetchall() == [(True,)]


# A draft that says what a run wrote, or what another version keeps, or nothing, is not lost.
_IS_KEPT: Final = f"""
    SELECT {variables("d")} = '[{{}}, {{}}]' AND (
               COALESCE(jsonb_array_length(CASE WHEN jsonb_typeof(d.graph -> 'nodes') = 'array'
                                                THEN d.graph -> 'nodes' END), 0) = 0
               OR EXISTS (SELECT FROM flowshift.ledger l
                          WHERE l.bot_id = d.bot_id COLLATE "default"
                            AND l.draft_hash = {graph_hash("d")}))
           OR EXISTS (SELECT FROM bot_workflow_versions o
                      WHERE o.bot_id = d.bot_id AND o.id <> d.id AND o.graph = d.graph
                        AND {variables("o")} = {variables("d")})
    FROM bot_workflow_versions d WHERE d.id = %s
"""  # noqa: S608  (constants)


def is_kept(connection: sa.Connection, draft_id: uuid.UUID) -> bool:
    """Whether a draft may be overwritten without losing what a person made."""
    with driver(connection).cursor() as cursor:
        return cursor.execute(_IS_KEPT, [draft_id]).fetchall() == [(True,)]


_COPY: Final = f"""
    INSERT INTO bot_workflow_versions AS v
        (id, bot_id, version, status, created_at, updated_at, {{columns}})
    SELECT gen_random_uuid(), o.bot_id, %s::{{version}}, {{status}}, now(), now(), {{values}}
    FROM bot_workflow_versions o WHERE o.id = %s
    ON CONFLICT DO NOTHING
    RETURNING {content_hash("v")}
              = (SELECT {content_hash("o")} FROM bot_workflow_versions o WHERE o.id = %s)
"""  # noqa: S608  (constants)


def copy(connection: sa.Connection, version_id: uuid.UUID, name: str, status: str) -> bool:
    """Insert a version as a copy of another, unknown columns included; False if none was inserted."""
    columns = copied_columns(connection)
    query = sql.SQL(_COPY).format(
        columns=sql.SQL(", ").join(columns),
        values=sql.SQL(", ").join(sql.SQL("o.") + column for column in columns),
        version=type_of(connection, "bot_workflow_versions", "version"),
        status=sql.Literal(status),
    )
    with driver(connection).cursor() as cursor:
        return cursor.execute(query, [name, version_id, version_id]).fetchall() == [(True,)]


_DIFFER: Final = f"""
    SELECT d.graph <> o.graph, {variables("d")} <> {variables("o")}
    FROM bot_workflow_versions d, bot_workflow_versions o WHERE d.id = %s AND o.id = %s
"""  # noqa: S608  (constants)


class Differ(msgspec.Struct, frozen=True):
    """In what two versions differ."""

    graph: bool
    variables: bool


def differ(connection: sa.Connection, draft_id: uuid.UUID, version_id: uuid.UUID) -> Differ:
    """In what two locked versions of a bot differ."""
    with driver(connection).cursor() as cursor:
        cursor.execute(_DIFFER, [draft_id, version_id])
        [row] = cursor.fetchall()  # both are locked
        return Differ(*row)


# The variables only where they differ: a converting role may not write them.
_RESTORE: Final = f"""
    UPDATE bot_workflow_versions d SET graph = o.graph, updated_at = now(){{more}}
    FROM bot_workflow_versions o WHERE d.id = %s AND o.id = %s
    RETURNING {content_hash("d")} = {content_hash("o")}
"""  # noqa: S608  (constants)
_VARIABLES: Final = """, environment_variables = o.environment_variables,
    conversation_variables = o.conversation_variables"""


def restore(
    connection: sa.Connection,
    draft_id: uuid.UUID,
    version_id: uuid.UUID,
    *,
    with_variables: bool,
) -> bool:
    """Let a locked draft do what a version does; False if it was not stored."""
    statement = sql.SQL(_RESTORE.format(more=_VARIABLES if with_variables else ""))
    with driver(connection).cursor() as cursor:
        cursor.execute(statement, [draft_id, version_id])
        return cursor.fetchall() == [(True,)]
