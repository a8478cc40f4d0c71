"""Spoiled databases: `db check`, a dry run, a run, a validation and a prune agree about each.

A database a kind, copied from one template; `tests.spoils` generates them. Every day some of each kind
are tried, at night all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import psycopg
import pytest
import sqlalchemy as sa

from migrations.known import revisions
from tests import platforms, spoils
from tests.conftest import drop_database, make_database
from tests.fleet import BACKUPS, Fleet, a_workflow
from tests.roles import Role, grant
from tests.spoils import NODES, PLATFORM, RUNS, VERSIONS, Spoil
from tests.strategies import at_night
from worker import runtime
from worker.core.policy.prune import DAY_S
from worker.core.targets.convert import convert_text
from worker.core.workflow.config import Defaults
from worker.db.engine import create_engine, database_url
from worker.db.row_ids import Source
from worker.errors import FlowshiftError
from worker.servers.connect import Servers
from worker.settings import Settings
from worker.steps.prune.prune import Keep, Result, look, prune
from worker.steps.readiness import Readiness, check_readiness

BOTS = frozenset({"bot_0001", "bot_0002", "bot_0003"})
WITH_DRAFT = "bot_0003"
BEFORE, NOW = a_workflow("as it was {question}"), a_workflow()
DRAFT = json.loads(convert_text(json.dumps(NOW).encode(), Defaults()).graph)
EVERYTHING_IS_OLD = Keep(executions_s=-DAY_S)
SAID = (psycopg.Error, sa.exc.SQLAlchemyError, FlowshiftError)

NAMED = re.compile("|".join((*PLATFORM, "flowshift", "transactions", "schema")))
TO_DO = re.compile(
    r"ALTER|CREATE|GRANT|db upgrade|db role|PGOPTIONS"
    r"|\b(?:give|grant|make|drop|change|see|add|connect|create|put|run|should be)\b"
)


# -- a database ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def platform(
    admin: sa.Engine, role: Role, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The name of a database with a platform of three bots, the last with a draft, for copying."""
    url = make_database(admin)
    engine = owner_of(url)
    platforms.make(engine, bots=len(BOTS))
    engine.dispose()
    grant(url, role)
    values = Settings(
        database_url=url,
        redis_url=servers.redis_url,
        namespace="test-spoiled",
        data_dir=str(tmp_path_factory.mktemp("data")),
    )
    fleet = Fleet(runtime.configure(values))
    fleet.change(WITH_DRAFT, BEFORE)
    fleet.run(bot_ids=(WITH_DRAFT,), validate="none")
    fleet.change(WITH_DRAFT, NOW)
    runtime.shutdown()
    yield str(sa.make_url(url).database)
    drop_database(admin, url)


def owner_of(url: str) -> sa.Engine:
    return create_engine(
        database_url(url),
        lock_timeout_ms=5_000,
        statement_timeout_ms=20_000,
        application_name="flowshift tests",
    )


@pytest.fixture
def database(admin: sa.Engine, platform: str) -> Iterator[str]:
    """The URL of a copy, which a test spoils."""
    url = make_database(admin, platform)
    yield url
    drop_database(admin, url)


@pytest.fixture
def spoiled(
    request: pytest.FixtureRequest, settings: Settings, database: str, role: Role
) -> Iterator[Spoiled]:
    spoil: Spoil = request.param
    owner = owner_of(database)
    name = f'"{sa.make_url(database).database}"'
    sql = spoil.sql.replace("{role}", role.name).replace("{database}", name)
    values = msgspec.structs.replace(settings, database_url=role.url(database), backup=spoil.backup)
    try:
        with owner.begin() as connection:
            connection.exec_driver_sql(sql.replace("%", "%%"))
        yield Spoiled(spoil, Fleet(runtime.configure(values)), owner)
    except sa.exc.NotSupportedError as error:
        pytest.skip(f"this PostgreSQL cannot: {error}")
    finally:
        runtime.shutdown()
        owner.dispose()


class Outcomes(msgspec.Struct, frozen=True):
    """What a run did for each bot, in words; `fault` is why it did nothing for any."""

    run_id: int = 0
    said: dict[str, str] = {}
    fault: str = ""

    def bots(self, outcome: str) -> set[str]:
        return {bot_id for bot_id, said in self.said.items() if said.startswith(outcome)}


