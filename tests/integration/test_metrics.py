"""Metrics of a fleet in a real database: what they say, and what happens when it cannot be read."""

from __future__ import annotations

import json
import stat
import uuid
from pathlib import Path

import pytest
import sqlalchemy as sa
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.executions import Executions
from tests.fleet import Fleet
from tests.integration.conftest import Run
from tests.live import eventually
from tests.relay import relayed
from tests.scrapes import scrape
from tests.traffic import Traffic
from worker.core.metrics.catalogue import CATALOGUE, PARTS
from worker.db import heartbeats
from worker.db.heartbeats import Identity, Sign, Usage
from worker.steps.metrics import read as reading
from worker.steps.metrics.read import READERS, read
from worker.steps.metrics.reader import metrics_engine

A_METRIC = {"metric": "failed", "bots_failing": 1, "p0": 0.02, "source": "default", "p1": 0.05}

# -- the queue -------------------------------------------------------------------------------------


def test_batches_are_counted_by_where_they_are(fleet: Fleet) -> None:
    fleet.add_many(8)
    run = fleet.planned(batch_size=2)
    fleet.take(run.run_id, 3)
    fleet.claim(run.run_id, 1)
    fleet.execute(
        "UPDATE flowshift.batches SET enqueued_at = now() - interval '90 s' WHERE number = 2"
    )

    found = scrape(fleet)

    assert found["runs", "convert", "running"] == 1
    assert found["runs", "publish", "running"] == 0
    states = ("planned", "enqueued", "running")
    assert [found["open_batches", "convert", state] for state in states] == [1, 2, 1]
    assert [found["open_batches", "publish", state] for state in states] == [0, 0, 0]
    assert 90 <= found["oldest_unclaimed_batch_age_seconds", "convert"] < 190
    assert found["overdue_batches", "convert"] == 0


def test_a_claimed_batch_whose_lease_ran_out_is_overdue(fleet: Fleet) -> None:
    fleet.add_many(2)
    run = fleet.planned()
    fleet.claim(run.run_id)
    fleet.execute("UPDATE flowshift.batches SET lease_until = now() - interval '1 s'")

    assert scrape(fleet)["overdue_batches", "convert"] == 1


def test_what_a_paused_run_has_in_the_queue_is_not_waited_for(fleet: Fleet) -> None:
    fleet.add_many(2)
    run = fleet.planned()
    fleet.take(run.run_id, 1)
    fleet.execute("UPDATE flowshift.runs SET state = 'paused'")

    found = scrape(fleet)

    assert found["runs", "convert", "paused"] == 1
    assert found["open_batches", "convert", "enqueued"] == 1
    assert found["oldest_unclaimed_batch_age_seconds", "convert"] == 0


def test_a_run_that_is_parked_and_one_that_no_worker_works_on_are_said(fleet: Fleet) -> None:
    fleet.add_many(2)
    fleet.planned()
    fleet.execute(
        "UPDATE flowshift.runs SET created_at = now() - interval '1 h', started_at = now() - interval"
        " '1 h', parked_batch = 1, parked_until = now() + interval '1 min', parked_check = 'vacuum',"
        " parked_reason = 'so'"
    )

    found = scrape(fleet)

    assert found["runs_parked", "vacuum"] == 1
    assert found["runs_parked", "query"] == 0
    assert found["runs_without_worker", "convert"] == 1
    assert found["runs_without_worker", "publish"] == 0


def test_the_rate_is_of_the_last_half_minute_of_active_runs(fleet: Fleet) -> None:
    fleet.add_many(9)
    run = fleet.planned(batch_size=3)
    fleet.convert(run.run_id, 1)
    fleet.convert(run.run_id, 2)
    fleet.execute("UPDATE flowshift.runs SET started_at = now() - interval '1 h'")
    fleet.execute(
        "UPDATE flowshift.batches SET finished_at = now() - interval '1 min' WHERE number = 2"
    )

    assert scrape(fleet)["bots_per_second", "convert"] == pytest.approx(3 / 30)


