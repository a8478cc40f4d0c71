"""Partitions by time: old ones are dropped whole, on a real server, and nothing else is lost."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest
import sqlalchemy as sa

from migrations import known
from migrations import upgrade as schema
from tests.executions import Executions
from tests.fleet import Fleet
from tests.integration.test_migrations import an_engine, make_platform, run_script
from tests.pooler import Mind, minding
from worker.core.policy import prune as rules
from worker.db.prune import executions as table
from worker.db.prune import partitions
from worker.db.schema.check import check
from worker.steps.prune.prune import Result

pytestmark = pytest.mark.timeout(60)

BY_TIME = "PARTITION BY RANGE (created_at)"
RUNS, NODES = "workflow_execution_runs", "workflow_node_executions"
BOUNDS = {"older": (90, 61), "old": (61, 35), "edge": (35, 5), "new": (5, -30)}
"""Partitions of the tests: from so many days ago to so many."""


class Partitioned(Executions):
    """Executions in partitions."""

    def remake(self, *, nodes: bool = False, default: bool = False, fk: bool = False) -> None:
        """Make the tables again, partitioned by time; the nodes' only if asked for."""
        script = [
            "SET LOCAL search_path = public",  # whatever the role is called
            "DROP TABLE workflow_node_executions",
            _remade(RUNS, "PARTITION BY RANGE (created_at)"),
            *(_partition(RUNS, name) for name in BOUNDS),
        ]
        if default:
            script.append("CREATE TABLE runs_rest PARTITION OF workflow_execution_runs DEFAULT")
        script.append(_nodes("PARTITION BY RANGE (created_at)" if nodes else ""))
        if nodes:
            script += [_partition(NODES, name) for name in BOUNDS]
        if fk:
            script.append(
                "ALTER TABLE workflow_node_executions ADD run_created_at timestamptz,"
                " ADD FOREIGN KEY (workflow_run_id, run_created_at)"
                " REFERENCES workflow_execution_runs (id, created_at) ON DELETE CASCADE"
            )
        run_script(self.engine, ";\n".join(script))

    def fill(self, *, fk: bool = False) -> dict[str, list[str]]:
        """Two executions in each partition, one on either side of the cut-off in the edge's."""
        ids = {
            "older": self.add("70 days", count=2),
            "old": self.add("40 days", count=2),
            "edge old": self.add("31 days"),
            "edge new": self.add("29 days"),
            "new": self.add("1 day"),
        }
        if fk:
            self.fleet.execute(
                "UPDATE workflow_node_executions n SET run_created_at = r.created_at"
                " FROM workflow_execution_runs r WHERE r.id = n.workflow_run_id"
            )
        return ids

    def tables(self) -> set[str]:
        """The partitions that are there, by what comes after the underscore, attached or not."""
        rows = self.fleet.rows(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p')"
            " AND relname ~ '^(runs|nodes)_'"
        )
        return {row.relname for row in rows}

    def waiting(self) -> int:
        """Partitions on their way out."""
        return len(self.fleet.rows("SELECT FROM flowshift.leaving_partitions"))


def _remade(table: str, how: str) -> str:
    return (
        f"ALTER TABLE {table} RENAME TO before; CREATE TABLE {table} (LIKE before INCLUDING DEFAULTS,"
        f" PRIMARY KEY (id, created_at)) {how}; DROP TABLE before;"
        f" CREATE INDEX ON {table} (created_at); CREATE INDEX ON {table} (bot_id);"
        f" CREATE INDEX ON {table} (session_id)"
    )


def _nodes(how: str) -> str:
    return (
        "CREATE TABLE workflow_node_executions (id uuid DEFAULT gen_random_uuid(),"
        " workflow_run_id uuid NOT NULL, node_id text, node_type text, execution_order integer,"
        " inputs jsonb, outputs jsonb, process_data jsonb, status text, error_message text,"
        " started_at timestamptz, finished_at timestamptz, elapsed_time integer,"
        " tokens_used integer, is_truncated boolean, truncated_fields jsonb,"
        f" created_at timestamptz NOT NULL, PRIMARY KEY (id, created_at)) {how};"
        " CREATE INDEX ON workflow_node_executions (workflow_run_id)"
    )


def _partition(table: str, name: str, *, of: str = "", called: str = "", how: str = "") -> str:
    first, last = (f"(date_trunc('day', now()) - interval '{n} days')" for n in BOUNDS[name])
    short = "runs" if table == RUNS else "nodes"
    return (
        f"CREATE TABLE {called or f'{short}_{name}'} PARTITION OF {of or table}"
        f" FOR VALUES FROM ({first}) TO ({last}) {how}"
    )


