"""Runs: planning, enqueuing, finishing, retrying."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import event

from tests.fleet import Fleet, a_broken_workflow, a_workflow
from worker.core.policy.batch_ref import BatchRef
from worker.db import outbox, run_progress, run_results, run_transitions
from worker.errors import StaleError, UsageError
from worker.steps import plan
from worker.steps.finish import fail_batch, finish_run
from worker.steps.plan import plan_run
from worker.steps.report import newest_runs
from worker.steps.request import Request
from worker.steps.start import record_run

# -- planning --------------------------------------------------------------------------------------


def test_every_bot_is_in_exactly_one_batch(fleet: Fleet) -> None:
    fleet.add_many(7)
    run = fleet.planned(batch_size=3)
    assert fleet.batch_slices(run.run_id) == [
        (1, None, "bot-00002", None, 3, "pending"),
        (2, "bot-00002", "bot-00005", None, 3, "pending"),
        (3, "bot-00005", "bot-00006", None, 1, "pending"),
    ]
    assert (run.state, run.batch_count, run.bot_count) == ("running", 3, 7)


def test_a_plan_made_in_steps_is_the_same_as_one_made_at_once(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add_many(23)
    at_once = fleet.planned(batch_size=2)
    monkeypatch.setattr(plan, "BATCHES_A_STEP", 3)
    in_steps = fleet.planned(batch_size=2, allow_overlap=True)
    assert fleet.batch_slices(in_steps.run_id) == fleet.batch_slices(at_once.run_id)


def test_a_planner_that_dies_is_taken_over_where_it_stopped(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add_many(20)
    monkeypatch.setattr(plan, "BATCHES_A_STEP", 2)
    run = fleet.start(batch_size=2)
    steps_left = [1, 2, 3]
    step = plan._plan_step

    def dying(*arguments: Any) -> bool:
        steps_left.pop()
        return step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(plan, "_plan_step", dying)
        with pytest.raises(IndexError):
            plan_run(fleet.engine, run.run_id, actor="test")
    assert fleet.get(run.run_id).state == "planning"
    assert len(fleet.batch_slices(run.run_id)) == 6

    plan_run(fleet.engine, run.run_id, actor="test")
    assert [row[0] for row in fleet.batch_slices(run.run_id)] == list(range(1, 11))
    assert fleet.get(run.run_id).bot_count == 20


def test_two_planners_at_once_make_one_plan(fleet: Fleet) -> None:
    fleet.add_many(40)
    run = fleet.start(batch_size=4)

    def plan_it(_: int) -> None:
        try:
            plan_run(fleet.engine, run.run_id, actor="test")
        except StaleError:
            return

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(plan_it, range(3)))
    assert [row[0] for row in fleet.batch_slices(run.run_id)] == list(range(1, 11))


def test_a_fleet_of_no_bots_is_a_completed_run(fleet: Fleet) -> None:
    progress = fleet.run()
    assert (progress.state, progress.bots_total, progress.share) == ("completed", 0, 1.0)


def test_listed_bots_are_taken_once_however_often_they_are_listed(fleet: Fleet) -> None:
    fleet.add_many(5)
    run = fleet.planned(bot_ids=("bot-00003", "bot-00001", "bot-00003"), batch_size=1)
    assert fleet.batch_slices(run.run_id) == [
        (1, None, None, ["bot-00001"], 1, "pending"),
        (2, None, None, ["bot-00003"], 1, "pending"),
    ]


def test_bots_that_do_not_exist_are_refused_by_name_and_nothing_is_written(fleet: Fleet) -> None:
    fleet.add_many(1)
    with pytest.raises(UsageError, match="no such bot: 'ghost'"):
        fleet.start(bot_ids=("bot-00000", "ghost"))
    assert fleet.rows("SELECT * FROM flowshift.runs") == []


def test_a_limit_takes_the_first_bots_that_have_a_workflow(fleet: Fleet) -> None:
    fleet.add("a", None)
    fleet.add("b", a_workflow())
    fleet.add("c", a_workflow())
    fleet.add("d", a_workflow())
    progress = fleet.run(limit=2)
    assert fleet.outcomes(progress.run_id) == {"b": "converted", "c": "converted"}


def test_bots_that_appear_inside_a_planned_range_are_converted_and_counted(fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.add("z", a_workflow())
    run = fleet.planned()
    fleet.add("m", a_workflow())
    fleet.convert(run.run_id, 1)
    finish_run(fleet.engine, run.run_id, actor="test")
    progress = fleet.progress(run.run_id)
    assert (progress.counts.converted, progress.bots_total, progress.share) == (3, 3, 1.0)


@pytest.mark.parametrize(
    ("request_fields", "reason"),
    [
        ({"limit": 0}, "at least 1"),
        ({"batch_size": 0}, "batch size"),
        ({"batch_size": 10_001}, "batch size"),
        ({"limit": 1, "bot_ids": ("a",)}, "not both"),
        ({"code": "cycle"}, "when retrying"),
        ({"retry_of": 99}, "there is no run 99"),
    ],
)
def test_a_request_that_cannot_be_meant_is_refused(
    fleet: Fleet, request_fields: dict[str, object], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        fleet.start(**request_fields)


def test_the_same_request_twice_is_one_run(fleet: Fleet) -> None:
    first, second = (
        record_run(
            fleet.engine,
            Request(limit=1),
            request_id="the same",
            requested_by="test",
            default_batch_size=10,
        )
        for _ in range(2)
    )
    assert first == second
    assert len(fleet.rows("SELECT * FROM flowshift.audit WHERE action = 'run.created'")) == 1


# -- enqueuing ------------------------------------------------------------------------------------


def test_batches_are_enqueued_in_order_and_each_once(fleet: Fleet) -> None:
    fleet.add_many(10)
    run = fleet.planned(batch_size=1)
    assert fleet.take(run.run_id, 4) == [1, 2, 3, 4]
    assert fleet.take(run.run_id, 4) == []
    fleet.convert(run.run_id, 2)
    fleet.convert(run.run_id, 3)
    assert fleet.take(run.run_id, 4) == [5, 6]
    fleet.convert(run.run_id, 7)
    assert fleet.take(run.run_id, 99) == [8, 9, 10]
    assert fleet.take(run.run_id, 99) == []


def test_batches_wait_in_the_queue_however_many_are_at_work(fleet: Fleet) -> None:
    """A window of four feeds more than four processes, and no more than four batches wait."""
    fleet.add_many(20)
    run_id = fleet.planned(batch_size=1).run_id
    for first in (1, 5, 9):
        numbers = [*range(first, first + 4)]
        assert fleet.take(run_id, 4) == numbers
        assert fleet.take(run_id, 4) == []
        assert all(fleet.claim(run_id, number) for number in numbers)
    fleet.take(run_id, 4)
    fleet.claim(run_id, 14)
    assert fleet.take(run_id, 4) == [17]


def test_two_that_enqueue_at_once_take_different_batches(fleet: Fleet) -> None:
    fleet.add_many(40)
    run = fleet.planned(batch_size=1)
    with ThreadPoolExecutor(4) as pool:
        taken = [
            n
            for numbers in pool.map(lambda _: fleet.take(run.run_id, 20), range(4))
            for n in numbers
        ]
    assert sorted(taken) == list(range(1, 21))


def test_what_could_not_be_sent_is_enqueued_next(fleet: Fleet) -> None:
    fleet.add_many(5)
    run = fleet.planned(batch_size=1)
    assert fleet.take(run.run_id, 3) == [1, 2, 3]
    with fleet.engine.begin() as connection:
        assert outbox.put_back(connection, [BatchRef(run.run_id, 2)]) == 1
    assert fleet.take(run.run_id, 4) == [2, 4]


# -- finishing -------------------------------------------------------------------------------------


def test_only_the_last_batch_finishes_the_run(fleet: Fleet) -> None:
    fleet.add_many(2)
    run = fleet.planned(batch_size=1)
    fleet.convert(run.run_id, 1)
    assert finish_run(fleet.engine, run.run_id, actor="test") is None
    assert fleet.get(run.run_id).state == "running"
    fleet.convert(run.run_id, 2)
    assert finish_run(fleet.engine, run.run_id, actor="test") is not None
    assert fleet.get(run.run_id).state == "completed"
    assert finish_run(fleet.engine, run.run_id, actor="test") is None


def test_a_run_left_in_finishing_is_ended_by_whoever_comes_next(fleet: Fleet) -> None:
    run = fleet.planned()
    with fleet.engine.begin() as connection:
        assert run_transitions.finish_if_last(connection, run.run_id, "test")
    assert finish_run(fleet.engine, run.run_id, actor="test") is not None


def test_every_change_of_state_is_in_the_audit_trail(fleet: Fleet) -> None:
    progress = fleet.run()
    actions = fleet.rows(
        "SELECT action FROM flowshift.audit WHERE run_id = :run_id ORDER BY id",
        run_id=progress.run_id,
    )
    assert [row.action for row in actions] == [
        "run.created",
        "run.running",
        "run.finishing",
        "run.completed",
    ]


def test_an_illegal_change_of_state_does_nothing(fleet: Fleet) -> None:
    progress = fleet.run()
    with fleet.engine.begin() as connection:
        assert not run_transitions.apply(
            connection, progress.run_id, "running", reason=None, actor="test"
        )
    assert fleet.get(progress.run_id).state == "completed"


def test_the_database_refuses_states_that_do_not_exist(fleet: Fleet) -> None:
    fleet.planned()
    with pytest.raises(Exception, match="runs_state_known"):
        fleet.execute("UPDATE flowshift.runs SET state = 'napping'")


# -- retrying --------------------------------------------------------------------------------------


def test_retry_takes_exactly_the_bots_that_failed(fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.add("b", a_broken_workflow())
    fleet.add("c", None)
    fleet.add("d", {"nodes": []})
    first = fleet.run()
    fleet.change("b", a_workflow())

    second = fleet.run(retry_of=first.run_id)

    assert fleet.outcomes(second.run_id) == {"b": "converted", "d": "failed no_nodes"}
    assert fleet.get(second.run_id).parent_run_id == first.run_id


def test_retry_can_choose_a_code_or_bots(fleet: Fleet) -> None:
    fleet.add("b", a_broken_workflow())
    fleet.add("c", a_broken_workflow())
    fleet.add("d", {"nodes": []})
    first = fleet.run()

    assert set(fleet.outcomes(fleet.run(retry_of=first.run_id, code="no_nodes").run_id)) == {"d"}
    only = fleet.run(retry_of=first.run_id, bot_ids=("c", "d", "nobody"))
    assert set(fleet.outcomes(only.run_id)) == {"c", "d"}
    with pytest.raises(UsageError, match="no bot failed with cycle"):
        fleet.run(retry_of=first.run_id, code="cycle")


def test_retry_takes_over_batches_that_failed_as_a_whole(fleet: Fleet) -> None:
    fleet.add_many(6)
    run = fleet.planned(batch_size=2)
    fleet.convert(run.run_id, 1)
    fail_batch(fleet.engine, BatchRef(run.run_id, 2), "a fault")
    fleet.convert(run.run_id, 3)
    ended = finish_run(fleet.engine, run.run_id, actor="test")
    assert ended is not None
    assert (ended.state, ended.batches_failed) == ("completed_with_failures", 1)

    again = fleet.run(retry_of=run.run_id)
    assert set(fleet.outcomes(again.run_id)) == {"bot-00002", "bot-00003"}


def test_a_run_that_goes_on_cannot_be_retried(fleet: Fleet) -> None:
    fleet.add_many(1)
    run = fleet.planned()
    with pytest.raises(UsageError, match="still running"):
        fleet.start(retry_of=run.run_id)


def test_the_retry_of_a_dry_run_is_a_dry_run(fleet: Fleet) -> None:
    fleet.add("b", a_broken_workflow())
    dry = fleet.run(dry_run=True)
    assert fleet.get(fleet.run(retry_of=dry.run_id).run_id).dry_run


# -- progress --------------------------------------------------------------------------------------


def test_progress_only_goes_forward(fleet: Fleet) -> None:
    fleet.add_many(6)
    run = fleet.start(batch_size=2)
    seen = [fleet.progress(run.run_id)]
    plan_run(fleet.engine, run.run_id, actor="test")
    for number in (1, 2, 3):
        seen.append(fleet.progress(run.run_id))
        fleet.convert(run.run_id, number)
    seen.append(fleet.progress(run.run_id))
    finish_run(fleet.engine, run.run_id, actor="test")
    seen.append(fleet.progress(run.run_id))

    assert [progress.counts.bots for progress in seen] == [0, 0, 2, 4, 6, 6]
    versions = [progress.version for progress in seen]
    assert versions == sorted(set(versions))


def test_codes_add_up_over_batches(fleet: Fleet) -> None:
    fleet.add_many(3, "bad-", a_broken_workflow())
    fleet.add("none", None)
    progress = fleet.run(batch_size=1)
    with fleet.engine.connect() as connection:
        assert run_results.codes(connection, progress.run_id) == {
            "failed:invalid_config": 3,
            "skipped:no_workflow": 1,
        }
        failures = run_results.failures(connection, progress.run_id, limit=2)
        listed = list(run_results.outcomes(connection, progress.run_id))
    assert [failure.bot_id for failure in failures] == ["bad-00000", "bad-00001"]
    assert [row.bot_id for row in listed] == ["bad-00000", "bad-00001", "bad-00002", "none"]


# -- a list of runs --------------------------------------------------------------------------------


def test_a_list_of_runs_costs_as_many_statements_however_long_it_is(fleet: Fleet) -> None:
    fleet.add_many(4)
    executed: list[str] = []

    def note(_c: object, _u: object, statement: str, *_: object) -> None:
        executed.append(statement)

    def listed(limit: int) -> tuple[int, list[tuple[int, int]]]:
        executed.clear()
        found = newest_runs(fleet.current.engine, limit)
        return len(executed), [(run.run_id, progress.counts.bots) for run, progress in found]

    for number in range(3):
        fleet.run(batch_size=1 + number)
    event.listen(fleet.current.engine, "before_cursor_execute", note)

    assert listed(1) == (2, [(3, 4)])
    assert listed(3) == (2, [(3, 4), (2, 4), (1, 4)])


def test_the_progress_of_several_runs_is_that_of_each(fleet: Fleet) -> None:
    fleet.add_many(3)
    fleet.run()
    fleet.add("broken", a_broken_workflow())
    fleet.planned(batch_size=2)

    with fleet.current.engine.connect() as connection:
        found = run_progress.read_each(connection, [1, 2, 7])

    assert {run_id: one.state for run_id, one in found.items()} == {1: "completed", 2: "running"}
    assert (found[1].counts.converted, found[2].counts.bots) == (3, 0)
    assert (found[1].bots_total, found[2].bots_total) == (3, 4)
