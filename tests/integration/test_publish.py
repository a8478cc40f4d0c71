"""Publishing on real PostgreSQL: wholly or not at all, proven content alone, and people beside it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, Literal

import psycopg
import pytest
import sqlalchemy as sa

from tests.fleet import Fleet, a_workflow, two_prompts
from tests.publishing import Publishing
from worker.core.publication.eligibility import Rules
from worker.db.publication import proofs
from worker.db.publication.locks import lock_state
from worker.db.publication.proofs import Agreed
from worker.db.publication.rollback import Part, roll_back_bots
from worker.errors import BotError, StaleError

EMPTY: dict[str, Any] = {"nodes": [], "edges": []}


@pytest.fixture
def publishing(fleet: Fleet) -> Publishing:
    """Five bots that are converted and proven, and a publication of them."""
    fleet.add_many(5)
    fleet.run()
    made = Publishing(fleet)
    made.prove()
    made.plan()
    return made


def whole(publishing: Publishing) -> dict[str, Any]:
    """Everything that publishing may change, to be compared."""
    tables = {
        "bots": "bot_id, use_workflow_v2",
        "bot_workflow_versions": "id, bot_id, version, status, graph, published_at, updated_at",
        "flowshift.publication_bots": "bot_id, state, code, version_id",
    }
    return {
        table: sorted(map(str, publishing.fleet.rows(f"SELECT {columns} FROM {table}")))
        for table, columns in tables.items()
    }


# -- what is seen afterwards -----------------------------------------------------------------------


def test_a_published_bot_is_live_with_the_graph_of_its_draft_and_has_an_empty_one(
    publishing: Publishing,
) -> None:
    graphs = publishing.fleet.drafts()
    draft_id = publishing.one(
        "SELECT id FROM bot_workflow_versions WHERE bot_id = 'bot-00000' AND status = 'draft'"
    )

    assert set(publishing.publish().values()) == {"published"}

    for bot_id, graph in graphs.items():
        assert publishing.is_live(bot_id)
        assert publishing.versions(bot_id) == [("draft", "draft"), ("v1.0", "published")]
        assert publishing.state(bot_id) == "published"
        (live,) = publishing.fleet.rows(
            "SELECT graph, published_at FROM bot_workflow_versions"
            " WHERE bot_id = :b AND status = 'published'",
            b=bot_id,
        )
        assert live.graph == graph
        assert live.published_at is not None
    assert all(draft == EMPTY for draft in publishing.fleet.drafts().values())
    assert draft_id == publishing.one(
        "SELECT id FROM bot_workflow_versions WHERE bot_id = 'bot-00000' AND status = 'draft'"
    )


def test_our_row_says_what_was_published(publishing: Publishing) -> None:
    publishing.publish("bot-00001")

    (row,) = publishing.fleet.rows(
        "SELECT p.*, v.id AS live, v.published_at AS at, f.content_hash AS proven,"
        " f.workflow_hash AS held_against FROM flowshift.publication_bots p"
        " JOIN bot_workflow_versions v ON v.bot_id = p.bot_id AND v.status = 'published'"
        " JOIN flowshift.proofs f ON f.bot_id = p.bot_id"
    )
    assert (row.version_id, row.version, row.published_at) == (row.live, "v1.0", row.at)
    assert (row.content_hash, row.workflow_hash) == (row.proven, row.held_against)
    assert row.previous_id is None


def test_the_draft_may_stay_as_a_copy(publishing: Publishing) -> None:
    graphs = publishing.fleet.drafts()

    publishing.publish(next_draft="copy")

    assert publishing.fleet.drafts() == graphs


def test_delivered_twice_it_acts_once(publishing: Publishing) -> None:
    publishing.publish()
    before = whole(publishing)

    assert publishing.publish() == {}
    assert whole(publishing) == before


def test_a_predecessor_is_archived_and_the_number_is_after_the_highest_of_any_status(
    publishing: Publishing,
) -> None:
    publishing.fleet.add_version("bot-00000", "v1.3", "archived")
    publishing.fleet.add_version("bot-00000", "v1.2", "published")
    publishing.fleet.add_version("bot-00000", "release", "archived")
    previous = publishing.one("SELECT id FROM bot_workflow_versions WHERE version = 'v1.2'")

    publishing.publish("bot-00000")

    assert publishing.versions("bot-00000") == [
        ("draft", "draft"),
        ("release", "archived"),
        ("v1.2", "archived"),
        ("v1.3", "archived"),
        ("v1.4", "published"),
    ]
    assert previous == publishing.one(
        "SELECT previous_id FROM flowshift.publication_bots WHERE bot_id = 'bot-00000'"
    )


def test_its_time_is_later_than_that_of_any_other_version_even_of_the_future(
    publishing: Publishing,
) -> None:
    publishing.fleet.add_version("bot-00000", "v1.0", "archived")
    publishing.fleet.execute(
        "UPDATE bot_workflow_versions SET published_at = now() + interval '1 year'"
        " WHERE version = 'v1.0'"
    )

    publishing.publish("bot-00000")

    assert (
        publishing.one(
            "SELECT version FROM bot_workflow_versions WHERE published_at IS NOT NULL"
            " ORDER BY published_at DESC LIMIT 1"
        )
        == "v1.1"
    )


def test_an_earlier_publication_of_the_bot_is_superseded(publishing: Publishing) -> None:
    publishing.publish(next_draft="copy")
    publishing.fleet.execute("UPDATE bots SET use_workflow_v2 = false")  # rolled back by hand
    publishing.plan("bot-00002", publication_id=2)

    assert publishing.publish("bot-00002", publication_id=2) == {"bot-00002": "published"}

    assert publishing.state("bot-00002") == "superseded"
    assert publishing.state("bot-00002", 2) == publishing.state("bot-00001") == "published"
    assert publishing.versions("bot-00002")[-2:] == [("v1.0", "archived"), ("v1.1", "published")]


# -- what keeps a bot out --------------------------------------------------------------------------

SPOIL = {
    "not_proven": "DELETE FROM flowshift.proofs",
    "v1_changed": "UPDATE bots SET workflow = CAST(workflow::text || ' ' AS json)",
    "draft_edited": ("UPDATE bot_workflow_versions SET graph = jsonb_set(graph, '{note}', '1')"),
    "no_way_back": "UPDATE bots SET workflow = NULL",
    "already_published": (
        "UPDATE bots SET use_workflow_v2 = true; INSERT INTO bot_workflow_versions"
        " (bot_id, version, status, graph) SELECT bot_id, 'v7', 'published', '{}' FROM bots"
    ),
    "draft_would_go_live": "UPDATE bots SET use_workflow_v2 = true",
    "no_draft": "UPDATE bot_workflow_versions SET graph = '{\"nodes\": []}'",
}


@pytest.mark.parametrize("code", SPOIL)
def test_what_must_not_be_published_is_skipped_with_its_code_and_stays_as_it_is(
    code: str, publishing: Publishing
) -> None:
    for statement in SPOIL[code].split("; "):
        publishing.fleet.execute(statement)
    before = whole(publishing)

    assert set(publishing.publish().values()) == {code}

    after = whole(publishing)
    assert after["bots"] == before["bots"]
    assert after["bot_workflow_versions"] == before["bot_workflow_versions"]
    assert publishing.state("bot-00003") == f"skipped {code}"
    assert publishing.one("SELECT message FROM flowshift.publication_bots LIMIT 1")


@pytest.mark.parametrize("state", ["rolled_back", "quarantined"])
def test_a_bot_that_went_back_to_v1_stays_out_until_it_is_proven_again(
    state: Literal["rolled_back", "quarantined"], publishing: Publishing
) -> None:
    publishing.publish(next_draft="copy")
    with publishing.fleet.engine.begin() as connection:
        part = Part(publication_id=1, bot_ids=["bot-00000", "bot-00001"])
        roll_back_bots(connection, part, v1_problem=publishing.problem, note_as=state)
    publishing.plan("bot-00000", "bot-00001", publication_id=2)
    publishing.prove("bot-00001")

    outcomes = publishing.publish("bot-00000", "bot-00001", publication_id=2)

    assert outcomes == {"bot-00000": "taken_back", "bot-00001": "published"}
    assert publishing.state("bot-00000", 2) == "skipped taken_back"
    message = publishing.one(
        "SELECT message FROM flowshift.publication_bots WHERE code IS NOT NULL"
    )
    assert "publication 1 gave it back to V1" in message
    assert not publishing.is_live("bot-00000")


def test_what_counts_is_the_last_time_that_a_bot_went_back(publishing: Publishing) -> None:
    def take_back(publication_id: int) -> None:
        with publishing.fleet.engine.begin() as connection:
            part = Part(publication_id=publication_id)
            roll_back_bots(connection, part, v1_problem=publishing.problem)

    publishing.publish("bot-00000", next_draft="copy")
    take_back(1)
    publishing.prove("bot-00000")
    publishing.plan("bot-00000", publication_id=2)
    publishing.publish("bot-00000", publication_id=2, next_draft="copy")
    take_back(2)
    publishing.plan("bot-00000", publication_id=3)

    assert publishing.publish("bot-00000", publication_id=3) == {"bot-00000": "taken_back"}
    message = publishing.one(
        "SELECT message FROM flowshift.publication_bots WHERE code IS NOT NULL"
    )
    assert "publication 2 gave it back" in message


def test_v1_that_does_not_run_or_is_json_null_is_no_way_back(publishing: Publishing) -> None:
    publishing.fleet.execute("UPDATE bots SET workflow = ' null' WHERE bot_id = 'bot-00000'")
    publishing.fleet.change("bot-00001", {"nodes": [], "edges": []})
    publishing.prove("bot-00001")

    outcomes = publishing.publish()

    assert (outcomes["bot-00000"], outcomes["bot-00001"]) == ("no_way_back", "no_way_back")
    assert outcomes["bot-00002"] == "published"


def test_node_types_that_the_platform_lacks_are_named(publishing: Publishing) -> None:
    rules = Rules(node_types=frozenset({"start", "end", "llm"}))

    assert set(publishing.publish(rules=rules).values()) == {"node_type_missing"}
    assert publishing.one("SELECT DISTINCT message FROM flowshift.publication_bots") == (
        "the platform has no node type 'knowledge-retrieval'"
    )


def test_a_bot_that_is_gone_is_skipped(publishing: Publishing) -> None:
    publishing.fleet.execute("DELETE FROM bots WHERE bot_id = 'bot-00004'")

    assert publishing.publish()["bot-00004"] == "no_draft"


def test_an_edited_draft_is_published_where_that_content_is_proven(publishing: Publishing) -> None:
    graph = publishing.fleet.drafts()["bot-00000"]
    publishing.fleet.set_draft("bot-00000", {**graph, "note": "mine"})
    publishing.prove("bot-00000")

    assert publishing.publish("bot-00000", rules=Rules(publish_edited=True)) == {
        "bot-00000": "published"
    }


def test_a_draft_in_which_two_prompts_changed_places_is_neither_ours_nor_proven(
    fleet: Fleet,
) -> None:
    """PostgreSQL's hash of a `jsonb` does not see it where the two are 32 values apart, or 64, or …"""
    for between in range(32):
        fleet.add(f"bot-{between:02}", two_prompts(between))
    fleet.run(validate="all")
    publishing = Publishing(fleet)
    publishing.plan()
    fleet.swap_prompts()

    assert set(publishing.publish().values()) == {"draft_edited"}

    ids = publishing.plan(publication_id=2)
    edited = publishing.publish(*ids, rules=Rules(publish_edited=True), publication_id=2)
    assert set(edited.values()) == {"not_proven"}


