"""Pruning beside clients that refer to old executions all the while: no row of theirs is changed."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.executions import Executions
from tests.fleet import Fleet
from worker.core.policy import prune as rules
from worker.db.prune import delete
from worker.db.prune import executions as table
from worker.steps.prune import executions as by_rows
from worker.steps.prune import session

RUNS, NODES = "workflow_execution_runs", "workflow_node_executions"
ACTIONS = [
    "ON DELETE CASCADE",
    "ON DELETE SET NULL",
    "ON DELETE SET DEFAULT",
    "ON DELETE RESTRICT",
    "ON DELETE NO ACTION",
    "DEFERRABLE INITIALLY DEFERRED",
]


@pytest.fixture
def executions(fleet: Fleet) -> Executions:
    return Executions(fleet)


def rated(executions: Executions, target: str, action: str) -> None:
    executions.fleet.execute(
        f"CREATE TABLE ratings (rated uuid NOT NULL, about uuid REFERENCES {target} {action})"
    )


class Client(threading.Thread):
    """Inserts references to random executions until it is stopped, each in a transaction."""

    def __init__(self, connection: psycopg.Connection[Any], target: str) -> None:
        super().__init__(daemon=True)
        self._connection = connection
        self._statement = sql.SQL(
            "INSERT INTO ratings SELECT id, id FROM {} TABLESAMPLE SYSTEM (50)"
            " ORDER BY random() LIMIT 1"
        ).format(sql.Identifier(target))
        self._stopped = threading.Event()
        self.committed = 0

    def run(self) -> None:
        while not self._stopped.is_set():
            try:
                with self._connection.transaction():
                    inserted = self._connection.execute(self._statement).rowcount
            except psycopg.errors.ForeignKeyViolation:
                continue  # it was pruned a moment before
            self.committed += inserted

    def stop(self) -> None:
        self._stopped.set()
        self.join()


@contextmanager
def clients(executions: Executions, target: str) -> Iterator[list[Client]]:
    with executions.fleet.connect() as one, executions.fleet.connect() as two:
        one.autocommit = two.autocommit = True
        both = [Client(one, target), Client(two, target)]
        for client in both:
            client.start()
        try:
            yield both
        finally:
            for client in both:
                client.stop()


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("target", [RUNS, NODES])
def test_no_reference_that_was_committed_is_deleted_or_emptied(
    executions: Executions, monkeypatch: pytest.MonkeyPatch, target: str, action: str
) -> None:
    monkeypatch.setattr(rules, "FIRST_SIZE", 20)
    monkeypatch.setattr(rules, "MAX_SIZE", 20)
    rated(executions, target, action)
    executions.add(count=1_200, nodes=1)
    with clients(executions, target) as both:
        result = executions.prune()

    committed = sum(client.committed for client in both)
    rows = executions.fleet.rows(
        f"SELECT r.about, t.id FROM ratings r LEFT JOIN {target} t ON t.id = r.about"
    )
    assert result.state == "done"
    assert result.gone["runs"] > 0
    assert committed > 0
    assert len(rows) == committed
    assert all(row.about is not None and row.about == row.id for row in rows)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("target", [RUNS, NODES])
def test_a_reference_that_commits_while_the_batch_takes_its_locks_is_seen(
    executions: Executions, target: str, action: str
) -> None:
    """The very moment: after the statement's snapshot, before its lock."""
    rated(executions, target, action)
    young, old = executions.add(count=2, nodes=1)
    key = "id" if target == RUNS else "workflow_run_id"
    (about,) = executions.fleet.rows(f"SELECT id FROM {target} WHERE {key} = :id", id=young)
    # A policy of the database's own that lets a batch's first statement wait for the reference.
    executions.fleet.execute(
        "CREATE FUNCTION waits(at timestamptz) RETURNS boolean LANGUAGE plpgsql VOLATILE AS"
        " 'BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN true; END'"
    )
    with executions.fleet.connect() as gate, executions.fleet.connect() as client:
        client.autocommit = True
        gate.execute("SELECT pg_advisory_lock(4711)")
        done: list[Any] = []
        pruning = threading.Thread(target=lambda: done.append(_prune_waiting(executions)))
        pruning.start()
        _until_waits(client)
        client.execute("INSERT INTO ratings VALUES (%s, %s)", (about.id, about.id))
        gate.execute("SELECT pg_advisory_unlock(4711)")
        pruning.join()
    assert [result.gone["kept"] for result in done] == [1]
    assert executions.runs() == {young}
    assert executions.node_counts() == {young: 1}
    assert [row.about for row in executions.fleet.rows("SELECT about FROM ratings")] == [about.id]
    assert old not in executions.runs()


def _prune_waiting(executions: Executions) -> Any:
    """Prune with a first statement that takes its snapshot, then waits for the advisory lock."""
    patch = pytest.MonkeyPatch()
    written = delete.lock_sql

    def waiting(executions: table.Executions) -> str:
        return written(executions).replace(
            "ORDER BY r.created_at LIMIT", "AND waits(r.created_at) ORDER BY r.created_at LIMIT"
        )

    with patch.context() as here:
        here.setattr(delete, "lock_sql", waiting)
        here.setattr(rules, "LIMIT_MS", 60_000)
        here.setattr(rules, "LOCK_MS", 60_000)
        return executions.prune()


def _until_waits(client: psycopg.Connection[Any]) -> None:
    waiting = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted"
    while client.execute(waiting).rowcount == 0:
        pass


# -- keys that are not seen, or seen late ----------------------------------------------------------


