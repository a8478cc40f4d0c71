"""Health: each check goes at its limit, waits above it, and never takes what it cannot read for go."""

from __future__ import annotations

from typing import Any

import pytest

from worker.core.policy.business_hours import is_within, parse_hours
from worker.core.policy.health import (
    Answer,
    Finding,
    Limits,
    Readings,
    Unreadable,
    Vacuum,
    Verdict,
    settle,
    worst,
)
from worker.core.policy.health_checks import CHECKS, judge, wal_behind_bytes

MB = 1024 * 1024
LIMITS = Limits(
    replication_lag_s=30,
    wal_behind_mb=64,
    vacuum_s=60,
    active_sessions=50,
    lock_waits=5,
    commit_ms=2_000,
    business_hours=parse_hours("mon-fri 09:00-18:00"),
)
NIGHT: dict[str, Any] = {"weekday": 1, "minute": 3 * 60}


def check(name: str, limits: Limits = LIMITS, **readings: Any) -> Finding:
    return CHECKS[name](Readings(**{**NIGHT, **readings}), limits)


def archived(files_behind: int) -> dict[str, Any]:
    """An archiver that is so many whole files behind."""
    return {
        "archiving": True,
        "archived_wal": "000000010000000000000010",
        "wal_position": (0x10 + 1 + files_behind) * 16 * MB + 5,
    }


AT_AND_OVER: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("replication_lag", {"replica_lag_s": 30.0}, {"replica_lag_s": 30.5}),
    ("wal_archiving", archived(4), archived(5)),
    ("vacuum", {"vacuums": (Vacuum("bots", 60.0),)}, {"vacuums": (Vacuum("bots", 61.0),)}),
    ("active_sessions", {"active_sessions": 50}, {"active_sessions": 51}),
    ("lock_waits", {"lock_waits": 5}, {"lock_waits": 6}),
    ("commit_time", {"commit_ms": (2_000.0,) * 5}, {"commit_ms": (2_001.0,) * 5}),
]


def test_a_quiet_database_goes_in_every_check() -> None:
    found = judge(Readings(**NIGHT), LIMITS)

    assert [(one.check, one.decision) for one in found if isinstance(one, Verdict)] == [
        (name, "go") for name in CHECKS
    ]


@pytest.mark.parametrize(("name", "at", "over"), AT_AND_OVER)
def test_a_check_goes_at_its_limit_and_waits_above_it_with_a_reason(
    name: str, at: dict[str, Any], over: dict[str, Any]
) -> None:
    going, waiting = check(name, **at), check(name, **over)

    assert isinstance(going, Verdict)
    assert isinstance(waiting, Verdict)
    assert (going.decision, waiting.decision) == ("go", "wait")
    assert waiting.check == name
    assert "at most" in waiting.reason


@pytest.mark.parametrize(("name", "at", "over"), AT_AND_OVER)
def test_a_check_that_is_switched_off_goes_whatever_was_read(
    name: str, at: dict[str, Any], over: dict[str, Any]
) -> None:
    assert _decision(check(name, Limits(), **over)) == "go"


@pytest.mark.parametrize(("name", "at", "over"), AT_AND_OVER)
def test_a_reading_over_so_many_times_its_limit_stops_where_that_is_wanted(
    name: str, at: dict[str, Any], over: dict[str, Any]
) -> None:
    tight = Limits(
        replication_lag_s=3,
        wal_behind_mb=8,
        vacuum_s=6,
        active_sessions=5,
        lock_waits=1,
        commit_ms=200,
        stop_factor=5.0,
    )

    assert _decision(check(name, tight, **over)) == "stop"
    assert _decision(check(name, LIMITS, **over)) == "wait"


def _decision(found: Finding) -> str:
    return found.decision if isinstance(found, Verdict) else "unreadable"


UNREADABLE: list[tuple[str, dict[str, Any]]] = [
    ("replication_lag", {"replicas_hidden": 1}),
    ("replication_lag", {"replica_lag_s": None}),
    ("wal_archiving", {"archiving": True, "wal_position": None}),
    ("vacuum", {"vacuums": (Vacuum("bots", None),)}),
    ("active_sessions", {"active_sessions": 30, "sessions_hidden": 21}),
    ("query", {"answer": Answer(error="it failed")}),
    ("query", {"answer": Answer("perhaps")}),
    ("query", {"answer": Answer(None)}),
]


