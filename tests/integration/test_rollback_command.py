"""`flowshift rollback` on real PostgreSQL: what it asks, refuses, does, notes and answers."""

from __future__ import annotations

import io
import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import click
import pytest

from tests.fleet import Fleet
from tests.integration.conftest import Run
from tests.publishing import Publishing
from tests.scrapes import scrape
from worker.cli.printing import confirm_count
from worker.db.publication import rolling
from worker.db.publication.rollback import Part, roll_back_bots
from worker.db.publication.rolling import Which
from worker.errors import UsageError
from worker.steps.publication import rollback as step
from worker.steps.publication import rounds
from worker.steps.publication.rounds import Moved, Rounds, Sleep

BOTS = [f"bot-0000{n}" for n in range(5)]


@pytest.fixture
def publishing(fleet: Fleet) -> Publishing:
    """Five bots that are live, in three waves: 1, 2, 2."""
    fleet.add_many(5)
    fleet.run()
    made = Publishing(fleet)
    made.prove()
    made.plan()
    fleet.execute(
        "INSERT INTO flowshift.waves (publication_id, number, label, state, bot_count)"
        " VALUES (1, 1, '1', 'publishing', 1), (1, 2, '2', 'publishing', 2), (1, 3, 'all', 'publishing', 2)"
    )
    fleet.execute(
        "UPDATE flowshift.publication_bots SET wave = CASE WHEN bot_id = 'bot-00000' THEN 1"
        " WHEN bot_id < 'bot-00003' THEN 2 ELSE 3 END"
    )
    assert set(made.publish().values()) == {"published"}
    return made


def roll_back(
    publishing: Publishing,
    *,
    digest: str | None = None,
    show: Callable[[Moved], None] = lambda _: None,
    sleep: Sleep = time.sleep,
) -> step.Result:
    """Take back all that is live."""
    return step.roll_back(
        publishing.fleet.current,
        Which(),
        digest=digest,
        actor="test",
        reason=None,
        show=show,
        sleep=sleep,
    )


def live(publishing: Publishing) -> list[str]:
    return [bot_id for bot_id in BOTS if publishing.is_live(bot_id)]


def publication(publishing: Publishing) -> tuple[str | None, ...]:
    rows = publishing.fleet.rows(
        "SELECT state, held_from, held_because FROM flowshift.publications WHERE publication_id = 1"
    )
    return tuple(rows[0])


def waves(publishing: Publishing) -> list[tuple[str, int]]:
    rows = publishing.fleet.rows("SELECT state, rolled_back FROM flowshift.waves ORDER BY number")
    return [tuple(row) for row in rows]


def plan_of(flowshift: Run, *which: str) -> str:
    code, out, _ = flowshift("rollback", *which, "--dry-run", "--json")
    assert code == 0
    return str(json.loads(out)["plan"])


# -- what it does ----------------------------------------------------------------------------------


def test_all_is_back_with_its_waves_its_publication_and_an_audit_trail(
    flowshift: Run, publishing: Publishing
) -> None:
    code, out, _ = flowshift("rollback", "--all", "--yes", "--reason", "errors")

    assert code == 0
    assert "5 bots: V1 answers again" in out
    assert live(publishing) == []
    assert publication(publishing) == ("rolled_back", None, None)
    assert waves(publishing) == [("rolled_back", 1), ("rolled_back", 2), ("rolled_back", 2)]
    trail = publishing.fleet.rows("SELECT action, reason, detail FROM flowshift.audit ORDER BY id")
    lines = [tuple(row) for row in trail if row.action.startswith("publication.")]
    assert [(action, reason) for action, reason, _ in lines] == [
        ("publication.rolling_back", "publication 1: errors"),
        ("publication.rolled_back", "publication 1: errors"),
    ]
    assert lines[1][2]["bots"]["rolled_back"] == 5


def test_on_repeat_there_is_nothing_to_do(flowshift: Run, publishing: Publishing) -> None:
    flowshift("rollback", "--all", "--yes")
    before = publishing.fleet.rows("SELECT count(*) FROM flowshift.audit")

    code, out, _ = flowshift("rollback", "--all", "--yes")

    assert code == 0
    assert "nothing to roll back" in out
    assert publishing.fleet.rows("SELECT count(*) FROM flowshift.audit") == before