def test_an_edited_draft_is_not_published_where_other_content_is_proven(
    publishing: Publishing,
) -> None:
    graph = publishing.fleet.drafts()["bot-00000"]
    publishing.fleet.set_draft("bot-00000", {**graph, "note": "mine"})

    assert publishing.publish("bot-00000", rules=Rules(publish_edited=True)) == {
        "bot-00000": "not_proven"
    }


@pytest.mark.parametrize("column", ["environment_variables", "conversation_variables"])
def test_other_variables_are_other_content(column: str, publishing: Publishing) -> None:
    publishing.fleet.execute(f"UPDATE bot_workflow_versions SET {column} = '{{\"a\": 1}}'")

    assert set(publishing.publish().values()) == {"not_proven"}


@pytest.mark.parametrize("state", ["planned", "watching", "held", "stopped", "rolling_back"])
def test_only_a_publication_that_is_publishing_publishes(
    state: str, publishing: Publishing
) -> None:
    publishing.fleet.execute(
        "UPDATE flowshift.publications SET state = :state,"
        " held_from = CASE WHEN :state = 'held' THEN 'publishing' END,"
        " held_because = CASE WHEN :state = 'held' THEN 'person' END,"
        " finished_at = CASE WHEN :state = 'stopped' THEN now() END",
        state=state,
    )

    with pytest.raises(StaleError, match=f"publication 1 is {state}"):
        publishing.publish()


