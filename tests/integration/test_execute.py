"""The way of a batch through the code: straight down, no module entered again, and back once."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest

import tasks.runs
from tests.fleet import Fleet
from tests.walk import Walk, frames_between
from worker.app import app
from worker.core.policy.states import RUN_KINDS
from worker.db import admission, bots
from worker.errors import GivenUpError
from worker.steps.batch.kinds import KINDS

ARCHITECTURE = Path(__file__).parents[2] / "docs" / "explanation" / "architecture.md"

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


@pytest.mark.parametrize("kind", RUN_KINDS)
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
    assert [path.replace("/", ".") for path in listed] == walked(run.run_id).modules


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