_BY_BOT = """
    CREATE TABLE workflow_execution_runs (
        id uuid, bot_id varchar(50), workflow_version_id uuid, session_id text, user_id text,
        graph_snapshot jsonb, inputs jsonb, outputs jsonb, status text, error_message text,
        started_at timestamptz, finished_at timestamptz, elapsed_time integer,
        total_tokens integer, total_steps integer, created_at timestamptz NOT NULL,
        PRIMARY KEY (id, bot_id, created_at)
    ) PARTITION BY LIST (bot_id)
"""


@pytest.fixture
def executions(fleet: Fleet) -> Partitioned:
    return Partitioned(fleet)


def everything_old_is_gone(
    executions: Partitioned, ids: dict[str, list[str]], result: Result
) -> None:
    kept = {*ids["edge new"], *ids["new"]}
    assert result.state == "done"
    assert executions.runs() == kept
    assert executions.node_counts() == dict.fromkeys(kept, 2)
    assert (result.gone["runs"], result.gone["nodes"]) == (5, 10)
    assert executions.waiting() == 0


@pytest.mark.parametrize("default", [False, True], ids=["", "default"])
@pytest.mark.parametrize("nodes", [False, True], ids=["", "nodes too"])
@pytest.mark.parametrize("fk", [False, True], ids=["", "foreign key"])
def test_old_partitions_are_dropped_and_the_edge_is_pruned_by_rows(
    executions: Partitioned, default: bool, nodes: bool, fk: bool
) -> None:
    executions.remake(nodes=nodes, default=default, fk=fk)
    ids = executions.fill(fk=fk)

    told = executions.look()
    result = executions.prune()

    everything_old_is_gone(executions, ids, result)
    names = {"edge", "new", *(["rest"] if default else [])}
    assert executions.tables() == {f"runs_{name}" for name in names} | (
        {"nodes_edge", "nodes_new"} if nodes else set()
    )
    assert result.gone["partitions"] == (4 if nodes else 2)
    assert {kind: told.gone[kind] for kind in ("runs", "nodes", "partitions")} == {
        kind: result.gone[kind] for kind in ("runs", "nodes", "partitions")
    }
    assert sorted(told.partitions) == sorted(result.partitions)


def test_a_partition_that_ends_at_the_cut_off_goes_and_one_that_ends_later_stays(
    executions: Partitioned,
) -> None:
    executions.remake()
    with executions.engine.connect() as connection:
        end = connection.execute(
            sa.text("SELECT date_trunc('day', now()) - interval '35 days'")
        ).scalar_one()
        at = partitions.old(connection, table.find(connection, end))
        before = partitions.old(connection, table.find(connection, end - dt.timedelta.resolution))
    assert [one.name for one in at] == ["public.runs_older", "public.runs_old"]
    assert [one.name for one in before] == ["public.runs_older"]


def test_what_lies_in_a_default_partition_is_pruned_by_rows(executions: Partitioned) -> None:
    executions.remake(default=True)
    executions.add("400 days", count=3)
    gone = executions.prune().gone
    assert (gone["runs"], gone["nodes"], gone["partitions"]) == (3, 6, 2)
    assert executions.runs() == set()
    assert "runs_rest" in executions.tables()


def test_partitions_of_partitions_are_dropped_at_the_level_of_time(
    executions: Partitioned,
) -> None:
    executions.remake()
    run_script(
        executions.engine,
        ";\n".join(
            [
                "SET LOCAL search_path = public",
                "DROP TABLE runs_older, runs_old",
                # By time and then by id, and by time twice: the whole branch goes.
                _partition(RUNS, "older", how="PARTITION BY HASH (id)"),
                "CREATE TABLE runs_one PARTITION OF runs_older FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
                _partition(RUNS, "old", how="PARTITION BY RANGE (created_at)"),
                _partition(RUNS, "old", of="runs_old", called="runs_old_all"),
            ]
        ),
    )
    ids = executions.fill()

    result = executions.prune()

    everything_old_is_gone(executions, ids, result)
    assert executions.tables() == {"runs_edge", "runs_new"}
    assert result.gone["partitions"] == 2


def test_a_table_by_bot_and_then_by_time_loses_its_old_leaves(executions: Partitioned) -> None:
    executions.remake()
    run_script(
        executions.engine,
        ";\n".join(
            [
                "SET LOCAL search_path = public",
                "DROP TABLE workflow_execution_runs",
                _BY_BOT,
                "CREATE INDEX ON workflow_execution_runs (created_at)",
                f"CREATE TABLE runs_b PARTITION OF {RUNS} FOR VALUES IN ('b') {BY_TIME}",
                *(_partition(RUNS, name, of="runs_b") for name in BOUNDS),
            ]
        ),
    )
    ids = executions.fill()

    result = executions.prune()

    everything_old_is_gone(executions, ids, result)
    assert executions.tables() == {"runs_b", "runs_edge", "runs_new"}


