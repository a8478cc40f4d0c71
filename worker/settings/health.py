"""Settings: when runs wait for the platform's database."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Meta

from worker.core.policy.business_hours import parse_hours
from worker.core.policy.health import Limits
from worker.settings.batches import Batches
from worker.settings.field import text


def _zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError) as error:
        raise ValueError from error


class Health(Batches, frozen=True, kw_only=True):
    """When runs wait for the platform's database."""

    max_replication_lag_s: Annotated[
        int,
        Meta(ge=0, le=86_400, description="Runs wait while a replica is further behind. 0: never."),
    ] = 30
    max_wal_behind_mb: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Runs wait while more WAL is not archived, or archiving fails. 0: never.",
        ),
    ] = 1_024
    max_vacuum_s: Annotated[
        int,
        Meta(
            ge=0,
            le=86_400,
            description="Runs wait while a table they write has been vacuumed for longer. 0: never.",
        ),
    ] = 60
    max_active_sessions: Annotated[
        int,
        Meta(
            ge=0,
            le=100_000,
            description="Runs wait while more sessions of others are at work. 0: never.",
        ),
    ] = 50
    max_lock_waits: Annotated[
        int,
        Meta(
            ge=0,
            le=100_000,
            description="Runs wait while more sessions of others wait for locks on `bots`. 0: never.",
        ),
    ] = 5
    max_commit_ms: Annotated[
        int,
        Meta(
            ge=0,
            le=600_000,
            description="Runs wait a while when a process's last five commits took longer on average. "
            "0: never.",
        ),
    ] = 2_000
    health_query: Annotated[
        str,
        text("SQL that says `go`, `wait`, `stop` or a boolean (true: go), and perhaps why."),
    ] = ""
    health_timeout_ms: Annotated[
        int,
        Meta(
            ge=10, le=60_000, description="Longest time of the health query, and of our own checks."
        ),
    ] = 1_000
    business_hours: Annotated[
        str,
        text(
            "When runs wait, such as `mon-fri 09:00-18:00, sat 10:00-14:00`; empty: never.",
            expected="times of the week such as mon-fri 09:00-18:00, sat 10:00-14:00",
            check=parse_hours,
        ),
    ] = ""
    time_zone: Annotated[
        str,
        text(
            "Of the business hours, such as `Asia/Seoul`.",
            expected="a time zone such as Asia/Seoul",
            min_length=1,
            check=_zone,
        ),
    ] = "UTC"
    nice_ratio: Annotated[
        float,
        Meta(
            ge=0,
            le=100,
            description="How long a process rests after a batch, as a multiple of the batch's time.",
        ),
    ] = 0.0
    stop_factor: Annotated[
        float,
        Meta(
            ge=0,
            le=1_000,
            description="A reading over so many times its limit pauses the run. 0: it only waits.",
        ),
    ] = 0.0

    @property
    def limits(self) -> Limits:
        """From where on each health check waits."""
        return Limits(
            replication_lag_s=self.max_replication_lag_s,
            wal_behind_mb=self.max_wal_behind_mb,
            vacuum_s=self.max_vacuum_s,
            active_sessions=self.max_active_sessions,
            lock_waits=self.max_lock_waits,
            commit_ms=self.max_commit_ms,
            business_hours=parse_hours(self.business_hours),
            stop_factor=self.stop_factor,
        )
