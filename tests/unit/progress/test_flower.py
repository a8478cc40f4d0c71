"""A run as one row in Flower: which events it takes, and nothing that stops a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
from celery import Celery
from celery.events.state import State, Task

from tests.builders import some_progress
from worker.core.policy.batch_ref import BatchRef
from worker.core.policy.progress import Counts
from worker.core.policy.states import OVER, RunState
from worker.progress.flower import FlowerRow, describe, failure_of, row_id
from worker.queue.away import AWAY_S


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


def a_row(app: FakeApp, clock: Clock | None = None, pages: str = "") -> FlowerRow:
    clock = clock or Clock()
    return FlowerRow(cast("Celery", app), "worker@host", pages, clock, clock)


# -- the text ------------------------------------------------------------------------------------


def test_a_run_in_one_line_begins_with_what_matters() -> None:
    assert describe(some_progress(eta_s=170.0)) == (
        "▶ 50 % · 5 failed · 1 batch given up · 3 min left · 1,255/2,510 bots · 1,200 converted"
        " · 30 unchanged · 20 skipped · 1,190 validated · 42 bots/s"
    )


@pytest.mark.parametrize(
    ("changes", "beginning"),
    [
        ({"state": "planning"}, "▶ planning · 50 % · 5 failed"),
        ({"state": "finishing"}, "▶ finishing · 50 % · 5 failed"),
        ({"state": "paused", "reason": "lunch"}, "‖ paused: lunch · 50 % · 5 failed"),
        ({"state": "paused"}, "‖ paused · 50 %"),
        ({"waiting": "max_rate: 25 bots a second at most"}, "▶ 50 % · 5 failed"),
        ({"waiting": "lag: 12 s"}, "▷ waits for lag: 12 s · 50 % · 5 failed"),
        ({"state": "completed"}, "✔ completed · 50 %"),
        ({"state": "completed_with_failures"}, "✘ completed with failures · 50 % · 5 failed"),
        ({"state": "cancelled", "reason": "no"}, "■ cancelled: no · 50 %"),
        ({"state": "failed", "reason": "no plan"}, "✘ failed: no plan · 50 %"),
    ],
)
def test_a_row_begins_with_the_state_and_its_reason(
    changes: dict[str, Any], beginning: str
) -> None:
    assert describe(some_progress(**changes)).startswith(beginning)


@pytest.mark.parametrize("changes", [{"state": state} for state in (*sorted(OVER), "paused")])
def test_a_run_that_does_not_move_has_no_rate_and_no_time_left(changes: dict[str, Any]) -> None:
    for more in ({}, {"waiting": "a worker: none answers"}):
        said = describe(some_progress(**changes, **more))
        assert "bots/s" not in said
        assert " left" not in said


def test_a_run_that_waits_has_no_rate_and_no_time_left() -> None:
    said = describe(some_progress(waiting="a worker: none answers"))

    assert "bots/s" not in said
    assert " left" not in said


def test_a_rate_of_nought_is_not_shown() -> None:
    assert "bots/s" not in describe(some_progress(rate=0.0))


def test_a_dry_run_says_so() -> None:
    assert " · dry run · " in describe(some_progress(dry_run=True))


def test_an_empty_fleet_divides_nothing() -> None:
    said = describe(
        some_progress(counts=Counts(), bots_total=0, batches_failed=0, state="completed")
    )

    assert said.startswith("✔ completed · 100 % · 0/0 bots")


@pytest.mark.parametrize("state", ["paused", "cancelled", "failed"])
def test_a_hostile_reason_is_escaped_and_shortened(state: RunState) -> None:
    progress = some_progress(state=state, reason="\x1b[2J\u202e" + "x" * 5_000)

    for said in (describe(progress), failure_of(progress) or ""):
        assert said.isprintable()
        assert len(said) < 800


def test_what_a_run_waits_for_is_escaped() -> None:
    assert "waits for a\\x1b[2J\\u202e" in describe(some_progress(waiting="a\x1b[2J\u202e"))


# -- the events ----------------------------------------------------------------------------------


def shown(app: FakeApp) -> Task:
    """The row as Celery's state holds it, and so Flower."""
    state: Any = State()  # whose stubs know no tasks
    for kind, fields in app.sent:
        event = {"type": kind, "hostname": "w", "local_received": 1, "clock": 1, **fields}
        state.event(event)
    return cast("Task", state.tasks["run-12"])


