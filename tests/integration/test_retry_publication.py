"""Bots that went back to V1 are converted, proven and published anew: as rows, whatever is killed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.fleet import Fleet, a_workflow
from tests.gate import Gate
from tests.integration.conftest import Run as Command
from tests.publishing import Publishing
from worker.core.publication.eligibility import Code
from worker.db.publication.rolling import Which
from worker.errors import TransientError, UsageError
from worker.steps.plan import plan_run
from worker.steps.publication import control
from worker.steps.publication.rollback import roll_back
from worker.steps.request import Request
from worker.steps.retry_publication import Again, Retried, look, publish_proven, retry


class Retrying(Gate):
    """A publication of six bots of which some went back to V1."""

    def take_back(self, *bot_ids: str, publication_id: int = 1) -> None:
        """A person rolls bots back."""
        roll_back(
            self.fleet.current,
            Which(publication_id=publication_id, bot_ids=bot_ids or None),
            digest=None,
            actor="me",
            reason=None,
            show=lambda _: None,
        )

    def retry(self, request_id: str = "again", **values: Any) -> Retried:
        """A person retries the first publication."""
        again = Again(**{"publication_id": 1, **values})
        return retry(self.fleet.current, self.queue, again, request_id=request_id, actor="me")

    def convert(self, run_id: int) -> None:
        """A worker takes the conversion, or the validation, to its end."""
        if self.fleet.get(run_id).state == "planning":
            plan_run(self.fleet.engine, run_id, actor="test")
        self.work(run_id)

    def of(self, publication_id: int) -> dict[str, str]:
        """The bots of a publication and their states."""
        rows = self.fleet.rows(
            "SELECT bot_id, concat_ws(' ', state, code) AS state FROM flowshift.publication_bots"
            " WHERE publication_id = :id",
            id=publication_id,
        )
        return {row.bot_id: row.state for row in rows}

    def version(self, bot_id: str) -> str:
        """The version that answers; V1 if none does."""
        rows = self.fleet.rows(
            "SELECT v.version FROM bots b JOIN bot_workflow_versions v ON v.bot_id = b.bot_id"
            " WHERE b.bot_id = :b AND b.use_workflow_v2 AND v.status = 'published'",
            b=bot_id,
        )
        return str(rows[0].version) if rows else "V1"


BACK = ["bot-00001", "bot-00002", "bot-00004"]


@pytest.fixture
def it(fleet: Fleet) -> Retrying:
    """Six bots that went out, and three of them that are back."""
    fleet.add_many(6)
    fleet.run(validate="sample:1")
    made = Retrying(Publishing(fleet))
    made.start("all")
    made.work()
    made.take_back(*BACK)
    return made


def test_what_went_back_is_converted_proven_and_published_as_the_next_version_one_bot_first(
    it: Retrying,
) -> None:
    made = it.retry(waves="1, all", without_backup=True)
    assert (it.read(2).state, it.of(2)) == ("planned", {})
    assert f"run {made.run_id} converts and proves its bots first" in (
        it.read(2).state_reason or ""
    )

    it.convert(made.run_id)
    [_, said] = it.tick()

    assert said == "publishes wave 1: 1 bot"
    assert it.read(2).state == "publishing"
    assert [wave.bot_count for wave in it.waves(2)] == [1, 2]
    it.work()
    versions = {bot_id: it.version(bot_id) for bot_id in BACK}
    assert sorted(versions.values()) == ["V1", "V1", "v1.1"]
    control.accept(it.fleet.current, 2, 1, actor="me", reason="seen")
    it.work()
    assert {it.version(bot_id) for bot_id in BACK} == {"v1.1"}
    assert it.version("bot-00000") == "v1.0"
    assert set(it.of(2)) == set(BACK)
    assert it.read(2).retry_of == 1


def test_the_v1_of_now_is_what_is_converted(it: Retrying) -> None:
    it.fleet.change("bot-00001", a_workflow("{question} now"))

    made = it.retry(bot_ids=("bot-00001",))
    it.convert(made.run_id)
    it.tick()
    it.work()

    graph = it.publishing.one(
        "SELECT graph::text FROM bot_workflow_versions WHERE bot_id = 'bot-00001' AND version = 'v1.1'"
    )
    assert "{question} now" in graph


def test_what_does_not_agree_any_more_stays_on_v1(it: Retrying) -> None:
    it.fleet.change("bot-00002", a_workflow(temperature=1.5))

    made = it.retry()
    it.convert(made.run_id)
    it.tick()

    assert set(it.of(2)) == {"bot-00001", "bot-00004"}


def test_a_retry_of_which_nothing_is_proven_is_stopped_and_says_why(it: Retrying) -> None:
    it.fleet.change("bot-00002", a_workflow(temperature=1.5))
    made = it.retry(bot_ids=("bot-00002",))
    it.convert(made.run_id)

    [_, said] = it.tick()

    assert said.startswith(
        f"is stopped: nothing is to be published: run {made.run_id} has proven none"
    )
    assert (it.read(2).state, it.read(2).finished_at is None) == ("stopped", False)
    assert it.retry("once more", bot_ids=("bot-00002",)).publication_id == 3


def test_a_draft_that_a_person_changed_is_kept_and_published_only_if_that_is_asked_for(
    it: Retrying,
) -> None:
    graph = it.publishing.one(
        "SELECT graph FROM bot_workflow_versions WHERE bot_id = 'bot-00001' AND version = 'v1.0'"
    )
    mine = {**graph, "note": "mine"}
    it.fleet.set_draft("bot-00001", mine)

    made = it.retry(bot_ids=("bot-00001",))
    it.convert(made.run_id)
    it.tick()
    assert it.read(2).state == "stopped"
    assert it.fleet.drafts()["bot-00001"] == mine

    made = it.retry("edited", bot_ids=("bot-00001",), publish_edited=True)
    it.convert(made.run_id)
    validation = made.run_id + 1
    [_, said] = it.tick()
    assert said == f"waits: run {validation} validates its bots first"
    assert it.fleet.get(validation).kind == "validate"
    assert it.tick()[1] == said, "one validation, however many ticks"
    it.convert(validation)
    it.tick()
    it.work()

    assert it.version("bot-00001") == "v1.1"
    assert mine == it.publishing.one(
        "SELECT graph FROM bot_workflow_versions WHERE version = 'v1.1'"
    )


def test_by_code_what_a_publication_skipped_is_taken(it: Retrying) -> None:
    it.fleet.execute(
        "UPDATE flowshift.publication_bots SET state = 'skipped', code = 'v1_changed',"
        " version_id = NULL, version = NULL, content_hash = NULL, workflow_hash = NULL,"
        " published_at = NULL WHERE bot_id = 'bot-00004'"
    )
    code: Code = "v1_changed"

    assert look(it.fleet.current, Again(publication_id=1)) == {"rolled_back": 2}
    assert look(it.fleet.current, Again(publication_id=1, code=code)) == {"skipped": 1}
    made = it.retry(code=code)
    assert [
        row.bot_ids
        for row in it.fleet.rows(
            "SELECT bot_ids FROM flowshift.batches WHERE run_id = :id", id=made.run_id
        )
    ] == [["bot-00004"]]


# -- twice, killed, without the queue ------------------------------------------------------------------


def test_the_same_request_twice_is_one_retry_and_another_one_finds_nothing_left(
    it: Retrying,
) -> None:
    made = it.retry()
    assert it.retry() == made
    with pytest.raises(UsageError, match=f"run {made.run_id} is planning and takes some"):
        it.retry("another")

    it.convert(made.run_id)
    it.tick()
    with pytest.raises(
        UsageError, match="or a later publication has it: there is nothing to retry"
    ):
        it.retry("another")
    assert it.retry() == made


def test_nothing_is_recorded_if_the_command_dies_before_its_one_transaction_ends(
    it: Retrying, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any, **__: Any) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr("worker.steps.retry_publication.moves.wait", die)
        with pytest.raises(RuntimeError, match="killed"):
            it.retry()

    assert not it.fleet.rows("SELECT FROM flowshift.publications WHERE publication_id > 1")
    assert not it.fleet.rows("SELECT FROM flowshift.runs WHERE kind = 'convert' AND run_id > 1")


def test_without_the_queue_it_is_recorded_and_waits(it: Retrying) -> None:
    it.queue.answering = False

    with pytest.raises(TransientError, match="is recorded, but the queue is unavailable"):
        it.retry()

    run_id = it.read(2).source_run_id
    assert run_id is not None
    it.queue.answering = True
    assert it.tick()[1] == f"waits: run {run_id} converts and proves its bots first"
    it.convert(run_id)
    it.tick()
    assert it.read(2).state == "publishing"


def test_the_command_and_the_tick_begin_one_first_wave(it: Retrying) -> None:
    made = it.retry()
    it.convert(made.run_id)

    first = publish_proven(it.fleet.current, 2, actor="me")
    again = publish_proven(it.fleet.current, 2, actor="me")
    it.tick()

    assert first.said == "publishes wave 1: 1 bot"
    assert again.run_id == first.run_id
    assert len(it.fleet.rows("SELECT FROM flowshift.runs WHERE kind = 'publish'")) == 2


# -- by hand while it waits ------------------------------------------------------------------------------


def test_held_while_it_waits_its_run_pauses_and_goes_on_with_it(it: Retrying) -> None:
    made = it.retry()
    plan_run(it.fleet.engine, made.run_id, actor="test")

    control.hold(it.fleet.current, 2, actor="me", reason="wait")
    assert it.fleet.get(made.run_id).state == "paused"
    it.tick()
    assert it.read(2).state == "held"
    going = control.go(it.fleet.current, 2, actor="me", reason=None)

    assert going.run_id == made.run_id
    assert (it.fleet.get(made.run_id).state, it.read(2).state) == ("running", "planned")
    it.convert(made.run_id)
    it.tick()
    assert it.read(2).state == "publishing"


def test_stopped_while_it_waits_its_run_is_cancelled_and_nothing_follows(it: Retrying) -> None:
    made = it.retry()

    control.stop(it.fleet.current, 2, actor="me", reason="no")

    assert it.fleet.get(made.run_id).state == "cancelled"
    it.tick()
    assert (it.read(2).state, it.of(2)) == ("stopped", {})


def test_a_run_that_is_cancelled_ends_it(it: Retrying) -> None:
    made = it.retry()
    it.fleet.execute(
        "UPDATE flowshift.runs SET state = 'cancelled', finished_at = now() WHERE run_id = :id",
        id=made.run_id,
    )

    it.tick()

    assert it.read(2).state == "stopped"
    assert it.read(2).state_reason == f"nothing is to be published: run {made.run_id} cancelled"


def test_what_is_rolling_back_is_not_retried_yet(it: Retrying) -> None:
    it.fleet.execute(
        "UPDATE flowshift.publications SET state = 'rolling_back', held_from = NULL, held_because = NULL"
    )

    with pytest.raises(
        UsageError, match="publication 1 is rolling back: retry it when that is over"
    ):
        it.retry()


def test_a_run_that_published_names_the_retry_of_its_publication(it: Retrying) -> None:
    run_id = it.waves()[0].run_id

    with pytest.raises(UsageError, match="`flowshift retry --publication 1` converts, proves"):
        it.fleet.start(retry_of=run_id)


# -- the command -----------------------------------------------------------------------------------------


def test_the_command_says_what_it_takes_and_refuses_what_means_nothing(
    it: Retrying, flowshift: Command
) -> None:
    code, _, err = flowshift("retry")
    assert (code, "a run's number, or --publication" in err) == (2, True)
    code, _, err = flowshift("retry", "1", "--yes")
    assert (code, "belong to --publication" in err) == (2, True)
    code, _, err = flowshift("retry", "1", "--code", "taken_back")
    assert (code, "fails with taken_back" in err) == (2, True)
    code, out, err = flowshift("retry", "--publication", "1")
    assert (code, out) == (2, "publication 1: 3 rolled back\n")
    assert "3 bots to be converted, proven and published anew. There is no terminal" in err
    assert not it.fleet.rows("SELECT FROM flowshift.publications WHERE publication_id > 1")

    code, out, _ = flowshift("retry", "--publication", "1", "--yes", "--detach")
    assert (code, "then it begins with one bot" in out) == (0, True)
    code, out, _ = flowshift("publication", "2")
    assert code == 0
    assert "publication 2 is planned: run 3 converts and proves its bots first" in out
    assert "it retries publication 1" in out
    code, out, _ = flowshift("publication", "2", "--json")
    assert (json.loads(out)["retry_of"], json.loads(out)["waves"]) == (1, [])
    code, _, err = flowshift("gate", "2")
    assert (code, "has no wave yet" in err) == (2, True)
    assert flowshift("publications")[0] == flowshift("status")[0] == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"waves": "2, all"}, "begins with a wave of one bot: --waves '1, 2, all'"),
        ({"waves": "1"}, "`all` must be the last"),
        ({"request": Request(max_rate=-1.0)}, "rate"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_written(
    values: dict[str, Any], message: str, it: Retrying
) -> None:
    with pytest.raises(UsageError, match=message):
        it.retry(**values)
    assert not it.fleet.rows("SELECT FROM flowshift.publications WHERE publication_id > 1")
