"""Notifications that nobody has got yet."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from worker.core.metrics.model import Sample
from worker.db.metrics import notifications
from worker.settings import Settings


def samples(connection: sa.Connection, _: Settings) -> Iterator[Sample]:
    """What is due and not sent, for how long, and how many channels do not take what they are sent."""
    found = notifications.unsent(connection)
    yield Sample("flowshift_unsent_notifications", found.unspread, ("unspread",))
    yield Sample("flowshift_unsent_notifications", found.waiting, ("waiting",))
    yield Sample("flowshift_oldest_unsent_notification_age_seconds", found.oldest_s or 0.0)
    yield Sample("flowshift_failing_channels", found.failing)
