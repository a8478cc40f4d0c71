"""What a run came to: its codes, its overhead, its failures, and every bot's outcome."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, cast

import msgspec
import sqlalchemy as sa

from worker.core.parity import overhead as overheads
from worker.db.tables import batches, ledger


def codes(connection: sa.Connection, run_id: int) -> dict[str, int]:
    """How often each `outcome:code` occurred in a run, the most frequent first."""
    entry = sa.func.jsonb_each_text(batches.c.codes).table_valued("key", "value").lateral("entry")
    total = sa.func.sum(sa.cast(entry.c.value, sa.BigInteger)).label("total")
    query = (
        sa.select(entry.c.key, total)
        .select_from(batches.join(entry, sa.true()))
        .where(batches.c.run_id == run_id)
        .group_by(entry.c.key)
        .order_by(total.desc(), entry.c.key)
    )
    return {key: int(value) for key, value in connection.execute(query)}


def overhead(connection: sa.Connection, run_id: int) -> overheads.Summary | None:
    """V2's time over V1's in a run, added up over its batches; None if nothing was executed."""
    each = sa.func.jsonb_each_text(batches.c.overhead["counts"]).table_valued("key", "value")
    entry = each.lateral("entry")
    us = sa.cast(entry.c.key, sa.BigInteger)
    bots = sa.cast(sa.func.sum(sa.cast(entry.c.value, sa.BigInteger)), sa.BigInteger)
    of_run = batches.c.run_id == run_id
    counts = connection.execute(
        sa.select(us, bots).select_from(batches.join(entry, sa.true())).where(of_run).group_by(us)
    ).all()
    over_limit = sa.cast(batches.c.overhead["over_limit"].astext, sa.BigInteger)
    max_us, over = connection.execute(
        sa.select(
            sa.func.max(sa.cast(batches.c.overhead["max_us"].astext, sa.BigInteger)),
            sa.cast(sa.func.coalesce(sa.func.sum(over_limit), 0), sa.BigInteger),
        ).where(of_run)
    ).one()
    slow = connection.scalars(
        sa.select(batches.c.overhead["slow"]).where(of_run, over_limit > 0)
    ).all()
    named = msgspec.convert([bot for kept in slow for bot in kept], list[overheads.SlowBot])
    return overheads.summarize({row[0]: row[1] for row in counts}, max_us, over, named)


class Failure(msgspec.Struct, frozen=True):
    """A bot that failed in a run, and why."""

    bot_id: str
    code: str
    message: str | None


def failures(
    connection: sa.Connection,
    run_id: int,
    *,
    limit: int | None,
    code: str | None = None,
    begins: str = "",
    after: tuple[str, str] | None = None,
) -> list[Failure]:
    """Failed bots of a run, by code and bot, at most `limit`: by the index of failures.

    Only those with a `code`, whose ids begin so, and that follow the code and bot of `after`.
    """
    query = (
        sa.select(ledger.c.bot_id, ledger.c.code, ledger.c.message)
        .where(ledger.c.run_id == run_id, ledger.c.outcome == "failed")
        .order_by(ledger.c.code, ledger.c.bot_id)
        .limit(limit)
    )
    if code is not None:
        query = query.where(ledger.c.code == code)
    if begins:
        query = query.where(ledger.c.bot_id.collate("C").startswith(begins, autoescape=True))
    if after is not None:
        key = sa.tuple_(ledger.c.code, ledger.c.bot_id)
        query = query.where(key > sa.tuple_(*map(sa.literal, after)))
    return [Failure(*row) for row in connection.execute(query)]


class Example(msgspec.Struct, frozen=True):
    """A bot that a run gave an outcome with a code, and what it said of it."""

    bot_id: str
    message: str | None


_EXAMPLES: Final = sa.text("""
    WITH first AS (
        SELECT run_id, after_bot_id, through_bot_id, bot_ids FROM flowshift.batches
        WHERE run_id = :run_id AND codes ? :key ORDER BY number LIMIT 4
    )
    SELECT l.bot_id, l.message FROM first f JOIN flowshift.ledger l
      ON l.run_id = f.run_id AND l.bot_id > COALESCE(f.after_bot_id, '') AND l.bot_id <= f.through_bot_id
    WHERE l.outcome = :outcome AND l.code = :code
    UNION ALL
    SELECT l.bot_id, l.message FROM first f JOIN flowshift.ledger l
      ON l.run_id = f.run_id AND l.bot_id = ANY(f.bot_ids)
    WHERE l.outcome = :outcome AND l.code = :code
    ORDER BY 1 LIMIT :limit
""")


def examples(connection: sa.Connection, run_id: int, key: str, limit: int = 2) -> list[Example]:
    """The first bots with an `outcome:code`, of the first batches that have some: four are looked at."""
    outcome, _, code = key.partition(":")
    values = {"run_id": run_id, "key": key, "outcome": outcome, "code": code, "limit": limit}
    return [Example(*row) for row in connection.execute(_EXAMPLES, values)]


def failed_batches(connection: sa.Connection, run_id: int) -> Sequence[tuple[int, str]]:
    """Batches that failed as a whole, with the reason."""
    query = (
        sa.select(batches.c.number, sa.func.coalesce(batches.c.error, ""))
        .where(batches.c.run_id == run_id, batches.c.state == "failed")
        .order_by(batches.c.number)
    )
    return cast("Sequence[tuple[int, str]]", [tuple(row) for row in connection.execute(query)])


class OutcomeRow(msgspec.Struct, frozen=True):
    """What a run did for one bot, in short."""

    bot_id: str
    outcome: str
    code: str | None
    message: str | None
    warnings: int


def outcomes(connection: sa.Connection, run_id: int) -> Iterator[OutcomeRow]:
    """Every bot of a run in key order, a page at a time: the ledger's key leads with the bot."""
    page, after = 1_000, ""
    warned = sa.func.coalesce(sa.func.jsonb_array_length(ledger.c.warnings), 0)
    query = sa.select(
        ledger.c.bot_id, ledger.c.outcome, ledger.c.code, ledger.c.message, warned
    ).where(ledger.c.run_id == run_id)
    while True:
        rows = connection.execute(
            query.where(ledger.c.bot_id > after).order_by(ledger.c.bot_id).limit(page)
        ).all()
        for row in rows:
            yield OutcomeRow(*row)
        if len(rows) < page:
            return
        after = rows[-1].bot_id