# -- beside people ---------------------------------------------------------------------------------


def test_what_a_person_has_locked_is_busy_and_is_not_waited_for(publishing: Publishing) -> None:
    with publishing.fleet.connect() as person:
        person.execute("UPDATE bots SET name = 'x' WHERE bot_id = 'bot-00000'")
        person.execute(
            'UPDATE bot_workflow_versions SET graph = \'{"nodes": [{"id": "mine"}]}\''
            " WHERE bot_id = 'bot-00001' AND status = 'draft'"
        )
        outcomes = publishing.publish()
        person.commit()

    assert outcomes == {
        "bot-00000": "busy",
        "bot-00001": "busy",
        **{f"bot-0000{n}": "published" for n in (2, 3, 4)},
    }
    assert publishing.state("bot-00000") == publishing.state("bot-00001") == "pending"
    assert publishing.publish() == {"bot-00000": "published", "bot-00001": "draft_edited"}


def test_an_editor_that_was_open_writes_into_the_draft_and_not_into_the_live_version(
    publishing: Publishing,
) -> None:
    select = "SELECT id FROM bot_workflow_versions WHERE bot_id = 'bot-00000' AND status = 'draft'"
    opened = publishing.one(select)
    publishing.publish()
    live = publishing.one(
        "SELECT graph FROM bot_workflow_versions WHERE bot_id = 'bot-00000' AND status = 'published'"
    )

    publishing.fleet.execute(
        'UPDATE bot_workflow_versions SET graph = \'{"nodes": [{"id": "late"}]}\' WHERE id = :id',
        id=opened,
    )

    assert publishing.fleet.drafts()["bot-00000"] == {"nodes": [{"id": "late"}]}
    assert live == publishing.one(
        "SELECT graph FROM bot_workflow_versions WHERE bot_id = 'bot-00000' AND status = 'published'"
    )


