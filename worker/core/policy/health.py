"""Health: whether the database bears another batch now, judged from what was read of it.

Each judge looks at one thing and says go, wait or stop, with a reason for a person. What could not
be read is never go: it is `Unreadable`, and counts as wait once it has been so for a stated time.

The checks are those of GitLab's batched background migrations (autovacuum on the table, WAL
archiving), gh-ost (replication lag, load, a query of the user's, nice ratio) and
pt-online-schema-change (sessions at work; a higher bound that stops).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

Decision = Literal["go", "wait", "stop"]


class Verdict(msgspec.Struct, frozen=True):
    """What to do, which check says so, and why."""

    decision: Decision
    check: str = ""
    reason: str = ""


class Unreadable(msgspec.Struct, frozen=True):
    """A check that nothing can be said of, and why."""

    check: str
    reason: str


Finding = Verdict | Unreadable


class Vacuum(msgspec.Struct, frozen=True):
    """A vacuum at work on a table that runs write; `age_s` None where the role may not see it."""

    table: str
    age_s: float | None


class Answer(msgspec.Struct, frozen=True):
    """What the user's own query returned; `error` says why it returned nothing of use."""

    value: str | bool | None = None
    reason: str = ""
    error: str = ""


class Readings(msgspec.Struct, frozen=True, kw_only=True):
    """What was read at one moment. None: it could not be read.

    Sessions and lock waits are those of others, never flowshift's own. `hidden` counts what is
    there but may not be looked at by this role. `wal_position` counts bytes since the beginning of
    the log, `archived_wal` names the last file archived.
    """

    replica_lag_s: float | None = 0.0
    replicas_hidden: int = 0
    archiving: bool = False
    archive_failing: bool = False
    archived_wal: str | None = None
    wal_position: int | None = None
    wal_segment_bytes: int = 16 * 1024 * 1024
    vacuums: tuple[Vacuum, ...] = ()
    active_sessions: int = 0
    sessions_hidden: int = 0
    lock_waits: int = 0
    commit_ms: tuple[float, ...] = ()
    answer: Answer | None = None
    weekday: int = 1
    """1 is Monday, 7 Sunday."""
    minute: int = 0
    """Minutes since midnight."""


class Hours(msgspec.Struct, frozen=True):
    """A time of the week: on `days` (1 is Monday) from one minute until before another.

    An end at or before the start is on the next day.
    """

    days: frozenset[int]
    start: int
    end: int


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """From where on each check waits; 0 switches it off.

    From `stop_factor` times a limit on, the check stops the run instead; 0: never.
    """

    replication_lag_s: int = 0
    wal_behind_mb: int = 0
    vacuum_s: int = 0
    active_sessions: int = 0
    lock_waits: int = 0
    commit_ms: int = 0
    business_hours: tuple[Hours, ...] = ()
    stop_factor: float = 0.0


UNREAD: Final = "cannot be read"
"""How the reason of a check begins that could not be read."""

COMMITS_LOOKED_AT: Final = 5
"""Commits whose mean is judged: one slow one says nothing."""


def complete(
    readings: Readings, *, commit_ms: tuple[float, ...], answer: Answer | None
) -> Readings:
    """Readings with what is not read from the catalog: the last commits and the query's answer."""
    return msgspec.structs.replace(readings, commit_ms=commit_ms, answer=answer)


def judge(readings: Readings, limits: Limits) -> list[Finding]:
    """What every check says, in a fixed order."""
    return [check(readings, limits) for check in CHECKS.values()]


def settle(
    findings: Iterable[Finding], unread_for_s: Mapping[str, float], unread_s: float
) -> list[Verdict]:
    """Turn what is unreadable into verdicts: go at first, wait once it was so for `unread_s`.

    >>> settle([Unreadable("query", "it failed")], {"query": 61.0}, 60.0)
    [Verdict(decision='wait', check='query', reason='cannot be read: it failed')]
    """
    return [
        found if isinstance(found, Verdict) else _unread(found, unread_for_s, unread_s)
        for found in findings
    ]


