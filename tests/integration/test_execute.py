"""The way of a batch through the code: straight down, no module entered again, and back once."""

from __future__ import annotations

import logging
import re
import signal
import time
from pathlib import Path
from typing import Any, cast

import pytest

import tasks.runs
from tests.fleet import Fleet
from tests.queues import TestQueue
from tests.walk import Walk, frames_between
from worker.app import app
from worker.cli.views.runs import runs_table
from worker.core.policy.batch_ref import BatchRef
from worker.core.policy.states import RUN_KINDS
from worker.db import admission, bots, outbox
from worker.db.batches import Batch
from worker.errors import GivenUpError, UsageError
from worker.queue import limits
from worker.runtime import Runtime
from worker.steps.batch.execute import execute
from worker.steps.batch.kind import Kind
from worker.steps.batch.kinds import KINDS
from worker.steps.batch.lifecycle import at_work, ending
from worker.steps.batch.tally import Report, Tally
from worker.steps.finish import finish_run
from worker.steps.request import Request

ARCHITECTURE = Path(__file__).parents[2] / "docs" / "explanation" / "architecture.md"

CONVERT = "worker.steps.batch.convert"
STEPS = ("tasks.", "worker.steps.")
BELOW = ("worker.db.", "worker.queue.", "worker.progress.", "worker.runtime")

# It calls what it is given: to it, a function of the caller's own is data.
HIGHER_ORDER = ("worker.steps.batch.halving",)


def walked(run_id: int) -> Walk:
    """The walk of a run's second batch: the first has made what a process keeps."""
    tasks.runs.convert_batch(run_id=run_id, batch=1)
    walk = Walk(STEPS)
    with walk.watched():
        tasks.runs.convert_batch(run_id=run_id, batch=2)
    return walk


def test_from_the_task_to_the_claim_are_five_frames(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add_many(1)
    run = fleet.planned()
    claim, frames = admission.claim, []

    def counted(*arguments: Any, **options: Any) -> Any:
        frames.append(frames_between(tasks.runs.convert_batch.run))
        return claim(*arguments, **options)

    monkeypatch.setattr(admission, "claim", counted)
    tasks.runs.convert_batch(run_id=run.run_id, batch=1)
    assert frames == [5]
    assert fleet.get(run.run_id).state == "completed"


@pytest.mark.parametrize("kind", ["convert", "validate"])
def test_a_batch_enters_no_module_again_that_it_left_for_another(fleet: Fleet, kind: str) -> None:
    fleet.add_many(2)
    fleet.run(validate="none")
    run = fleet.planned(kind=kind, batch_size=1)
    tasks.runs.convert_batch(run_id=run.run_id, batch=1)
    walk = Walk((*STEPS, *BELOW), passed_through=HIGHER_ORDER)
    with walk.watched():
        tasks.runs.convert_batch(run_id=run.run_id, batch=2)
    assert len(walk.modules) > 20
    assert walk.returns == []
    assert fleet.get(run.run_id).state == "completed"


def test_the_walk_of_a_batch_is_in_the_documentation(fleet: Fleet) -> None:
    fleet.add_many(3)
    run = fleet.planned(batch_size=1)
    section = ARCHITECTURE.read_text(encoding="utf-8").partition("## The walk of a batch")[2]
    listed = re.findall(
        r"^ *((?:tasks|worker)/[\w/]+)\.py", section.partition("\n## ")[0], re.MULTILINE
    )
    names = [path.replace("/", ".") for path in listed]
    walk = walked(run.run_id)
    assert names == [name for name in walk.modules if name in names], "not the order of the code"
    # What a kind calls of its own may be left out; the way to it, and from it, may not.
    of_all_kinds = {stack[-1] for stack in walk.stacks if CONVERT not in stack[:-1]}
    assert of_all_kinds - set(names) == set(), f"list them in {ARCHITECTURE}"
    assert len(names) == len(set(names)) > 15


def test_the_claim_and_the_work_are_within_the_time_limit_of_a_batch(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add_many(1)
    run = fleet.planned()
    left: dict[str, float] = {}

    def timed(name: str, call: Any) -> Any:
        def noted(*arguments: Any, **options: Any) -> Any:
            left[name], _ = signal.getitimer(signal.ITIMER_REAL)
            return call(*arguments, **options)

        return noted

    monkeypatch.setattr(limits, "_is_child", True)
    monkeypatch.setattr(admission, "claim", timed("claim", admission.claim))
    monkeypatch.setattr(bots, "read_chunks", timed("work", bots.read_chunks))
    monkeypatch.setattr(outbox, "take", timed("enqueuing", outbox.take))
    tasks.runs.convert_batch(run_id=run.run_id, batch=1)
    limit_s = fleet.current.settings.time_limit_s
    assert limit_s - 60 < left["claim"] <= limit_s
    assert limit_s - 60 < left["work"] <= limit_s
    assert left["enqueuing"] == 0


def test_a_kind_of_run_is_a_line_in_the_registry(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything else, from the request to the list of runs, goes by what the kind says."""

    def count(batch: Batch, runtime: Runtime) -> Report:
        tally = Tally()
        with at_work(runtime, batch), ending(runtime, batch) as end:
            return tally.complete(end.connection, batch, time.monotonic())

    def check(request: Request) -> None:
        if request.overwrite_edited:
            raise UsageError("a count overwrites nothing")

    kind: Any = "count"
    counting = Kind(
        name=kind, run=count, check=check, default_trials=lambda _: "none", mark="count"
    )
    monkeypatch.setitem(cast("dict[str, Kind]", KINDS), kind, counting)
    fleet.execute("ALTER TABLE flowshift.runs DROP CONSTRAINT runs_kind_known")
    fleet.add_many(2)
    with pytest.raises(UsageError, match="a count overwrites nothing"):
        fleet.start(kind=kind, overwrite_edited=True)
    run = fleet.planned(kind=kind)
    assert run.options.trials is None
    queue = TestQueue()
    process = fleet.process(queue)
    process.queue.top_up(run.run_id)
    assert queue.messages == [f"count {run.run_id}/1"]
    assert execute(BatchRef(run.run_id, 1), process) is not None
    assert finish_run(fleet.engine, run.run_id, actor="test") is not None
    [cell] = list(
        runs_table([(fleet.get(run.run_id), fleet.progress(run.run_id))], width=140)
        .columns[1]
        .cells
    )
    assert str(cell) == "completed (count)"


def test_every_kind_of_run_has_its_line_in_the_registry_and_its_task() -> None:
    assert tuple(KINDS) == RUN_KINDS
    for kind in KINDS:
        assert f"flowshift.{kind}_batch" in app.tasks


def test_a_batch_that_is_given_up_is_a_failed_task_without_a_traceback_in_the_logs(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("by zero")

    fleet.add_many(1)
    run = fleet.planned()
    monkeypatch.setattr(bots, "read_chunks", fail)
    with caplog.at_level(logging.INFO, "celery"):
        ended = tasks.runs.convert_batch.apply(kwargs={"run_id": run.run_id, "batch": 1})
    assert ended.state == "FAILURE"
    assert isinstance(ended.result, GivenUpError)
    assert repr(ended.result) == "given up: ZeroDivisionError: by zero"
    said = [record for record in caplog.records if record.name.startswith("celery")]
    assert "raised expected" in said[-1].getMessage()
    assert [record.exc_info for record in said if record.exc_info] == []