def test_one_bot_is_back_and_its_publication_is_held(
    flowshift: Run, publishing: Publishing
) -> None:
    assert flowshift("rollback", "--bot-id", BOTS[1], "--yes")[0] == 0

    assert live(publishing) == [BOTS[0], *BOTS[2:]]
    assert publication(publishing) == ("held", "publishing", "person")
    assert waves(publishing) == [("publishing", 0), ("publishing", 1), ("publishing", 0)]


def test_one_wave_is_back_and_the_others_stay_out(flowshift: Run, publishing: Publishing) -> None:
    assert flowshift("rollback", "--publication", "1", "--wave", "3", "--yes")[0] == 0

    assert live(publishing) == BOTS[:3]
    assert waves(publishing) == [("publishing", 0), ("publishing", 0), ("rolled_back", 2)]


def test_a_publication_that_was_over_is_stopped_after_a_part_of_it_is_back(
    flowshift: Run, publishing: Publishing
) -> None:
    publishing.fleet.execute(
        "UPDATE flowshift.publications SET state = 'completed', finished_at = now()"
    )

    assert flowshift("rollback", "--bot-id", BOTS[0], "--yes")[0] == 0
    assert publication(publishing)[0] == "stopped"
    assert flowshift("rollback", "--publication", "1", "--yes")[0] == 0
    assert publication(publishing)[0] == "rolled_back"


def test_a_bot_that_is_still_to_come_keeps_its_publication_from_being_over(
    flowshift: Run, publishing: Publishing
) -> None:
    publishing.fleet.execute(
        "INSERT INTO flowshift.publication_bots (bot_id, publication_id, wave) VALUES ('later', 1, 3)"
    )

    many = [part for bot_id in BOTS for part in ("--bot-id", bot_id)]
    assert flowshift("rollback", *many, "--yes")[0] == 0

    assert live(publishing) == []
    assert publication(publishing)[0] == "held"
    assert waves(publishing)[2] == ("publishing", 2)


def test_every_publication_is_rolled_back_by_all(flowshift: Run, publishing: Publishing) -> None:
    publishing.fleet.add("other", None)
    publishing.fleet.execute("UPDATE bots SET workflow = (SELECT workflow FROM bots LIMIT 1)")
    publishing.fleet.run(bot_ids=("other",))
    publishing.prove("other")
    publishing.plan("other", publication_id=2)
    assert publishing.publish("other", publication_id=2) == {"other": "published"}

    assert flowshift("rollback", "--all", "--yes")[0] == 0
    assert live(publishing) == []
    assert not publishing.is_live("other")


def test_a_rollback_that_was_killed_is_taken_up(flowshift: Run, publishing: Publishing) -> None:
    """After its last batch and before its end, which is the worst moment."""
    with publishing.fleet.engine.begin() as connection:
        rolling.lock(connection, [1])
        assert rolling.begin(connection, 1)
        assert not rolling.begin(connection, 1)
    with publishing.fleet.engine.begin() as connection:
        roll_back_bots(connection, Part(publication_id=1), v1_problem=publishing.problem)

    assert publication(publishing)[0] == "rolling_back"
    assert flowshift("rollback", "--publication", "1", "--yes")[0] == 0
    assert publication(publishing)[0] == "rolled_back"


# -- what it leaves alone ----------------------------------------------------------------------------


def test_bots_that_stay_on_v2_make_it_1(flowshift: Run, publishing: Publishing) -> None:
    publishing.fleet.execute("UPDATE bots SET workflow = NULL WHERE bot_id = 'bot-00000'")
    publishing.fleet.execute(
        "UPDATE bots SET workflow = '{\"nodes\": 7}' WHERE bot_id = 'bot-00001'"
    )

    code, out, _ = flowshift("rollback", "--all", "--yes")

    assert code == 1
    assert live(publishing) == BOTS[:2]
    assert "2 bots: left alone, V1 is gone or does not run" in out
    assert "not back yet" not in out
    assert publication(publishing)[0] == "held"
    found = scrape(publishing.fleet)
    assert found["bots", "roll_back", "rolled_back", ""] == 3
    assert found["bots", "roll_back", "skipped", "no_way_back"] == 2


