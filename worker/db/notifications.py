"""Notifications in the database: the outbox, and what is waiting to be sent.

The row is written by whoever decides, in the transaction that decides; one sender at a time takes
what a channel is to get (`worker.db.channels`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from worker.core.notify.event import QUIET_S, REASON_MAX, TITLE_MAX, Event, Level
from worker.core.printable import shorten

SPREAD_AT_ONCE: Final = 200


def notify(connection: sa.Connection, event: Event | None) -> None:
    """Have people told of an event, once this transaction commits; None is nothing to tell.

    Call it last: until the commit it waits for, and holds up, others that tell of the same cause. An
    event of a cause that waits to be sent takes its place. Rows are cheap and pruned, so that one is
    written whether or not a channel is configured: only the sender knows.
    """
    if event is None:
        return
    connection.execute(
        _NOTIFY,
        {
            "kind": event.kind,
            "level": event.level,
            "key": event.key,
            "title": shorten(_storable(event.title), TITLE_MAX),
            "reason": None
            if event.reason is None
            else shorten(_storable(event.reason), REASON_MAX),
            "next_step": event.next_step,
            "page": event.page,
            "detail": msgspec.json.encode(event.detail).decode(),
            "quiet": dt.timedelta(seconds=QUIET_S),
        },
    )


def _storable(text: str) -> str:
    """A text that PostgreSQL can hold: what tells of a fault must not fail for its words."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


# Of one cause two messages go at once, the next when the first of those is old enough.
_NOTIFY: Final = sa.text("""
    INSERT INTO flowshift.notifications AS n
        (kind, level, key, title, reason, next_step, page, detail, due_at)
    VALUES (:kind, :level, :key, :title, :reason, :next_step, :page, CAST(:detail AS jsonb), GREATEST(
        now(), (SELECT o.due_at + :quiet FROM flowshift.notifications o
                WHERE o.key = :key ORDER BY o.due_at DESC OFFSET 1 LIMIT 1)))
    ON CONFLICT (key) WHERE spread_at IS NULL DO UPDATE SET
        kind = excluded.kind, level = excluded.level, title = excluded.title,
        reason = excluded.reason, next_step = excluded.next_step, page = excluded.page,
        detail = excluded.detail, happened_at = now(), repeats = n.repeats + 1
""")


# -- spreading -------------------------------------------------------------------------------------


class Due(msgspec.Struct, frozen=True):
    """A notification that no channel has yet."""

    notification_id: int
    kind: str
    level: Level
    happened_at: dt.datetime


def take_due(connection: sa.Connection, limit: int = SPREAD_AT_ONCE) -> list[Due]:
    """What is to be spread now, the oldest first; locked, and left out if another sender has it."""
    return [Due(*row) for row in connection.execute(_DUE, {"limit": limit})]


def spread(connection: sa.Connection, pairs: Sequence[tuple[int, str]], ids: Sequence[int]) -> None:
    """Give each of these channels its delivery, and note that the notifications have theirs.

    On repeat nothing is added.
    """
    given = {
        "ids": [notification_id for notification_id, _ in pairs],
        "channels": [channel for _, channel in pairs],
    }
    connection.execute(_DELIVER, given)
    connection.execute(_SPREAD, {"ids": list(ids)})


_DUE: Final = sa.text("""
    SELECT notification_id, kind, level, happened_at FROM flowshift.notifications
    WHERE spread_at IS NULL AND due_at <= now()
    ORDER BY notification_id LIMIT :limit FOR UPDATE SKIP LOCKED
""")

_DELIVER: Final = sa.text("""
    INSERT INTO flowshift.deliveries (notification_id, channel)
    SELECT * FROM unnest(CAST(:ids AS bigint[]), CAST(:channels AS text[]))
    ON CONFLICT DO NOTHING
""")

_SPREAD: Final = sa.text("""
    UPDATE flowshift.notifications SET spread_at = now()
    WHERE notification_id = ANY (CAST(:ids AS bigint[]))
""")


# -- looking ---------------------------------------------------------------------------------------


class Delivery(msgspec.Struct, frozen=True):
    """What became of a notification at one channel."""

    channel: str
    state: str
    tries: int
    answer: str | None
    ended_at: dt.datetime | None


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A notification as it stands; `deliveries` is empty while it waits, and where no channel wants it."""

    notification_id: int
    kind: str
    level: Level
    title: str
    reason: str | None
    next_step: str | None
    page: str
    repeats: int
    happened_at: dt.datetime
    due_at: dt.datetime
    spread_at: dt.datetime | None
    deliveries: tuple[Delivery, ...]


def recent(connection: sa.Connection, limit: int) -> list[Told]:
    """The newest notifications, the newest last."""
    found = [_told(row) for row in connection.execute(_RECENT, {"limit": limit})]
    return list(reversed(found))


def _told(row: sa.Row[Any]) -> Told:
    values = row._asdict()
    deliveries = msgspec.convert(values.pop("deliveries") or [], tuple[Delivery, ...])
    return Told(**values, deliveries=deliveries)


_RECENT: Final = sa.text("""
    SELECT n.notification_id, n.kind, n.level, n.title, n.reason, n.next_step, n.page, n.repeats,
           n.happened_at, n.due_at, n.spread_at,
           (SELECT jsonb_agg(jsonb_build_object('channel', d.channel, 'state', d.state,
                       'tries', d.tries, 'answer', d.answer, 'ended_at', d.ended_at)
                   ORDER BY d.channel)
            FROM flowshift.deliveries d WHERE d.notification_id = n.notification_id) AS deliveries
    FROM flowshift.notifications n ORDER BY n.notification_id DESC LIMIT :limit
""")