def test_a_table_partitioned_by_something_else_is_pruned_by_rows(executions: Partitioned) -> None:
    run_script(
        executions.engine,
        "DROP TABLE workflow_node_executions;"
        + _remade(RUNS, "PARTITION BY HASH (id)").replace(
            "PRIMARY KEY (id, created_at)", "PRIMARY KEY (id)"
        )
        + ";"
        "CREATE TABLE runs_0 PARTITION OF workflow_execution_runs FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
        "CREATE TABLE runs_1 PARTITION OF workflow_execution_runs FOR VALUES WITH (MODULUS 2, REMAINDER 1);"
        + _nodes(""),
    )
    ids = executions.fill()

    everything_old_is_gone(executions, ids, executions.prune())
    assert executions.tables() == {"runs_0", "runs_1"}


# -- what has to stay ------------------------------------------------------------------------------


def test_an_old_partition_of_nodes_stays_while_a_run_of_one_of_them_stays(
    executions: Partitioned,
) -> None:
    executions.remake(nodes=True)
    ids = executions.fill()
    (young,) = ids["new"]
    executions.fleet.execute(
        "INSERT INTO workflow_node_executions (workflow_run_id, node_id, created_at)"
        " VALUES (:id, 'early', now() - interval '70 days')",
        id=young,
    )

    executions.prune()

    assert executions.runs() == {*ids["edge new"], young}
    assert executions.node_counts() == {ids["edge new"][0]: 2, young: 3}
    assert "nodes_older" in executions.tables()
    assert "nodes_old" not in executions.tables()


def test_late_nodes_of_old_runs_go_with_them(executions: Partitioned) -> None:
    executions.remake(nodes=True)
    ids = executions.fill()
    executions.fleet.execute(
        "INSERT INTO workflow_node_executions (workflow_run_id, node_id, created_at)"
        " VALUES (:id, 'late', now() - interval '10 days')",
        id=ids["older"][0],
    )

    executions.prune()

    kept = {*ids["edge new"], *ids["new"]}
    assert executions.node_counts() == dict.fromkeys(kept, 2)


def test_a_partition_with_a_run_that_another_table_refers_to_is_pruned_by_rows(
    executions: Partitioned,
) -> None:
    executions.remake()
    ids = executions.fill()
    executions.fleet.execute(
        "CREATE TABLE ratings (run_id uuid, at timestamptz,"
        " FOREIGN KEY (run_id, at) REFERENCES workflow_execution_runs ON DELETE CASCADE)"
    )
    rated = ids["old"][0]
    executions.fleet.execute(
        "INSERT INTO ratings SELECT id, created_at FROM workflow_execution_runs WHERE id = :id",
        id=rated,
    )

    result = executions.prune()

    assert executions.runs() == {rated, *ids["edge new"], *ids["new"]}
    assert executions.node_counts()[rated] == 2
    assert result.gone["kept"] == 1
    assert executions.tables() == {"runs_old", "runs_edge", "runs_new"}
    assert len(executions.fleet.rows("SELECT FROM ratings")) == 1


def test_a_partition_that_a_view_reads_is_pruned_by_rows(executions: Partitioned) -> None:
    executions.remake()
    ids = executions.fill()
    executions.fleet.execute("CREATE VIEW march AS SELECT id FROM runs_old")

    result = executions.prune()

    everything_old_is_gone(executions, ids, result)
    assert executions.tables() == {"runs_old", "runs_edge", "runs_new"}


