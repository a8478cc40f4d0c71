"""The tables of publications: in our own schema, beside those of `worker.db.tables`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Table, text
from sqlalchemy.dialects.postgresql import JSONB

from worker.core.publication.gate import GATE_MODES, OUTCOMES
from worker.core.publication.states import (
    BOT_STATES,
    HELD_BECAUSE,
    LIVE,
    OVER,
    PUBLICATION_STATES,
    WAVE_STATES,
)
from worker.db.columns import EMPTY, metadata, time, time_now
from worker.db.tables import SCHEMA


def _count(name: str) -> Column[Any]:
    return Column(name, sa.BigInteger, nullable=False, server_default=text("0"))


def _among(column: str, words: Iterable[str]) -> str:
    # Words of ours: nothing to quote.
    listed = ", ".join(f"'{word}'" for word in words)
    return f"{column} IN ({listed})"


_OVER = [state for state in PUBLICATION_STATES if state in OVER]
_WENT_OUT = [state for state in BOT_STATES if state not in {"pending", "skipped", "failed"}]

# A person's wish to take bots to their drafts. `held_from` is the state that it goes back to.
publications = Table(
    "publications",
    metadata,
    Column("publication_id", sa.BigInteger, sa.Identity(), primary_key=True),
    Column("request_id", sa.Text, nullable=False, unique=True),
    Column("source_run_id", sa.BigInteger),  # whose bots these are, where it was asked for by run
    Column("retry_of", sa.BigInteger),  # the publication whose bots are published anew
    Column("state", sa.Text, nullable=False, server_default=text("'planned'")),
    Column("held_from", sa.Text),
    Column("held_because", sa.Text),
    Column("state_reason", sa.Text),
    Column("gate", sa.Text, nullable=False, server_default=text("'pause'")),
    Column("options", JSONB(none_as_null=True), nullable=False, server_default=EMPTY),
    Column("requested_by", sa.Text, nullable=False),
    _count("bot_count"),
    _count("version"),
    time_now("created_at"),
    time_now("moved_at"),
    time("finished_at"),
    time("looked_at"),  # the gate's last look
    CheckConstraint(_among("state", PUBLICATION_STATES), name="publications_state_known"),
    CheckConstraint(
        "(state = 'held') = (held_from IS NOT NULL) AND (state = 'held') = (held_because IS NOT NULL)",
        name="publications_held_whole",
    ),
    CheckConstraint(
        _among("held_from", ("planned", "publishing", "watching")),
        name="publications_held_from_known",
    ),
    CheckConstraint(_among("held_because", HELD_BECAUSE), name="publications_held_because_known"),
    CheckConstraint(_among("gate", GATE_MODES), name="publications_gate_known"),
    CheckConstraint(
        f"({_among('state', _OVER)}) = (finished_at IS NOT NULL)",
        name="publications_finished_when_over",
    ),
    # The beat asks every few seconds which ones move: never more than a handful.
    Index(
        "publications_open",
        "publication_id",
        postgresql_where=text("finished_at IS NULL"),
    ),
    schema=SCHEMA,
)

# A slice of a publication. Its counts follow from publication_bots, in the same transactions.
waves = Table(
    "waves",
    metadata,
    Column(
        "publication_id",
        sa.BigInteger,
        ForeignKey(f"{SCHEMA}.publications.publication_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("number", sa.Integer, primary_key=True, autoincrement=False),
    Column("label", sa.Text, nullable=False),
    Column("state", sa.Text, nullable=False, server_default=text("'pending'")),
    Column("run_id", sa.BigInteger),  # that publishes it
    Column("bot_count", sa.BigInteger, nullable=False),
    _count("published"),
    _count("skipped"),
    _count("failed"),
    _count("quarantined"),
    _count("rolled_back"),
    time("started_at"),
    time("watched_from"),
    time("decided_at"),
    Column("sentence", sa.Text),  # of the last verdict
    Column("accepted_by", sa.Text),
    Column("accepted_reason", sa.Text),
    CheckConstraint("number >= 1", name="waves_number_from_one"),
    CheckConstraint("bot_count >= 1", name="waves_hold_bots"),
    CheckConstraint(_among("state", WAVE_STATES), name="waves_state_known"),
    CheckConstraint(
        "(accepted_by IS NULL) = (accepted_reason IS NULL)"
        " AND (state <> 'accepted' OR accepted_by IS NOT NULL)",
        name="waves_accepted_by_somebody",
    ),
    CheckConstraint(
        "state NOT IN ('watching', 'passed', 'inconclusive', 'accepted') OR watched_from IS NOT NULL",
        name="waves_watched_before_judged",
    ),
    # Each batch asks which wave its run publishes, and so does whatever shows the run.
    Index("waves_by_run", "run_id", postgresql_where=text("run_id IS NOT NULL")),
    schema=SCHEMA,
)

# One row a bot and publication, written when it is planned. Like the ledger's, its keys refer to
# nothing: batches would lock the one row of their publication, and the record outlives the bot. The
# bot comes first in the key: executions are joined by bot, and `show` asks for one.
publication_bots = Table(
    "publication_bots",
    metadata,
    Column("bot_id", sa.Text, primary_key=True),
    Column("publication_id", sa.BigInteger, primary_key=True, autoincrement=False),
    Column("wave", sa.Integer, nullable=False),
    Column("state", sa.Text, nullable=False, server_default=text("'pending'")),
    Column("code", sa.Text),
    Column("message", sa.Text),
    # What was published, and what it was like then: content by its hash, V1 by that of its text.
    Column("version_id", sa.Uuid()),
    Column("version", sa.Text),
    Column("content_hash", sa.BigInteger),
    Column("workflow_hash", sa.BigInteger),
    Column("previous_id", sa.Uuid()),  # the version that was live before
    # The `xmin` of the version's row: while it is the same, nobody has changed it.
    Column("row_version", sa.Text),
    time("published_at"),
    time_now("moved_at"),
    CheckConstraint(_among("state", BOT_STATES), name="publication_bots_state_known"),
    CheckConstraint(
        "(state IN ('skipped', 'failed')) = (code IS NOT NULL)",
        name="publication_bots_code_says_why",
    ),
    CheckConstraint(
        f"({_among('state', _WENT_OUT)}) = (version_id IS NOT NULL)"
        " AND (version_id IS NULL) = (version IS NULL)"
        " AND (version_id IS NULL) = (content_hash IS NULL)"
        " AND (version_id IS NULL) = (workflow_hash IS NULL)"
        " AND (version_id IS NULL) = (published_at IS NULL)",
        name="publication_bots_published_whole",
    ),
    # Each bot is in one of these at most. Those that are back are in none: an entry more would make
    # a rollback slower, and nobody asks for them.
    Index(
        "publication_bots_pending",
        "publication_id",
        "wave",
        "bot_id",
        postgresql_where=text("state = 'pending'"),
    ),
    Index(
        "publication_bots_live",
        "publication_id",
        "wave",
        "bot_id",
        postgresql_where=text(_among("state", LIVE)),
    ),
    Index(
        "publication_bots_apart",
        "publication_id",
        "state",
        "code",
        "bot_id",
        postgresql_where=text(_among("state", ("skipped", "failed", "quarantined"))),
    ),
    schema=SCHEMA,
)

# Each verdict of the gate with the reading it was judged by, from which it can be computed again.
gate_readings = Table(
    "gate_readings",
    metadata,
    Column("reading_id", sa.BigInteger, sa.Identity(), primary_key=True),
    Column("publication_id", sa.BigInteger, nullable=False),
    Column("wave", sa.Integer, nullable=False),
    time_now("read_at"),
    Column("outcome", sa.Text, nullable=False),
    Column("sentence", sa.Text, nullable=False),
    Column("reading", JSONB(none_as_null=True), nullable=False),
    CheckConstraint(_among("outcome", OUTCOMES), name="gate_readings_outcome_known"),
    Index("gate_readings_by_wave", "publication_id", "wave", "reading_id"),
    schema=SCHEMA,
)

# Of each bot the last content of a draft that did what V1 did, and the workflow of V1 it was held
# against: both by their hashes. One row a bot, kept apart from the ledger, which is pruned.
proofs = Table(
    "proofs",
    metadata,
    Column("bot_id", sa.Text, primary_key=True),
    Column("content_hash", sa.BigInteger, nullable=False),
    Column("workflow_hash", sa.BigInteger, nullable=False),
    Column("run_id", sa.BigInteger, nullable=False),
    time_now("proven_at"),
    schema=SCHEMA,
)

TABLES = (publications, waves, publication_bots, gate_readings, proofs)
