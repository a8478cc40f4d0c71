"""Pruning executions: exactly those before the cut-off, in small transactions, one prune at a time."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import msgspec
import pytest
import sqlalchemy as sa

from tests.executions import Executions, days
from tests.fleet import Fleet
from tests.integration.test_migrations import an_engine
from tests.pooler import minding
from worker.core.policy import prune as rules
from worker.core.policy.health import Verdict
from worker.db.prune import delete
from worker.db.prune import executions as table
from worker.errors import StaleError
from worker.steps.prune import session
from worker.steps.prune.prune import Keep, Result
from worker.steps.prune.tally import Moved


@pytest.fixture
def executions(fleet: Fleet) -> Executions:
    return Executions(fleet)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of three rows, whatever they take."""
    monkeypatch.setattr(rules, "FIRST_SIZE", 3)
    monkeypatch.setattr(rules, "MAX_SIZE", 3)


# -- what goes, and what stays ---------------------------------------------------------------------


def test_what_is_older_goes_with_its_nodes_and_the_rest_stays(executions: Executions) -> None:
    executions.add("31 days", count=3)
    young = executions.add("29 days", count=2)

    result = executions.prune()

    assert (result.state, result.gone["runs"], result.gone["nodes"]) == ("done", 3, 6)
    assert executions.runs() == set(young)
    assert executions.node_counts() == dict.fromkeys(young, 2)


@pytest.mark.parametrize("time_type", ["timestamptz", "timestamp"])
def test_the_boundary_is_exact_to_the_microsecond(
    executions: Executions, monkeypatch: pytest.MonkeyPatch, time_type: str
) -> None:
    executions.fleet.execute(
        f"ALTER TABLE workflow_execution_runs ALTER created_at TYPE {time_type}"
    )
    ids = executions.add(count=5, nodes=1)
    now = dt.datetime(2026, 3, 31, 3, 30, tzinfo=dt.UTC)
    monkeypatch.setattr(table, "now", lambda _: now)
    ages = ("30 days 1 second", "30 days 1 microsecond", "30 days", "30 days -1 microsecond",
            "30 days -1 second")  # fmt: skip
    for run_id, age in zip(ids, ages, strict=True):
        executions.fleet.execute(
            "UPDATE workflow_execution_runs"
            " SET created_at = CAST(:now AS timestamptz) - CAST(:age AS interval) WHERE id = :id",
            now=now.isoformat(),
            age=age,
            id=run_id,
        )

    told, result = executions.look(), executions.prune()

    assert told.gone["runs"] == result.gone["runs"] == 2
    assert "kept" not in result.gone
    assert executions.runs() == set(ids[2:])


def test_the_oldest_go_first(executions: Executions, small_batches: None) -> None:
    middle = executions.add("50 days", count=3)
    youngest = executions.add("40 days", count=3)
    executions.add("60 days", count=3)
    # Without a sort, the rows then come as they lie.
    executions.fleet.execute(
        f"ALTER DATABASE {executions.engine.url.database} SET enable_indexscan = off;"
        f"ALTER DATABASE {executions.engine.url.database} SET enable_bitmapscan = off"
    )
    executions.engine.dispose()

    verdicts = iter([Verdict("go"), Verdict("stop", "test", "enough")])
    result = executions.prune(check=lambda: next(verdicts))

    assert (result.state, result.gone["runs"]) == ("stopped", 3)
    assert executions.runs() == {*middle, *youngest}


def test_nothing_else_of_the_platforms_changes(executions: Executions) -> None:
    executions.add()
    fleet = executions.fleet
    fleet.set_draft("b", {"nodes": []})
    before = fleet.rows("SELECT * FROM bots"), fleet.rows("SELECT * FROM bot_workflow_versions")

    executions.prune()

    after = fleet.rows("SELECT * FROM bots"), fleet.rows("SELECT * FROM bot_workflow_versions")
    assert after == before


def test_a_great_many_of_one_and_the_same_time_go(
    executions: Executions, small_batches: None
) -> None:
    executions.add(count=20, nodes=1)
    executions.fleet.execute("UPDATE workflow_execution_runs SET created_at = '2020-01-01Z'")

    told, result = executions.look(), executions.prune()

    assert told.gone["runs"] == result.gone["runs"] == 20
    assert executions.runs() == set()


