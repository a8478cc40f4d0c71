"""Channels in the database: who may send to one now, what it is to get next, and how it answered.

    claim ─► (the message goes out, with no transaction open) ─► record

A lease lets one sender at a time use a channel, in the order of events. One that dies leaves its
message `waiting`: it is sent again when the lease has run out, with the same id.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from worker.core.notify.event import Level
from worker.core.notify.retry import REFUSALS_MAX, STUCK_S, Answer

LEASE_S: Final = 60.0
"""Well beyond what one message may take; renewed with each."""


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """A message that this sender is to send now, and how often its channel failed in a row."""

    notification_id: int
    message_id: uuid.UUID
    kind: str
    level: Level
    title: str
    reason: str | None
    next_step: str | None
    page: str
    detail: dict[str, Any]
    repeats: int
    happened_at: dt.datetime
    age_s: float
    tries: int
    failures: int


def know(connection: sa.Connection, names: Collection[str]) -> dict[str, dt.datetime]:
    """See to it that the channels have a row; returns since when each is known."""
    connection.execute(_KNOW, {"names": sorted(names)})
    return {row.channel: row.since for row in connection.execute(_SINCE, {"names": sorted(names)})}


def claim(connection: sa.Connection, channel: str, lease: uuid.UUID) -> Claimed | None:
    """The channel's next message, with the channel leased to us; None if there is none for us now.

    That is: another sender has the channel, it rests after a failure, or nothing waits. A message that
    the channel refused waits by itself, and the ones after it go on.
    """
    ours = {"channel": channel, "lease": lease, "lease_s": dt.timedelta(seconds=LEASE_S)}
    failures = connection.scalar(_LEASE, ours)
    if failures is None:
        return None
    row = connection.execute(_NEXT, {"channel": channel}).one_or_none()
    return None if row is None else Claimed(**row._asdict(), failures=failures)


def record(
    connection: sa.Connection,
    channel: str,
    lease: uuid.UUID,
    claimed: Claimed,
    answer: Answer,
    *,
    pause_s: float,
) -> bool:
    """Note what came of a try; False if the lease was lost meanwhile, and nothing is noted.

    `pause_s` is how long the channel rests where it failed, and the message where it was refused.
    """
    pause = dt.timedelta(seconds=pause_s)
    fault = answer.result == "failed"
    noted = connection.execute(
        _ANSWERED,
        {
            "channel": channel,
            "lease": lease,
            "answer": answer.said,
            "failed": fault,
            "sent": answer.result == "sent",
            "pause": pause,
        },
    ).rowcount
    if not noted:
        return False
    connection.execute(
        _TRIED,
        {
            "id": claimed.notification_id,
            "channel": channel,
            "state": _state_after(answer, claimed.tries + 1),
            "answer": answer.said,
            "pause": dt.timedelta() if fault else pause,
        },
    )
    return True


def _state_after(answer: Answer, tries: int) -> str:
    if answer.result == "sent" or (answer.result == "refused" and tries >= REFUSALS_MAX):
        return answer.result
    return "waiting"


def release(connection: sa.Connection, channel: str, lease: uuid.UUID) -> None:
    """Let other senders have the channel. Safe to repeat."""
    connection.execute(_RELEASE, {"channel": channel, "lease": lease})


def give_up(connection: sa.Connection, after_s: float) -> list[tuple[str, int]]:
    """End what has waited longer than `after_s`: (channel, how many), whether or not it still exists."""
    rows = connection.execute(_GIVE_UP, {"age": dt.timedelta(seconds=after_s)})
    return [(row[0], row[1]) for row in rows]


def names(connection: sa.Connection) -> list[str]:
    """The channels that are known, by name."""
    return list(connection.execute(_NAMES).scalars())


def forget(connection: sa.Connection, channel: str) -> int:
    """Give up all that waits for a channel, and forget it; returns how many that were."""
    given_up = connection.execute(_GIVE_UP_ALL, {"channel": channel}).rowcount
    connection.execute(_FORGET, {"channel": channel})
    return given_up


_NAMES: Final = sa.text("SELECT channel FROM flowshift.channels ORDER BY channel")

_GIVE_UP_ALL: Final = sa.text("""
    UPDATE flowshift.deliveries SET state = 'given_up', ended_at = now()
    WHERE channel = :channel AND state = 'waiting'
""")

_FORGET: Final = sa.text("DELETE FROM flowshift.channels WHERE channel = :channel")

_KNOW: Final = sa.text("""
    INSERT INTO flowshift.channels (channel) SELECT unnest(CAST(:names AS text[]))
    ON CONFLICT DO NOTHING
""")

_SINCE: Final = sa.text("""
    SELECT channel, since FROM flowshift.channels WHERE channel = ANY (CAST(:names AS text[]))
""")

_LEASE: Final = sa.text("""
    UPDATE flowshift.channels c SET lease = :lease, lease_until = clock_timestamp() + :lease_s
    WHERE c.channel = :channel AND c.next_at <= now()
      AND (c.lease_until IS NULL OR c.lease_until < clock_timestamp() OR c.lease = :lease)
      AND EXISTS (SELECT FROM flowshift.deliveries d
                  WHERE d.channel = c.channel AND d.state = 'waiting' AND d.next_at <= now())
    RETURNING c.failures
