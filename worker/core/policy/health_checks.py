"""The checks of a database's health: each looks at one thing that was read.

The checks are those of GitLab's batched background migrations (autovacuum on the table, WAL
archiving), gh-ost (replication lag, load, a query of the user's, nice ratio) and
pt-online-schema-change (sessions at work; a higher bound that stops).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from worker.core.policy.business_hours import is_within
from worker.core.policy.health import (
    COMMITS_LOOKED_AT,
    Decision,
    Finding,
    Limits,
    Readings,
    Unreadable,
    Verdict,
)


def judge(readings: Readings, limits: Limits) -> list[Finding]:
    """What every check says, in a fixed order."""
    return [check(readings, limits) for check in CHECKS.values()]


def replication_lag(readings: Readings, limits: Limits) -> Finding:
    """How far the slowest replica is behind in replaying."""
    if not limits.replication_lag_s:
        return Verdict("go", "replication_lag")
    lag = readings.replica_lag_s
    if lag is None or readings.replicas_hidden:
        return Unreadable("replication_lag", "the role may not see the replicas (pg_monitor may)")
    said = f"a replica is {lag:,.0f} s behind, at most {limits.replication_lag_s:,}"
    return Verdict(_grade(lag, limits.replication_lag_s, limits), "replication_lag", said)


def wal_archiving(readings: Readings, limits: Limits) -> Finding:
    """Whether the archiver keeps up; go where nothing is archived."""
    if not limits.wal_behind_mb or not readings.archiving:
        return Verdict("go", "wal_archiving")
    if readings.wal_position is None:
        return Unreadable("wal_archiving", "the position in the log is not known")
    behind = wal_behind_bytes(
        readings.archived_wal, readings.wal_position, readings.wal_segment_bytes
    )
    behind_mb = (behind or 0) / 1024 / 1024
    decision = _grade(behind_mb, limits.wal_behind_mb, limits)
    if decision == "go" and readings.archive_failing:
        return Verdict("wait", "wal_archiving", "the last attempt to archive a file failed")
    said = f"{behind_mb:,.0f} MB of WAL are not archived, at most {limits.wal_behind_mb:,}"
    return Verdict(decision, "wal_archiving", said)


def vacuum(readings: Readings, limits: Limits) -> Finding:
    """Whether a vacuum of a table that runs write has been at work for long.

    A short one passes by itself; a long one does not keep up with what is being written.
    """
    if not limits.vacuum_s or not readings.vacuums:
        return Verdict("go", "vacuum")
    hidden = [one.table for one in readings.vacuums if one.age_s is None]
    known = [(one.age_s, one.table) for one in readings.vacuums if one.age_s is not None]
    age, table = max(known, default=(0.0, ""))
    decision = _grade(age, limits.vacuum_s, limits)
    if decision == "go" and hidden:
        return Unreadable("vacuum", f"{hidden[0]} is being vacuumed, the role may not see how long")
    said = f"{table} has been vacuumed for {age:,.0f} s, at most {limits.vacuum_s:,}"
    return Verdict(decision, "vacuum", said)


def active_sessions(readings: Readings, limits: Limits) -> Finding:
    """How many sessions of others are at work; hidden ones matter only if they could be too many."""
    limit = limits.active_sessions
    if not limit:
        return Verdict("go", "active_sessions")
    active = readings.active_sessions
    decision = _grade(active, limit, limits)
    if decision == "go" and active + readings.sessions_hidden > limit:
        hidden = f"what {readings.sessions_hidden:,} sessions do (pg_monitor may)"
        return Unreadable("active_sessions", f"the role may not see {hidden}")
    said = f"{active:,} sessions are at work, at most {limit:,}"
    return Verdict(decision, "active_sessions", said)


def lock_waits(readings: Readings, limits: Limits) -> Finding:
    """How many sessions of others wait for a lock on `bots` or its rows."""
    if not limits.lock_waits:
        return Verdict("go", "lock_waits")
    waits, limit = readings.lock_waits, limits.lock_waits
    said = f"{waits:,} sessions wait for locks on bots, at most {limit:,}"
    return Verdict(_grade(waits, limit, limits), "lock_waits", said)


def commit_time(readings: Readings, limits: Limits) -> Finding:
    """How long the last commits took, on average; too few say nothing."""
    last = readings.commit_ms[-COMMITS_LOOKED_AT:]
    if not limits.commit_ms or len(last) < COMMITS_LOOKED_AT:
        return Verdict("go", "commit_time")
    mean = sum(last) / len(last)
    said = f"the last commits took {mean:,.0f} ms, at most {limits.commit_ms:,}"
    return Verdict(_grade(mean, limits.commit_ms, limits), "commit_time", said)


def query(readings: Readings, limits: Limits) -> Finding:  # noqa: ARG001  (every check has one shape)
    """What the user's own query answered: go, wait or stop, or whether to go."""
    answer = readings.answer
    if answer is None:
        return Verdict("go", "query")
    if answer.error:
        return Unreadable("query", answer.error)
    decision = _ANSWERS.get(str(answer.value).strip().lower())
    if decision is None:
        return Unreadable("query", f"it answered {answer.value!r}, not go, wait, stop or a boolean")
    return Verdict(decision, "query", answer.reason or f"the health query answered {answer.value}")


def business_hours(readings: Readings, limits: Limits) -> Finding:
    """Wait while people work."""
    now = is_within(limits.business_hours, readings.weekday, readings.minute)
    return Verdict("wait" if now else "go", "business_hours", "these are business hours")


_ANSWERS: Final[Mapping[str, Decision]] = {
    "go": "go",
    "wait": "wait",
    "stop": "stop",
    "true": "go",
    "false": "wait",
}

CHECKS: Final[Mapping[str, Callable[[Readings, Limits], Finding]]] = {
    "replication_lag": replication_lag,
    "wal_archiving": wal_archiving,
    "vacuum": vacuum,
    "active_sessions": active_sessions,
    "lock_waits": lock_waits,
    "commit_time": commit_time,
    "query": query,
    "business_hours": business_hours,
}
"""Every check by name, in the order in which they are shown."""


def _grade(value: float, limit: int, limits: Limits) -> Decision:
    if limits.stop_factor and value > limit * limits.stop_factor:
        return "stop"
    return "wait" if value > limit else "go"


# -- the log -----------------------------------------------------------------------------------

_WAL_FILE = re.compile(r"[0-9A-F]{8}([0-9A-F]{8})([0-9A-F]{8})")


def wal_behind_bytes(archived: str | None, position: int, segment_bytes: int) -> int | None:
    """Bytes of complete WAL files behind the last archived one; None if none ever was.

    >>> wal_behind_bytes("000000010000000000000003", 6 * 16 * 2**20 + 99, 16 * 2**20) // 2**20
    32
    """
    found = _WAL_FILE.match(archived or "")
    if found is None:
        return None
    per_log = 2**32 // segment_bytes
    last = int(found[1], 16) * per_log + int(found[2], 16)
    return max(0, position // segment_bytes - last - 1) * segment_bytes