def test_people_at_work_beside_it_lose_nothing_and_nothing_unproven_goes_live(
    publishing: Publishing,
) -> None:
    """A person saves drafts as the platform's editor does, as fast as can be, while bots go out."""
    fleet = publishing.fleet
    stop, saved = threading.Event(), dict[str, int]()

    def edit() -> None:
        with fleet.connect() as person:
            person.autocommit = True
            number = 0
            while not stop.is_set():
                bot_id, number = f"bot-0000{number % 5}", number + 1
                person.execute(
                    "UPDATE bot_workflow_versions SET graph = jsonb_set(graph, '{n}', to_jsonb(%s::int))"
                    " WHERE bot_id = %s AND status = 'draft'",
                    (number, bot_id),
                )
                saved[bot_id] = number

    proven = {
        row.bot_id: row.content_hash
        for row in fleet.rows("SELECT bot_id, content_hash FROM flowshift.proofs")
    }
    thread = threading.Thread(target=edit)
    thread.start()
    try:
        while any(one == "busy" for one in publishing.publish().values()):
            pass
    finally:
        stop.set()
        thread.join()

    for bot_id, number in saved.items():
        assert fleet.drafts()[bot_id]["n"] == number  # the last save is there
    live = fleet.rows(
        "SELECT v.bot_id, p.content_hash, b.use_workflow_v2 FROM bot_workflow_versions v"
        " JOIN bots b USING (bot_id) JOIN flowshift.publication_bots p ON p.version_id = v.id"
        " WHERE v.status = 'published'"
    )
    for row in live:
        assert row.use_workflow_v2
        assert row.content_hash == proven[row.bot_id]
    states = {f"bot-0000{n}": publishing.state(f"bot-0000{n}") for n in range(5)}
    assert set(states.values()) <= {"published", "skipped draft_edited"}
    assert sum(state == "published" for state in states.values()) == len(live)


def test_a_change_of_the_state_waits_for_a_batch_and_keeps_the_next_from_beginning(
    publishing: Publishing,
) -> None:
    engine = publishing.fleet.engine
    with engine.connect() as batch:
        publishing.publish("bot-00000", connection=batch)
        with engine.connect() as other:
            other.execute(sa.text("SET LOCAL lock_timeout = '50ms'"))
            with pytest.raises(sa.exc.OperationalError, match="lock timeout"):
                lock_state(other, 1, alone=True)
        with engine.connect() as second:  # batches do not wait for each other
            assert publishing.publish("bot-00001", connection=second) == {"bot-00001": "published"}
            second.commit()
        batch.commit()
    with engine.begin() as connection:
        lock_state(connection, 1, alone=True)


# -- wholly or not at all --------------------------------------------------------------------------


class KilledError(Exception):
    """The session ended before this statement."""