def _unread(found: Unreadable, unread_for_s: Mapping[str, float], unread_s: float) -> Verdict:
    waits = unread_for_s.get(found.check, 0.0) >= unread_s
    return Verdict("wait" if waits else "go", found.check, f"{UNREAD}: {found.reason}")


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict that counts: stop before wait before go, the first of its kind.

    >>> worst([Verdict("go", "a"), Verdict("wait", "b", "why"), Verdict("wait", "c")])
    Verdict(decision='wait', check='b', reason='why')
    >>> worst([])
    Verdict(decision='go', check='', reason='')
    """
    for decision in ("stop", "wait"):
        for verdict in verdicts:
            if verdict.decision == decision:
                return verdict
    return Verdict("go")


# -- the checks --------------------------------------------------------------------------------


def replication_lag(readings: Readings, limits: Limits) -> Finding:
    """How far the slowest replica is behind in replaying."""
    if not limits.replication_lag_s:
        return Verdict("go", "replication_lag")
    lag = readings.replica_lag_s
    if lag is None or readings.replicas_hidden:
        return Unreadable("replication_lag", "the role may not see the replicas (pg_monitor may)")
    decision = _grade(lag, limits.replication_lag_s, limits)
    return Verdict(
        decision,
        "replication_lag",
        f"a replica is {lag:,.0f} s behind, at most {limits.replication_lag_s:,}",
    )


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
    return Verdict(
        decision,
        "wal_archiving",
        f"{behind_mb:,.0f} MB of WAL are not archived, at most {limits.wal_behind_mb:,}",
    )


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
    return Verdict(
        decision,
        "vacuum",
        f"{table} has been vacuumed for {age:,.0f} s, at most {limits.vacuum_s:,}",
    )


def active_sessions(readings: Readings, limits: Limits) -> Finding:
    """How many sessions of others are at work; hidden ones matter only if they could be too many."""
    limit = limits.active_sessions
    if not limit:
        return Verdict("go", "active_sessions")
    active = readings.active_sessions
    decision = _grade(active, limit, limits)
    if decision == "go" and active + readings.sessions_hidden > limit:
        return Unreadable(
            "active_sessions",
            f"the role may not see what {readings.sessions_hidden:,} sessions do (pg_monitor may)",
        )
    return Verdict(
        decision, "active_sessions", f"{active:,} sessions are at work, at most {limit:,}"
    )


def lock_waits(readings: Readings, limits: Limits) -> Finding:
    """How many sessions of others wait for a lock on `bots` or its rows."""
    if not limits.lock_waits:
        return Verdict("go", "lock_waits")
    decision = _grade(readings.lock_waits, limits.lock_waits, limits)
    return Verdict(
        decision,
        "lock_waits",
        f"{readings.lock_waits:,} sessions wait for locks on bots, at most {limits.lock_waits:,}",
    )


def commit_time(readings: Readings, limits: Limits) -> Finding:
    """How long the last commits took, on average; too few say nothing."""
    last = readings.commit_ms[-COMMITS_LOOKED_AT:]
    if not limits.commit_ms or len(last) < COMMITS_LOOKED_AT:
        return Verdict("go", "commit_time")
    mean = sum(last) / len(last)
    return Verdict(
        _grade(mean, limits.commit_ms, limits),
        "commit_time",
        f"the last commits took {mean:,.0f} ms, at most {limits.commit_ms:,}",
    )


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
"""Every check by name, in the order in which they are told."""


def _grade(value: float, limit: int, limits: Limits) -> Decision:
    if limits.stop_factor and value > limit * limits.stop_factor:
        return "stop"
    return "wait" if value > limit else "go"


# -- the log -----------------------------------------------------------------------------------

_WAL_FILE = re.compile(r"[0-9A-F]{8}([0-9A-F]{8})([0-9A-F]{8})")


def wal_behind_bytes(archived: str | None, position: int, segment_bytes: int) -> int | None:
    """Bytes of complete WAL files behind the last archived one; None where none ever was.

    >>> wal_behind_bytes("000000010000000000000003", 6 * 16 * 2**20 + 99, 16 * 2**20) // 2**20
    32
    """
    found = _WAL_FILE.match(archived or "")
    if found is None:
        return None
    per_log = 2**32 // segment_bytes
    last = int(found[1], 16) * per_log + int(found[2], 16)
    return max(0, position // segment_bytes - last - 1) * segment_bytes


# -- hours -------------------------------------------------------------------------------------

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = re.compile(r"(?:([a-z]{3})(?:-([a-z]{3}))?\s+)?(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})")


def parse_hours(text: str) -> tuple[Hours, ...]:
    """Read times of the week such as `mon-fri 09:00-18:00, sat 10:00-14:00`; without days, daily.

    Raises:
        ValueError: says which part is not one.

    >>> parse_hours("sat-sun 22:00-06:00")
    (Hours(days=frozenset({6, 7}), start=1320, end=360),)
    """
    return tuple(_hours(part.strip().lower()) for part in text.split(",") if part.strip())


def _hours(part: str) -> Hours:
    found = _HOURS.fullmatch(part)
    if found is None:
        raise ValueError(f"{part!r} is no time such as mon-fri 09:00-18:00")
    first, last, *numbers = found.groups()
    hour, minute, end_hour, end_minute = map(int, numbers)
    start, end = hour * 60 + minute, end_hour * 60 + end_minute
    if minute > 59 or end_minute > 59 or start >= 24 * 60 or end > 24 * 60:
        raise ValueError(f"{part!r} has a time that no clock shows")
    return Hours(_days(part, first, last), start, end)


def _days(part: str, first: str | None, last: str | None) -> frozenset[int]:
    if first is None:
        return frozenset(range(1, 8))
    if first not in _DAYS or (last or first) not in _DAYS:
        raise ValueError(f"{part!r} names a day that is none of {', '.join(_DAYS)}")
    start = _DAYS.index(first)
    length = (_DAYS.index(last or first) - start) % 7 + 1
    return frozenset((start + n) % 7 + 1 for n in range(length))


def is_within(hours: Iterable[Hours], weekday: int, minute: int) -> bool:
    """Whether a minute of the week is in one of these times.

    >>> night = parse_hours("fri 22:00-06:00")
    >>> is_within(night, 5, 1380), is_within(night, 6, 300), is_within(night, 5, 300)
    (True, True, False)
    """
    yesterday = (weekday - 2) % 7 + 1
    for one in hours:
        overnight = one.end <= one.start
        if weekday in one.days and one.start <= minute < (24 * 60 if overnight else one.end):
            return True
        if overnight and yesterday in one.days and minute < one.end:
            return True
    return False
