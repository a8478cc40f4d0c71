"""Totals: as true as the rows they count, and there when the rows are pruned."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from tests.builders import a_workflow, an_llm
from tests.executions import Executions
from tests.fleet import Fleet, a_broken_workflow
from tests.integration.test_gate_readings import READING
from tests.scrapes import Values, histogram, scrape
from worker.core.metrics.catalogue import CATALOGUE, REQUESTS, TOTALS
from worker.core.metrics.model import Sample
from worker.core.policy.batch_ref import BatchRef
from worker.core.publication.gate import judge
from worker.core.targets.guide import GUIDE
from worker.core.targets.plans import Writer
from worker.db.measuring import totals
from worker.db.measuring.cursor import STATEMENTS
from worker.db.measuring.measured import MEASURED, Measured
from worker.db.publication.readings import keep
from worker.errors import TransientError
from worker.steps.batch import lifecycle
from worker.steps.finish import fail_batch
from worker.steps.metrics.requests import RequestTotals
from worker.steps.prune.prune import Keep
from worker.steps.rescue import sweep

BATCHES = "batch_duration_seconds"


@pytest.fixture(autouse=True)
def _nothing_measured_before() -> None:
    MEASURED.forget()


def totals_in(found: Values) -> Values:
    """The totals of a reading that anything was added to."""
    names = {metric.name.removeprefix("flowshift_") for metric in TOTALS}
    return {key: value for key, value in found.items() if key[0] in names and value}


# -- what is counted -------------------------------------------------------------------------------


def test_bots_are_counted_by_kind_outcome_and_code(fleet: Fleet) -> None:
    fleet.add_many(5)
    fleet.add("broken", a_broken_workflow())
    fleet.add("empty", None)
    fleet.run(batch_size=3, validate="sample:1")
    fleet.run(kind="validate", validate="sample:1")

    found = scrape(fleet)

    assert found["bots", "convert", "converted", ""] == 5
    (failed,) = {key for key, n in found.items() if key[:3] == ("bots", "convert", "failed") and n}
    assert found[failed] == 1
    assert failed[3] in fleet.outcomes(1)["broken"]
    assert found["bots_validated", "convert"] == found["bots_validated", "validate"] == 5
    assert found["bots", "validate", "unchanged", ""] == 5
    assert found["bots", "publish", "published", ""] == 0
    assert found["runs_ended", "convert", "completed_with_failures"] == 1
    assert sum(histogram(fleet, BATCHES, "convert")[1]) == fleet.get(1).batch_count


def test_a_dry_run_counts_batches_and_no_bots(fleet: Fleet) -> None:
    fleet.add_many(2)
    fleet.run(dry_run=True, validate="none")

    assert scrape(fleet)["bots", "convert", "converted", ""] == 0
    assert sum(histogram(fleet, BATCHES, "convert")[1]) == 1


def test_a_batch_that_does_not_commit_counts_nothing_and_keeps_what_it_measured(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add_many(2)
    run = fleet.planned(validate="sample:1")
    add = totals.add

    def die_after_adding(connection: sa.Connection, samples: Iterable[Sample]) -> None:
        add(connection, samples)
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr(totals, "add", die_after_adding)
        with pytest.raises(RuntimeError):
            fleet.convert(run.run_id, 1)
    assert totals_in(scrape(fleet)) == {}

    fleet.convert(run.run_id, 1)

    found = scrape(fleet)
    assert found["bots", "convert", "converted", ""] == 2
    assert found["batch_retries", "convert"] == 1
    for engine in ("v1", "v2"):
        assert sum(histogram(fleet, "trial_duration_seconds", engine)[1]) == 4, "both attempts'"


@contextmanager
def refused_commits(fleet: Fleet) -> Iterator[None]:
    """No transaction commits that adds to totals: a trigger refuses it, at the commit itself."""
    fleet.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'not now' USING ERRCODE = 'serialization_failure'; END $$"
    )
    fleet.execute(
        "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT OR UPDATE ON flowshift.metric_totals"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    try:
        yield
    finally:
        fleet.execute("DROP FUNCTION refuse CASCADE")


def test_a_batch_that_is_refused_at_its_commit_keeps_what_it_measured(fleet: Fleet) -> None:
    fleet.add_many(2)
    run = fleet.planned(validate="sample:1")
    with refused_commits(fleet), pytest.raises(TransientError):
        fleet.convert(run.run_id, 1)
    assert totals_in(scrape(fleet)) == {}

    fleet.convert(run.run_id, 1)

    for engine in ("v1", "v2"):
        assert sum(histogram(fleet, "trial_duration_seconds", engine)[1]) == 4, "both attempts'"


def test_requests_that_are_refused_at_their_commit_are_added_the_next_time(fleet: Fleet) -> None:
    measured = Measured()
    requests = RequestTotals(fleet.engine, measured)
    measured.observe(REQUESTS, 0.2, "GET", "/runs", "2xx")
    with refused_commits(fleet), pytest.raises(TransientError):
        requests.commit()
    measured.observe(REQUESTS, 0.3, "GET", "/runs", "2xx")
    assert totals_in(scrape(fleet)) == {}

    requests.commit()
    requests.commit()

    total_s, counts = histogram(fleet, "http_request_duration_seconds", "GET", "/runs", "2xx")
    assert (round(total_s, 6), sum(counts)) == (0.5, 2)


def test_a_batch_delivered_twice_is_counted_once(fleet: Fleet) -> None:
    fleet.add_many(2)
    run = fleet.planned()
    fleet.convert(run.run_id, 1)
    before = scrape(fleet)
    assert fleet.try_convert(run.run_id, 1) is None

    assert totals_in(scrape(fleet)) == totals_in(before)


def test_trials_are_timed_and_counted_by_engine(fleet: Fleet) -> None:
    fleet.add_many(3)
    fleet.run(validate="sample:2")

    for engine in ("v1", "v2"):
        total_s, counts = histogram(fleet, "trial_duration_seconds", engine)
        assert sum(counts) == 6
        assert 0 < total_s < 60
    assert scrape(fleet)["trials_failed", "v1"] == 0


def test_drafts_are_counted_by_whether_their_plan_was_there(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = Writer(GUIDE.writer.manner)  # what other tests left in this process is out of the way
    monkeypatch.setattr(GUIDE.writer, "_plans", fresh._plans)
    of_a_structure_of_its_own = a_workflow(an_llm("m", use_context_from=["m"] * 37))
    for bot_id in "abc":
        fleet.add(bot_id, of_a_structure_of_its_own)
    fleet.run(batch_size=2)

    found = scrape(fleet)
    counted = [found[name,] for name in ("plans_found", "plans_made", "plans_forgotten")]
    assert counted == [2, 1, 0]


def test_statements_are_timed_by_what_they_do_bulk_writes_included(fleet: Fleet) -> None:
    fleet.add_many(3)
    fleet.run(batch_size=1, validate="sample:1")

    def timed(operation: str) -> int:
        return sum(histogram(fleet, STATEMENTS.removeprefix("flowshift_"), operation)[1])

    assert timed("commit") == 2, "of all batches but the last, whose commit came after its totals"
    assert timed("insert") >= 9, "drafts, executions and ledger of each go by the driver itself"
    assert timed("update") >= 3
    assert timed("select") >= 3


def test_losses_retries_and_what_is_postponed_are_counted(fleet: Fleet) -> None:
    fleet.add_many(4)
    run = fleet.planned(batch_size=2)
    fleet.claim(run.run_id, 1, worker="dies")
    fleet.execute(
        "UPDATE flowshift.batches SET lease_until = now() - interval '1 h' WHERE number = 1"
    )
    fleet.execute(
        "INSERT INTO flowshift.heartbeats (instance_id, kind, name, host, pid, version, unbroken_since)"
        " VALUES (gen_random_uuid(), 'beat', 'b', 'h', 1, '0', now() - interval '1 h')"
    )
    sweep(fleet.engine, actor="test", empty=(), lease_s=60, heartbeat_s=10)
    fleet.convert(run.run_id, 1)
    for is_its_fault in (True, False):
        fleet.claim(run.run_id, 2, worker="w")
        lifecycle.postpone_batch(
            fleet.engine, BatchRef(run.run_id, 2), "so", worker="w", is_its_fault=is_its_fault
        )
    fail_batch(fleet.engine, BatchRef(run.run_id, 2), "so")
    fail_batch(fleet.engine, BatchRef(run.run_id, 2), "so")

    found = scrape(fleet)

    assert found["leases_lost",] == 1
    assert found["batch_retries", "convert"] == 2
    assert found["batches_postponed", "fault"] == found["batches_postponed", "server"] == 1
    assert found["batches_failed",] == 1


def test_a_batch_with_too_many_faults_counts_as_failed(fleet: Fleet) -> None:
    fleet.add_many(1)
    run = fleet.planned()
    for _ in range(lifecycle.FAULTS_MAX + 1):
        fleet.claim(run.run_id, 1, worker="w")
        lifecycle.postpone_batch(
            fleet.engine, BatchRef(run.run_id, 1), "so", worker="w", is_its_fault=True
        )

    found = scrape(fleet)

    assert found["batches_failed",] == 1
    assert found["batches_postponed", "fault"] == lifecycle.FAULTS_MAX


def test_verdicts_of_the_gate_are_counted_with_their_readings(fleet: Fleet) -> None:
    with fleet.engine.begin() as connection:
        keep(connection, READING, judge(READING))

    assert scrape(fleet)["gate_verdicts", "failed"] == 1


# -- what stays ------------------------------------------------------------------------------------


def test_totals_stay_when_everything_that_they_count_is_pruned(fleet: Fleet) -> None:
    fleet.add_many(3)
    fleet.run(validate="sample:1")
    before = totals_in(scrape(fleet))
    fleet.execute("UPDATE flowshift.runs SET finished_at = now() - interval '200 days'")
    fleet.execute("UPDATE workflow_execution_runs SET created_at = now() - interval '200 days'")
    Executions(fleet).prune(keep=Keep())
    assert fleet.rows("SELECT FROM flowshift.runs") == []
    assert fleet.rows("SELECT FROM flowshift.batches") == []

    after = totals_in(scrape(fleet))

    assert {key: after[key] for key in before} == before
    assert after["pruned_rows", "executions"] == 3
    assert after["pruned_rows", "runs"] == after["pruned_rows", "batches"] == 1
    assert after["pruned_bytes",] > 0


def test_what_prunes_deleted_stays_when_their_records_go(fleet: Fleet) -> None:
    executions = Executions(fleet)
    executions.add(count=4, nodes=2)
    executions.prune()
    fleet.execute("UPDATE flowshift.prunes SET finished_at = now() - interval '400 days'")
    executions.prune()

    found = scrape(fleet)

    assert len(fleet.rows("SELECT FROM flowshift.prunes")) == 1
    assert found["pruned_rows", "executions"] == 4
    assert found["pruned_rows", "execution_nodes"] == 8
    assert found["pruned_rows", "prunes"] == 1


def test_every_total_is_there_before_anything_was_counted(fleet: Fleet) -> None:
    found = scrape(fleet)

    bounded = [one for one in TOTALS if all(label.values for label in one.labels)]
    assert {key[0] for key in found} >= {one.name.removeprefix("flowshift_") for one in bounded}
    assert len(bounded) == len(TOTALS) - 1  # which routes there are says who asks for them
    assert found["bots", "convert", "failed", "cycle"] == 0
    assert ("bots", "publish", "converted", "") not in found


# -- adding ----------------------------------------------------------------------------------------

MANY = [
    Sample("flowshift_leases_lost", 1.0),
    *(
        Sample("flowshift_batch_retries", 1.0, (kind,))
        for kind in ("validate", "convert", "publish")
    ),
]


SLOW_ROWS = """
    CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_sleep(0.05); RETURN NEW; END';
    CREATE TRIGGER pause BEFORE UPDATE ON flowshift.metric_totals FOR EACH ROW EXECUTE FUNCTION pause()
