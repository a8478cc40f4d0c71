"""The role that publishes: it switches bots and versions, which the workers' role cannot, and no more."""

from __future__ import annotations

import os
import subprocess
import uuid
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml
from psycopg import errors

from migrations import known
from migrations import upgrade as schema
from tests.conftest import drop_database, make_database
from tests.fleet import Fleet
from tests.integration.test_migrations import an_engine, make_platform
from tests.integration.test_role import FORBIDDEN, connected
from tests.publishing import Publishing
from tests.roles import FILE, Role, psql_path
from worker.db import rights
from worker.db.publication.rolling import Which
from worker.db.schema.check import check
from worker.errors import ConfigError
from worker.runtime import Runtime
from worker.servers.connect import Servers
from worker.settings import Settings
from worker.steps.publication.rollback import roll_back

IT_MAY = (
    "UPDATE bots SET use_workflow_v2 = true",
    "UPDATE bot_workflow_versions SET status = 'published'",
)


def a_fleet(settings: Settings, url: str) -> Fleet:
    return Fleet(Runtime(settings, Servers(url, settings.redis_url)))


def test_it_converts_publishes_and_rolls_back(
    fleet: Fleet, settings: Settings, publisher: Role
) -> None:
    theirs = a_fleet(settings, publisher.url(settings.database_url))
    fleet.add_many(3)
    theirs.run()
    publishing = Publishing(theirs)
    publishing.prove()
    publishing.plan()

    assert set(publishing.publish().values()) == {"published"}
    result = roll_back(
        theirs.current, Which(), digest=None, actor="test", reason=None, show=lambda _: None
    )
    theirs.current.close()

    assert dict(result.bots)["rolled_back"] == 3


def test_workers_are_refused_with_what_they_lack(
    fleet: Fleet, settings: Settings, role: Role
) -> None:
    fleet.add_many(1)
    fleet.run()
    publishing = Publishing(fleet)
    publishing.prove()
    publishing.plan()
    publishing.publish()
    workers = a_fleet(settings, role.url(settings.database_url))

    with pytest.raises(ConfigError, match="the role lacks a right"):
        roll_back(
            workers.current, Which(), digest=None, actor="test", reason=None, show=lambda _: None
        )
    workers.current.close()

    assert publishing.is_live("bot-00000")


def test_workers_claim_no_batch_that_publishes_and_publishers_do(
    fleet: Fleet, settings: Settings, role: Role, publisher: Role
) -> None:
    fleet.add_many(1)
    run_id = fleet.planned().run_id
    fleet.execute("UPDATE flowshift.runs SET kind = 'publish'")
    workers, publishers = (
        a_fleet(settings, url)
        for url in (
            role.url(settings.database_url),
            publisher.url(settings.database_url),
        )
    )
    assert workers.claim(run_id, target_ms=1_000) is None
    [one] = fleet.rows("SELECT state, attempt FROM flowshift.batches")
    assert tuple(one) == ("pending", 0)
    assert publishers.claim(run_id, worker="p") is not None
    fleet.execute("UPDATE flowshift.runs SET kind = 'validate'")
    fleet.execute("UPDATE flowshift.batches SET state = 'pending'")
    assert workers.claim(run_id) is not None
    for theirs in (workers, publishers):
        theirs.current.close()


@pytest.mark.parametrize("who", ["worker", "publisher", "owner", "nobody's tables"])
def test_the_catalogue_says_who_may_publish(
    database: str, role: Role, publisher: Role, who: str, admin: sa.Engine
) -> None:
    urls = {"worker": role.url(database), "publisher": publisher.url(database), "owner": database}
    empty = make_database(admin)
    try:
        with an_engine(urls.get(who, empty)) as engine, engine.connect() as connection:
            found = rights.publisher(connection)
            assert found.role == connection.scalar(sa.text("SELECT current_user"))
    finally:
        drop_database(admin, empty)
    assert found.may_publish == (who != "worker")


