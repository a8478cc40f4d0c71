"""Backups of V1, in `bots.legacy_workflow` or in `flowshift.backups`: once, exact, and never lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from migrations import known, upgrade
from tests import platforms
from tests.fleet import Fleet, a_broken_workflow, a_workflow
from tests.integration.conftest import Run
from tests.integration.test_migrations import alembic
from tests.roles import Role
from worker.db import backups, platform_tables
from worker.db.backups import Place, back_up
from worker.errors import UsageError
from worker.runtime import Runtime
from worker.servers.connect import Servers
from worker.settings import Settings

PLACES: tuple[Place, ...] = ("column", "table")

TRIGGERS = """
ALTER TABLE bots ADD revision integer NOT NULL DEFAULT 1;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN NEW.updated_at = now(); NEW.revision = OLD.revision + 1; RETURN NEW; END';
CREATE TRIGGER bots_touch BEFORE UPDATE ON bots FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TABLE seen (statements integer);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO seen VALUES (1); RETURN NULL; END';
CREATE TRIGGER bots_note AFTER UPDATE ON bots FOR EACH STATEMENT EXECUTE FUNCTION note();
"""

SPACED = '{"nodes" : [ {"id":"start","type":"start", "n": 1.10, "n": 1e3}], "edges":  []}\n '


def taken(fleet: Fleet, place: Place, **request: Any) -> dict[str, str]:
    fleet.backup = place
    return fleet.outcomes(fleet.run(**request).run_id)


def places(fleet: Fleet) -> list[tuple[str, str]]:
    """Where each backup is."""
    return [
        (row.bot_id, row.place)
        for row in fleet.rows(
            "SELECT bot_id, 'column' AS place FROM bots WHERE legacy_workflow IS NOT NULL "
            "UNION ALL SELECT bot_id, 'table' FROM flowshift.backups ORDER BY 1"
        )
    ]


# -- made once, where the setting says -------------------------------------------------------------


def test_with_table_no_row_of_bots_is_updated_and_no_trigger_fires(fleet: Fleet) -> None:
    fleet.add_many(3)
    fleet.add("broken", a_broken_workflow())
    platforms.script(fleet.engine, TRIGGERS)
    rows = "SELECT bot_id, xmin::text, ctid::text, revision, updated_at FROM bots ORDER BY bot_id"
    before = {row.bot_id: row for row in fleet.rows(rows)}

    taken(fleet, "table", validate="all")
    assert {row.bot_id: row for row in fleet.rows(rows)} == before
    fleet.change("bot-00001", a_workflow("other {question}"))  # (which the triggers see)
    before = {row.bot_id: row for row in fleet.rows(rows)}
    taken(fleet, "table")

    assert {row.bot_id: row for row in fleet.rows(rows)} == before
    assert fleet.rows("SELECT count(*) FROM seen")[0][0] == 1
    assert places(fleet) == [(f"bot-0000{n}", "table") for n in range(3)]
    assert set(fleet.backups()) == set(fleet.drafts())


def test_with_column_an_update_trigger_does_fire(fleet: Fleet) -> None:
    fleet.add_many(1)
    platforms.script(fleet.engine, TRIGGERS)
    taken(fleet, "column")
    assert fleet.rows("SELECT revision FROM bots")[0][0] == 2


@pytest.mark.parametrize("first", PLACES)
def test_a_bot_backed_up_in_one_place_is_not_backed_up_in_the_other(
    fleet: Fleet, first: Place
) -> None:
    other = PLACES[first == "column"]
    fleet.add("a", a_workflow())
    taken(fleet, first)
    fleet.add("b", a_workflow())
    fleet.change("a", a_workflow("changed {question}"))

    assert taken(fleet, other) == {"a": "converted", "b": "converted"}
    assert taken(fleet, first) == {"a": "unchanged", "b": "unchanged"}

    assert places(fleet) == [("a", first), ("b", other)]
    assert fleet.backups()["a"] == a_workflow()


def test_a_backup_in_the_table_is_never_written_over(fleet: Fleet) -> None:
    fleet.add("a", a_workflow("one {question}"))
    taken(fleet, "table")
    before = fleet.rows("SELECT * FROM flowshift.backups")
    fleet.change("a", a_workflow("two {question}"))

    assert taken(fleet, "table") == {"a": "converted"}

    assert fleet.rows("SELECT * FROM flowshift.backups") == before
    assert fleet.backups() == {"a": a_workflow("one {question}")}


def test_a_dry_run_backs_nothing_up(fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    taken(fleet, "table", dry_run=True)
    assert places(fleet) == []


def test_a_batch_that_does_not_commit_leaves_no_backup(fleet: Fleet) -> None:
    ids = fleet.add_many(3)
    with fleet.engine.connect() as connection:
        assert back_up(connection, ids, "table") == ids  # and then its worker dies
    assert places(fleet) == []


@pytest.mark.parametrize("place", PLACES)
def test_what_got_a_backup_is_said_and_of_those_listed_alone(fleet: Fleet, place: Place) -> None:
    ids = fleet.add_many(4)
    with fleet.engine.begin() as connection:
        assert back_up(connection, ids[:2], place) == ids[:2]
        assert back_up(connection, ids[:3], place) == ids[2:3]
        assert back_up(connection, [], place) == []
    assert places(fleet) == [(bot_id, place) for bot_id in ids[:3]]


def test_the_place_is_the_runs_own_and_a_retrys_is_the_settings(
    flowshift: Run, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWSHIFT_BACKUP", "table")
    fleet.add("a", a_workflow())
    code, out, _ = flowshift("migrate", "--detach", "--json")
    assert code == 0
    assert fleet.get(json.loads(out)["run_id"]).options.backup == "table"


# -- the text, to the last blank -------------------------------------------------------------------


def test_a_json_column_keeps_its_exact_text(fleet: Fleet) -> None:
    fleet.add("a", SPACED)
    with fleet.engine.begin() as connection:
        back_up(connection, ["a"], "table")
    assert fleet.backup_texts() == {"a": SPACED}
    assert fleet.rows("SELECT workflow::text FROM bots")[0][0] == SPACED


@pytest.mark.parametrize(
    "change",
    [
        "ALTER workflow TYPE jsonb",
        "ALTER workflow TYPE a_json",
        "ALTER legacy_workflow TYPE jsonb",
        "ALTER workflow TYPE jsonb, ALTER legacy_workflow TYPE jsonb",
    ],
)
@pytest.mark.parametrize("place", PLACES)
def test_columns_of_other_types_are_backed_up_as_their_text(
    fleet: Fleet, change: str, place: Place
) -> None:
    fleet.execute("CREATE DOMAIN a_json AS json")
    fleet.execute(f"ALTER TABLE bots {change}")
    fleet.execute(
        "INSERT INTO bots (bot_id, name, workflow) VALUES ('a', '', '"
        + SPACED.replace(":", r"\:")
        + "')"
    )
    with fleet.engine.begin() as connection:
        assert back_up(connection, ["a"], place) == ["a"]

    [(workflow,)] = fleet.rows("SELECT workflow::text FROM bots")
    kept_as_jsonb = place == "column" and "legacy_workflow" in change
    [(wanted,)] = fleet.rows(
        f"SELECT workflow::text{'::jsonb::text' if kept_as_jsonb else ''} FROM bots"
    )
    assert fleet.backup_texts() == {"a": wanted}
    assert kept_as_jsonb or wanted == workflow


# -- the fleet at large ----------------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
def test_many_bots_are_backed_up_by_the_indexes_on_their_ids(fleet: Fleet, place: Place) -> None:
    fleet.add_many(3000)
    fleet.execute(
        "INSERT INTO flowshift.backups (bot_id, workflow) "
        "SELECT bot_id, workflow FROM bots WHERE bot_id > 'bot-00100'"
    )
    fleet.execute("ANALYZE bots, flowshift.backups")
    statement = backups._INTO_TABLE if place == "table" else backups._INTO_COLUMN.format(cast="")
    with fleet.connect() as connection:
        rows = connection.execute(
            "EXPLAIN " + statement, ([f"bot-{n:05d}" for n in range(50)],)
        ).fetchall()
    plan = "\n".join(row[0] for row in rows)
    assert "Seq Scan on bots" not in plan, plan
    assert "Seq Scan on backups" not in plan, plan


class TestPlatformsOwnCollations:
    @pytest.fixture
    def database(self, empty_database: str) -> str:
        """A database that a test makes itself."""
        return empty_database

    @pytest.mark.parametrize("place", PLACES)
    def test_ids_may_be_in_another_collation(self, fleet: Fleet, place: Place) -> None:
        platforms.make(
            fleet.engine,
            bots=3,
            bot_id='varchar(50) COLLATE "POSIX" NOT NULL UNIQUE',
            version_bot_id='varchar(50) COLLATE "POSIX"',
        )
        fleet.backup = place
        platforms.converts_whole(fleet, 3)
        assert {where for _, where in places(fleet)} == {place}

    def test_show_finds_a_backup_by_the_key_of_the_table(self, fleet: Fleet) -> None:
        platforms.make(
            fleet.engine,
            bots=3000,
            bot_id='varchar(50) COLLATE "POSIX" NOT NULL UNIQUE',
            version_bot_id='varchar(50) COLLATE "POSIX"',
        )
        fleet.execute(
            "INSERT INTO flowshift.backups (bot_id, workflow) SELECT bot_id, workflow FROM bots"
        )
        fleet.execute("ANALYZE bots, flowshift.backups")
        query = (
            sa.select(backups.PLACE)
            .select_from(backups.BESIDE_BOTS)
            .where(platform_tables.bots.c.bot_id == "bot_0005")
        )
        text = str(query.compile(fleet.engine, compile_kwargs={"literal_binds": True}))
        plan = "\n".join(row[0] for row in fleet.rows(f"EXPLAIN {text}"))
        assert "Seq Scan" not in plan, plan


# -- everything that reads it ----------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
def test_show_and_status_know_a_backup_wherever_it_is(
    flowshift: Run, fleet: Fleet, place: Place
) -> None:
    fleet.add("a", a_workflow())
    fleet.add("b", a_broken_workflow())
    taken(fleet, place)

    said = "V1 backed up" + (" in flowshift.backups" if place == "table" else "")
    assert f"runs V1, {said}\n" in flowshift("show", "a")[1]
    assert "runs V1, no backup yet\n" in flowshift("show", "b")[1]
    shown = json.loads(flowshift("show", "a", "--json")[1])
    assert (shown["has_backup"], shown["backup"]) == (True, place)
    assert "2 bots with a workflow, 1 backed up," in flowshift("status")[1]
    told = json.loads(flowshift("status", "--json")[1])
    assert told["fleet"]["migrated_bots"] == 1
    assert told["run"]["options"]["backup"] == place


def documented(name: str) -> str:
    """The SQL of docs/how-to/backups.md that begins with this comment."""
    text = (Path(__file__).parents[2] / "docs" / "how-to" / "backups.md").read_text()
    _, _, after = text.partition(f"-- {name}")
    assert after, name
    statement = after.partition("\n")[2].partition("\n--")[0].partition("\n```")[0]
    return statement.strip()


def both(fleet: Fleet) -> None:
    """Bot `a` is backed up in the column, `b` in the table; then both are changed."""
    fleet.add("a", a_workflow("a {question}"))
    taken(fleet, "column")
    fleet.add("b", a_workflow("b {question}"))
    taken(fleet, "table")
    assert places(fleet) == [("a", "column"), ("b", "table")]
    for bot_id in ("a", "b"):
        fleet.change(bot_id, a_workflow("changed {question}"))


@pytest.mark.parametrize("workflow_type", ["json", "jsonb"])
def test_the_documented_queries_find_and_restore_a_backup_wherever_it_is(
    fleet: Fleet, workflow_type: str
) -> None:
    fleet.execute(
        f"ALTER TABLE bots ALTER workflow TYPE {workflow_type}, "
        f"ALTER legacy_workflow TYPE {workflow_type}"
    )
    both(fleet)
    wanted = {bot_id: a_workflow(f"{bot_id} {{question}}") for bot_id in ("a", "b")}

    counted = fleet.rows(documented("how far the fleet is"))
    assert [tuple(row) for row in counted] == [(2, 0, 2)]
    rows = fleet.rows(documented("the backup of every bot").replace(":", r"\:"))
    assert {row.bot_id: json.loads(row.legacy_workflow) for row in rows} == wanted
    for bot_id in ("a", "b"):
        restore = documented("give a bot its V1 back").replace("bot_000005", bot_id)
        fleet.execute(restore.replace("::", r"\:\:"))
    rows = fleet.rows("SELECT bot_id, workflow FROM bots")
    assert {row.bot_id: row.workflow for row in rows} == wanted


@pytest.mark.parametrize("workflow_type", ["json", "jsonb"])
def test_the_documented_copy_makes_the_guides_own_queries_work_again(
    fleet: Fleet, workflow_type: str
) -> None:
    fleet.execute(
        f"ALTER TABLE bots ALTER workflow TYPE {workflow_type}, "
        f"ALTER legacy_workflow TYPE {workflow_type}"
    )
    both(fleet)
    fleet.execute(documented("copy the backups").replace("::", r"\:\:"))
    found = fleet.rows("SELECT bot_id FROM bots WHERE legacy_workflow IS NOT NULL ORDER BY 1")
    assert [row.bot_id for row in found] == ["a", "b"]
    upgrade.downgrade(fleet.engine, "base")  # nothing is the only copy now


# -- how long it stays -----------------------------------------------------------------------------


def test_a_backup_outlives_its_bot_until_the_documented_statement_deletes_it(fleet: Fleet) -> None:
    both(fleet)
    fleet.execute("DELETE FROM bots WHERE bot_id = 'b'")
    assert places(fleet) == [("a", "column"), ("b", "table")]
    fleet.add("c", a_workflow())
    taken(fleet, "table")

    fleet.execute(documented("delete the backups of bots that are gone"))

    assert places(fleet) == [("a", "column"), ("c", "table")]


def test_pruning_touches_no_backup_however_old(flowshift: Run, fleet: Fleet) -> None:
    both(fleet)
    fleet.execute("DELETE FROM bots WHERE bot_id = 'b'")
    fleet.execute("UPDATE flowshift.backups SET backed_up_at = now() - interval '10 years'")
    fleet.execute(
        "UPDATE flowshift.runs SET created_at = now() - interval '9 years', "
        "started_at = now() - interval '9 years', finished_at = now() - interval '9 years'"
    )

    assert flowshift("prune", "--older-than", "1d")[0] == 0

    with fleet.engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM flowshift.runs")).scalar() == 0
    fleet.engine.dispose()
    assert places(fleet) == [("a", "column"), ("b", "table")]
    fleet.engine.dispose()


def test_the_platform_deletes_and_truncates_its_bots_beside_an_open_backup(fleet: Fleet) -> None:
    fleet.add_many(2)
    with fleet.engine.begin() as connection:
        back_up(connection, ["bot-00000"], "table")
        with fleet.connect() as platform:
            platform.execute("SET lock_timeout = '1s'")
            platform.execute("DELETE FROM bots WHERE bot_id = 'bot-00000'")
    fleet.execute("TRUNCATE bots CASCADE")
    assert places(fleet) == [("bot-00000", "table")]


def test_workers_cannot_change_or_delete_a_backup(fleet: Fleet, database: str, role: Role) -> None:
    fleet.add("a", a_workflow())
    taken(fleet, "table")
    url = sa.make_url(role.url(database)).set(drivername="postgresql")
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as theirs:
        for statement in (
            "UPDATE flowshift.backups SET workflow = '{}'",
            "DELETE FROM flowshift.backups",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                theirs.execute(statement.encode())


@pytest.fixture
def worker(servers: Servers, database: str, role: Role, settings: Settings) -> Iterator[Fleet]:
    """The same fleet as the workers' role sees it."""
    current = Runtime(settings, Servers(role.url(database), servers.redis_url))
    yield Fleet(current)
    current.close()