def test_a_reference_that_a_policy_hides_is_an_error_before_anything_is_deleted(
    executions: Executions,
) -> None:
    """The workers' role sees no row of such a table; a cascade would delete them all the same."""
    rated(executions, RUNS, "ON DELETE CASCADE")
    about, *_ = executions.add(count=3)
    executions.fleet.execute("INSERT INTO ratings VALUES (:id, :id)", id=about)
    role = f"prunes_{uuid.uuid4().hex[:8]}"
    executions.fleet.execute(
        f"CREATE ROLE {role}; GRANT ALL ON ALL TABLES IN SCHEMA public, flowshift TO {role};"
        f"GRANT USAGE ON SCHEMA public, flowshift TO {role};"
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA flowshift TO {role};"
        "ALTER TABLE ratings ENABLE ROW LEVEL SECURITY"
    )
    try:
        with pytest.raises(Exception, match="row level security may hide rows of"):
            executions.prune_as(role)
    finally:
        executions.fleet.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert len(executions.runs()) == 3
    assert len(executions.fleet.rows("SELECT FROM ratings")) == 1


def test_a_key_to_a_partition_alone_keeps_what_it_refers_to(executions: Executions) -> None:
    executions.fleet.execute(
        f"CREATE TABLE older () INHERITS ({RUNS}); ALTER TABLE older ADD PRIMARY KEY (id);"
        "CREATE TABLE notes (about uuid REFERENCES older ON DELETE CASCADE)"
    )
    held, free = (str(uuid.uuid4()) for _ in range(2))
    executions.add()
    for execution_id in (held, free):
        executions.fleet.execute(
            "INSERT INTO older (id, bot_id, graph_snapshot, status, started_at, created_at)"
            " VALUES (:id, 'b', '{}', 'succeeded', now(), now() - interval '40 days')",
            id=execution_id,
        )
    executions.fleet.execute("INSERT INTO notes VALUES (:id)", id=held)

    executions.prune()

    assert held in executions.runs()
    assert [str(row.about) for row in executions.fleet.rows("SELECT about FROM notes")] == [held]


def test_nodes_that_refer_to_nodes_of_another_run_keep_that_run_whole(
    executions: Executions,
) -> None:
    executions.fleet.execute(
        f"ALTER TABLE {NODES} ADD caused_by uuid REFERENCES {NODES} (id) ON DELETE CASCADE"
    )
    cause, own = executions.add(count=2)
    young = executions.add("1 day")[0]
    for run_id, of in ((young, cause), (own, own)):
        executions.fleet.execute(
            f"UPDATE {NODES} SET caused_by = (SELECT id FROM {NODES} WHERE workflow_run_id = :of"
            " ORDER BY execution_order LIMIT 1) WHERE workflow_run_id = :run_id",
            of=of,
            run_id=run_id,
        )
    result = executions.prune()
    assert executions.node_counts() == {young: 2, cause: 2}
    assert (result.gone["runs"], result.gone["kept"]) == (1, 1)


# -- what the schema refuses -----------------------------------------------------------------------


NEVER = """
    CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN RAISE EXCEPTION ''% is evidence'', OLD.status; END';
    CREATE {constraint} TRIGGER never {when} DELETE ON workflow_execution_runs {deferred}
        FOR EACH ROW WHEN (OLD.status = 'evidence') EXECUTE FUNCTION never();
"""


@pytest.mark.parametrize(
    ("constraint", "when", "deferred"),
    [("", "BEFORE", ""), ("CONSTRAINT", "AFTER", "DEFERRABLE INITIALLY DEFERRED")],
)
def test_an_execution_that_a_trigger_keeps_stays_and_the_others_go(
    executions: Executions, constraint: str, when: str, deferred: str
) -> None:
    ids = executions.add(count=30)
    executions.fleet.execute(f"UPDATE {RUNS} SET status = 'evidence' WHERE id = :id", id=ids[7])
    executions.fleet.execute(NEVER.format(constraint=constraint, when=when, deferred=deferred))
    result = executions.prune()
    assert (result.state, result.gone["runs"], result.gone["kept"]) == ("done", 29, 1)
    assert executions.runs() == {ids[7]}


def test_a_schema_that_lets_nothing_go_ends_the_prune_with_its_reason(
    executions: Executions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_rows, "REFUSALS", 5)
    executions.add(count=30)
    executions.fleet.execute(f"UPDATE {RUNS} SET status = 'evidence'")
    executions.fleet.execute(NEVER.format(constraint="", when="BEFORE", deferred=""))
    result = executions.prune()
    assert (result.state, result.gone.get("runs", 0)) == ("stopped", 0)
    assert result.reason == "5 executions in a row cannot go: evidence is evidence"


def test_a_foreign_key_that_refuses_is_as_good_as_a_lock(executions: Executions) -> None:
    """A key that PostgreSQL checks and the catalog's look misses: here one made in mid-prune."""
    rated_id, *_ = executions.add(count=40, nodes=1)

    def check() -> Any:
        executions.fleet.execute(
            f"CREATE TABLE IF NOT EXISTS ratings (about uuid PRIMARY KEY REFERENCES {RUNS})"
        )
        executions.fleet.execute(
            "INSERT INTO ratings VALUES (:id) ON CONFLICT DO NOTHING", id=rated_id
        )
        return session.always_go()

    result = executions.prune(check=check)
    assert (result.state, result.gone["runs"], result.gone["kept"]) == ("done", 39, 1)
    assert executions.runs() == {rated_id}
