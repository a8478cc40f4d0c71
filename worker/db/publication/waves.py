"""Publications and their waves: planned as rows, moved along the tables of legal transitions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from worker.core.publication.coverage import Candidate, kinds_of
from worker.core.publication.gate import GateMode
from worker.core.publication.sizes import DEFAULT_WAVES
from worker.core.publication.states import LIVE, HeldBecause, PublicationState, WaveState
from worker.core.publication.versions import NextDraft
from worker.core.publication.waves import Plan
from worker.db.bulk import driver
from worker.db.publication.tables import publication_bots, publications, waves


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a person allowed, and the target that the platform has."""

    target: str
    publish_edited: bool = False
    live_drafts: bool = False
    needs_backup: bool = False
    """Its large waves wait for a backup of the database that was verified less than a day ago."""
    alerts: tuple[str, ...] = ()
    """Alert rules: while one of them fires, no further wave begins."""
    next_draft: NextDraft = "empty"
    waves: str = DEFAULT_WAVES
    """Who goes when, as it was asked for; the waves of one that is not planned yet are made by it."""
    request_digest: str = ""
    """Tells what was asked for: another request with the same id is refused."""


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """A publication as it stands."""

    publication_id: int
    state: PublicationState
    held_from: PublicationState | None
    held_because: HeldBecause | None
    state_reason: str | None
    gate: GateMode
    version: int
    source_run_id: int | None
    retry_of: int | None
    requested_by: str
    bot_count: int
    options: Options
    created_at: dt.datetime
    moved_at: dt.datetime
    finished_at: dt.datetime | None
    looked_at: dt.datetime | None

    @property
    def is_planned(self) -> bool:
        """Whether its bots are in waves; one that retries another waits for a run first."""
        return self.retry_of is None or self.bot_count > 0


class Wave(msgspec.Struct, frozen=True, kw_only=True):
    """A wave as it stands. Its counts are those that its batches and rollbacks wrote with their bots.

    `pending` is what is left of its bots: those that are neither published, skipped nor failed.
    """

    number: int
    label: str
    state: WaveState
    run_id: int | None
    bot_count: int
    published: int
    skipped: int
    failed: int
    quarantined: int
    rolled_back: int
    pending: int
    started_at: dt.datetime | None
    watched_from: dt.datetime | None
    decided_at: dt.datetime | None
    sentence: str | None
    accepted_by: str | None
    accepted_reason: str | None


_FIELDS: Final = [publications.c[name] for name in Publication.__struct_fields__]


def get(connection: sa.Connection, publication_id: int) -> Publication | None:
    """A publication, None if there is none."""
    query = sa.select(*_FIELDS).where(publications.c.publication_id == publication_id)
    row = connection.execute(query).one_or_none()
    return None if row is None else _publication(row)


def of_request(connection: sa.Connection, request_id: str) -> Publication | None:
    """The publication of a request, None if there is none."""
    query = sa.select(*_FIELDS).where(publications.c.request_id == request_id)
    row = connection.execute(query).one_or_none()
    return None if row is None else _publication(row)


def _publication(row: sa.Row[Any]) -> Publication:
    values = row._asdict()
    values["options"] = msgspec.convert(values["options"] or {"target": "guide"}, Options)
    return Publication(**values)


_PENDING: Final = waves.c.bot_count - waves.c.published - waves.c.skipped - waves.c.failed
_WAVE_FIELDS: Final = [
    _PENDING.label(name) if name == "pending" else waves.c[name] for name in Wave.__struct_fields__
]


def of(connection: sa.Connection, publication_id: int) -> list[Wave]:
    """The waves of a publication, in their order. No bot's row is read for it."""
    query = sa.select(*_WAVE_FIELDS).where(waves.c.publication_id == publication_id)
    rows = connection.execute(query.order_by(waves.c.number))
    return [Wave(**row._asdict()) for row in rows]


def count_live(
    connection: sa.Connection, publication_id: int, wave: int | None = None
) -> dict[int, int]:
    """How many bots each wave has live, counted from the bots' rows; waves that have none are left out.

    Of one wave, if given. For what a person reads: of 100,000 live bots it takes tens of milliseconds.
    """
    b = publication_bots.c
    query = sa.select(b.wave, sa.func.count()).where(
        b.publication_id == publication_id, b.state.in_(LIVE)
    )
    if wave is not None:
        query = query.where(b.wave == wave)
    return {row[0]: row[1] for row in connection.execute(query.group_by(b.wave))}


def any_live(connection: sa.Connection, publication_id: int, wave: int) -> bool:
    """Whether a wave has a bot live: the first by its id, which an index gives."""
    first = _live(publication_id, wave).order_by(publication_bots.c.bot_id).limit(1)
    return connection.scalar(first) is not None


def of_run(connection: sa.Connection, run_id: int) -> tuple[int, int] | None:
    """The publication and the wave that a run publishes."""
    query = sa.select(waves.c.publication_id, waves.c.number).where(waves.c.run_id == run_id)
    row = connection.execute(query).one_or_none()
    return None if row is None else (row[0], row[1])


# -- planning --------------------------------------------------------------------------------------


