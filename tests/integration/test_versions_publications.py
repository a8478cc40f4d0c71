"""The version commands beside publications: what is recorded stays true, and V1 stays reachable."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from tests.fleet import Fleet
from tests.integration.conftest import Run
from tests.integration.test_migrations import an_engine
from tests.integration.test_versions import beside, edited, graph_of
from tests.publishing import Publishing
from tests.roles import Role, grant

BOT = "bot-00000"


@pytest.fixture
def publishing(fleet: Fleet) -> Publishing:
    """Three bots with proven drafts, in one wave of a publication that is publishing."""
    fleet.add_many(3)
    fleet.run(validate="sample:1")
    made = Publishing(fleet)
    made.plan()
    return made


def a_newer_version(fleet: Fleet, name: str = "v1.1") -> None:
    """A person publishes, and leaves the version before published too."""
    fleet.add_version(BOT, name, "published")
    fleet.execute(
        "UPDATE bot_workflow_versions SET published_at = now() + interval '1 hour',"
        " graph = graph || '{\"theirs\": 1}' WHERE bot_id = :bot AND version = :name",
        bot=BOT,
        name=name,
    )


def detail(fleet: Fleet, action: str) -> dict[str, Any]:
    rows = fleet.rows("SELECT detail FROM flowshift.audit WHERE action = :action", action=action)
    found: dict[str, Any] = rows[-1].detail
    return found


# -- archive ---------------------------------------------------------------------------------------


def test_the_version_that_a_publication_has_live_is_not_archived(
    publishing: Publishing, flowshift: Run
) -> None:
    publishing.publish()
    code, _, err = flowshift("archive", BOT, "v1.0")
    assert (code, "flowshift rollback --bot-id bot-00000" in err) == (2, True), err
    assert publishing.versions(BOT) == [("draft", "draft"), ("v1.0", "published")]


def test_nor_where_its_flag_was_cleared_by_hand_though_v1_answers(
    publishing: Publishing, flowshift: Run
) -> None:
    publishing.publish()
    fleet = publishing.fleet
    fleet.add_version(BOT, "v0.9", "published")
    fleet.execute(
        "UPDATE bot_workflow_versions SET published_at = '2020-01-01' WHERE version = 'v0.9'"
    )
    fleet.execute("UPDATE bots SET use_workflow_v2 = false")
    code, _, err = flowshift("archive", BOT, "v1.0")
    assert (code, "publication 1" in err, "flowshift rollback" in err) == (2, True, True), err
    assert publishing.state(BOT) == "published"

    assert flowshift("rollback", "--bot-id", BOT, "--yes")[0] == 0
    assert flowshift("archive", BOT, "v1.0")[0] == 0
    assert publishing.state(BOT) == "rolled_back"


def test_a_version_that_a_later_one_replaced_is_archived_and_noted_as_superseded(
    publishing: Publishing, flowshift: Run
) -> None:
    publishing.publish()
    fleet = publishing.fleet
    a_newer_version(fleet)
    assert flowshift("archive", BOT, "v1.0", "--reason", "two were published")[0] == 0
    assert publishing.versions(BOT)[1:] == [("v1.0", "archived"), ("v1.1", "published")]
    assert publishing.state(BOT) == "superseded"
    assert publishing.state("bot-00001") == "published"
    assert detail(fleet, "version.archived")["superseded_in"] == [1]

    code, out, _ = flowshift("rollback", "--publication", "1", "--yes", "--json")
    assert (code, json.loads(out)["result"]["bots"]["rolled_back"]) == (0, 2)
    assert publishing.is_live(BOT)


def test_the_only_published_version_stays_since_the_platform_counts_from_it(
    publishing: Publishing, flowshift: Run
) -> None:
    publishing.publish()
    assert flowshift("rollback", "--all", "--yes")[0] == 0
    code, _, err = flowshift("archive", BOT, "v1.0")
    assert (code, "only published version" in err) == (2, True), err
    assert publishing.versions(BOT) == [("draft", "draft"), ("v1.0", "published")]


def test_a_version_that_a_publication_makes_while_archive_waits_is_not_archived(
    publishing: Publishing, flowshift: Run
) -> None:
    fleet = publishing.fleet
    fleet.add_version(BOT, "v1.0", "published")
    fleet.execute("UPDATE bot_workflow_versions SET published_at = now() WHERE version = 'v1.0'")
    a_newer_version(fleet)
    lock = "SELECT FROM bots WHERE bot_id = 'bot-00000' FOR UPDATE"
    flag = f"UPDATE bots SET use_workflow_v2 = true WHERE bot_id = '{BOT}'"
    code, _, err = beside(fleet, f"{lock}; {flag}", lambda: flowshift("archive", BOT, "v1.1"))
    assert (code, "is live" in err) == (2, True), err


# -- restore and draft -----------------------------------------------------------------------------


def test_restoring_what_is_live_changes_the_draft_alone(
    publishing: Publishing, flowshift: Run
) -> None:
    publishing.publish()
    before = publishing.fleet.rows("SELECT * FROM flowshift.publication_bots ORDER BY bot_id")
    code, out, err = flowshift("restore", BOT, "v1.0", "--json")
    assert (code, json.loads(out)["changed"], json.loads(out)["note"]) == (0, True, None), err
    after = publishing.fleet.rows("SELECT * FROM flowshift.publication_bots ORDER BY bot_id")
    assert (after, publishing.is_live(BOT)) == (before, True)
    assert publishing.versions(BOT) == [("draft", "draft"), ("v1.0", "published")]


def test_restoring_what_was_taken_back_says_so(publishing: Publishing, flowshift: Run) -> None:
    publishing.publish()
    flowshift("rollback", "--bot-id", BOT, "--yes")
    code, out, _ = flowshift("restore", BOT, "v1.0")
    assert code == 0
    assert "publication 1 took 'v1.0' back (rolled back)" in out


def test_a_draft_that_a_publication_has_still_to_take_is_written_with_a_warning(
    publishing: Publishing, flowshift: Run
) -> None:
    document = json.loads(flowshift("draft", BOT)[1])
    text = json.dumps(edited(document)).encode()
    code, out, err = flowshift("draft", BOT, "--from", "-", stdin=text)
    assert (code, err) == (0, "")
    assert "publication 1, wave 1, has not reached this bot" in out
    assert "flowshift validate --bot-id bot-00000" in out
    assert publishing.publish() == {
        BOT: "draft_edited",
        "bot-00001": "published",
        "bot-00002": "published",
    }
    assert publishing.fleet.drafts()[BOT] == graph_of(edited(document))


# -- the roles -------------------------------------------------------------------------------------


@pytest.fixture
def publisher(database: str, role: Role, admin: sa.Engine) -> Iterator[Role]:
    """A publisher in this test's database."""
    made = Role(f"flowshift_test_{uuid.uuid4().hex[:16]}", "secret")
    grant(database, role, made)
    yield made
    with an_engine(database) as engine, engine.begin() as connection:
        connection.exec_driver_sql(f"DROP OWNED BY {made.name}")
    with admin.connect() as connection:
        connection.execute(sa.text(f"DROP ROLE {made.name}"))