def test_times_that_are_no_time_of_a_calendar_are_old_or_young_too(executions: Executions) -> None:
    ancient, endless, none = executions.add(count=3)
    run = executions.fleet.execute
    run("ALTER TABLE workflow_execution_runs ALTER created_at DROP NOT NULL")
    for run_id, created_at in ((ancient, "-infinity"), (endless, "infinity"), (none, None)):
        run(
            "UPDATE workflow_execution_runs SET created_at = CAST(:at AS timestamptz) WHERE id = :id",
            at=created_at,
            id=run_id,
        )

    assert executions.prune().gone["runs"] == 1
    assert executions.runs() == {endless, none}


@pytest.mark.parametrize("action", ["", "ON DELETE RESTRICT", None])
def test_the_foreign_key_need_not_cascade_nor_exist(
    executions: Executions, action: str | None
) -> None:
    run = executions.fleet.execute
    run(
        "ALTER TABLE workflow_node_executions"
        " DROP CONSTRAINT workflow_node_executions_workflow_run_id_fkey"
    )
    if action is not None:
        run(
            "ALTER TABLE workflow_node_executions ADD FOREIGN KEY (workflow_run_id)"
            f" REFERENCES workflow_execution_runs {action}"
        )
    executions.add(count=3)

    assert executions.prune().gone["nodes"] == 6
    assert executions.node_counts() == {}


# -- what others hold on to ------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "NO ACTION"])
@pytest.mark.parametrize("target", ["runs", "nodes"])
def test_an_execution_that_another_table_refers_to_stays_whole(
    executions: Executions, small_batches: None, action: str, target: str
) -> None:
    table = {"runs": "workflow_execution_runs", "nodes": "workflow_node_executions"}[target]
    executions.fleet.execute(
        f"CREATE TABLE ratings (stars int, about uuid REFERENCES {table} ON DELETE {action})"
    )
    rated, *_ = executions.add(count=8)
    key = "id" if target == "runs" else "workflow_run_id"
    executions.fleet.execute(
        f"INSERT INTO ratings SELECT 5, id FROM {table} WHERE {key} = :id LIMIT 1", id=rated
    )
    before = executions.fleet.rows("SELECT * FROM ratings")

    told, result = executions.look(), executions.prune()

    assert (result.gone["runs"], result.gone["kept"]) == (7, 1)
    assert told.gone == result.gone
    assert executions.node_counts() == {rated: 2}
    assert executions.fleet.rows("SELECT * FROM ratings") == before


def test_executions_that_refer_to_one_another_go_when_the_last_of_them_is_old(
    executions: Executions, small_batches: None
) -> None:
    executions.fleet.execute(
        "ALTER TABLE workflow_execution_runs"
        " ADD resumes uuid REFERENCES workflow_execution_runs (id)"
    )
    young = executions.add("1 day", nodes=1)[0]
    held, *chain = executions.add(count=4, nodes=1)
    for later, earlier in ((young, held), (chain[0], chain[1]), (chain[1], chain[2])):
        executions.fleet.execute(
            "UPDATE workflow_execution_runs SET resumes = :earlier WHERE id = :later",
            earlier=earlier,
            later=later,
        )

    result = executions.prune()

    assert executions.runs() == {young, held}
    assert (result.gone["runs"], result.gone["kept"]) == (3, 1)


def test_a_locked_execution_is_passed_over_and_nobody_waits_for_it(
    executions: Executions, small_batches: None
) -> None:
    ids = executions.add(count=7)
    with executions.fleet.connect() as platform:
        platform.execute(
            "SELECT FROM workflow_execution_runs WHERE id = ANY (%s) FOR UPDATE",
            ([ids[6], ids[2]],),
        )
        result = executions.prune()
    assert (result.gone["runs"], result.gone["kept"]) == (5, 2)
    # Four over executions, the last of which finds none, and six over our own.
    assert result.batches == 10
    assert executions.runs() == {ids[6], ids[2]}

    assert executions.prune().gone == {
        "runs": 2,
        "nodes": 4,
        "bytes": result.gone["bytes"] // 5 * 2,
    }


def test_an_execution_with_a_locked_node_stays_and_the_others_go(
    executions: Executions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "LOCK_MS", 5)
    ids = executions.add(count=6)
    with executions.fleet.connect() as platform:
        platform.execute(
            "UPDATE workflow_node_executions SET status = 'x' WHERE workflow_run_id = %s", (ids[3],)
        )
        result = executions.prune()
        platform.rollback()
    assert (result.gone["runs"], result.gone["kept"]) == (5, 1)
    assert executions.node_counts() == {ids[3]: 2}


# -- small transactions ----------------------------------------------------------------------------


SLOW_DELETE = """
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_sleep({s}); RETURN OLD; END';
    CREATE TRIGGER slow BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION slow();
"""


