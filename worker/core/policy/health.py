"""Health: whether the database can take another batch now, decided from what was read of it.

Each check (`worker.core.policy.health_checks`) looks at one thing and says go, wait or stop, with a
reason for a person. What could not be read is never go: it is `Unreadable`, and counts as wait once
it has been so for a stated time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from worker.core.policy.business_hours import Hours

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
    """A vacuum at work on a table that runs write; `age_s` None if the role may not see it."""

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
