"""Alert rules in the database: the state of each, judged by one process at a time."""

from __future__ import annotations

import datetime as dt
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.alerts.rules import AlertState, Standing

_LOCK: Final = 0x616C657274
"""The advisory lock of the look ("alert" in ASCII); it ends with the transaction."""

FORGOTTEN_S: Final = 86_400
"""So long the state of a rule stays that is no longer judged."""


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """A rule's state as it stands, and what was read last, in words."""

    rule: str
    state: AlertState
    since: dt.datetime
    clear_since: dt.datetime | None
    judged_at: dt.datetime
    said: str | None

    @property
    def standing(self) -> Standing:
        """The same for the pure rules."""
        clear = None if self.clear_since is None else self.clear_since.timestamp()
        since_s, judged_s = self.since.timestamp(), self.judged_at.timestamp()
        return Standing(self.state, since_s, judged_s, clear)


def begin(connection: sa.Connection) -> float | None:
    """The database's time, in seconds since 1970, if no other process judges now; else None."""
    if not connection.execute(_TRY_LOCK, {"key": _LOCK}).scalar_one():
        return None
    return now(connection)


def now(connection: sa.Connection) -> float:
    """The database's time, in seconds since 1970."""
    return float(connection.execute(_NOW).scalar_one())


def states(connection: sa.Connection) -> dict[str, Alert]:
    """The state of each rule that was ever judged, by name."""
    return {row.rule: Alert(**row._asdict()) for row in connection.execute(_STATES)}


def save(connection: sa.Connection, rule: str, standing: Standing, said: str) -> None:
    """Write a rule's state after a look."""
    clear_s = standing.clear_since_s
    connection.execute(
        _SAVE,
        {
            "rule": rule,
            "state": standing.state,
            "since": _time(standing.since_s),
            "clear_since": None if clear_s is None else _time(clear_s),
            "judged_at": _time(standing.judged_s),
            "said": said,
        },
    )


def forget(connection: sa.Connection) -> None:
    """Delete states of rules that were not judged for a day: they are not in the file any more."""
    connection.execute(_FORGET, {"age": dt.timedelta(seconds=FORGOTTEN_S)})


def _time(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


_TRY_LOCK: Final = sa.text("SELECT pg_try_advisory_xact_lock(:key)")
_NOW: Final = sa.text("SELECT extract(epoch FROM clock_timestamp())::float8")
_STATES: Final = sa.text(
    "SELECT rule, state, since, clear_since, judged_at, said FROM flowshift.alerts ORDER BY rule"
)
_SAVE: Final = sa.text("""
    INSERT INTO flowshift.alerts (rule, state, since, clear_since, judged_at, said)
    VALUES (:rule, :state, :since, :clear_since, :judged_at, :said)
    ON CONFLICT (rule) DO UPDATE SET state = excluded.state, since = excluded.since,
        clear_since = excluded.clear_since, judged_at = excluded.judged_at, said = excluded.said
""")
_FORGET: Final = sa.text("""
    DELETE FROM flowshift.alerts WHERE judged_at < clock_timestamp() - CAST(:age AS interval)
""")
