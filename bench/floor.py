"""The floor: what PostgreSQL needs for the same fleet at the least.

It is measured with statements of two sizes, because neither is the faster one on every machine: a
large array is copied several times on its way, which costs most where memory is slow.

Large values are compressed by `pglz`, the default of PostgreSQL, whatever flowshift's
own sessions say: what makes flowshift faster leaves the floor where it is.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.targets.convert import convert_text
from worker.core.workflow.config import Defaults
from worker.db.bulk import JsonText, driver
from worker.db.compression import settings_for
from worker.errors import BotError
from worker.sample import Fleet, SampleBot, insert_sample, sample_bots

LARGE_ROWS: Final = 20_000
"""Graphs inserted by one large statement: a parameter of PostgreSQL holds 1 GB at most."""

SMALL_ROWS: Final = 500
"""Graphs inserted by one small statement: as many as a batch has."""


def load_fleet(engine: sa.Engine, bots: int, fleet: Fleet = sample_bots) -> None:
    """Insert a fleet, and leave the tables as a platform's are: vacuumed, analysed."""
    with engine.connect() as connection:
        insert_sample(driver(connection), bots, fleet=fleet)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE bots"))
        connection.execute(sa.text("CHECKPOINT"))


class Floors(msgspec.Struct, frozen=True):
    """Seconds for a fleet, by the size of the statements; the floor is the faster."""

    large_s: float
    small_s: float


def measure_floors(engine: sa.Engine, fleet: Fleet, *, large_first: bool) -> Floors:
    """Both, one after the other; the database is left as it was.

    With one of each order their means do not depend on which came first.
    """
    sizes = (LARGE_ROWS, SMALL_ROWS) if large_first else (SMALL_ROWS, LARGE_ROWS)
    spent = {rows: measure_floor(engine, fleet, rows) for rows in sizes}
    return Floors(spent[LARGE_ROWS], spent[SMALL_ROWS])


def measure_floor(
    engine: sa.Engine, fleet: Fleet = sample_bots, rows_a_statement: int = SMALL_ROWS
) -> float:
    """Seconds for the drafts and the backups of the fleet in the database, which is left as it was.

    One connection, one transaction, `rows_a_statement` drafts inserted by each statement. Converting is
    not counted: the graphs are ready before the clock runs.
    """
    with engine.connect() as connection:
        total = connection.scalar(sa.text("SELECT count(*) FROM bots")) or 0
        connection.rollback()
        with engine.begin() as clean:
            clean.execute(
                sa.text("CREATE TABLE floor_versions (LIKE bot_workflow_versions INCLUDING ALL)")
            )
            clean.execute(sa.text("CREATE TABLE floor_bots (LIKE bots INCLUDING ALL)"))
            clean.execute(
                sa.text(
                    "INSERT INTO floor_bots (bot_id, name, workflow, use_workflow_v2) "
                    "SELECT bot_id, name, workflow, use_workflow_v2 FROM bots"
                )
            )
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as vacuum:
            vacuum.execute(sa.text("VACUUM ANALYZE floor_bots"))
            vacuum.execute(sa.text("CHECKPOINT"))
        spent = 0.0
        raw = driver(connection)
        for name, value in settings_for(raw, "pglz").items():
            connection.execute(sa.text(f"SET LOCAL {name} = {value}"))
        for first in range(0, total, rows_a_statement):
            ids, graphs = graphs_of(fleet(min(rows_a_statement, total - first), first))
            started = time.perf_counter()
            with raw.cursor() as cursor:
                cursor.execute(
                    "INSERT INTO floor_versions (bot_id, version, status, graph) "
                    "SELECT i, 'draft', 'draft', g FROM unnest(%b::text[], %b::jsonb[]) AS n (i, g)",
                    (ids, graphs),
                )
            spent += time.perf_counter() - started
        started = time.perf_counter()
        with raw.cursor() as cursor:
            cursor.execute(
                "UPDATE floor_bots SET legacy_workflow = workflow "
                "WHERE legacy_workflow IS NULL AND workflow IS NOT NULL"
            )
        connection.commit()
        spent += time.perf_counter() - started
    with engine.begin() as clean:
        clean.execute(sa.text("DROP TABLE floor_versions, floor_bots"))
    return spent


def graphs_of(bots: Iterable[SampleBot]) -> tuple[list[str], list[JsonText]]:
    """The drafts of those bots that get one, as two arrays: ids and graphs."""
    ids, graphs = [], []
    for bot in bots:
        if bot.workflow is None or bot.uses_v2:
            continue
        try:
            draft = convert_text(bot.workflow, Defaults())
        except BotError:
            continue
        ids.append(bot.bot_id)
        graphs.append(JsonText(draft.graph))
    return ids, graphs