""")

_NEXT: Final = sa.text("""
    SELECT n.notification_id, n.message_id, n.kind, n.level, n.title, n.reason, n.next_step, n.page,
           n.detail, n.repeats, n.happened_at, d.tries,
           extract(epoch FROM clock_timestamp() - n.happened_at)::float AS age_s
    FROM flowshift.deliveries d JOIN flowshift.notifications n USING (notification_id)
    WHERE d.channel = :channel AND d.state = 'waiting' AND d.next_at <= now()
    ORDER BY d.notification_id LIMIT 1
""")

_ANSWERED: Final = sa.text("""
    UPDATE flowshift.channels SET
        failures = CASE WHEN :failed THEN failures + 1 ELSE 0 END,
        next_at = CASE WHEN :failed THEN clock_timestamp() + :pause ELSE now() END,
        answer = :answer, answered_at = clock_timestamp(),
        sent_at = CASE WHEN :sent THEN clock_timestamp() ELSE sent_at END
    WHERE channel = :channel AND lease = :lease
""")

_TRIED: Final = sa.text("""
    UPDATE flowshift.deliveries SET
        state = :state, tries = tries + 1, answer = :answer,
        next_at = clock_timestamp() + :pause,
        ended_at = CASE WHEN :state <> 'waiting' THEN clock_timestamp() END
    WHERE notification_id = :id AND channel = :channel AND state = 'waiting'
""")

_RELEASE: Final = sa.text("""
    UPDATE flowshift.channels SET lease = NULL, lease_until = NULL
    WHERE channel = :channel AND lease = :lease
""")

_GIVE_UP: Final = sa.text("""
    WITH over AS (
        UPDATE flowshift.deliveries d SET state = 'given_up', ended_at = now()
        FROM flowshift.notifications n
        WHERE n.notification_id = d.notification_id AND d.state = 'waiting'
          AND n.happened_at < now() - CAST(:age AS interval)
        RETURNING d.channel
    ) SELECT channel, count(*) FROM over GROUP BY channel ORDER BY channel
""")


# -- looking ---------------------------------------------------------------------------------------


class Stuck(msgspec.Struct, frozen=True, kw_only=True):
    """Messages that a channel should have got: `waiting` for longer than five minutes, or `given_up` today.

    A channel of the name `` is none: these no sender has looked at.
    """

    channel: str
    waiting: int
    given_up: int
    oldest_s: float | None
    answer: str | None
    next_at: dt.datetime | None


def stuck(connection: sa.Connection) -> list[Stuck]:
    """The channels with messages that are stuck, by name; empty if all is well."""
    rows = connection.execute(_STUCK, {"age": dt.timedelta(seconds=STUCK_S)})
    return [Stuck(**row._asdict()) for row in rows]


def is_due(connection: sa.Connection, names: Collection[str], *, waited_s: float = 0.0) -> bool:
    """Whether something could be sent to these channels now, and could have been for `waited_s`."""
    given = {"names": list(names), "waited": dt.timedelta(seconds=waited_s)}
    return bool(connection.scalar(_IS_DUE, given))


_STUCK: Final = sa.text("""
    SELECT d.channel, count(*) FILTER (WHERE d.state = 'waiting') AS waiting,
           count(*) FILTER (WHERE d.state <> 'waiting') AS given_up,
           max(extract(epoch FROM now() - n.happened_at)) FILTER (WHERE d.state = 'waiting')::float
               AS oldest_s,
           max(c.answer) AS answer, max(c.next_at) AS next_at
    FROM flowshift.deliveries d
    JOIN flowshift.notifications n USING (notification_id)
    JOIN flowshift.channels c ON c.channel = d.channel  -- one that was forgotten is missed by nobody
    WHERE d.state = 'waiting' AND n.due_at < now() - CAST(:age AS interval)
       OR d.state IN ('given_up', 'refused') AND d.ended_at > now() - interval '1 day'
    GROUP BY d.channel
    UNION ALL
    SELECT '', count(*), 0, max(extract(epoch FROM now() - n.happened_at))::float, NULL, NULL
    FROM flowshift.notifications n
    WHERE n.spread_at IS NULL AND n.due_at < now() - CAST(:age AS interval)
      AND n.happened_at >= (SELECT min(since) FROM flowshift.channels)
    HAVING count(*) > 0
    ORDER BY 1
""")

_IS_DUE: Final = sa.text("""
    SELECT EXISTS (SELECT FROM flowshift.notifications
                   WHERE spread_at IS NULL AND due_at <= now() - CAST(:waited AS interval))
        OR EXISTS (SELECT FROM flowshift.deliveries d LEFT JOIN flowshift.channels c USING (channel)
                   WHERE d.state = 'waiting' AND d.channel = ANY (CAST(:names AS text[]))
                     AND GREATEST(d.next_at, c.next_at, c.lease_until)
                         <= now() - CAST(:waited AS interval))
""")
