"""The ledger: one row for each bot of a run, with what the run did for it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from worker.core.codes import ConversionWarning, Outcome
from worker.core.parity.recording import storable
from worker.db.bulk import JsonText, driver
from worker.db.expressions import source_hash
from worker.errors import ConfigError


class LedgerRow(msgspec.Struct, frozen=True):
    """What a run did for one bot.

    `overhead_us` is None if its draft was not executed; `agreed`, where it did what V1 does, is
    counted with the batch. `workflow_hash` is that of its workflow if the draft and the warnings follow
    from that workflow and the recipe alone, else None.
    """

    bot_id: str
    outcome: Outcome
    code: str | None = None
    message: str | None = None
    warnings: tuple[ConversionWarning, ...] = ()
    traceback: str | None = None
    draft_hash: int | None = None
    overhead_us: int | None = None
    agreed: bool = False
    workflow_hash: int | None = None


_INSERT_LEDGER = f"""
    INSERT INTO flowshift.ledger
        (run_id, batch, bot_id, outcome, code, message, warnings, traceback, draft_hash, overhead_us,
         source_hash)
    SELECT %s, %s, n.bot_id, n.outcome, n.code, n.message, n.warnings, n.traceback, n.draft_hash,
           n.overhead_us, {source_hash("n.workflow", "%s::int8")}
    FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::jsonb[], %b::text[], %b::int8[],
                %b::int8[], %b::int8[])
         AS n (bot_id, outcome, code, message, warnings, traceback, draft_hash, overhead_us, workflow)
"""  # noqa: S608  (constants)

_encode = msgspec.json.Encoder().encode


def insert_ledger(
    connection: sa.Connection,
    run_id: int,
    batch: int,
    rows: Sequence[LedgerRow],
    recipe: int | None = None,
) -> None:
    """Record what the run did for each bot: one row per bot and run, in one statement.

    `recipe` is what drafts follow from beside their workflows; without it, no row says what its draft
    follows from.

    Raises:
        ConfigError: the table kept fewer. What is not recorded must not be committed.
    """
    if not rows:
        return
    with driver(connection).cursor() as cursor:
        cursor.execute(
            _INSERT_LEDGER,
            (
                run_id,
                batch,
                recipe,
                [row.bot_id for row in rows],
                [row.outcome for row in rows],
                [row.code for row in rows],
                [row.message and storable(row.message) for row in rows],
                [JsonText(_encode(row.warnings)) if row.warnings else None for row in rows],
                [row.traceback and storable(row.traceback) for row in rows],
                [row.draft_hash for row in rows],
                [row.overhead_us for row in rows],
                [row.workflow_hash for row in rows],
            ),
        )
        if cursor.rowcount != len(rows):
            raise ConfigError(
                f"flowshift.ledger kept {cursor.rowcount:,} of {len(rows):,} outcomes (a trigger?):"
                " drop what was added to the table"
            )