def create(
    connection: sa.Connection,
    *,
    request_id: str,
    source_run_id: int | None,
    options: Options,
    requested_by: str,
    gate: GateMode = "pause",
    retry_of: int | None = None,
) -> tuple[int, bool]:
    """The publication of a request, and whether it is new; on repeat the one that exists.

    `source_run_id` is the run whose bots these are; with `retry_of`, the publication whose bots are
    published anew, it waits for that run.
    """
    row = connection.execute(
        sa.text(
            "INSERT INTO flowshift.publications"
            " (request_id, source_run_id, retry_of, options, requested_by, gate)"
            " VALUES (:request_id, :run_id, :retry_of, CAST(:options AS jsonb), :actor, :gate)"
            " ON CONFLICT (request_id) DO NOTHING RETURNING publication_id"
        ),
        {
            "request_id": request_id,
            "run_id": source_run_id,
            "retry_of": retry_of,
            "options": msgspec.json.encode(options).decode(),
            "actor": requested_by,
            "gate": gate,
        },
    ).scalar_one_or_none()
    if row is not None:
        return row, True
    known = sa.select(publications.c.publication_id).where(publications.c.request_id == request_id)
    return connection.execute(known).scalar_one(), False


def wait_for_run(connection: sa.Connection, publication_id: int, run_id: int) -> None:
    """Let a publication without a plan wait for another run than before."""
    connection.execute(
        sa.update(publications)
        .where(publications.c.publication_id == publication_id)
        .values(source_run_id=run_id, version=publications.c.version + 1)
    )


ANALYZED_FROM: Final = 1_000
"""A plan of so many bots is analyzed: of a publication that is new the planner has no statistics, takes it
for an empty one, and would read all its bots for each batch, until autovacuum comes."""


def add_plan(connection: sa.Connection, publication_id: int, plan: Plan) -> None:
    """Write a plan down: its waves, and every bot in one of them; of a large one the planner knows."""
    connection.execute(
        sa.insert(waves),
        [
            {
                "publication_id": publication_id,
                "number": number,
                "label": wave.label,
                "bot_count": wave.size,
            }
            for number, wave in enumerate(plan.waves, 1)
        ],
    )
    with driver(connection).cursor() as cursor:
        for number, bot_ids in plan.members():
            cursor.execute(
                "INSERT INTO flowshift.publication_bots (bot_id, publication_id, wave)"
                " SELECT unnest(%b::text[]), %b, %b",
                (bot_ids, publication_id, number),
            )
    if len(plan.bot_ids) >= ANALYZED_FROM:
        # A role that does not own the table is warned, no more; nobody is waited for.
        connection.exec_driver_sql("ANALYZE (SKIP_LOCKED) flowshift.publication_bots")
    connection.execute(
        sa.update(publications)
        .where(publications.c.publication_id == publication_id)
        .values(bot_count=len(plan.bot_ids))
    )


_CANDIDATES: Final = """
    SELECT n.bot_id, d.types, l.codes
    FROM unnest(%b::text[]) AS n (bot_id)
    LEFT JOIN LATERAL (
        SELECT jsonb_object_agg(t.type, t.count) AS types FROM (
            SELECT one ->> 'type' AS type, count(*) AS count
            FROM bot_workflow_versions v, jsonb_array_elements(
                CASE WHEN jsonb_typeof(v.graph -> 'nodes') = 'array' THEN v.graph -> 'nodes'
                     ELSE '[]' END) AS one
            WHERE v.bot_id = n.bot_id AND v.status = 'draft' AND one ->> 'type' IS NOT NULL
            GROUP BY 1) t) d ON true
    LEFT JOIN LATERAL (
        SELECT jsonb_path_query_array(l.warnings, '$[*].code') AS codes FROM flowshift.ledger l
        WHERE l.bot_id = n.bot_id AND l.run_id = %b) l ON true
"""


def candidates(
    connection: sa.Connection,
    bot_ids: Sequence[str],
    run_id: int | None,
    traffic: Mapping[str, float] = {},
) -> Iterator[Candidate]:
    """What the drafts of these bots hold; warnings are those of the run. `traffic` is by bot, a day."""
    with driver(connection).cursor() as cursor:
        cursor.execute(_CANDIDATES, (list(bot_ids), run_id))
        for bot_id, types, codes in cursor:
            kinds = kinds_of(types or {}, codes or ())
            yield Candidate(bot_id, kinds, traffic.get(bot_id, 0.0))


def bots_of_run(connection: sa.Connection, run_id: int) -> list[str]:
    """The bots whose drafts a run wrote, or left as they were."""
    query = sa.text(
        "SELECT bot_id FROM flowshift.ledger WHERE run_id = :id"
        " AND outcome IN ('converted', 'unchanged') ORDER BY bot_id"
    )
    return list(connection.execute(query, {"id": run_id}).scalars())


def any_pending(connection: sa.Connection, publication_id: int, wave: int) -> bool:
    """Whether a bot of a wave is still to be published.

    The first by its id, which an index gives: EXISTS may read all rows of all publications for it.
    """
    first = pending_bots(publication_id, wave).order_by(publication_bots.c.bot_id).limit(1)
    return connection.scalar(first) is not None


def pending_bots(publication_id: int, wave: int) -> sa.Select[tuple[str]]:
    """A query of the bots of a wave that are still to be published."""
    b = publication_bots.c
    return sa.select(b.bot_id).where(
        b.publication_id == publication_id, b.wave == wave, b.state == "pending"
    )


def live_bots(connection: sa.Connection, publication_id: int, wave: int) -> list[str]:
    """The bots that a wave has live."""
    query = _live(publication_id, wave).order_by(publication_bots.c.bot_id)
    return list(connection.scalars(query))


def _live(publication_id: int, wave: int) -> sa.Select[tuple[str]]:
    b = publication_bots.c
    return sa.select(b.bot_id).where(
        b.publication_id == publication_id, b.wave == wave, b.state.in_(LIVE)
    )


def count(
    connection: sa.Connection, publication_id: int, wave: int, *, published: int, skipped: int
) -> None:
    """Count what a batch did, in its transaction."""
    connection.execute(
        sa.update(waves)
        .where(waves.c.publication_id == publication_id, waves.c.number == wave)
        .values(published=waves.c.published + published, skipped=waves.c.skipped + skipped)
    )
