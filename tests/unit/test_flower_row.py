"""A run as one row in Flower: which events it takes, and nothing that stops a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
from celery import Celery
from celery.events.state import State

from tests.builders import some_progress
from worker.core.progress import Counts
from worker.core.states import OVER, RunState
from worker.flower_row import FlowerRow, describe, row_id
from worker.publisher import AWAY_S


class FakeApp:
    """Stands for Celery's app, whose dispatcher keeps what is sent, or fails."""

    def __init__(self) -> None:
        self.events = self
        self.failure: Exception | None = None
        self.hostnames: list[str] = []
        self.sent: list[tuple[str, dict[str, Any]]] = []

    @contextmanager
    def default_dispatcher(self, *, hostname: str) -> Iterator[FakeApp]:
        self.hostnames.append(hostname)
        if self.failure:
            raise self.failure
        yield self

    def send(self, kind: str, **fields: Any) -> None:
        self.sent.append((kind, fields))

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.sent]


class Clock:
    """A clock that stands still until somebody moves it."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def a_row(app: FakeApp, clock: Clock | None = None) -> FlowerRow:
    return FlowerRow(cast("Celery", app), "worker@host", clock or Clock())


# -- the text ------------------------------------------------------------------------------------


def test_a_run_in_one_line_begins_with_what_matters() -> None:
    assert describe(some_progress(eta_s=170.0)) == (
        "▶ 50 % · 5 failed · 3 min left · running · 1,255/2,510 bots · 1,200 converted"
        " · 30 unchanged · 20 skipped · 1,190 validated · 42 bots/s"
    )


@pytest.mark.parametrize("state", sorted({*OVER, "paused"}))
def test_a_run_that_is_not_at_work_has_no_rate_and_no_time_left(state: RunState) -> None:
    told = describe(some_progress(state=state, eta_s=170.0, waiting="max_rate"))

    assert f" · {state.replace('_', ' ')} · " in told
    assert "bots/s" not in told
    assert "left" not in told
    assert "waiting" not in told


def test_a_share_is_never_rounded_up_to_all() -> None:
    told = describe(some_progress(counts=Counts(converted=999), bots_total=1_000))

    assert told.startswith("▶ 99 % · ")


def test_a_rate_of_nought_is_not_shown() -> None:
    assert "bots/s" not in describe(some_progress(rate=0.0))


def test_a_dry_run_says_so_early() -> None:
    assert describe(some_progress(dry_run=True)).startswith("▶ 50 % · dry run · ")


def test_an_empty_fleet_divides_nothing() -> None:
    told = describe(some_progress(counts=Counts(), bots_total=0, state="completed"))

    assert told.startswith("✔ 100 % · completed · 0/0 bots")


# -- the events ----------------------------------------------------------------------------------


def test_a_run_is_received_started_in_progress_and_succeeded() -> None:
    app = FakeApp()
    row = a_row(app)

    assert row.publish(some_progress()) is True
    assert row.publish(some_progress(version=1_014)) is True
    assert row.publish(some_progress(state="completed", version=2_000)) is True

    assert app.kinds == [
        "task-received",
        "task-started",
        "task-progress",
        "task-received",
        "task-progress",
        "task-received",
        "task-succeeded",
    ]
    assert {fields["uuid"] for _, fields in app.sent} == {"run-12"} == {row_id(12)}
    assert set(app.hostnames) == {"worker@host"}


def test_no_event_is_tried_again() -> None:
    app = FakeApp()

    a_row(app).publish(some_progress())

    assert all(fields["retry"] is False for _, fields in app.sent)


def test_the_row_is_named_and_its_result_is_the_line() -> None:
    app = FakeApp()
    progress = some_progress(dry_run=True)

    a_row(app).publish(progress)

    (_, received), _, (_, moving) = app.sent
    assert (received["name"], received["kwargs"]) == ("flowshift.run", "run 12, dry run")
    assert (moving["name"], moving["result"]) == ("flowshift.run", describe(progress))


def as_celery_keeps_it(app: FakeApp) -> Any:
    """The row as Flower has it: Celery's own state, fed with what was sent."""
    state = cast("Any", State())
    for at, (kind, fields) in enumerate(app.sent, start=1):
        state.event(
            {"type": kind, "hostname": "h", "timestamp": at, "local_received": at, "clock": at}
            | {name: value for name, value in fields.items() if name != "retry"}
        )
    return state.tasks[row_id(12)]


def test_a_run_at_work_is_received_again_with_each_progress() -> None:
    app = FakeApp()
    row = a_row(app)

    row.publish(some_progress())
    first = as_celery_keeps_it(app).received
    row.publish(some_progress())

    kept = as_celery_keeps_it(app)
    assert kept.received > first
    assert kept.state == "PROGRESS"


def test_a_paused_run_is_paused_and_goes_on_in_progress() -> None:
    app = FakeApp()
    row = a_row(app)
    row.publish(some_progress())

    row.publish(some_progress(state="paused", reason="paused by anna"))
    paused = as_celery_keeps_it(app)
    row.publish(some_progress())

    assert (paused.state, as_celery_keeps_it(app).state) == ("PAUSED", "PROGRESS")
    assert "paused by anna" in paused.result


@pytest.mark.parametrize(
    ("state", "reason", "shown", "exception"),
    [
        ("completed", None, "SUCCESS", None),
        ("cancelled", None, "FAILURE", "cancelled"),
        ("cancelled", "by anna", "FAILURE", "cancelled: by anna"),
        (
            "completed_with_failures",
            None,
            "FAILURE",
            "5 of 2,510 bots failed: flowshift failures 12",
        ),
        ("failed", "invalid request: limit", "FAILURE", "invalid request: limit"),
        ("failed", None, "FAILURE", "the run failed"),
    ],
)
def test_the_state_of_a_run_that_is_over_is_true(
    state: RunState, reason: str | None, shown: str, exception: str | None
) -> None:
    app = FakeApp()
    row = a_row(app)
    row.publish(some_progress())

    row.publish(some_progress(state=state, reason=reason, elapsed_s=30.2))

    kept = as_celery_keeps_it(app)
    assert (kept.state, kept.exception, kept.runtime) == (shown, exception, 30.2)


def test_every_run_has_a_row_of_its_own() -> None:
    app = FakeApp()
    row = a_row(app)

    row.publish(some_progress(run_id=1))
    row.publish(some_progress(run_id=2))

    assert app.kinds == ["task-received", "task-started", "task-progress"] * 2
    assert [fields["uuid"] for _, fields in app.sent] == ["run-1"] * 3 + ["run-2"] * 3


def test_a_run_that_goes_on_after_its_end_is_begun_again() -> None:
    app = FakeApp()
    row = a_row(app)

    row.publish(some_progress(state="completed"))
    row.publish(some_progress(state="running"))

    assert app.kinds[3:] == ["task-received", "task-started", "task-progress"]


@pytest.mark.parametrize("failure", [OSError("refused"), RuntimeError("kombu's"), KeyError("x")])
def test_a_broker_that_fails_is_left_alone_for_a_while_and_then_tried_again(
    failure: Exception,
) -> None:
    app, clock = FakeApp(), Clock()
    row = a_row(app, clock)
    app.failure = failure

    assert row.publish(some_progress()) is False
    app.failure = None
    clock.now += AWAY_S - 0.001
    assert row.publish(some_progress()) is False
    assert (len(app.hostnames), app.sent) == (1, [])
    clock.now += 0.001
    assert row.publish(some_progress()) is True
    assert app.kinds[-1] == "task-progress"
