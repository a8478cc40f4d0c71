"""The tables of notifications: what happened, what each channel got of it, and how each channel does."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Table, text

from worker.core.notify.event import LEVELS
from worker.db.columns import EMPTY, count, json_b, metadata, time, time_now
from worker.db.tables import SCHEMA

# The outbox: a row of the transaction that decided what it tells of. Until it is spread over the
# channels, a further event of the same cause replaces it and counts itself in `repeats`.
notifications = Table(
    "notifications",
    metadata,
    Column("notification_id", sa.BigInteger, sa.Identity(), primary_key=True),
    Column("message_id", sa.Uuid(), nullable=False, server_default=text("gen_random_uuid()")),
    Column("kind", sa.Text, nullable=False),
    Column("level", sa.Text, nullable=False),
    Column("key", sa.Text, nullable=False),
    Column("title", sa.Text, nullable=False),
    Column("reason", sa.Text),
    Column("next_step", sa.Text),
    Column("page", sa.Text, nullable=False),
    Column("detail", json_b(), nullable=False, server_default=EMPTY),
    count("repeats"),
    time_now("happened_at"),
    time_now("due_at"),  # not sent before: of one cause a few messages in five minutes
    time("spread_at"),  # each channel that wants it has its delivery
    CheckConstraint(f"level IN {LEVELS}", name="notifications_level_known"),
    Index("notifications_waiting", "key", unique=True, postgresql_where=text("spread_at IS NULL")),
    Index("notifications_by_key", "key", "due_at"),
    Index("notifications_by_time", "happened_at"),
    schema=SCHEMA,
)

# One row for each channel that a notification goes to.
deliveries = Table(
    "deliveries",
    metadata,
    Column(
        "notification_id",
        sa.BigInteger,
        ForeignKey(f"{SCHEMA}.notifications.notification_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("channel", sa.Text, primary_key=True),
    Column("state", sa.Text, nullable=False, server_default=text("'waiting'")),
    count("tries"),
    time_now("next_at"),  # not tried before
    Column("answer", sa.Text),  # what came of the last try: a status, or the kind of error
    time("ended_at"),
    CheckConstraint(
        "state IN ('waiting', 'sent', 'refused', 'given_up')", name="deliveries_state_known"
    ),
    CheckConstraint("(state = 'waiting') = (ended_at IS NULL)", name="deliveries_ended_when_over"),
    Index(
        "deliveries_waiting",
        "channel",
        "notification_id",
        postgresql_where=text("state = 'waiting'"),
    ),
    schema=SCHEMA,
)

# How each channel does. Its lease lets one sender at a time use it, and runs out with one that died.
channels = Table(
    "channels",
    metadata,
    Column("channel", sa.Text, primary_key=True),
    time_now("since"),  # it was first seen: earlier events are not for it
    Column("lease", sa.Uuid()),
    time("lease_until"),
    count("failures"),  # in a row
    time_now("next_at"),  # it rests until then
    Column("answer", sa.Text),
    time("answered_at"),
    time("sent_at"),  # it last took a message
    CheckConstraint("(lease IS NULL) = (lease_until IS NULL)", name="channels_lease_whole"),
    schema=SCHEMA,
)

# The state of each alert rule, by its name in the file of rules.
alerts = Table(
    "alerts",
    metadata,
    Column("rule", sa.Text, primary_key=True),
    Column("state", sa.Text, nullable=False),
    Column("since", sa.DateTime(timezone=True), nullable=False),
    time("clear_since"),  # it fires, and its condition has not held since
    Column("judged_at", sa.DateTime(timezone=True), nullable=False),
    Column("said", sa.Text),  # what was read last, in words
    CheckConstraint("state IN ('ok', 'pending', 'firing')", name="alerts_state_known"),
    schema=SCHEMA,
)

TABLES = (notifications, deliveries, channels, alerts)