@pytest.fixture
def killing(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Ends the session before its n-th statement: the list holds how many may still run."""
    left = [-1]
    execute = psycopg.Cursor.execute

    def one(self: Any, query: Any, *arguments: Any, **options: Any) -> Any:
        if left[0] == 0:
            left[0] = -1
            pid = self.connection.info.backend_pid
            with psycopg.connect(
                self.connection.info.dsn, password=self.connection.info.password
            ) as admin:
                admin.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
            raise KilledError
        left[0] -= left[0] > 0
        return execute(self, query, *arguments, **options)

    monkeypatch.setattr(psycopg.Cursor, "execute", one)
    yield left
    left[0] = -1


def test_a_session_that_ends_between_any_two_statements_has_changed_nothing(
    publishing: Publishing, killing: list[int]
) -> None:
    publishing.fleet.add_version("bot-00001", "v1.0", "published")
    before = whole(publishing)
    died = 0
    for statements in range(1, 60):
        with publishing.fleet.engine.connect() as connection:
            publishing.publish(connection=connection)  # what is asked once a connection is known
            connection.rollback()
            killing[0] = statements
            try:
                publishing.publish(connection=connection)
                if killing[0] != -1:
                    killing[0] = -1
                    connection.rollback()
                    break
            except (KilledError, sa.exc.DBAPIError):
                died += 1
                connection.invalidate()
        assert whole(publishing) == before
    assert died >= 10
    assert set(publishing.publish().values()) == {"published"}


def test_a_trigger_that_changes_what_is_inserted_lets_nothing_out(publishing: Publishing) -> None:
    publishing.fleet.execute(
        "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN NEW.graph = jsonb_set(NEW.graph, ''{x}'', ''1''); RETURN NEW; END'"
    )
    publishing.fleet.execute(
        "CREATE TRIGGER spoil BEFORE INSERT ON bot_workflow_versions"
        " FOR EACH ROW EXECUTE FUNCTION spoil()"
    )
    before = whole(publishing)

    with pytest.raises(BotError, match=r"'bot-0000\d' is not its draft"):
        publishing.publish()

    assert whole(publishing) == before


def test_columns_of_the_guide_are_copied_from_the_draft(publishing: Publishing) -> None:
    publishing.fleet.execute(
        "UPDATE bot_workflow_versions SET features = '{\"f\": 1}', created_by = 'me'"
    )

    publishing.publish("bot-00000")

    (row,) = publishing.fleet.rows(
        "SELECT features, created_by FROM bot_workflow_versions WHERE status = 'published'"
    )
    assert (row.features, row.created_by) == ({"f": 1}, "me")


def test_the_number_of_statements_does_not_depend_on_the_number_of_bots(
    publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []
    execute = psycopg.Cursor.execute

    def counted(self: Any, *arguments: Any, **options: Any) -> Any:
        counts.append(1)
        return execute(self, *arguments, **options)

    with publishing.fleet.engine.connect() as connection:
        publishing.publish("bot-00000", connection=connection)
        monkeypatch.setattr(psycopg.Cursor, "execute", counted)
        publishing.publish("bot-00001", connection=connection)
        few = len(counts)
        publishing.publish(*(f"bot-0000{n}" for n in (2, 3, 4)), connection=connection)
        assert len(counts) == 2 * few
        connection.rollback()


def test_a_proof_is_of_the_draft_and_the_workflow_that_were_executed(fleet: Fleet) -> None:
    fleet.add("b", a_workflow())
    fleet.run()
    row = fleet.rows(
        'SELECT d.xmin::text AS xmin, hashtextextended(b.workflow::text COLLATE "C", 0) AS hash'
        " FROM bots b JOIN bot_workflow_versions d USING (bot_id)"
    )[0]
    executed = Agreed("b", row.hash, row.xmin)

    with fleet.engine.begin() as connection:
        assert proofs.record(connection, 5, [executed, Agreed("gone", 1)]) == {"b"}
        assert proofs.record(connection, 5, [executed]) == {"b"}
        assert proofs.record(connection, 4, [executed]) == frozenset()  # a later run has proven it
        assert proofs.record(connection, 6, [Agreed("b", row.hash + 1, row.xmin)]) == frozenset()
        assert proofs.record(connection, 6, [Agreed("b", row.hash, "1")]) == frozenset()
        proofs.withdraw(connection, 4, ["b"])
    assert fleet.rows("SELECT run_id FROM flowshift.proofs") == [(5,)]
    with fleet.engine.begin() as connection:
        proofs.withdraw(connection, 5, ["b", "gone"])
    assert fleet.rows("SELECT run_id FROM flowshift.proofs") == []