class Spoiled:
    """One spoiled database, worked on by the workers' role and looked at by its owner."""

    def __init__(self, spoil: Spoil, fleet: Fleet, owner: sa.Engine) -> None:
        self.spoil = spoil
        self.fleet = fleet
        self.owner = owner

    def check(self) -> Readiness:
        return check_readiness(
            self.fleet.engine,
            self.fleet.current.defaults,
            self.fleet.current.echo_for,
            target=self.fleet.current.settings.target,
            revisions=revisions(),
            backup=self.spoil.backup,
        )

    def run(self, **request: Any) -> Outcomes:
        try:
            run_id = self.fleet.run(**request, messages=("hi",), allow_overlap=True).run_id
        except SAID as error:
            return Outcomes(fault=f"{type(error).__name__}: {str(error).splitlines()[0]}")
        rows = self.rows(
            "SELECT bot_id, concat_ws(' ', outcome, code, message) AS said"
            " FROM flowshift.ledger WHERE run_id = :run_id",
            run_id=run_id,
        )
        return Outcomes(run_id, {row.bot_id: row.said for row in rows})

    def rows(self, query: str, **values: Any) -> list[Any]:
        with self.owner.connect() as connection:
            connection.execute(sa.text(f"SET LOCAL search_path = {self.spoil.path}"))
            return list(connection.execute(sa.text(query), values).all())

    def stored(self) -> set[str]:
        """Bots whose draft and backup are there as they should be."""
        drafts = self.rows(
            f"SELECT bot_id, graph::jsonb FROM {VERSIONS} WHERE status::text = 'draft'"
        )
        backups = {row.bot_id: json.loads(row.said) for row in self.rows(BACKUPS)}
        return {
            bot_id
            for bot_id, graph in drafts
            if graph == DRAFT and backups.get(bot_id) == (BEFORE if bot_id == WITH_DRAFT else NOW)
        }

    def recorded(self, run_id: int) -> set[str]:
        """Bots with an execution of a run, and all nodes of it."""
        told = self.rows(
            "SELECT r.request_id, l.batch, l.bot_id FROM flowshift.runs r"
            " JOIN flowshift.ledger l USING (run_id) WHERE run_id = :run_id",
            run_id=run_id,
        )
        ids = {
            str(Source(request_id, run_id, batch).row_id(bot_id, 1)): bot_id
            for request_id, batch, bot_id in told
        }
        rows = self.rows(
            f"SELECT r.id::text, r.bot_id FROM {RUNS} r WHERE r.id::text = ANY (:ids) AND :nodes ="
            f" (SELECT count(*) FROM {NODES} n WHERE n.workflow_run_id = r.id)",
            ids=list(ids),
            nodes=len(DRAFT["nodes"]),
        )
        return {bot_id for key, bot_id in rows if ids[key] == bot_id}

    def count(self) -> int:
        return int(self.rows(f"SELECT count(*) FROM {RUNS}")[0][0])

    def orphans(self) -> int:
        """Nodes whose execution is gone."""
        query = f"SELECT FROM {NODES} WHERE workflow_run_id NOT IN (SELECT id FROM {RUNS})"
        return len(self.rows(query))

    def prune(self) -> Result | None:
        try:
            return prune(self.fleet.engine, EVERYTHING_IS_OLD, actor="test", pause_s=0.0)
        except SAID:
            return None

    def look(self) -> Result | None:
        try:
            return look(self.fleet.engine, EVERYTHING_IS_OLD)
        except SAID:
            return None


# -- the claim -------------------------------------------------------------------------------------


def those() -> list[Any]:
    chosen = list(spoils.every()) if at_night() else spoils.few()
    return [pytest.param(one, id=one.name) for one in chosen]


@pytest.mark.parametrize("spoiled", those(), indirect=True)
def test_check_dry_run_run_validation_and_prune_agree(spoiled: Spoiled) -> None:
    found = spoiled.check()
    dry, real = spoiled.run(dry_run=True), spoiled.run()
    says_what_to_do(found)
    assert (dry.said, bool(dry.fault)) == (real.said, bool(real.fault)), (dry, real)
    works = loses_nothing(spoiled, found, real) and prunes(spoiled, found)
    if found.ready:
        assert works, real
    else:
        assert not works or spoiled.spoil.alarms, found.problems


def says_what_to_do(found: Readiness) -> None:
    """Each problem names a table or what else it is about, and what to do."""
    for problem in found.problems:
        assert NAMED.search(problem), problem
        assert TO_DO.search(problem), problem


def loses_nothing(spoiled: Spoiled, found: Readiness, real: Outcomes) -> bool:
    """Whether the run and a validation after it write everything for every bot.

    What they say they wrote is there in any case.
    """
    if real.fault:
        assert not found.ready, real.fault
        return False
    good = real.bots("converted")
    assert good <= spoiled.stored() & spoiled.recorded(real.run_id), real.said
    validation = spoiled.run(kind="validate", of_run=real.run_id)
    if validation.fault:
        assert not found.ready, validation.fault
        return False
    passed = validation.bots("unchanged")
    assert passed <= spoiled.recorded(validation.run_id), validation.said
    return good == passed == BOTS


def prunes(spoiled: Spoiled, found: Readiness) -> bool:
    """Whether a prune deletes every old execution that nothing refers to, and its dry run said so."""
    before = spoiled.count()
    planned, result = spoiled.look(), spoiled.prune()
    left = spoiled.count()
    if result is None or planned is None:
        return False
    gone, kept = (result.gone.get(kind, 0) for kind in ("runs", "kept"))
    assert gone == before - left, result
    if found.ready:
        assert planned.gone.get("runs", 0) == gone, planned
        assert (result.state, kept) == ("done", left), result
    return left == (before if spoiled.spoil.keeps else 0) and not spoiled.orphans()