def test_a_role_that_does_not_own_the_partitions_prunes_them_by_rows(
    executions: Partitioned,
) -> None:
    executions.remake()
    ids = executions.fill()
    role = f"flowshift_test_{uuid.uuid4().hex[:12]}"
    run = executions.fleet.execute
    run(f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA public, flowshift TO {role}")
    run(
        f"GRANT SELECT, UPDATE, DELETE ON workflow_execution_runs, workflow_node_executions TO {role};"
        f"GRANT ALL ON ALL TABLES IN SCHEMA flowshift TO {role}; GRANT SELECT ON"
        f" bot_workflow_versions TO {role}"
    )
    url = executions.engine.url.set(username=role, drivername="postgresql")
    try:
        with an_engine(url.render_as_string(hide_password=False)) as theirs:
            other = Partitioned(executions.fleet)
            other.engine = theirs
            result = other.prune()
    finally:
        run(f"DROP OWNED BY {role}; DROP ROLE {role}")

    everything_old_is_gone(executions, ids, result)
    assert {"runs_older", "runs_old"} <= executions.tables()


@pytest.mark.parametrize("mind", ["ignores", "refuses"])
def test_through_a_pooler_partitions_are_pruned_by_rows(
    executions: Partitioned, database: str, mind: Mind
) -> None:
    """A partition is detached outside of a transaction, where a pooler keeps no time-out of ours."""
    executions.remake(nodes=True)
    ids = executions.fill()
    with minding(database, mind) as url, an_engine(url) as pooled:
        other = Partitioned(executions.fleet)
        other.engine = pooled
        told, result = other.look(), other.prune()

    everything_old_is_gone(executions, ids, result)
    assert result.partitions == ()
    assert {"runs_older", "runs_old"} <= executions.tables()
    assert told.partitions == ()
    assert {kind: told.gone[kind] for kind in ("runs", "nodes")} == {"runs": 5, "nodes": 10}


# -- beside traffic, and after a death --------------------------------------------------------------


@pytest.mark.parametrize("default", [False, True], ids=["beside traffic", "in one transaction"])
def test_a_busy_table_is_given_way_to_and_its_rows_are_deleted_instead(
    executions: Partitioned, monkeypatch: pytest.MonkeyPatch, default: bool
) -> None:
    monkeypatch.setattr("worker.steps.prune.partitions.TRIES", 2)
    monkeypatch.setattr("worker.steps.prune.partitions.WAIT_MS", 100)
    monkeypatch.setattr(rules, "LOCK_MS", 50)
    executions.remake(default=default)
    ids = executions.fill()
    with executions.fleet.connect() as platform:
        platform.execute("SELECT count(*) FROM workflow_execution_runs")
        executions.prune()
        kept = {*ids["edge new"], *ids["new"]}
        assert executions.runs() == kept

    executions.prune()
    assert executions.tables() >= {"runs_edge", "runs_new"}
    assert not executions.tables() & {"runs_older", "runs_old"}
    assert executions.waiting() == 0


def test_a_prune_that_died_between_detaching_and_dropping_is_finished_by_the_next(
    executions: Partitioned, monkeypatch: pytest.MonkeyPatch
) -> None:
    executions.remake()
    ids = executions.fill()

    def die(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(partitions, "drop", die)
        with pytest.raises(MemoryError):
            executions.prune()
    assert "runs_older" in executions.tables()
    assert executions.waiting() == 1
    assert executions.runs().isdisjoint(ids["older"])

    executions.prune()

    assert executions.tables() == {"runs_edge", "runs_new"}
    assert executions.waiting() == 0


def test_a_table_of_that_name_that_somebody_made_meanwhile_is_not_dropped(
    executions: Partitioned,
) -> None:
    executions.remake()
    executions.fleet.execute(
        "INSERT INTO flowshift.leaving_partitions SELECT 'runs_new'::regclass::oid, 'public.runs_new';"
        "INSERT INTO flowshift.leaving_partitions SELECT 'bots'::regclass::oid, 'public.other'"
    )
    executions.prune()
    assert "runs_new" in executions.tables()
    assert executions.fleet.rows("SELECT to_regclass('bots') IS NOT NULL AS there")[0].there
    assert executions.waiting() == 0


# -- adopting --------------------------------------------------------------------------------------


def test_a_platform_with_partitions_by_time_can_be_adopted(empty_database: str) -> None:
    with an_engine(empty_database) as engine:
        make_platform(engine, with_v2_tables=True)
        run_script(
            engine,
            "DROP TABLE workflow_node_executions;"
            + _remade(RUNS, "PARTITION BY RANGE (created_at)")
            + ";"
            + _nodes("PARTITION BY RANGE (created_at)"),
        )

        schema.upgrade(engine)

        with engine.connect() as connection:
            assert check(connection, known.revisions()).problems == ()


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "NO ACTION"])
def test_a_node_that_is_referred_to_since_the_partition_was_looked_at_keeps_its_run(
    executions: Partitioned, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    executions.remake()
    ids = executions.fill()
    executions.fleet.execute(f"ALTER TABLE {NODES} ADD CONSTRAINT one UNIQUE (id)")
    executions.fleet.execute(
        f"CREATE TABLE ratings (about uuid REFERENCES {NODES} (id) ON DELETE {action})"
    )
    rated = ids["old"][0]
    looked = partitions.any_kept

    def look_then_refer(
        connection: sa.Connection, found: table.Executions, partition: partitions.Old
    ) -> bool:
        any_kept = looked(connection, found, partition)
        if partition.name.endswith("runs_old"):
            executions.fleet.execute(
                f"INSERT INTO ratings SELECT id FROM {NODES} WHERE workflow_run_id = :id LIMIT 1",
                id=rated,
            )
        return any_kept

    monkeypatch.setattr(partitions, "any_kept", look_then_refer)

    executions.prune()

    assert executions.runs() == {rated, *ids["edge new"], *ids["new"]}
    assert executions.node_counts()[rated] == 2
    (row,) = executions.fleet.rows("SELECT about FROM ratings")
    assert row.about is not None
