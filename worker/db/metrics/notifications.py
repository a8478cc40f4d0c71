"""Notifications that are due and not sent yet, by the indexes of what waits."""

from __future__ import annotations

from typing import Final

import msgspec
import sqlalchemy as sa

MOST: Final = 10_000
"""So many are counted at most."""


class Unsent(msgspec.Struct, frozen=True):
    """`unspread` no channel has been given yet, `waiting` are deliveries; `oldest_s` since the oldest of
    both was due, None if none is. So many channels `failing` did not take what they were sent last.

    Where no channel was ever configured nobody waits: what is told there is not counted.
    """

    unspread: int
    waiting: int
    oldest_s: float | None
    failing: int


_UNSENT: Final = sa.text("""
    WITH unspread AS MATERIALIZED (
        SELECT n.due_at FROM flowshift.notifications n
        WHERE n.spread_at IS NULL AND n.due_at <= now()
          AND n.happened_at >= (SELECT min(since) FROM flowshift.channels) LIMIT :most
    ), waiting AS MATERIALIZED (
        SELECT d.notification_id FROM flowshift.deliveries d WHERE d.state = 'waiting' LIMIT :most
    )
    SELECT (SELECT count(*) FROM unspread), (SELECT count(*) FROM waiting),
           extract(epoch FROM now() - LEAST(
               (SELECT min(due_at) FROM unspread),
               (SELECT n.due_at FROM flowshift.notifications n
                WHERE n.notification_id = (SELECT min(notification_id) FROM waiting))))::float8,
           (SELECT count(*) FROM flowshift.channels c WHERE c.failures > 0)
""")


def unsent(connection: sa.Connection) -> Unsent:
    """What is to be sent, and has not been."""
    return Unsent(*connection.execute(_UNSENT, {"most": MOST}).one())
