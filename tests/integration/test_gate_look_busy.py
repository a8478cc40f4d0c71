"""Looks beside a busy platform, and with a worker's rights: nothing is locked, nothing waits for long."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

import msgspec
import psycopg
import pytest
import sqlalchemy as sa

from tests.fleet import Fleet
from tests.roles import Role
from tests.traffic import Traffic, counts
from worker.core.publication.tally import Minute
from worker.db.publication import traffic as executions
from worker.errors import TransientError
from worker.runtime import Runtime
from worker.steps.publication import look as look_step
from worker.steps.publication.look import look


@pytest.fixture
def traffic(fleet: Fleet) -> Traffic:
    """A wave of two bots, out for five hours, with executions all along."""
    traffic = Traffic(fleet)
    traffic.wave(1, "a", "b", age="5 hours")
    for minutes in range(1, 300, 10):
        traffic.ask("a", 2, ago=f"{minutes} minutes")
    traffic.ask("b", 1, status="failed", ago="200 minutes")
    return traffic


def test_a_look_needs_no_right_beyond_a_workers(traffic: Traffic, role: Role) -> None:
    current = traffic.fleet.current
    url = role.url(current.settings.database_url)
    servers = msgspec.structs.replace(current.servers, database_url=url)
    other = Runtime(current.settings, servers)
    try:
        assert counts(look(other, 1, 1)) == (1, 61)
        assert counts(look(other, 1, 1)) == (1, 61)
    finally:
        other.close()


def test_a_look_locks_nothing_of_the_platforms(
    traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each statement on executions: its session reads that table, and waits for nobody's rows."""
    seen: set[tuple[str, str]] = set()
    real = executions.minutes

    def watched(connection: sa.Connection, *given: Any, **more: Any) -> list[Minute]:
        found = real(connection, *given, **more)
        locks = connection.execute(
            sa.text(
                "SELECT relation::regclass::text, mode FROM pg_locks WHERE pid = pg_backend_pid()"
                " AND relation::regclass::text IN ('workflow_execution_runs', 'bots',"
                " 'bot_workflow_versions', 'workflow_node_executions')"
            )
        )
        seen.update((table, mode) for table, mode in locks)
        return found

    monkeypatch.setattr(executions, "minutes", watched)
    with traffic.fleet.connect() as platform:
        platform.execute("LOCK TABLE workflow_execution_runs IN EXCLUSIVE MODE")
        platform.execute("SELECT FROM workflow_execution_runs FOR UPDATE")
        assert counts(traffic.look()) == (1, 61)

    assert seen == {("workflow_execution_runs", "AccessShareLock")}


def test_a_look_gives_up_on_a_table_that_is_being_changed(traffic: Traffic) -> None:
    with traffic.fleet.connect() as platform:
        platform.execute("LOCK TABLE workflow_execution_runs IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        with pytest.raises(TransientError):
            traffic.look(lock_timeout_ms=200)
        assert time.monotonic() - began < 5

    assert counts(traffic.look()) == (1, 61)


def test_a_stretch_that_takes_too_long_is_settled_in_shorter_ones(
    traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: list[timedelta] = []
    real = executions.minutes

    def slow(
        connection: sa.Connection,
        *given: Any,
        since: datetime,
        until: datetime | None = None,
    ) -> list[Minute]:
        if until is not None:
            lengths.append(until - since)
            if until - since > timedelta(minutes=20):
                connection.execute(sa.text("SET LOCAL statement_timeout = 50"))
                connection.execute(sa.text("SELECT pg_sleep(10)"))
        return real(connection, *given, since=since, until=until)

    monkeypatch.setattr(executions, "minutes", slow)

    assert counts(traffic.look()) == (1, 61)
    assert lengths[:2] == [timedelta(hours=1), timedelta(minutes=15)]
    assert set(lengths[1:-1]) == {timedelta(minutes=15)}


def test_a_server_that_goes_away_is_an_error_that_passes(traffic: Traffic) -> None:
    traffic.look()
    name = traffic.fleet.engine.url.database
    with psycopg.connect(
        traffic.fleet.engine.url.set(drivername="postgresql", database="postgres").render_as_string(
            hide_password=False
        ),
        autocommit=True,
    ) as admin:
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )
        try:
            with pytest.raises(TransientError):
                traffic.look()
        finally:
            admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())

    assert counts(traffic.look()) == (1, 61)


def test_after_a_long_time_without_a_look_several_looks_catch_up(
    traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five hours to settle, an hour a look: the last two hours are counted anew each time."""
    real = executions.minutes

    def slow(*given: Any, **more: Any) -> list[Minute]:
        time.sleep(0.2)
        return real(*given, **more)

    monkeypatch.setattr(executions, "minutes", slow)
    monkeypatch.setattr(look_step, "SETTLE_S", 0.1)
    for _ in range(3):
        with pytest.raises(TransientError, match="are being counted, and are so up to "):
            traffic.look()

    assert counts(traffic.look()) == (1, 61)