def with_variables(fleet: Fleet) -> None:
    fleet.add_version(BOT, "v0.9", "published")
    fleet.add_version(BOT, "v1.0", "published")
    fleet.execute(
        "UPDATE bot_workflow_versions SET environment_variables = '{\"a\": 1}',"
        " published_at = '2020-01-01' WHERE version = 'v0.9'"
    )


def test_the_publishers_role_archives_and_restores_with_variables(
    fleet: Fleet, flowshift: Run, publisher: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add_many(1)
    fleet.run()
    with_variables(fleet)
    url = fleet.engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("FLOWSHIFT_DATABASE_URL", publisher.url(url))
    assert flowshift("restore", BOT, "v0.9")[0] == 0
    assert flowshift("archive", BOT, "v0.9")[0] == 0
    [row] = fleet.rows(
        "SELECT environment_variables AS e FROM bot_workflow_versions WHERE status = 'draft'"
    )
    assert row.e == {"a": 1}


@pytest.mark.parametrize(
    ("command", "column"),
    [
        (("archive", BOT, "v0.9"), "status"),
        (("restore", BOT, "v0.9"), "environment_variables, conversation_variables"),
    ],
)
def test_a_converting_role_is_told_which_role_to_use_and_nothing_is_changed(
    command: tuple[str, ...],
    column: str,
    fleet: Fleet,
    flowshift: Run,
    role: Role,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fleet.add_many(1)
    fleet.run()
    with_variables(fleet)
    mine = {**fleet.drafts()[BOT], "mine": 1}
    fleet.set_draft(BOT, mine)
    before = fleet.rows("SELECT * FROM bot_workflow_versions ORDER BY version")
    url = fleet.engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("FLOWSHIFT_DATABASE_URL", role.url(url))
    code, _, err = flowshift(*command)
    assert code == 3
    assert f"no right to UPDATE {column} of bot_workflow_versions" in err
    assert "flowshift_publisher" in err
    assert fleet.rows("SELECT * FROM bot_workflow_versions ORDER BY version") == before