def test_a_second_received_moves_the_row_up_and_leaves_its_state() -> None:
    app, clock = FakeApp(), Clock()
    row = a_row(app, clock)

    for _ in range(2):
        row.publish(some_progress())
        clock.now += 60

    task = shown(app)
    assert (task.state, task.received) == ("PROGRESS", 1_060.0)
    assert task.started == 1_060.0 - 30.2
    assert (task.name, task.args, task.kwargs) == ("flowshift.run", "", "run 12")
    assert task.result == describe(some_progress())


@pytest.mark.parametrize(
    ("state", "shows", "exception"),
    [
        ("planning", "PROGRESS", None),
        ("running", "PROGRESS", None),
        ("paused", "PAUSED", None),
        ("completed", "SUCCESS", None),
        (
            "completed_with_failures",
            "FAILURE",
            "5 bots and 1 batch failed: flowshift failures 12",
        ),
        ("cancelled", "FAILURE", "cancelled: why"),
        ("failed", "FAILURE", "failed: why"),
    ],
)
def test_the_state_of_a_row_is_true(state: RunState, shows: str, exception: str | None) -> None:
    app = FakeApp()
    row = a_row(app)

    for before in ("running", "paused", "running"):
        row.publish(some_progress(state=before))
    row.publish(some_progress(state=state, reason="why"))

    task = shown(app)
    assert (task.state, task.exception) == (shows, exception)
    assert task.result == describe(some_progress(state=state, reason="why"))


def test_a_paused_run_is_in_progress_again_once_it_goes_on() -> None:
    app = FakeApp()
    row = a_row(app)

    row.publish(some_progress(state="paused"))
    row.publish(some_progress())

    assert shown(app).state == "PROGRESS"


def test_a_run_that_is_over_stays_where_it_is_in_the_list() -> None:
    app, clock = FakeApp(), Clock()
    row = a_row(app, clock)

    row.publish(some_progress(state="completed"))
    clock.now += 40
    row.publish(some_progress(state="completed", over_for_s=40.0))

    task = shown(app)
    assert (task.state, task.received, task.succeeded) == ("SUCCESS", 1_000.0, 1_000.0)
    assert task.runtime == 30.2


def test_no_event_is_tried_again() -> None:
    app = FakeApp()

    a_row(app).publish(some_progress())

    assert all(fields["retry"] is False for _, fields in app.sent)
    assert set(app.hostnames) == {"worker@host"}


def test_every_run_has_a_row_of_its_own() -> None:
    app = FakeApp()
    row = a_row(app)

    row.publish(some_progress(run_id=1))
    row.publish(some_progress(run_id=2))

    assert [fields["uuid"] for _, fields in app.sent] == ["run-1"] * 3 + [row_id(2)] * 3


def test_a_batch_says_which_bots_it_holds_now() -> None:
    app = FakeApp()
    received = {"kwargs": "run 12, batch 3: through z", "timestamp": 1.0}
    app.send("task-received", uuid="run-12-batch-3", **received)

    a_row(app).show_batch(BatchRef(12, 3), "10 bots through f")

    state: Any = State()  # whose stubs know no tasks
    for kind, fields in app.sent:
        event = {"hostname": "w", "local_received": 1, "clock": 1, "timestamp": 2.0, **fields}
        state.event({"type": kind, **event})
    assert state.tasks["run-12-batch-3"].kwargs == "run 12, batch 3: 10 bots through f"


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


# -- a publication ---------------------------------------------------------------------------------


def test_the_rows_of_a_run_and_of_a_publication_name_their_pages_where_these_are_known() -> None:
    app = FakeApp()
    row = a_row(app, pages="https://flowshift.example/")

    row.publish(some_progress(run_id=12))
    row.show_publication(3, "wave 1 passed", is_over=False)

    said = {fields["kwargs"] for _, fields in app.sent if "kwargs" in fields}
    assert said == {
        "run 12 · https://flowshift.example/runs/12",
        "publication 3 · https://flowshift.example/publications/3",
    }


def test_a_publication_is_one_row_that_says_what_the_gate_says() -> None:
    app, state = FakeApp(), State()
    row = a_row(app)
    for said, is_over in (("wave 1: no alarm yet", False), ("wave 1 passed\x1b[2J", True)):
        app.sent.clear()
        assert row.show_publication(3, said, is_over=is_over)
        for kind, fields in app.sent:
            event = {"timestamp": 1.0, "hostname": "h", "clock": 1, "local_received": 1.0, **fields}
            state.event({"type": kind, **event})
        task = cast("Any", state).tasks["publication-3"]
        assert (task.name, task.kwargs) == ("flowshift.publication", "publication 3")
        assert task.state == ("SUCCESS" if is_over else "PROGRESS")
    assert task.result == "wave 1 passed\\x1b[2J"
