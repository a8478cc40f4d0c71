"""What the gate takes back by itself, on real PostgreSQL: a wave, or single bots, if nothing is lost."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.fleet import Fleet, a_workflow
from tests.publishing import Publishing
from tests.scrapes import scrape
from worker.errors import UsageError
from worker.steps.publication import take_back
from worker.steps.publication.take_back import quarantine, take_back_wave

BOTS = [f"bot-0000{n}" for n in range(5)]


@pytest.fixture
def publishing(fleet: Fleet) -> Publishing:
    """Five bots that are live: 00 and 01 in wave 1, the others in wave 2, which failed."""
    fleet.add_many(5)
    fleet.run()
    made = Publishing(fleet)
    made.prove()
    made.plan(state="publishing")
    fleet.execute(
        "INSERT INTO flowshift.waves"
        " (publication_id, number, label, state, bot_count, watched_from, accepted_by, accepted_reason)"
        " VALUES (1, 1, '1', 'accepted', 2, now(), 'a person', 'well'),"
        " (1, 2, 'all', 'failed', 3, now(), NULL, NULL)"
    )
    fleet.execute(
        "UPDATE flowshift.publication_bots SET wave = CASE WHEN bot_id < 'bot-00002' THEN 1 ELSE 2 END"
    )
    assert set(made.publish().values()) == {"published"}
    fleet.execute("UPDATE flowshift.publications SET state = 'watching'")
    return made


def taken(publishing: Publishing, wave: int = 2) -> take_back.TakenBack:
    return take_back_wave(publishing.fleet.current, 1, wave, actor="flowshift", reason="9 of 41")


def live(publishing: Publishing) -> list[str]:
    return [bot_id for bot_id in BOTS if publishing.is_live(bot_id)]


def publication(publishing: Publishing) -> tuple[str, ...]:
    rows = publishing.fleet.rows(
        "SELECT state, held_from, held_because FROM flowshift.publications"
    )
    return tuple(rows[0])


def counters(publishing: Publishing, wave: int = 2) -> tuple[str, int, int]:
    rows = publishing.fleet.rows(
        "SELECT state, rolled_back, quarantined FROM flowshift.waves WHERE number = :n", n=wave
    )
    return tuple(rows[0])


# -- a wave ------------------------------------------------------------------------------------------


def test_a_wave_that_loses_nothing_is_back_and_its_publication_held(publishing: Publishing) -> None:
    result = taken(publishing)

    assert result.did
    assert "V1 answers on 3 bots" in result.said
    assert live(publishing) == BOTS[:2]
    assert counters(publishing) == ("rolled_back", 3, 0)
    assert counters(publishing, 1) == ("accepted", 0, 0)
    assert publication(publishing) == ("held", "watching", "failed")
    trail = publishing.fleet.rows("SELECT actor, reason FROM flowshift.audit ORDER BY id")
    assert tuple(trail[-1]) == ("flowshift", "publication 1: 9 of 41")


def test_a_wave_that_is_back_is_taken_back_again_without_a_change(publishing: Publishing) -> None:
    taken(publishing)
    before = publishing.fleet.rows("SELECT count(*) FROM flowshift.audit")

    result = taken(publishing)

    assert result.did
    assert "nothing live" in result.said
    assert publishing.fleet.rows("SELECT count(*) FROM flowshift.audit") == before
    assert counters(publishing) == ("rolled_back", 3, 0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "UPDATE bots SET workflow = NULL WHERE bot_id = 'bot-00003'",
            "1 bot: V1 is gone or does not run",
        ),
        (
            "UPDATE bot_workflow_versions SET graph = '{}' WHERE bot_id = 'bot-00003'",
            "1 bot: an edit of the live version would stop",
        ),
        (
            "UPDATE bots SET workflow = (workflow::jsonb || '{\"x\": 1}')::json WHERE bot_id = 'bot-00003'",
            "1 bot: an edit of V1 would go live",
        ),
    ],
)
def test_a_wave_that_would_lose_something_stays(
    publishing: Publishing, change: str, said: str
) -> None:
    publishing.fleet.execute(change)

    result = taken(publishing)

    assert not result.did
    assert said in result.said
    assert "flowshift rollback --publication 1 --wave 2" in result.said
    assert live(publishing) == BOTS
    assert publication(publishing)[0] == "watching"
    assert taken(publishing, 1).did  # the edit is none of wave 1's


def test_rows_that_stay_locked_stay_out_and_are_told(
    publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(take_back, "LONGEST_WAIT_S", 0.5)
    with publishing.fleet.engine.connect() as person:
        person.exec_driver_sql("SELECT FROM bots WHERE bot_id = 'bot-00003' FOR UPDATE")
        result = taken(publishing)

    assert result.did
    assert "1 bot: locked by another session" in result.said
    assert live(publishing) == [*BOTS[:2], BOTS[3]]
    assert counters(publishing) == ("failed", 2, 0)
    assert taken(publishing).did
    assert live(publishing) == BOTS[:2]
    assert counters(publishing) == ("rolled_back", 3, 0)


def test_a_wave_that_does_not_exist_is_refused(publishing: Publishing) -> None:
    with pytest.raises(UsageError, match="wave 7"):
        taken(publishing, 7)


# -- single bots -------------------------------------------------------------------------------------


def quarantined(publishing: Publishing, bot_ids: Sequence[str], *, wave: int = 2) -> dict[str, str]:
    with publishing.fleet.engine.begin() as connection:
        found = quarantine(connection, 1, wave, bot_ids, reason="7 of 7 failed")
    return {one.bot_id: one.state for one in found}


def test_a_sick_bot_is_quarantined_and_its_wave_goes_on(publishing: Publishing) -> None:
    assert quarantined(publishing, [BOTS[2], BOTS[2]]) == {BOTS[2]: "rolled_back"}

    assert live(publishing) == [*BOTS[:2], *BOTS[3:]]
    assert publishing.state(BOTS[2]) == "quarantined"
    assert counters(publishing) == ("failed", 0, 1)
    assert publication(publishing)[0] == "watching"
    said = publishing.one(
        "SELECT message FROM flowshift.publication_bots WHERE bot_id = 'bot-00002'"
    )
    assert said == "7 of 7 failed"
    trail = publishing.fleet.rows("SELECT action, detail FROM flowshift.audit ORDER BY id")[-1]
    assert trail.action == "publication.quarantined"
    assert trail.detail == {"publication": 1, "wave": 2, "bots": 1, "bot_ids": [BOTS[2]]}


def test_a_bot_is_quarantined_once_and_only_by_its_own_wave(publishing: Publishing) -> None:
    assert quarantined(publishing, [BOTS[2]], wave=1) == {}
    quarantined(publishing, [BOTS[2]])

    assert quarantined(publishing, [BOTS[2]]) == {}
    assert scrape(publishing.fleet)["bots", "roll_back", "rolled_back", ""] == 1
    assert counters(publishing) == ("failed", 0, 1)


def test_a_bot_of_a_wave_that_passed_is_quarantined_no_more(publishing: Publishing) -> None:
    publishing.fleet.execute("UPDATE flowshift.publication_bots SET state = 'confirmed'")

    assert quarantined(publishing, BOTS[2:]) == {}
    assert live(publishing) == BOTS
    assert counters(publishing) == ("failed", 0, 0)


def test_what_a_person_has_edited_or_locked_is_not_quarantined(publishing: Publishing) -> None:
    publishing.fleet.change(BOTS[2], a_workflow("new {question}"))
    publishing.fleet.execute(
        "UPDATE bot_workflow_versions SET graph = '{}'"
        " WHERE bot_id = 'bot-00003' AND status = 'published'"
    )
    with publishing.fleet.engine.connect() as person:
        person.exec_driver_sql("SELECT FROM bots WHERE bot_id = 'bot-00004' FOR UPDATE")
        found = quarantined(publishing, BOTS[2:])

    assert found == {BOTS[2]: "no_way_back", BOTS[3]: "no_way_back", BOTS[4]: "busy"}
    assert live(publishing) == BOTS
    assert counters(publishing) == ("failed", 0, 0)


def test_a_wave_is_back_with_the_bots_that_were_quarantined_before(publishing: Publishing) -> None:
    quarantined(publishing, [BOTS[2]])

    assert taken(publishing).did
    assert counters(publishing) == ("rolled_back", 2, 1)
    assert publishing.state(BOTS[2]) == "quarantined"
