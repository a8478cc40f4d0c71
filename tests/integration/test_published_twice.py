"""Bots with two published versions: they are found, and what the documentation says to do helps."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from tests import platform_sql as sql
from tests.fleet import Fleet
from tests.integration.conftest import Run
from tests.platform_process import after
from tests.publishing import Publishing
from worker.db.schema import published_twice
from worker.db.schema.catalog import find_table

BOT = "bot-00000"


class PlatformPublishes:
    """Somebody publishes in the platform: it reads the draft and the published version, then writes."""

    def __init__(self, fleet: Fleet) -> None:
        self._at = fleet.connect()
        (self._draft_id, _) = self._one(sql.OPEN)
        self._before = self._one(sql.PUBLISHED)
        self._at.commit()

    def _one(self, statement: str) -> Any:
        return self._at.execute(statement, {"bot_id": BOT}).fetchone()

    def write(self) -> str:
        """Write; the number of the version."""
        values = {"id": self._draft_id, "bot_id": BOT, "version": after(self._before[1])}
        with self._at, self._at.transaction():
            self._at.execute(sql.ARCHIVE, {"id": self._before[0]})
            for statement in (sql.PUBLISH, sql.NEW_DRAFT, sql.FLAG):
                self._at.execute(statement, values)
        return str(values["version"])


@pytest.fixture
def twice(fleet: Fleet) -> Publishing:
    """A wave was published while somebody published in the platform: the empty draft went live."""
    fleet.add_many(3)
    for name, status in (("v1.0", "published"), ("v1.2", "archived"), ("v1.3", "archived")):
        fleet.add_version(BOT, name, status)
    fleet.run(validate="sample:1")
    publishing = Publishing(fleet)
    publishing.plan()
    person = PlatformPublishes(fleet)
    publishing.publish()
    assert person.write() == "v1.1"
    assert published(publishing) == ["v1.1", "v1.4"]
    return publishing


def published(publishing: Publishing) -> list[str]:
    return [name for name, status in publishing.versions(BOT) if status == "published"]


def set_flag(fleet: Fleet, *, flag: bool) -> None:
    fleet.execute("UPDATE bots SET use_workflow_v2 = :flag WHERE bot_id = :bot", flag=flag, bot=BOT)


def test_the_documented_steps_let_the_proven_version_answer_and_the_platform_publish_again(
    twice: Publishing, flowshift: Run
) -> None:
    assert flowshift("archive", BOT, "v1.1")[0] == 2, "it is live"
    set_flag(twice.fleet, flag=False)
    assert flowshift("archive", BOT, "v1.1", "--reason", "two were published")[0] == 0
    set_flag(twice.fleet, flag=True)

    found = json.loads(flowshift("versions", BOT, "--json")[1])
    assert (found["live"], published(twice)) == ("v1.4", ["v1.4"])
    assert twice.state(BOT) == "published", "the publication has it live as before"
    assert "several published versions" not in flowshift("db", "check", "--no-try")[1]
    assert PlatformPublishes(twice.fleet).write() == "v1.5"


def test_archiving_the_older_one_leaves_the_platform_a_number_that_is_taken(
    twice: Publishing, flowshift: Run
) -> None:
    set_flag(twice.fleet, flag=False)
    assert flowshift("archive", BOT, "v1.4")[0] == 0
    assert flowshift("restore", BOT, "v1.4")[0] == 0
    with pytest.raises(psycopg.errors.UniqueViolation):
        PlatformPublishes(twice.fleet).write()


def test_db_check_names_them_whether_they_use_v2_or_not(twice: Publishing, flowshift: Run) -> None:
    set_flag(twice.fleet, flag=False)
    code, out, _ = flowshift("db", "check", "--no-try")
    said = " ".join(out.split())
    assert f"1 bot has several published versions ('{BOT}'): the platform serves the newest" in said
    assert code == 0, "it is ready all the same"
    for number in range(1, 3):
        for name in ("v8.0", "v9.0"):
            twice.fleet.add_version(f"bot-0000{number}", name, "published")
    for bot_id in twice.fleet.add_many(2, "more-"):
        for name in ("v8.0", "v9.0"):
            twice.fleet.add_version(bot_id, name, "published")
    said = " ".join(flowshift("db", "check", "--no-try")[1].split())
    assert (
        "5 bots have several published versions ('bot-00000', 'bot-00001', 'bot-00002', …)" in said
    )


def test_db_check_says_so_where_it_takes_too_long_to_look(
    twice: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published_twice, "LONGEST_MS", 50)
    with twice.fleet.engine.connect() as connection, twice.fleet.connect() as other:
        table = find_table(connection, published_twice.TABLE)
        assert table is not None
        before = connection.exec_driver_sql("SHOW statement_timeout").scalar_one()
        other.execute("LOCK TABLE bot_workflow_versions")
        [found] = published_twice.findings(connection, [table])
        assert "not looked for bots with several published versions" in found.text
        other.rollback()
        assert "1 bot has several" in published_twice.findings(connection, [table])[0].text
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar_one() == before
