"""One bot from every side: its row, its draft, and what the runs did for it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import sqlalchemy as sa

from worker.core.codes import ConversionWarning
from worker.core.engine.execution import Variables
from worker.core.policy.states import RunKind
from worker.core.workflow.v2 import is_empty
from worker.db.backup_tables import finished_bots
from worker.db.backups import BESIDE_BOTS, PLACE, Place
from worker.db.expressions import graph_hash
from worker.db.platform_tables import DRAFT, bots, versions
from worker.db.tables import ledger, runs


class BotView(msgspec.Struct, frozen=True, kw_only=True):
    """A bot and its draft. `workflow` and `graph` are JSON text, None if there is none.

    `is_published`: there is a version to run where `uses_v2` is true. `backup`: where its V1 is kept,
    unless it `is_finished`: then its V1 and its backup were cleared, and are in flowshift.finished_bots.

    `draft_is_ours`: a run wrote the draft as it stands; None if there is no draft. The variables
    are the draft's own, as JSON text.
    """

    bot_id: str
    name: str | None
    uses_v2: bool
    is_published: bool
    workflow: str | None
    backup: Place | None
    is_finished: bool
    graph: str | None
    draft_updated_at: dt.datetime | None
    draft_is_ours: bool | None
    environment: str | None
    conversation: str | None

    @property
    def has_backup(self) -> bool:
        """Whether its V1 is kept."""
        return self.backup is not None or self.is_finished

    @property
    def has_draft(self) -> bool:
        """Whether there is a draft with anything in it."""
        return self.graph is not None and not is_empty(self.graph.encode())

    @property
    def variables(self) -> Variables:
        """What the draft's selectors find in its variables."""
        return Variables(_mapping(self.environment), _mapping(self.conversation))


class LedgerView(msgspec.Struct, frozen=True, kw_only=True):
    """What one run did for a bot.

    `kind` and `dry_run` are the run's, None if the run is no longer kept.
    """

    run_id: int
    kind: RunKind | None
    dry_run: bool | None
    outcome: str
    code: str | None
    message: str | None
    warnings: tuple[ConversionWarning, ...]
    traceback: str | None
    recorded_at: dt.datetime


def bot(connection: sa.Connection, bot_id: str) -> BotView | None:
    """The bot, None if there is none."""
    query = (
        sa.select(
            bots.c.bot_id,
            bots.c.name,
            bots.c.use_workflow_v2.label("uses_v2"),
            _is_published().label("is_published"),
            sa.cast(bots.c.workflow, sa.Text).label("workflow"),
            PLACE.label("backup"),
            _is_finished().label("is_finished"),
            sa.cast(versions.c.graph, sa.Text).label("graph"),
            versions.c.updated_at.label("draft_updated_at"),
            sa.case((versions.c.graph.is_not(None), _is_ours())).label("draft_is_ours"),
            sa.cast(versions.c.environment_variables, sa.Text).label("environment"),
            sa.cast(versions.c.conversation_variables, sa.Text).label("conversation"),
        )
        .select_from(
            BESIDE_BOTS.outerjoin(
                versions,
                sa.and_(versions.c.bot_id == bots.c.bot_id, versions.c.status == DRAFT),
            )
        )
        .where(bots.c.bot_id == bot_id)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else BotView(**row._asdict())


def _is_finished() -> sa.Exists:
    return sa.exists().where(finished_bots.c.bot_id == bots.c.bot_id.collate("default"))


def _is_published() -> sa.Exists:
    """As text: where the status is an enumeration, it need not have that label."""
    other = versions.alias("published")
    return sa.exists().where(
        other.c.bot_id == bots.c.bot_id, sa.cast(other.c.status, sa.Text) == "published"
    )


def _is_ours() -> sa.Exists:
    """Decided by content, as `bots.compare_drafts` does."""
    draft_hash = sa.literal_column(graph_hash(versions.name), sa.BigInteger)
    return sa.exists().where(
        ledger.c.bot_id == versions.c.bot_id.collate("default"), ledger.c.draft_hash == draft_hash
    )


def _mapping(text: str | None) -> dict[str, Any]:
    """Variables by name; none if the platform holds them in another form."""
    try:
        found = msgspec.json.decode(text or "{}")
    except (msgspec.DecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def history(connection: sa.Connection, bot_id: str, limit: int = 10) -> list[LedgerView]:
    """What runs did for a bot, the newest first."""
    query = (
        sa.select(
            ledger.c.run_id,
            runs.c.kind,
            runs.c.dry_run,
            ledger.c.outcome,
            ledger.c.code,
            ledger.c.message,
            ledger.c.warnings,
            ledger.c.traceback,
            ledger.c.recorded_at,
        )
        .select_from(ledger.outerjoin(runs, runs.c.run_id == ledger.c.run_id))
        .where(ledger.c.bot_id == bot_id)
        .order_by(ledger.c.run_id.desc())
        .limit(limit)
    )
    return [_view(row._asdict()) for row in connection.execute(query)]


def _view(values: dict[str, Any]) -> LedgerView:
    warnings = msgspec.convert(values.pop("warnings") or [], tuple[ConversionWarning, ...])
    return LedgerView(**values, warnings=warnings)


def similar_ids(connection: sa.Connection, bot_id: str, limit: int = 3) -> list[str]:
    """Ids that begin like `bot_id`, for a hint; a range of the key's index."""
    prefix = bot_id[: max(1, len(bot_id) - 2)]
    # LIKE is refused in a collation that is not deterministic.
    begins = bots.c.bot_id.collate("C").startswith(prefix, autoescape=True)
    query = (
        sa.select(bots.c.bot_id)
        .where(bots.c.bot_id >= prefix, begins)
        .order_by(bots.c.bot_id)
        .limit(limit)
    )
    return list(connection.scalars(query))