def test_a_version_that_a_person_published_stays_live(
    flowshift: Run, publishing: Publishing
) -> None:
    publishing.fleet.execute(
        "UPDATE bot_workflow_versions SET status = 'archived'"
        " WHERE bot_id = 'bot-00000' AND status = 'published'"
    )
    publishing.fleet.add_version(BOTS[0], "v1.1", "published")

    code, out, _ = flowshift("rollback", "--all", "--yes", "--json")

    document = json.loads(out)
    assert (code, document["result"]["bots"]["superseded"]) == (1, 1)
    assert scrape(publishing.fleet)["bots", "roll_back", "skipped", "newer_version"] == 1
    assert live(publishing) == [BOTS[0]]


# -- rows that are locked ----------------------------------------------------------------------------


def test_a_locked_bot_comes_again_until_it_is_free(publishing: Publishing) -> None:
    fleet = publishing.fleet
    seen: list[Moved] = []
    connection = fleet.engine.connect()
    connection.exec_driver_sql("SELECT FROM bots WHERE bot_id = 'bot-00002' FOR UPDATE")

    def free(_seconds: float) -> None:
        connection.close()

    result = roll_back(publishing, show=seen.append, sleep=free)

    assert result.bots["rolled_back"] == 5
    assert scrape(fleet)["bots", "roll_back", "rolled_back", ""] == 5
    assert result.stays == 0
    assert seen[0] == Moved(4, 5, "another session has their rows locked")
    assert live(publishing) == []


def test_what_another_rollback_had_locked_and_gave_up_is_taken_too(publishing: Publishing) -> None:
    """The other one died before its commit: its rows are skipped at first, and taken in the end."""
    fleet = publishing.fleet
    other = fleet.engine.connect()
    other.exec_driver_sql(
        "SELECT FROM flowshift.publication_bots WHERE bot_id = 'bot-00002' FOR NO KEY UPDATE"
    )

    def give_up(_seconds: float) -> None:
        other.close()

    result = roll_back(publishing, sleep=give_up)

    assert (result.bots, result.left) == ({"rolled_back": 5}, 0)
    assert live(publishing) == []


def test_v1_that_breaks_after_the_look_keeps_its_bot_on_v2(publishing: Publishing) -> None:
    """The edit that breaks it commits while the rollback waits for the row."""
    fleet = publishing.fleet
    person = fleet.engine.connect()
    person.exec_driver_sql(
        "UPDATE bots SET workflow = '{\"nodes\": []}' WHERE bot_id = 'bot-00002'"
    )

    def commit(_seconds: float) -> None:
        person.commit()
        person.close()

    digest = step.look(fleet.current, Which()).preview.digest
    result = roll_back(publishing, digest=digest, sleep=commit)

    assert result.bots == {"rolled_back": 4, "no_way_back": 1}
    assert live(publishing) == ["bot-00002"]
    assert publishing.state("bot-00002") == "published"


