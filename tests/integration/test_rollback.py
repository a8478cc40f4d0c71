"""Rolling back on real PostgreSQL: only the flag changes, and only where the live version is ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from tests.fleet import Fleet, a_workflow
from tests.publishing import Publishing
from worker.core.publication.preview import Preview, preview
from worker.db.publication.previews import published
from worker.db.publication.rollback import Part, Returned, roll_back_bots

BOTS = [f"bot-0000{n}" for n in range(5)]


@pytest.fixture
def publishing(fleet: Fleet) -> Publishing:
    """Five bots that are live."""
    fleet.add_many(5)
    fleet.run()
    made = Publishing(fleet)
    made.prove()
    made.plan()
    assert set(made.publish().values()) == {"published"}
    return made


def roll_back(publishing: Publishing, bot_ids: Sequence[str] = BOTS, **how: Any) -> dict[str, str]:
    with publishing.fleet.engine.begin() as connection:
        part = Part(publication_id=1, bot_ids=bot_ids)
        returned = roll_back_bots(connection, part, v1_problem=publishing.problem, **how)
    return {one.bot_id: one.state for one in returned}


def shown(publishing: Publishing, **which: Any) -> Preview:
    with publishing.fleet.engine.begin() as connection:
        return preview(published(connection, 1, publishing.problem, **which))


def platform_publishes(publishing: Publishing, bot_id: str) -> None:
    """Publish a version as the platform does: archive the one before, insert the next."""
    publishing.fleet.execute(
        "UPDATE bot_workflow_versions SET status = 'archived'"
        " WHERE bot_id = :b AND status = 'published'",
        b=bot_id,
    )
    publishing.fleet.execute(
        "INSERT INTO bot_workflow_versions (bot_id, version, status, graph, published_at)"
        " VALUES (:b, 'v1.1', 'published', '{\"nodes\": [1]}', clock_timestamp())",
        b=bot_id,
    )


# -- what happens ----------------------------------------------------------------------------------


def test_v1_answers_again_and_versions_and_drafts_stay_as_they_are(publishing: Publishing) -> None:
    query = "SELECT id, bot_id, version, status, graph, published_at, updated_at FROM bot_workflow_versions"
    before = sorted(map(str, publishing.fleet.rows(query)))

    assert roll_back(publishing) == dict.fromkeys(BOTS, "rolled_back")

    assert not any(publishing.is_live(bot_id) for bot_id in BOTS)
    assert {publishing.state(bot_id) for bot_id in BOTS} == {"rolled_back"}
    assert sorted(map(str, publishing.fleet.rows(query))) == before


def test_on_repeat_nothing_changes_and_others_are_left_alone(publishing: Publishing) -> None:
    assert set(roll_back(publishing, BOTS[:2])) == set(BOTS[:2])
    assert roll_back(publishing, [*BOTS[:2], "elsewhere"]) == {}
    assert [publishing.is_live(bot_id) for bot_id in BOTS] == [False, False, True, True, True]


def test_a_version_that_a_person_published_since_stays_live(publishing: Publishing) -> None:
    platform_publishes(publishing, BOTS[0])

    outcomes = roll_back(publishing)

    assert outcomes[BOTS[0]] == "superseded"
    assert publishing.is_live(BOTS[0])
    assert publishing.state(BOTS[0]) == "superseded"
    assert not publishing.is_live(BOTS[1])


@pytest.mark.parametrize(
    ("published_at", "outcome"),
    [
        ("clock_timestamp()", "superseded"),
        ("NULL", "superseded"),
        ("now() - interval '1 day'", "rolled_back"),
    ],
)
def test_of_two_published_versions_the_one_that_the_platform_serves_decides(
    publishing: Publishing, published_at: str, outcome: str
) -> None:
    publishing.fleet.execute(
        "INSERT INTO bot_workflow_versions (bot_id, version, status, graph, published_at)"
        f" VALUES ('bot-00000', 'v9', 'published', '{{}}', {published_at})"
    )

    assert roll_back(publishing)[BOTS[0]] == outcome
    assert publishing.is_live(BOTS[0]) == (outcome == "superseded")


def test_where_v1_is_gone_the_version_stays(publishing: Publishing) -> None:
    publishing.fleet.execute("UPDATE bots SET workflow = NULL WHERE bot_id = 'bot-00000'")
    publishing.fleet.execute("UPDATE bots SET workflow = ' null ' WHERE bot_id = 'bot-00001'")

    outcomes = roll_back(publishing)

    assert outcomes[BOTS[0]] == outcomes[BOTS[1]] == "no_way_back"
    assert publishing.is_live(BOTS[0])
    assert publishing.state(BOTS[0]) == "published"


def test_where_v1_was_edited_it_is_read_under_the_lock_and_decides(publishing: Publishing) -> None:
    asked: list[bytes] = []
    publishing.fleet.change(BOTS[0], a_workflow("new {question}"))
    publishing.fleet.change(BOTS[1], {"nodes": [], "edges": []})
    publishing.fleet.execute(
        "UPDATE bots SET workflow = to_json(repeat('x', 5000000)) WHERE bot_id = 'bot-00002'"
    )

    def problem(text: bytes) -> str:
        asked.append(text)
        return publishing.problem(text)

    with publishing.fleet.engine.begin() as connection:
        part = Part(publication_id=1, bot_ids=BOTS)
        returned = roll_back_bots(connection, part, v1_problem=problem)

    assert {one.bot_id for one in returned if one.state == "no_way_back"} == {BOTS[1], BOTS[2]}
    assert [publishing.is_live(bot_id) for bot_id in BOTS] == [False, True, True, False, False]
    assert len(asked) == 2  # neither those that are as they were, nor one that is too large


def test_where_v1_broke_after_it_was_switched_back_by_hand_it_stays_back(
    publishing: Publishing,
) -> None:
    publishing.fleet.execute(
        "UPDATE bots SET use_workflow_v2 = false, workflow = '{}' WHERE bot_id = 'bot-00000'"
    )

    assert roll_back(publishing, [BOTS[0]]) == {BOTS[0]: "rolled_back"}


def test_a_bot_that_is_gone_or_was_switched_back_by_hand_is_rolled_back(
    publishing: Publishing,
) -> None:
    publishing.fleet.execute("DELETE FROM bots WHERE bot_id = 'bot-00000'")
    publishing.fleet.execute("UPDATE bots SET use_workflow_v2 = false WHERE bot_id = 'bot-00001'")

    assert roll_back(publishing) == dict.fromkeys(BOTS, "rolled_back")
    assert publishing.state(BOTS[0]) == "rolled_back"


def test_a_bot_that_is_sick_alone_is_noted_as_quarantined(publishing: Publishing) -> None:
    assert roll_back(publishing, [BOTS[0]], note_as="quarantined") == {BOTS[0]: "rolled_back"}
    assert publishing.state(BOTS[0]) == "quarantined"
    assert not publishing.is_live(BOTS[0])


def test_what_was_confirmed_is_rolled_back_too(publishing: Publishing) -> None:
    publishing.fleet.execute("UPDATE flowshift.publication_bots SET state = 'confirmed'")

    assert roll_back(publishing) == dict.fromkeys(BOTS, "rolled_back")


def test_after_a_rollback_the_bot_is_published_again_as_the_next_version(
    publishing: Publishing,
) -> None:
    roll_back(publishing, [BOTS[0]])
    publishing.fleet.run(bot_ids=(BOTS[0],))
    publishing.prove(BOTS[0])
    publishing.plan(BOTS[0], publication_id=2)

    assert publishing.publish(BOTS[0], publication_id=2) == {BOTS[0]: "published"}
    assert publishing.versions(BOTS[0]) == [
        ("draft", "draft"),
        ("v1.0", "archived"),
        ("v1.1", "published"),
    ]


# -- beside people ---------------------------------------------------------------------------------


def test_a_bot_that_a_person_has_locked_is_busy_and_an_open_draft_does_not_matter(
    publishing: Publishing,
) -> None:
    with publishing.fleet.connect() as person:
        person.execute("UPDATE bots SET name = 'x' WHERE bot_id = 'bot-00000'")
        person.execute(
            "UPDATE bot_workflow_versions SET status = 'archived'"
            " WHERE bot_id = 'bot-00001' AND status = 'published'"
        )
        person.execute(
            "UPDATE bot_workflow_versions SET updated_at = now()"
            " WHERE bot_id = 'bot-00002' AND status = 'draft'"
        )
        outcomes = roll_back(publishing)
        person.rollback()

    assert outcomes == {
        BOTS[0]: "busy",
        BOTS[1]: "busy",
        **dict.fromkeys(BOTS[2:], "rolled_back"),
    }
    assert publishing.is_live(BOTS[1])
    assert roll_back(publishing) == dict.fromkeys(BOTS[:2], "rolled_back")


def test_a_person_who_publishes_at_that_moment_is_not_rolled_back_silently(
    publishing: Publishing,
) -> None:
    with publishing.fleet.connect() as person:
        person.execute(
            "UPDATE bot_workflow_versions SET status = 'archived'"
            " WHERE bot_id = 'bot-00000' AND status = 'published'"
        )
        person.execute(
            "INSERT INTO bot_workflow_versions (bot_id, version, status, graph, published_at)"
            " VALUES ('bot-00000', 'v1.1', 'published', '{}', clock_timestamp())"
        )
        assert roll_back(publishing, [BOTS[0]]) == {BOTS[0]: "busy"}
        person.commit()

    assert roll_back(publishing, [BOTS[0]]) == {BOTS[0]: "superseded"}
    assert publishing.is_live(BOTS[0])


# -- what is live, the newest wave first -----------------------------------------------------------


def test_bots_go_back_a_page_at_a_time_from_the_newest_wave_on(
    publishing: Publishing,
) -> None:
    publishing.fleet.execute(
        "UPDATE flowshift.publication_bots SET wave = 2 WHERE bot_id >= 'bot-00003'"
    )
    roll_back(publishing, [BOTS[1]])
    publishing.fleet.execute("UPDATE bots SET workflow = NULL")  # so that each stays where it is

    def page(**which: Any) -> list[Returned]:
        with publishing.fleet.engine.begin() as connection:
            part = Part(publication_id=1, **which)
            return roll_back_bots(connection, part, v1_problem=publishing.problem)

    first = page(limit=3)
    second = page(after=first[-1], limit=3)

    assert [(one.wave, one.bot_id) for one in first] == [(2, BOTS[4]), (2, BOTS[3]), (1, BOTS[2])]
    assert [(one.wave, one.bot_id) for one in second] == [(1, BOTS[0])]
    assert page(wave=2, limit=9) == first[:2]


# -- the preview -----------------------------------------------------------------------------------

CHANGES: dict[str, tuple[str, Callable[[Publishing], None]]] = {
    "nothing": ("returns", lambda _: None),
    "an edit of V1": (
        "v1_edited",
        lambda publishing: publishing.fleet.change(BOTS[0], a_workflow("new {question}")),
    ),
    "an edit of V1 that does not run": (
        "no_way_back",
        lambda publishing: publishing.fleet.change(BOTS[0], {"nodes": [], "edges": []}),
    ),
    "V1 gone": (
        "no_way_back",
        lambda publishing: publishing.fleet.execute(
            "UPDATE bots SET workflow = NULL WHERE bot_id = 'bot-00000'"
        ),
    ),
    "V1 null": (
        "no_way_back",
        lambda publishing: publishing.fleet.execute(
            "UPDATE bots SET workflow = 'null' WHERE bot_id = 'bot-00000'"
        ),
    ),
    "an edit of the live version": (
        "version_edited",
        lambda publishing: publishing.fleet.execute(
            "UPDATE bot_workflow_versions SET graph = '{}'"
            " WHERE bot_id = 'bot-00000' AND status = 'published'"
        ),
    ),
    "a later version": (
        "newer_version",
        lambda publishing: platform_publishes(publishing, BOTS[0]),
    ),
    "switched back": (
        "already_back",
        lambda publishing: publishing.fleet.execute(
            "UPDATE bots SET use_workflow_v2 = false WHERE bot_id = 'bot-00000'"
        ),
    ),
    "deleted": (
        "gone",
        lambda publishing: publishing.fleet.execute("DELETE FROM bots WHERE bot_id = 'bot-00000'"),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_preview_says_what_a_rollback_would_do(change: str, publishing: Publishing) -> None:
    group, do = CHANGES[change]
    before = shown(publishing)
    do(publishing)
    said = shown(publishing)

    changed = {
        name: getattr(said, name)
        for name in Preview.__struct_fields__
        if name not in {"digest", "running"} and getattr(said, name) != getattr(before, name)
    }
    if change == "nothing":
        assert (changed, said.digest) == ({}, before.digest)
        assert said.returns.bots == 5
    else:
        assert changed[group].bots == 1
        assert changed[group].examples == (BOTS[0],)
        assert set(changed) <= {group, "returns"}
        assert said.digest != before.digest
    outcomes = list(roll_back(publishing).values())
    assert outcomes.count("superseded") == said.newer_version.bots
    assert outcomes.count("no_way_back") == said.no_way_back.bots


def test_a_draft_that_a_person_edits_changes_no_preview(publishing: Publishing) -> None:
    before = shown(publishing)
    publishing.fleet.set_draft(BOTS[0], {"nodes": [{"id": "later"}]})

    assert shown(publishing) == before


def test_executions_at_work_are_counted_and_change_no_digest(publishing: Publishing) -> None:
    before = shown(publishing)
    publishing.fleet.execute(
        "INSERT INTO workflow_execution_runs (bot_id, workflow_version_id, graph_snapshot, status,"
        " finished_at) SELECT v.bot_id, v.id, '{}', s.status, s.ended FROM bot_workflow_versions v,"
        " (VALUES ('running', NULL), ('failed', now())) AS s (status, ended)"
        " WHERE v.bot_id = 'bot-00000' AND v.status = 'published'"
    )
    said = shown(publishing)

    assert (before.running, said.running) == (0, 1)
    assert said.digest == before.digest


def test_an_execution_that_began_long_ago_is_not_at_work(publishing: Publishing) -> None:
    publishing.fleet.execute(
        "INSERT INTO workflow_execution_runs (bot_id, workflow_version_id, graph_snapshot, status,"
        " created_at) SELECT v.bot_id, v.id, '{}', 'running', now() - s.age FROM bot_workflow_versions v,"
        " (VALUES (interval '3599 seconds'), (interval '3601 seconds')) AS s (age)"
        " WHERE v.bot_id = 'bot-00000' AND v.status = 'published'"
    )

    assert shown(publishing).running == 1


def test_a_version_is_hashed_only_if_its_row_is_not_the_one_that_was_inserted(
    publishing: Publishing,
) -> None:
    before = shown(publishing)
    publishing.fleet.execute("UPDATE flowshift.publication_bots SET row_version = NULL")
    assert shown(publishing) == before  # as those that were published before this was noted

    publishing.fleet.execute(
        "UPDATE flowshift.publication_bots p SET row_version = v.xmin::text, content_hash = 1"
        " FROM bot_workflow_versions v WHERE v.id = p.version_id"
    )
    assert shown(publishing).version_edited.bots == 0  # which was not looked at


def test_in_a_restored_database_an_edit_is_seen_though_its_transaction_has_the_same_number(
    publishing: Publishing,
) -> None:
    publishing.fleet.execute(
        "UPDATE bot_workflow_versions SET graph = '{}', updated_at = now() + interval '1 second'"
        " WHERE bot_id = 'bot-00000' AND status = 'published'"
    )
    publishing.fleet.execute(
        "UPDATE flowshift.publication_bots p SET row_version = v.xmin::text"
        " FROM bot_workflow_versions v WHERE v.id = p.version_id"
    )

    assert shown(publishing).version_edited.examples == (BOTS[0],)


def test_a_preview_of_a_wave_or_of_single_bots_is_of_those_alone(publishing: Publishing) -> None:
    publishing.fleet.execute(
        "UPDATE flowshift.publication_bots SET wave = 2 WHERE bot_id >= 'bot-00003'"
    )

    assert shown(publishing, wave=2).returns.bots == 2
    assert shown(publishing, bot_ids=[BOTS[1]]).returns.examples == (BOTS[1],)
    assert shown(publishing, wave=3).returns.bots == 0
    assert msgspec.json.decode(msgspec.json.encode(shown(publishing)))["returns"]["bots"] == 5