def test_a_batch_that_takes_too_long_is_undone_and_tried_smaller(
    executions: Executions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "LIMIT_MS", 100)
    executions.add(count=12, nodes=0)
    executions.fleet.execute(SLOW_DELETE.format(table="workflow_execution_runs", s=0.02))

    result = executions.prune()

    assert (result.state, result.gone["runs"]) == ("done", 12)
    assert result.batches > 3
    assert executions.runs() == set()


def test_an_execution_with_too_many_nodes_for_one_batch_goes_in_several(
    executions: Executions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "LIMIT_MS", 100)
    executions.add(nodes=12)
    small = executions.add("32 days", nodes=1)
    executions.fleet.execute(SLOW_DELETE.format(table="workflow_node_executions", s=0.02))

    result = executions.prune()

    assert small
    assert (result.state, result.gone["runs"], result.gone["nodes"]) == ("done", 2, 13)
    assert executions.runs() == set()


def test_a_row_that_can_never_be_deleted_in_time_does_not_hold_the_others_up(
    executions: Executions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "LIMIT_MS", 50)
    stubborn, *_ = executions.add(count=4)
    executions.fleet.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_sleep(1); RETURN OLD; END';"
        "CREATE TRIGGER slow BEFORE DELETE ON workflow_execution_runs FOR EACH ROW"
        f" WHEN (OLD.id = '{stubborn}') EXECUTE FUNCTION slow()"
    )

    result = executions.prune()

    assert (result.state, result.gone["runs"], result.gone["kept"]) == ("done", 3, 1)
    assert executions.runs() == {stubborn}


def test_every_batch_is_paused_after_and_counts_what_it_deleted_with_it(
    executions: Executions, small_batches: None
) -> None:
    executions.add(count=7)
    slept: list[float] = []
    seen: list[Moved] = []

    result = executions.prune(pause_s=0.25, sleep=slept.append, show=seen.append)

    assert slept.count(0.25) == result.batches
    assert [moved.runs for moved in seen if moved.runs][-1] == 7
    assert [moved.runs for moved in seen] == sorted(moved.runs for moved in seen)
    rows = executions.fleet.rows("SELECT state, gone FROM flowshift.prunes")
    assert [(row.state, row.gone["runs"], row.gone["nodes"]) for row in rows] == [("done", 7, 14)]