"""


def test_processes_that_add_at_once_lose_nothing_and_none_is_refused(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(totals, "_slot", lambda _: 3)  # the worst case: all in one
    problems: list[BaseException] = []
    together = threading.Barrier(2)

    def add(order: int) -> None:
        try:
            for _ in range(3):
                together.wait(30)
                with fleet.engine.begin() as connection:
                    totals.add(connection, MANY[::order])
        except BaseException as error:  # noqa: BLE001
            problems.append(error)

    with fleet.engine.begin() as connection:
        totals.add(connection, MANY)
    fleet.execute(SLOW_ROWS)  # each holds its rows long enough for the other to want them
    threads = [threading.Thread(target=add, args=(order,)) for order in (1, -1)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert problems == []
    assert scrape(fleet)["leases_lost",] == 7


def test_a_total_is_the_sum_over_processes(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    buckets = len(CATALOGUE[STATEMENTS].bounds) + 1
    for slot in range(totals.SLOTS):
        monkeypatch.setattr(totals, "_slot", lambda _, slot=slot: slot)
        with fleet.engine.begin() as connection:
            one = Sample(STATEMENTS, 0.5, ("select",), tuple(range(buckets)))
            totals.add(connection, [one, one])

    found = histogram(fleet, STATEMENTS.removeprefix("flowshift_"), "select")

    assert found == (16.0, tuple(32 * place for place in range(buckets)))


def test_totals_of_another_version_are_left_alone(fleet: Fleet) -> None:
    fleet.execute(
        "INSERT INTO flowshift.metric_totals VALUES (0, 'flowshift_of_tomorrow', '{}', 7, '{}'),"
        " (0, 'flowshift_leases_lost', '{too,many}', 7, '{}'),"
        f" (0, '{STATEMENTS}', '{{select}}', 7, '{{1,2}}')"
    )

    found = scrape(fleet)

    assert found["leases_lost",] == 0
    assert ("of_tomorrow",) not in found


def test_a_batch_adds_with_one_statement(fleet: Fleet) -> None:
    fleet.add_many(3)
    run = fleet.planned(validate="sample:1")
    said: list[str] = []
    sa.event.listen(
        fleet.engine, "before_cursor_execute", lambda _c, _k, statement, *_: said.append(statement)
    )

    fleet.convert(run.run_id, 1)

    assert len([one for one in said if "metric_totals" in one]) == 1
