"""The queue of Celery's workers: what a message holds, and what happens while the queue is away."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery import Celery

from tests.fleet import Fleet
from tests.queues import TestQueue
from worker.app import configuration
from worker.core.policy.batch_ref import BatchRef
from worker.db.outbox import ToEnqueue
from worker.errors import QueueAwayError
from worker.queue.away import AWAY_S
from worker.queue.dispatch import CeleryQueue, Queue
from worker.runtime import Runtime
from worker.steps.enqueue import top_up

SLOT = dt.datetime(2026, 3, 31, 3, 30, tzinfo=dt.UTC)
BATCH = ToEnqueue(BatchRef(3, 7), "through \x1bz", "validate")


@pytest.fixture
def app(current: Runtime) -> Iterator[Celery]:
    """An application with this test's own queue."""
    app = Celery("test", set_as_current=False)
    app.conf.update(configuration(current))
    yield app
    app.close()


@pytest.fixture
def away() -> Iterator[Celery]:
    """An application whose queue is away: nothing listens on the port."""
    app = Celery(broker="redis://127.0.0.1:1/0", set_as_current=False)
    app.conf.update(broker_transport_options={"max_retries": 0}, task_publish_retry=False)
    yield app
    app.close()


def messages(current: Runtime, suffix: str = "") -> list[dict[str, Any]]:
    """What waits in a queue, first in first out."""
    with redis.Redis.from_url(current.servers.redis_url) as client:
        namespace = current.settings.namespace
        raw = client.lrange(f"{namespace}:queue:{namespace}{suffix}", 0, -1)
    return [json.loads(one) for one in reversed(raw)]


def test_a_message_holds_ids_and_what_flower_shows_of_it(app: Celery, current: Runtime) -> None:
    queue: Queue = CeleryQueue(app)
    assert queue.is_empty("convert")

    queue.enqueue_plan(3)
    assert queue.enqueue_batch(BATCH)
    queue.enqueue_prune(SLOT)

    headers = [one["headers"] for one in messages(current)]
    assert [(one["task"], one["id"], one["kwargsrepr"]) for one in headers[:2]] == [
        ("flowshift.plan_run", "run-3-plan", "run 3"),
        ("flowshift.validate_batch", "run-3-batch-7", r"run 3, batch 7: through \x1bz"),
    ]
    assert (headers[2]["task"], headers[2]["kwargsrepr"]) == (
        "flowshift.prune",
        "2026-03-31 03:30 UTC",
    )
    assert not queue.is_empty("convert")
    assert queue.answers()


def test_the_batches_of_a_publication_wait_in_a_queue_of_their_own(
    app: Celery, current: Runtime
) -> None:
    queue: Queue = CeleryQueue(app)
    assert queue.enqueue_batch(ToEnqueue(BatchRef(4, 1), "1 bots from b", "publish"))
    assert (queue.is_empty("convert"), queue.is_empty("publish")) == (True, False)
    assert messages(current) == []
    [one] = messages(current, ":publish")
    assert one["headers"]["task"] == "flowshift.publish_batch"

    assert queue.enqueue_batch(BATCH)
    assert not queue.is_empty("convert")


def test_a_queue_that_is_away_says_so_and_is_left_alone_for_a_moment(
    away: Celery, app: Celery
) -> None:
    now = [0.0]
    queue = CeleryQueue(away, clock=lambda: now[0])
    with pytest.raises(QueueAwayError, match="refused"):
        queue.enqueue_plan(3)
    with pytest.raises(QueueAwayError, match="refused"):
        queue.enqueue_prune(SLOT)
    assert (queue.answers(), queue.is_empty("convert")) == (False, False)

    assert not queue.enqueue_batch(BATCH)
    assert (queue.is_away, queue.failed_last) == (True, True)
    queue._app = app  # it is back
    now[0] += AWAY_S - 0.1
    assert not queue.enqueue_batch(BATCH)
    now[0] += 0.1
    assert (queue.is_away, queue.failed_last) == (False, True)
    assert queue.enqueue_batch(BATCH)
    assert not queue.failed_last


def test_a_window_of_a_runs_batches_is_enqueued_once(fleet: Fleet) -> None:
    fleet.add_many(4)
    run_id = fleet.planned(batch_size=1).run_id
    queue = TestQueue()

    assert [top_up(fleet.engine, queue, run_id, window=3) for _ in range(2)] == [None, None]
    assert queue.messages == [f"convert {run_id}/{number}" for number in (1, 2, 3)]


def test_while_the_queue_is_away_a_batch_is_left_to_the_caller_and_none_is_marked(
    fleet: Fleet,
) -> None:
    fleet.add_many(2)
    run_id = fleet.planned(batch_size=1).run_id
    queue = TestQueue()
    queue.answering = False

    assert top_up(fleet.engine, queue, run_id, window=3) == BatchRef(run_id, 1)
    assert fleet.take(run_id, 3) == [1, 2]