@pytest.mark.parametrize(("name", "readings"), UNREADABLE)
def test_what_cannot_be_read_is_not_go(name: str, readings: dict[str, Any]) -> None:
    assert isinstance(check(name, **readings), Unreadable)


def test_hidden_sessions_matter_only_if_they_could_be_too_many() -> None:
    assert _decision(check("active_sessions", active_sessions=30, sessions_hidden=20)) == "go"
    assert _decision(check("active_sessions", active_sessions=51, sessions_hidden=99)) == "wait"


def test_what_cannot_be_read_counts_as_wait_after_the_stated_time() -> None:
    unread: list[Finding] = [Unreadable("vacuum", "hidden"), Verdict("go", "lock_waits")]

    assert [v.decision for v in settle(unread, {"vacuum": 59.9}, 60.0)] == ["go", "go"]
    assert settle(unread, {"vacuum": 60.0}, 60.0) == [
        Verdict("wait", "vacuum", "cannot be read: hidden"),
        Verdict("go", "lock_waits"),
    ]


def test_nothing_is_archived_where_archiving_is_off() -> None:
    assert _decision(check("wal_archiving", archive_failing=True, wal_position=10**12)) == "go"


def test_an_archiver_that_fails_is_waited_for_though_it_is_not_behind() -> None:
    found = check("wal_archiving", archive_failing=True, **archived(0))

    assert found == Verdict("wait", "wal_archiving", "the last attempt to archive a file failed")


@pytest.mark.parametrize(
    ("archived_wal", "behind"),
    [
        ("0000000200000001000000FE", 0),
        ("0000000200000001000000FD", 16 * MB),
        ("000000020000000100000003.00000028.backup", 251 * 16 * MB),
        ("00000002.history", None),
        (None, None),
    ],
)
def test_files_are_counted_over_the_edge_of_a_log(archived_wal: str | None, behind: int) -> None:
    in_the_last_file = 2 * 2**32 - 5  # log 1, file FF

    assert wal_behind_bytes(archived_wal, in_the_last_file, 16 * MB) == behind


@pytest.mark.parametrize("times", [(), (9_000.0,) * 4])
def test_a_few_commits_say_nothing(times: tuple[float, ...]) -> None:
    assert _decision(check("commit_time", commit_ms=times)) == "go"


@pytest.mark.parametrize(
    ("value", "decision"),
    [(True, "go"), (False, "wait"), ("go", "go"), (" Wait ", "wait"), ("STOP", "stop")],
)
def test_the_query_answers_in_words_or_with_a_boolean(value: str | bool, decision: str) -> None:
    found = check("query", answer=Answer(value, "the moon is full"))

    assert (_decision(found), found.reason) == (decision, "the moon is full")


def test_people_at_work_are_waited_for() -> None:
    assert _decision(check("business_hours", weekday=5, minute=17 * 60 + 59)) == "wait"
    assert _decision(check("business_hours", weekday=5, minute=18 * 60)) == "go"
    assert _decision(check("business_hours", weekday=6, minute=12 * 60)) == "go"


def test_stop_counts_before_wait_and_wait_before_go() -> None:
    go, wait, stop = Verdict("go", "a"), Verdict("wait", "b"), Verdict("stop", "c")

    assert worst([go, wait, stop]) == stop
    assert worst([go, wait]) == wait
    assert worst([go]) == Verdict("go")


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("22:00-06:00", [(1, 1320), (1, 0), (7, 359)], [(1, 360), (1, 1319)]),
        ("fri-mon 10:00-11:00", [(5, 600), (7, 659), (1, 600)], [(2, 600), (4, 600), (5, 660)]),
        ("sun 23:00-01:00", [(7, 1439), (1, 59)], [(1, 60), (7, 30)]),
        ("00:00-24:00", [(1, 0), (7, 1439)], []),
        ("mon 08:00-12:00, mon 13:00-17:00", [(1, 480), (1, 800)], [(1, 730)]),
        ("", [], [(1, 600)]),
    ],
)
def test_hours_of_the_week(
    text: str, inside: list[tuple[int, int]], outside: list[tuple[int, int]]
) -> None:
    hours = parse_hours(text)

    assert all(is_within(hours, *moment) for moment in inside)
    assert not any(is_within(hours, *moment) for moment in outside)


@pytest.mark.parametrize(
    "text", ["always", "09:00", "mon 9-18", "mun 09:00-18:00", "mon-fry 09:00-18:00", "24:00-25:00"]
)
def test_hours_that_no_clock_shows_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="'"):
        parse_hours(text)