def test_a_huge_run_is_counted_no_further_than_said(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add_many(6)
    fleet.planned(batch_size=1)
    monkeypatch.setattr("worker.db.metrics.queue.OPEN_BATCHES", 4)

    assert scrape(fleet)["open_batches", "convert", "planned"] == 4


# -- processes -------------------------------------------------------------------------------------


def test_processes_are_counted_by_what_they_show(fleet: Fleet) -> None:
    def somebody(name: str, sign: Sign, age_s: int, kind: str = "worker") -> None:
        me = Identity(uuid.uuid4(), kind, name, "h", 1, "0.1.0", ("convert",))  # type: ignore[arg-type]
        with fleet.engine.begin() as connection:
            heartbeats.begin(connection, me)
            heartbeats.beat(connection, me, sign, usage=Usage(0.5, age_s << 20))
        fleet.execute(
            "UPDATE flowshift.heartbeats SET beat_at = now() - make_interval(secs => :age),"
            " worked_at = worked_at - make_interval(secs => :age) WHERE name = :name",
            age=age_s,
            name=name,
        )

    somebody("works", Sign(3.0), 5)
    somebody("too", Sign(1.0), 20)
    somebody("gone", Sign(1.0), 400)
    somebody("beat", Sign(None), 7, kind="beat")

    found = scrape(fleet, heartbeat_s=10)

    assert found["processes", "worker", "works"] == 2
    assert found["processes", "worker", "silent"] == 1
    assert found["processes", "beat", "starting"] == 1
    assert found["processes", "serve", "works"] == 0
    assert found["processes_cpu_cores", "worker"] == 1.0, "what is gone uses none"
    assert found["processes_memory_bytes", "worker"] == 25 << 20
    assert found["largest_process_memory_bytes", "worker"] == 20 << 20
    assert 5 <= found["heartbeat_age_seconds", "worker"] < 15
    assert 8 <= found["work_age_seconds", "worker"] < 18
    assert 7 <= found["heartbeat_age_seconds", "beat"] < 17
    assert ("work_age_seconds", "beat") not in found
    assert ("heartbeat_age_seconds", "flower") not in found


# -- prune -----------------------------------------------------------------------------------------


def test_before_the_first_prune_only_the_next_is_known(fleet: Fleet) -> None:
    found = scrape(fleet, prune_at="03:30")

    assert found["prune_next_timestamp_seconds",] % 86_400 == 3.5 * 3_600
    assert found["prune_running",] == found["prune_stopped",] == found["prune_missed",] == 0
    assert ("prune_done_timestamp_seconds",) not in found
    assert ("prune_next_timestamp_seconds",) not in scrape(fleet, prune_at="never")


def test_the_last_prune_that_was_done_stays_known_after_one_that_was_stopped(fleet: Fleet) -> None:
    Executions(fleet).prune()
    fleet.execute(
        "UPDATE flowshift.prunes SET started_at = '2026-01-01 00:00Z', finished_at = '2026-01-01 00:01Z'"
    )
    fleet.execute(
        "INSERT INTO flowshift.prunes (actor, state, cutoffs, finished_at) VALUES ('t', 'stopped', '{}',"
        " now()), ('t', 'running', '{}', NULL)"
    )

    found = scrape(fleet)

    assert found["prune_done_timestamp_seconds",] == 1_767_225_660
    assert found["prune_done_duration_seconds",] == 60
    assert found["prune_running",] == found["prune_stopped",] == 1


# -- publications and traffic ----------------------------------------------------------------------


def test_a_watched_wave_shows_what_the_gate_counted_last(fleet: Fleet) -> None:
    traffic = Traffic(fleet)
    traffic.wave(1, "a", state="accepted")
    traffic.wave(2, "b")
    fleet.execute("UPDATE flowshift.publications SET looked_at = now() - interval '70 s'")
    for wave, failed in ((1, 99), (2, 50), (2, 3)):
        fleet.execute(
            "INSERT INTO flowshift.gate_readings (publication_id, wave, outcome, sentence, reading)"
            " VALUES (1, :wave, 'watching', 's', CAST(:reading AS jsonb))",
            wave=wave,
            reading=json.dumps(
                {"metrics": [{**A_METRIC, "count": {"failed": failed, "executions": 100}}]}
            ),
        )

    found = scrape(fleet)

    assert found["publications", "watching"] == 1
    assert found["waves", "watching"] == found["waves", "accepted"] == 1
    assert found["gate_executions", "failed"] == 100
    assert found["gate_bad_executions", "failed"] == 3
    assert found["gate_executions", "slow"] == 0
    assert 70 <= found["gate_look_age_seconds",] < 170


def test_real_traffic_is_told_from_trials_and_by_the_gates_rules(fleet: Fleet) -> None:
    traffic = Traffic(fleet)
    traffic.wave(1, "a")
    for elapsed_ms in (100, 200, 300, 400, 500):
        traffic.ask("a", elapsed_ms=elapsed_ms)
    traffic.ask("a", 2, status="failed", elapsed_ms=600)
    traffic.ask("a", 9, status="failed", error="Cancelled by client", elapsed_ms=9_000)
    traffic.ask("a", 9, session="flowshift:7", elapsed_ms=9_000)
    traffic.ask("a", 9, ago="6 minutes", elapsed_ms=9_000)

    found = scrape(fleet)

    assert found["traffic_executions", "succeeded"] == 5
    assert found["traffic_executions", "failed"] == 2
    assert found["traffic_duration_seconds", "0.5"] == pytest.approx(0.4)
    assert found["traffic_duration_seconds", "0.99"] == pytest.approx(0.6)
    assert found["traffic_window_seconds",] == 300


def test_much_traffic_is_looked_at_no_further_than_said(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic = Traffic(fleet)
    traffic.wave(1, "a")
    traffic.ask("a", 5, ago="4 minutes")
    traffic.ask("a", 3, ago="1 minute")
    monkeypatch.setattr("worker.db.metrics.traffic.TRAFFIC_ROWS", 3)

    found = scrape(fleet)

    assert found["traffic_executions", "succeeded"] == 3
    assert 235 <= found["traffic_window_seconds",] < 240 + 5


# -- notifications ---------------------------------------------------------------------------------


def test_notifications_that_nobody_got_are_counted_with_their_age(fleet: Fleet) -> None:
    fleet.execute(
        "INSERT INTO flowshift.notifications (kind, level, key, title, page, due_at, spread_at) VALUES"
        " ('k', 'info', 'sent', 't', '/', now() - interval '1 h', now()),"
        " ('k', 'info', 'waits', 't', '/', now() - interval '200 s', now()),"
        " ('k', 'info', 'due', 't', '/', now() - interval '100 s', NULL),"
        " ('k', 'info', 'later', 't', '/', now() + interval '1 h', NULL)"
    )
    fleet.execute(
        "INSERT INTO flowshift.deliveries (notification_id, channel, state, ended_at) VALUES"
        " (1, 'a', 'sent', now()), (2, 'a', 'waiting', NULL), (2, 'b', 'waiting', NULL)"
    )
    assert scrape(fleet)["unsent_notifications", "unspread"] == 0, "no channel was ever configured"
    fleet.execute(
        "INSERT INTO flowshift.channels (channel, failures, since)"
        " VALUES ('a', 3, now() - interval '1 day'), ('b', 0, now())"
    )

    found = scrape(fleet)

    assert found["unsent_notifications", "unspread"] == 1
    assert found["unsent_notifications", "waiting"] == 2
    assert 200 <= found["oldest_unsent_notification_age_seconds",] < 300
    assert found["failing_channels",] == 1


def test_without_a_channel_that_was_there_when_it_happened_no_notification_is_stuck(
    fleet: Fleet,
) -> None:
    fleet.execute(
        "INSERT INTO flowshift.notifications (kind, level, key, title, page, due_at, happened_at) VALUES"
        " ('k', 'info', 'due', 't', '/', now() - interval '9 h', now() - interval '9 h')"
    )
    before = scrape(fleet)
    fleet.execute("INSERT INTO flowshift.channels (channel) VALUES ('a')")
    after = scrape(fleet)

    for found in (before, after):
        assert found["unsent_notifications", "unspread"] == 0
        assert found["oldest_unsent_notification_age_seconds",] == 0


# -- what cannot be read ---------------------------------------------------------------------------


def test_every_sample_is_of_the_catalogue_and_has_its_labels(fleet: Fleet) -> None:
    fleet.add_many(1)
    fleet.run(validate="sample:1")
    Executions(fleet).prune()

    for one in read(fleet.engine, fleet.current.settings):
        labels = CATALOGUE[one.name].labels
        assert len(labels) == len(one.labels)
        for label, value in zip(labels, one.labels, strict=True):
            assert value in label.values or label.says


def test_a_part_that_cannot_be_read_is_named_and_the_others_are_there(fleet: Fleet) -> None:
    fleet.execute("ALTER TABLE workflow_execution_runs RENAME TO elsewhere")
    fleet.execute("ALTER TABLE flowshift.heartbeats RENAME TO elsewhere")

    found = scrape(fleet)

    assert found["up",] == 1
    failed = {name[1]: value for name, value in found.items() if name[0] == "scrape_failed"}
    assert failed == {part: float(part in {"queue", "processes", "traffic"}) for part in PARTS}
    assert ("traffic_window_seconds",) not in found
    assert found["prune_running",] == 0


def test_a_statement_that_takes_too_long_is_given_up(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "STATEMENT_MS", 50)
    monkeypatch.setitem(
        READERS,
        "prune",
        lambda connection, _: connection.exec_driver_sql("SELECT pg_sleep(60)").all() or [],
    )

    found = scrape(fleet)

    assert found["scrape_failed", "prune"] == 1
    assert found["scrape_failed", "traffic"] == 0


def test_after_its_time_a_reading_begins_no_further_part(fleet: Fleet) -> None:
    ticks = iter(range(0, 1_000, 2))

    found = read(fleet.engine, fleet.current.settings, clock=lambda: float(next(ticks)))

    failed = [one.value for one in found if one.name == "flowshift_scrape_failed"]
    assert failed == [0, 0, *[1] * (len(PARTS) - 2)]


def test_a_reading_can_write_nothing(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def writes(connection: sa.Connection, _: object) -> list[object]:
        connection.exec_driver_sql("DELETE FROM flowshift.runs")
        return []

    monkeypatch.setitem(READERS, "prune", writes)

    assert scrape(fleet)["scrape_failed", "prune"] == 1


def test_without_the_database_a_scrape_says_that_it_is_away(fleet: Fleet, database: str) -> None:
    with relayed(database) as (url, relay):
        engine = metrics_engine(url)
        assert scrape(fleet, engine=engine)["up",] == 1
        relay.refuse()
        relay.cut()

        found = scrape(fleet, engine=engine)
        engine.dispose()

    assert found.pop(("scrape_duration_seconds",)) >= 0
    assert found == {("up",): 0}


BIG = (
    "runs",
    "batches",
    "ledger",
    "audit",
    "publication_bots",
    "gate_readings",
    "proofs",
    "bots",
    "bot_workflow_versions",
    "workflow_execution_runs",
    "workflow_node_executions",
)


CONNECTED = (
    "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


MANY = 10_000

# What makes the n-th copy of a row another one.
COPIES = {
    "flowshift.runs": "'run_id', 1000 + n, 'request_id', 'copy-' || n, 'state', 'completed',"
    " 'finished_at', now() - interval '2 days', 'created_at', now() - interval '3 days'",
    "flowshift.batches": "'run_id', 1000 + n, 'state', 'done', 'finished_at', now() - interval '2 days'",
    "flowshift.ledger": "'run_id', 1000 + n",
    "flowshift.audit": "'id', 100000 + n, 'run_id', 1000 + n",
    "bots": "'id', 1000 + n, 'bot_id', 'copy-' || n",
    "bot_workflow_versions": "'id', gen_random_uuid(), 'bot_id', 'copy-' || n",
    "flowshift.publication_bots": "'bot_id', 'copy-' || n",
    "flowshift.gate_readings": "'reading_id', 1000 + n, 'wave', 2",
    "flowshift.proofs": "'bot_id', 'copy-' || n",
    "workflow_execution_runs": "'id', gen_random_uuid(), 'created_at', now() - interval '9 days'",
    "workflow_node_executions": "'id', gen_random_uuid()",
}


def fill(fleet: Fleet) -> None:
    """Make every table that grows large, and let the planner know."""
    for table, changed in COPIES.items():
        fleet.execute(
            f"INSERT INTO {table} OVERRIDING SYSTEM VALUE"
            f" SELECT (jsonb_populate_record(r, jsonb_build_object({changed}))).*"
            f" FROM (SELECT t FROM {table} t LIMIT 1) AS one (r), generate_series(1, {MANY}) n"
        )
        fleet.execute(f"ANALYZE {table}")
        [(count,)] = fleet.rows(f"SELECT count(*) FROM {table}")
        assert count > MANY, table


def read_whole(fleet: Fleet, database: str) -> dict[str, int]:
    """Make a reading: rows read by going through a whole table, by table."""
    engine = metrics_engine(database)
    assert scrape(fleet, engine=engine)["open_batches", "convert", "enqueued"] == 5
    engine.dispose()
    fleet.engine.dispose()
    eventually(lambda: not fleet.rows(CONNECTED))  # each session writes its counts when it ends
    rows = fleet.rows("SELECT relname, seq_tup_read FROM pg_stat_user_tables")
    return {row.relname: row.seq_tup_read for row in rows if row.relname in BIG}


def test_no_reading_goes_through_a_whole_table_that_grows(fleet: Fleet, database: str) -> None:
    traffic = Traffic(fleet)
    traffic.wave(1, "a")
    traffic.ask("a", 50)
    fleet.add_many(40)
    fleet.run(validate="sample:1")
    fleet.planned(batch_size=2, allow_overlap=True)
    fleet.take(2, 5)
    fleet.execute(
        "INSERT INTO flowshift.gate_readings (publication_id, wave, outcome, sentence, reading)"
        " VALUES (1, 1, 'watching', '', '{\"metrics\": []}')"
    )
    fill(fleet)
    before = read_whole(fleet, database)

    after = read_whole(fleet, database)

    assert len(before) == len(BIG)
    assert after == before


# -- the command -----------------------------------------------------------------------------------


def test_the_command_prints_what_prometheus_reads(fleet: Fleet, flowshift: Run) -> None:
    code, out, _ = flowshift("metrics", "--openmetrics")

    families = {family.name for family in text_string_to_metric_families(out)}  # type: ignore[no-untyped-call]
    assert code == 0
    assert {"flowshift_up", "flowshift_processes"} <= families


def test_the_command_replaces_a_file_whole_and_leaves_nothing_beside_it(
    fleet: Fleet, flowshift: Run, tmp_path: Path
) -> None:
    target = tmp_path / "textfile" / "flowshift.prom"
    target.parent.mkdir()
    target.write_text("old")

    code, out, _ = flowshift("metrics", "--to", str(target))

    assert (code, out) == (0, "")
    assert "flowshift_up 1.0" in target.read_text()
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    assert list(target.parent.iterdir()) == [target]


def test_the_command_fails_visibly_where_a_part_cannot_be_read(
    fleet: Fleet, flowshift: Run
) -> None:
    fleet.execute("ALTER TABLE flowshift.heartbeats RENAME TO elsewhere")

    code, out, _ = flowshift("metrics")

    assert code == 1
    assert 'flowshift_scrape_failed{part="processes"} 1.0' in out


def test_the_command_says_why_it_cannot_write(flowshift: Run, fleet: Fleet) -> None:
    code, _, err = flowshift("metrics", "--to", "/nowhere/flowshift.prom")

    assert code == 2
    assert "/nowhere/flowshift.prom cannot be written: No such file or directory" in err
