"""Health: what is read is what is there, on a real database in real trouble."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from tests.fleet import Fleet
from worker.core.policy.health import Answer, Decision, Readings, Verdict
from worker.core.policy.progress import Counts
from worker.db import health
from worker.db.engine import create_engine, database_url
from worker.errors import TransientError
from worker.settings import Settings
from worker.steps.batch.tally import Report
from worker.steps.throttle import COMMITS_KEPT_S, FRESH_S, Throttle

TIGHT: dict[str, Any] = {
    "max_active_sessions": 0,
    "max_lock_waits": 0,
    "max_vacuum_s": 0,
}
"""Nothing that other tests do at the same time may matter here."""


def took(duration_ms: int, *, commit_ms: float) -> Report:
    """A batch that took so long."""
    return Report(Counts(), {}, duration_ms, commit_ms)


class Clock:
    """A clock that stands still until somebody moves it."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def read(fleet: Fleet, time_zone: str = "UTC", search_path: str | None = None) -> Readings:
    with fleet.engine.begin() as connection:
        if search_path:
            connection.exec_driver_sql(f"SET LOCAL search_path = {search_path}")
        return health.read(connection, application_name="flowshift", time_zone=time_zone)


def eventually(what: Callable[[], Any]) -> Any:
    """Until it is so; pytest's own time-out ends what never is."""
    while not (found := what()):
        pass
    return found


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Without the checks that others on this server could disturb."""
    return replace(settings, **TIGHT)


def test_a_quiet_database_goes(fleet: Fleet, settings: Settings) -> None:
    throttle = Throttle(fleet.engine, settings)

    assert throttle.check() == Verdict("go")
    assert {verdict.decision for verdict in throttle.check_all()} == {"go"}


def test_sessions_at_work_are_counted_and_ours_are_not(fleet: Fleet) -> None:
    with fleet.connect() as busy, fleet.engine.connect() as ours:
        ours.exec_driver_sql("SELECT 1")
        before = read(fleet)
        working = threading.Thread(target=lambda: expect_cancel(busy, "SELECT pg_sleep(100)"))
        working.start()
        assert eventually(lambda: read(fleet).active_sessions) == 1
        busy.cancel()
        working.join()
    assert (before.active_sessions, before.sessions_hidden) == (0, 0)


def expect_cancel(connection: psycopg.Connection[Any], statement: str) -> None:
    with pytest.raises(psycopg.errors.QueryCanceled):
        connection.execute(statement)


def test_a_session_that_waits_for_a_bot_is_seen(fleet: Fleet) -> None:
    fleet.add_many(1)
    with fleet.connect() as holder, fleet.connect() as waiter:
        holder.execute("UPDATE bots SET name = 'x'")
        assert read(fleet).lock_waits == 0
        waiting = threading.Thread(target=lambda: waiter.execute("UPDATE bots SET name = 'y'"))
        waiting.start()
        assert eventually(lambda: read(fleet).lock_waits) == 1
        holder.rollback()
        waiting.join()


def test_our_own_wait_for_a_bot_is_not_counted(fleet: Fleet) -> None:
    fleet.add_many(1)
    with fleet.connect() as holder:
        holder.execute("UPDATE bots SET name = 'x'")
        ours = threading.Thread(target=lambda: fleet.execute("UPDATE bots SET name = 'y'"))
        ours.start()
        locks = (
            "SELECT FROM pg_locks WHERE NOT granted AND pid IN (SELECT pid FROM pg_stat_activity"
        )
        eventually(lambda: fleet.rows(f"{locks} WHERE datname = current_database())"))
        assert read(fleet).lock_waits == 0
        holder.rollback()
        ours.join()


def test_a_vacuum_of_a_table_that_runs_write_is_seen_with_its_age(fleet: Fleet) -> None:
    fleet.add_many(2_000)
    assert read(fleet).vacuums == ()
    with fleet.connect() as platform:
        platform.autocommit = True
        # A vacuum that takes for ever: it sleeps after every page.
        platform.execute("SET vacuum_cost_delay = 100")
        platform.execute("SET vacuum_cost_limit = 1")
        vacuuming = threading.Thread(target=lambda: expect_cancel(platform, "VACUUM bots"))
        vacuuming.start()
        [found] = eventually(lambda: read(fleet).vacuums)
        platform.cancel()
        vacuuming.join()
    assert found.table == "bots"
    assert found.age_s is not None
    assert found.age_s >= 0


def test_replicas_and_the_archiver_are_read_from_their_views(fleet: Fleet) -> None:
    """There is no replica here and nothing is archived: views of the same shape stand for them."""
    fleet.execute("CREATE SCHEMA shadow")
    fleet.execute(
        "CREATE VIEW shadow.pg_stat_replication AS SELECT * FROM (VALUES"
        " ('streaming', interval '3 s'), ('catchup', interval '95 s'), ('streaming', NULL),"
        " ('backup', interval '1 day'), (NULL, NULL)) AS v (state, replay_lag)"
    )
    fleet.execute(
        "CREATE VIEW shadow.pg_stat_archiver AS SELECT '000000010000000000000001'::text"
        " AS last_archived_wal, now() - interval '1 h' AS last_archived_time,"
        " now() AS last_failed_time"
    )
    fleet.execute(
        "CREATE FUNCTION shadow.current_setting(text) RETURNS text LANGUAGE sql AS"
        " $$ SELECT CASE $1 WHEN 'archive_mode' THEN 'on'"
        " ELSE pg_catalog.current_setting($1) END $$"
    )
    here, there = read(fleet), read(fleet, search_path="shadow, pg_catalog, public")

    assert (here.replica_lag_s, here.replicas_hidden, here.archiving) == (0.0, 0, False)
    assert (there.replica_lag_s, there.replicas_hidden) == (95.0, 1)
    assert (there.archiving, there.archive_failing) == (True, True)
    assert there.archived_wal == "000000010000000000000001"
    assert there.wal_position is not None
    assert there.wal_position > 0


def test_the_hours_are_those_of_the_time_zone_and_the_databases_clock(fleet: Fleet) -> None:
    seoul, utc = read(fleet, "Asia/Seoul"), read(fleet)

    ahead = (seoul.weekday * 1440 + seoul.minute) - (utc.weekday * 1440 + utc.minute)
    assert ahead % (7 * 1440) in (540, 541)


@contextmanager
def a_plain_role(admin: sa.Engine, fleet: Fleet) -> Iterator[sa.Engine]:
    """An engine as a role that may do nothing but connect."""
    name = f"plain_{fleet.engine.url.database}"
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
    url = fleet.engine.url.set(username=name, password="x")
    engine = create_engine(
        database_url(url.render_as_string(hide_password=False)),
        lock_timeout_ms=1_000,
        statement_timeout_ms=5_000,
        application_name="flowshift",
    )
    try:
        yield engine
    finally:
        engine.dispose()
        with admin.connect() as connection:
            connection.exec_driver_sql(f"DROP ROLE {name}")


def test_a_role_without_rights_sees_that_there_are_sessions_but_not_what_they_do(
    admin: sa.Engine, fleet: Fleet, settings: Settings
) -> None:
    clock = Clock()
    strict = replace(settings, max_active_sessions=1)
    with a_plain_role(admin, fleet) as plain, fleet.connect() as one, fleet.connect() as other:
        for platform in (one, other):
            platform.execute("SELECT 1")
        with plain.connect() as connection:
            seen = health.read(connection, application_name="flowshift", time_zone="UTC")
        throttle = Throttle(plain, strict, clock=clock)
        first = throttle.check()
        clock.now += 61
        second = throttle.check()
        generous = Throttle(plain, replace(strict, max_active_sessions=50)).check()
    assert (seen.active_sessions, seen.sessions_hidden) == (0, 2)
    assert first == Verdict("go")
    assert (second.decision, second.check) == ("wait", "active_sessions")
    assert "cannot be read" in second.reason
    assert generous == Verdict("go")


# -- the user's query --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("SELECT true", Answer(True)),
        ("SELECT 'wait', 'a backup is running'", Answer("wait", "a backup is running")),
        ("SELECT 100 % 7 = 2", Answer(True)),
        ("SELECT 1 WHERE false", Answer(error="the health query returned no row")),
    ],
)
def test_the_query_is_asked(fleet: Fleet, query: str, answer: Answer) -> None:
    assert health.ask(fleet.engine, query, timeout_ms=1_000) == answer


@pytest.mark.parametrize(
    ("query", "state"),
    [
        ("SELECT pg_sleep(10)", "57014"),
        ("DELETE FROM bots RETURNING true", "25006"),
        ("COMMIT; DELETE FROM bots RETURNING true", "42601"),
        ("SELECT nonsense", "42703"),
    ],
)
def test_a_query_that_hangs_or_writes_or_fails_is_an_answer_that_is_not_go(
    fleet: Fleet, query: str, state: str
) -> None:
    fleet.add_many(1)

    answer = health.ask(fleet.engine, query, timeout_ms=50)

    assert state in answer.error
    assert len(fleet.rows("SELECT FROM bots")) == 1


def test_the_query_says_wait_and_stop_for_every_batch(fleet: Fleet, settings: Settings) -> None:
    says: tuple[Decision, ...] = ("wait", "stop")
    for said in says:
        throttle = Throttle(
            fleet.engine, replace(settings, health_query=f"SELECT '{said}', 'so it is'")
        )
        assert throttle.check() == Verdict(said, "query", "so it is")


# -- the throttle ----------------------------------------------------------------------------------


def test_the_database_is_read_once_a_second_however_many_batches_ask(
    fleet: Fleet, settings: Settings
) -> None:
    clock = Clock()
    fleet.execute("CREATE TABLE answer AS SELECT 'go'::text AS said")
    throttle = Throttle(
        fleet.engine, replace(settings, health_query="SELECT said FROM answer"), clock=clock
    )
    assert throttle.check().decision == "go"
    fleet.execute("UPDATE answer SET said = 'wait'")

    clock.now += FRESH_S - 0.01
    assert throttle.check().decision == "go"
    throttle.record(took(500, commit_ms=1))
    assert throttle.check().decision == "go"
    assert throttle.check_now().decision == "wait"
    fleet.execute("UPDATE answer SET said = 'go'")
    assert throttle.check().decision == "wait"
    clock.now += FRESH_S
    assert throttle.check().decision == "go"


def test_slow_commits_make_it_wait_and_then_one_batch_is_tried(
    fleet: Fleet, settings: Settings
) -> None:
    clock = Clock()
    throttle = Throttle(fleet.engine, replace(settings, max_commit_ms=100), clock=clock)
    for _ in range(5):
        assert throttle.check().decision == "go"
        throttle.record(took(500, commit_ms=150))
    waiting = throttle.check()
    clock.now += COMMITS_KEPT_S

    assert (waiting.decision, waiting.check) == ("wait", "commit_time")
    assert throttle.check().decision == "go"


def test_a_batch_tells_how_long_its_commit_took(fleet: Fleet) -> None:
    fleet.add_many(3)
    run = fleet.planned()
    # A commit that takes its time: a deferred trigger of the platform's.
    fleet.execute(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_sleep(0.1); RETURN NULL; END $$"
    )
    fleet.execute(
        "CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON bot_workflow_versions"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION dawdle()"
    )

    assert fleet.convert(run.run_id, 1).commit_ms >= 300


def test_a_process_rests_in_proportion_to_its_batch(fleet: Fleet, settings: Settings) -> None:
    clock = Clock()
    throttle = Throttle(fleet.engine, replace(settings, nice_ratio=0.5), clock=clock)
    assert throttle.rest_s() == 0

    throttle.record(took(800, commit_ms=1))
    assert throttle.rest_s() == pytest.approx(0.4)
    clock.now += 0.3
    assert throttle.rest_s() == pytest.approx(0.1)
    clock.now += 1
    assert throttle.rest_s() == 0


def test_a_reading_that_takes_too_long_is_unreadable(
    fleet: Fleet, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        health, "read", lambda connection, **_: connection.exec_driver_sql("SELECT pg_sleep(9)")
    )
    monkeypatch.setattr("worker.steps.throttle.UNREAD_S", 0.0)
    quick = replace(settings, health_timeout_ms=20)

    verdict = Throttle(fleet.engine, quick).check()

    assert verdict.decision == "wait"
    assert "57014" in verdict.reason


def test_a_database_that_is_away_is_a_matter_of_trying_again(settings: Settings) -> None:
    engine = create_engine(
        database_url("postgresql://127.0.0.1:1/nowhere"),
        lock_timeout_ms=1_000,
        statement_timeout_ms=1_000,
        application_name="flowshift",
    )
    with pytest.raises(TransientError):
        Throttle(engine, settings).check()