def test_the_workers_role_backs_up_into_the_table(fleet: Fleet, worker: Fleet) -> None:
    fleet.add_many(3)
    worker.backup = "table"
    assert worker.run(validate="all").counts.converted == 3
    assert [place for _, place in places(fleet)] == ["table"] * 3


# -- the way down ----------------------------------------------------------------------------------


def test_the_only_backup_of_a_bot_stops_the_way_down_unless_it_is_let_go(
    flowshift: Run, fleet: Fleet
) -> None:
    both(fleet)
    with pytest.raises(UsageError, match=r"the only backup of V1 for 1 bot: .* --drop-backups"):
        upgrade.downgrade(fleet.engine, "base")
    assert upgrade.current(fleet.engine) == known.head()  # nothing was undone
    assert places(fleet) == [("a", "column"), ("b", "table")]

    code, _, err = flowshift("db", "downgrade", "base", "--yes")
    assert code == 2
    assert "holds the only backup of V1 for 1 bot:" in err
    code, out, _ = flowshift("db", "downgrade", "base", "--drop-backups", "--yes")
    assert (code, out) == (0, "the database is at revision base\n")


def test_a_backup_that_differs_from_the_columns_is_an_only_copy_too(fleet: Fleet) -> None:
    both(fleet)
    fleet.execute("UPDATE bots SET legacy_workflow = '{}' WHERE bot_id = 'b'")
    with pytest.raises(UsageError, match="the only backup of V1 for 1 bot"):
        upgrade.downgrade(fleet.engine, "base")


def test_alembic_itself_takes_the_word_too(fleet: Fleet, database: str) -> None:
    both(fleet)
    fleet.engine.dispose()
    for said, succeeds in (("drop_backups=no", False), ("drop_backups=yes", True)):
        process = alembic(database, "-x", said, "downgrade", "base")
        output = "".join(process.communicate(timeout=60))
        assert (process.returncode == 0) == succeeds, output
        assert "Traceback" not in output


def test_an_empty_table_of_backups_goes_without_a_word(fleet: Fleet) -> None:
    upgrade.downgrade(fleet.engine, "base")
    assert upgrade.current(fleet.engine) is None