def test_ctrl_c_leaves_what_is_back_and_says_what_is_left(publishing: Publishing) -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    with publishing.fleet.engine.connect() as connection:
        connection.exec_driver_sql("SELECT FROM bots WHERE bot_id = 'bot-00002' FOR UPDATE")
        result = roll_back(publishing, sleep=interrupt)

    assert result.interrupted
    assert (result.bots, result.left) == ({"rolled_back": 4}, 1)
    assert live(publishing) == ["bot-00002"]
    assert publication(publishing)[0] == "held"


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Three connections go through the bots, one bot at a time; set when they are to end."""
    event = threading.Event()

    class Watched(Rounds):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self._stopped = event

    monkeypatch.setattr(step, "Rounds", Watched)
    monkeypatch.setattr(rounds, "FIRST_BOTS", 1)  # so that there are three of them
    monkeypatch.setattr(rounds, "batch_size", lambda *_, **__: 1)
    return event


def test_ctrl_c_ends_every_connection_after_the_batch_that_it_is_at(
    publishing: Publishing, stopped: threading.Event
) -> None:
    shown: list[Moved] = []

    def show(moved: Moved) -> None:
        shown.append(moved)
        if len(shown) == 1:
            raise KeyboardInterrupt
        stopped.wait(10)

    result = roll_back(publishing, show=show)

    assert result.interrupted
    assert result.left == len(live(publishing)) >= 2


def test_if_any_connection_gives_up_the_others_end(
    publishing: Publishing, stopped: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[bool] = []

    def give_up(*arguments: Any, **options: Any) -> Any:
        if not threading.current_thread().name.endswith("_0"):
            raise KeyboardInterrupt
        ended.append(stopped.wait(10))
        return roll_back_bots(*arguments, **options)

    monkeypatch.setattr(rounds, "roll_back_bots", give_up)
    result = roll_back(publishing)

    assert result.interrupted
    assert ended == [True]
    assert result.left == 4


# -- the plan and the question -----------------------------------------------------------------------


def test_a_preview_changes_nothing_and_its_plan_is_taken(
    flowshift: Run, publishing: Publishing
) -> None:
    plan = plan_of(flowshift, "--all")
    assert live(publishing) == BOTS
    assert publication(publishing)[0] == "publishing"

    assert flowshift("rollback", "--all", "--plan", plan, "--yes")[0] == 0
    assert live(publishing) == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE bots SET use_workflow_v2 = false WHERE bot_id = 'bot-00003'",
        "UPDATE bots SET workflow = '{\"nodes\": []}' WHERE bot_id = 'bot-00003'",
        "UPDATE bot_workflow_versions SET graph = '{}' WHERE bot_id = 'bot-00003' AND status = 'published'",
        "DELETE FROM bots WHERE bot_id = 'bot-00003'",
    ],
)
def test_a_plan_is_refused_after_a_change(
    flowshift: Run, publishing: Publishing, change: str
) -> None:
    plan = plan_of(flowshift, "--all")
    publishing.fleet.execute(change)
    before = publishing.fleet.rows("SELECT bot_id, use_workflow_v2 FROM bots ORDER BY bot_id")

    code, _, err = flowshift("rollback", "--all", "--plan", plan, "--yes")

    assert code == 2
    assert "nothing was changed" in err
    assert (
        publishing.fleet.rows("SELECT bot_id, use_workflow_v2 FROM bots ORDER BY bot_id") == before
    )
    assert publication(publishing)[0] == "publishing"


def test_a_change_after_the_question_is_refused_too(publishing: Publishing) -> None:
    seen = step.look(publishing.fleet.current, Which())
    publishing.fleet.execute("UPDATE bots SET workflow = NULL WHERE bot_id = 'bot-00003'")

    with pytest.raises(UsageError, match="nothing was changed"):
        roll_back(publishing, digest=seen.preview.digest)

    assert live(publishing) == BOTS
    assert publication(publishing)[0] == "publishing"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "say what to roll back"),
        (["--all", "--publication", "1"], "say what to roll back"),
        (["--all", "--wave", "1"], "--wave is a wave of a publication"),
        (["--publication", "9"], "there is no publication 9"),
        (["--publication", "1", "--wave", "4"], "there is no publication 1 with a wave 4"),
        (["--bot-id", "bot-00000", "--bot-id", "tpyo"], "never published 'tpyo'"),
        (["--all", "--plan", "0000"], "not 0000"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    flowshift: Run, publishing: Publishing, arguments: list[str], said: str
) -> None:
    code, _, err = flowshift("rollback", *arguments, "--yes")

    assert code == 2
    assert said in err
    assert live(publishing) == BOTS


def test_without_a_terminal_and_without_yes_nothing_happens(
    flowshift: Run, publishing: Publishing
) -> None:
    code, out, err = flowshift("rollback", "--all")

    assert code == 2
    assert "say --yes" in err
    assert "5 bots: V1 answers again" in out
    assert live(publishing) == BOTS


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("typed", "goes_on"), [("1,200\n", True), ("1200\n", True), ("y\n", False), ("", False)]
)
def test_the_number_itself_must_be_typed(
    monkeypatch: pytest.MonkeyPatch, typed: str, goes_on: bool
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    ask: Callable[[], None] = lambda: confirm_count("1,200 bots go back.", 1200, yes=False)  # noqa: E731
    if goes_on:
        ask()
    else:
        with pytest.raises(click.Abort):
            ask()