def test_the_lookups_are_by_index_alone(executions: Executions) -> None:
    executions.add(count=400, nodes=3)
    executions.add("1 day", count=400, nodes=3)
    executions.fleet.execute("ANALYZE workflow_execution_runs, workflow_node_executions")
    with executions.engine.connect() as connection:
        found = table.find(connection, dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
        # A table of so few pages is read whole otherwise.
        connection.execute(sa.text("SET enable_seqscan = off"))
        plans = [
            "\n".join(
                connection.execute(
                    sa.text(f"EXPLAIN {statement}"),
                    {
                        "cutoff": "2020-01-01",
                        "since": table.START,
                        "stuck": [],
                        "size": 100,
                        "places": ["(0,1)", "(0,2)"],
                    },
                ).scalars()
            )
            for statement in (
                delete.lock_sql(found),
                delete.delete_sql(found),
                delete.delete_sql(msgspec.structs.replace(found, cascades=False)),
            )
        ]
    assert found.cascades
    assert "idx_workflow_runs_created_at" in plans[0]
    assert all("Tid Scan" in plan for plan in plans)
    assert "idx_node_exec_run_id" in plans[2]
    assert "Seq Scan" not in "".join(plans)


def test_nodes_are_counted_whether_the_server_counts_or_not(executions: Executions) -> None:
    executions.add(count=5, nodes=3)
    first = executions.prune()
    executions.fleet.execute(
        f"ALTER DATABASE {executions.engine.url.database} SET track_counts = off"
    )
    executions.engine.dispose()
    executions.add(count=5, nodes=3)

    second = executions.prune()

    assert first.gone == second.gone
    assert (second.gone["runs"], second.gone["nodes"]) == (5, 15)


# -- the throttle -------------------------------------------------------------------------------------


def test_a_throttle_that_says_wait_is_asked_again_and_shown(executions: Executions) -> None:
    executions.add()
    verdicts = iter([Verdict("wait", "lag", "12 s behind")] * 2)
    seen: list[Verdict | None] = []
    slept: list[float] = []

    result = executions.prune(
        check=lambda: next(verdicts, Verdict("go")),
        show=lambda moved: seen.append(moved.waiting),
        sleep=slept.append,
    )

    assert result.gone["runs"] == 1
    assert [verdict.reason for verdict in seen if verdict] == ["12 s behind"] * 2
    assert slept.count(session.GATE_AGAIN_S) == 2


def test_a_throttle_that_says_stop_ends_the_prune_with_its_reason(executions: Executions) -> None:
    ids = executions.add()
    result = executions.prune(check=lambda: Verdict("stop", "hours", "it is 09:00"))
    assert (result.state, result.reason) == ("stopped", "it is 09:00")
    assert executions.runs() == set(ids)
    rows = executions.fleet.rows("SELECT state, reason FROM flowshift.prunes")
    assert [tuple(row) for row in rows] == [("stopped", "it is 09:00")]
    told = ("prune.stopped", "Prune 1 stopped before it was done", "it is 09:00")
    assert executions.fleet.told() == [told]


def test_the_throttle_is_asked_before_each_batch(
    executions: Executions, small_batches: None
) -> None:
    executions.add(count=9)
    asked = 0

    def check() -> Verdict:
        nonlocal asked
        asked += 1
        return Verdict("go")

    assert executions.prune(check=check).batches == asked


# -- one at a time, and again ----------------------------------------------------------------------


def test_while_one_prunes_another_is_refused_and_deletes_nothing(executions: Executions) -> None:
    executions.add(count=4)
    waits, goes_on = threading.Event(), threading.Event()

    def check() -> Verdict:
        waits.set()
        goes_on.wait(30)
        return Verdict("go")

    results: list[Result] = []
    first = threading.Thread(target=lambda: results.append(executions.prune(check=check)))
    first.start()
    assert waits.wait(30)
    try:
        with pytest.raises(StaleError, match="another prune is under way"):
            executions.prune()
        assert len(executions.runs()) == 4
    finally:
        goes_on.set()
        first.join()
    assert [result.gone["runs"] for result in results] == [4]
    assert executions.prune().state == "done"


@pytest.mark.parametrize("pooled", [False, True])
def test_the_lock_is_free_before_the_session_is_closed(
    executions: Executions, database: str, monkeypatch: pytest.MonkeyPatch, pooled: bool
) -> None:
    """A server sees some time later that a session is closed; until then it keeps its locks."""
    locks: list[int] = []
    close = session.Session._disconnect

    def counting(self: session.Session) -> None:
        [row] = executions.fleet.rows(
            "SELECT count(*) AS held FROM pg_locks WHERE locktype = 'advisory'"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        locks.append(row.held)
        close(self)

    monkeypatch.setattr(session.Session, "_disconnect", counting)
    with ExitStack() as stack:
        if pooled:
            url = stack.enter_context(minding(database, "ignores"))
            executions.engine = stack.enter_context(an_engine(url))
        executions.prune()

    assert locks == [0]


PRUNE_UNTIL_KILLED = """
import sys, time
from worker import runtime
from worker.core.policy import prune as rules
from worker.core.policy.health import Verdict
from worker.steps.prune.prune import Keep, prune
rules.FIRST_SIZE = rules.MAX_SIZE = 3
current = runtime.configure()
def check():
    print("batch", flush=True)
    return Verdict("go")
prune(current.engine, Keep(), actor="killed", check=check, pause_s=0.0)
"""


def test_a_prune_that_is_killed_is_gone_on_with_and_every_row_is_counted_once(
    executions: Executions, environment: dict[str, str]
) -> None:
    executions.add(count=300)
    young = executions.add("1 day")
    process = subprocess.Popen(
        [sys.executable, "-c", PRUNE_UNTIL_KILLED], env=environment, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        for _ in range(10):
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    left = len(executions.runs()) - 1
    assert 0 < left < 300

    result = _when_free(executions)

    assert executions.runs() == set(young)
    assert executions.node_counts() == {young[0]: 2}
    rows = executions.fleet.rows(
        "SELECT actor, state, gone FROM flowshift.prunes ORDER BY prune_id"
    )
    assert [(row.actor, row.state) for row in rows] == [("killed", "stopped"), ("test", "done")]
    assert rows[0].gone["runs"] == 300 - left
    assert result.gone["runs"] == left


def _when_free(executions: Executions) -> Result:
    """Prune as soon as the server has noticed that the killed process is gone."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return executions.prune()
        except StaleError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_prune_whose_connection_is_cut_goes_on_with_another(
    executions: Executions, small_batches: None
) -> None:
    executions.add(count=12)
    asked = 0

    def check() -> Verdict:
        nonlocal asked
        asked += 1
        if asked == 3:
            executions.fleet.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        return Verdict("go")

    result = executions.prune(check=check)

    assert (result.state, result.gone["runs"]) == ("done", 12)
    assert executions.runs() == set()


# -- slots -----------------------------------------------------------------------------------------

SLOT = dt.datetime(2026, 3, 31, 3, 30, tzinfo=dt.UTC)


def test_the_prune_of_a_slot_happens_once(executions: Executions) -> None:
    executions.add()
    assert executions.prune(slot=SLOT).gone["runs"] == 1
    executions.add()
    with pytest.raises(StaleError, match="over"):
        executions.prune(slot=SLOT)
    assert len(executions.runs()) == 1
    assert executions.prune(slot=SLOT + dt.timedelta(days=1)).gone["runs"] == 1


def test_a_slice_leaves_and_the_next_goes_on_with_the_same_cut_off(
    executions: Executions, small_batches: None
) -> None:
    executions.add(count=10)
    ticks = iter(range(1_000))
    results = [
        executions.prune(slot=SLOT, slice_s=6, clock=lambda: float(next(ticks))) for _ in range(1)
    ]
    while results[-1].state == "unfinished":
        assert results[-1].is_out_of_time
        results.append(executions.prune(slot=SLOT, slice_s=24, clock=lambda: float(next(ticks))))

    assert len(results) > 1
    assert results[-1].gone["runs"] == 10
    assert len({result.cutoffs["executions"] for result in results}) == 1
    assert len(executions.fleet.rows("SELECT FROM flowshift.prunes")) == 1
    assert [line["gone"]["runs"] for line in executions.audit("prune.done")] == [10]


def test_an_impatient_slice_leaves_when_the_throttle_says_wait(executions: Executions) -> None:
    executions.add()
    result = executions.prune(
        slot=SLOT, patient=False, check=lambda: Verdict("wait", "lag", "12 s behind")
    )
    assert (result.state, result.reason, result.is_out_of_time) == (
        "unfinished",
        "12 s behind",
        False,
    )
    assert executions.prune(slot=SLOT).gone["runs"] == 1


def test_a_slot_left_unfinished_is_ended_by_the_next_days(executions: Executions) -> None:
    executions.prune(slot=SLOT, patient=False, check=lambda: Verdict("wait"))
    executions.prune(slot=SLOT + dt.timedelta(days=1))
    states = executions.fleet.rows("SELECT state FROM flowshift.prunes ORDER BY slot")
    assert [row.state for row in states] == ["stopped", "done"]


# -- what is told ----------------------------------------------------------------------------------


def test_a_dry_run_tells_the_same_numbers_and_changes_nothing(executions: Executions) -> None:
    executions.add(count=5, nodes=3)
    executions.add("45 days", count=2, nodes=0)
    executions.add("1 day")
    before = executions.runs(), executions.node_counts()

    told = executions.look()

    assert (executions.runs(), executions.node_counts()) == before
    assert executions.fleet.rows("SELECT FROM flowshift.prunes") == []
    assert told.gone == executions.prune().gone
    assert told.gone["runs"] == 7
    assert told.gone["bytes"] > 0


def test_the_audit_trail_tells_who_pruned_what_up_to_when(executions: Executions) -> None:
    executions.add(count=2)
    result = executions.prune(actor="kim@here")
    rows = executions.fleet.rows(
        "SELECT actor, action, detail FROM flowshift.audit WHERE action LIKE 'prune.%' ORDER BY id"
    )
    assert [(row.actor, row.action) for row in rows] == [
        ("kim@here", "prune.started"),
        ("kim@here", "prune.done"),
    ]
    assert rows[1].detail["gone"] == result.gone
    assert rows[1].detail["cutoffs"]["executions"] == result.cutoffs["executions"].isoformat()


def test_a_fault_ends_the_record_too(executions: Executions) -> None:
    executions.add()
    executions.fleet.execute(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN RAISE EXCEPTION ''not these'' USING ERRCODE = ''42P01''; END';"
        "CREATE TRIGGER no BEFORE DELETE ON workflow_execution_runs FOR EACH ROW"
        " EXECUTE FUNCTION no()"
    )
    with pytest.raises(sa.exc.DBAPIError, match="not these"):
        executions.prune()
    (row,) = executions.fleet.rows("SELECT state, reason FROM flowshift.prunes")
    assert row.state == "stopped"
    assert "not these" in row.reason


def test_executions_are_kept_as_long_as_asked(executions: Executions) -> None:
    executions.add("8 days")
    kept = executions.add("6 days")
    assert executions.prune(keep=Keep(executions_s=days(7))).gone["runs"] == 1
    assert executions.runs() == set(kept)