def test_the_stacks_own_script_makes_both_roles_with_their_passwords(
    database: str, admin: sa.Engine
) -> None:
    """The script of docker-compose.yml, by the names of this test and with the psql of this machine."""
    made = {which: f"flowshift_test_{uuid.uuid4().hex[:16]}" for which in ("worker", "publisher")}
    stack = yaml.safe_load((FILE.parents[1] / "docker-compose.yml").read_text())
    [script] = stack["services"]["roles"]["command"]
    sets = f"--set=role={made['worker']} --set=publisher={made['publisher']}"
    script = script.replace("--file=/role.sql", f"{sets} --file={FILE}")
    for which, name in made.items():
        script = script.replace(f"flowshift_{which}", name)
    url = sa.make_url(database)
    given = {
        "PGHOST": str(url.query.get("host") or url.host),
        "PGPORT": str(url.port or 5432),
        "PGUSER": url.username,
        "PGPASSWORD": url.password,
        "PGDATABASE": url.database,
        "WORKER_PASSWORD": "a'b\"$c",
        "PUBLISHER_PASSWORD": "d\\e f",
        "PATH": f"{Path(psql_path()).parent}:{os.environ['PATH']}",
    }
    try:
        for _ in range(2):
            done = subprocess.run(
                ["sh", "-euc", script],
                env={**os.environ, **{name: value for name, value in given.items() if value}},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
        for which, may in (("worker", False), ("publisher", True)):
            theirs = Role(made[which], given[f"{which.upper()}_PASSWORD"] or "")
            with an_engine(theirs.url(database)) as engine, engine.connect() as connection:
                assert rights.publisher(connection) == rights.Publisher(made[which], may)
    finally:
        with an_engine(database) as engine, engine.begin() as connection:
            for name in reversed(made.values()):
                connection.exec_driver_sql(f"DROP OWNED BY {name}")
        with admin.connect() as connection:
            for name in reversed(made.values()):
                connection.execute(sa.text(f"DROP ROLE {name}"))


def test_beyond_that_it_may_no_more_than_workers(
    fleet: Fleet, database: str, publisher: Role
) -> None:
    fleet.add_many(1)
    fleet.run(validate="all")
    fleet.execute("CREATE TABLE users (email text)")
    fleet.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    with connected(publisher.url(database)) as theirs:
        for statement in FORBIDDEN:
            if statement in IT_MAY:
                theirs.execute(statement.encode())
                continue
            with pytest.raises(errors.InsufficientPrivilege):
                theirs.execute(statement.encode())


def notes(url: str) -> list[str]:
    with an_engine(url) as engine, engine.connect() as connection:
        found = check(connection, known.revisions())
    assert found.problems == ()
    return [
        note
        for table in found.tables
        for note in table.notes
        if "publish and" in note or "be published" in note
    ]


def test_db_check_notes_which_role_cannot_publish(
    database: str, role: Role, publisher: Role
) -> None:
    assert notes(publisher.url(database)) == []
    assert notes(database) == []
    lacks = (
        "the role {} has no right to UPDATE {}: publish and roll back as flowshift_publisher"
        " (flowshift db role)"
    )
    assert notes(role.url(database)) == [
        lacks.format(role.name, "use_workflow_v2"),
        lacks.format(role.name, "status"),
    ]


def test_db_check_notes_which_words_a_column_of_statuses_lacks(admin: sa.Engine) -> None:
    url = make_database(admin)
    try:
        with an_engine(url) as engine:
            make_platform(engine, with_v2_tables=True)
            with engine.begin() as connection:
                connection.exec_driver_sql(
                    "CREATE DOMAIN word AS varchar CHECK (VALUE IN ('draft', 'published'))"
                )
                connection.exec_driver_sql(
                    "ALTER TABLE bot_workflow_versions ALTER status TYPE word"
                )
            schema.upgrade(engine)
        assert notes(url) == [
            "status is word, which does not take 'archived': nothing can be published"
        ]
    finally:
        drop_database(admin, url)
