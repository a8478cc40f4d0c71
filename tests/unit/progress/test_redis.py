"""Progress on its way to Redis: the fields, the ticker, and leaving Redis alone while it is away."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
import redis

from tests.builders import some_progress
from worker.core.policy.progress import Counts
from worker.core.policy.states import OVER, RUN_STATES, RunState
from worker.progress.redis import (
    EVENTS_KEPT,
    RedisPublisher,
    Ticker,
    as_fields,
    events_key,
    run_key,
)
from worker.queue.away import AWAY_S


class Clock:
    """A clock that stands still until somebody moves it."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class FakeRedis:
    """Stands for redis-py's client: keeps what the script was called with, answers or fails."""

    def __init__(self) -> None:
        self.answer: int | Exception = 1
        self.published: list[tuple[list[str], list[Any]]] = []

    def register_script(self, script: str) -> FakeRedis:
        return self

    def __call__(self, *, keys: list[str], args: list[Any]) -> int:
        self.published.append((keys, args))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def a_publisher(client: FakeRedis, clock: Clock, keep_s: int = 600) -> RedisPublisher:
    return RedisPublisher(cast("redis.Redis", client), "blue", keep_s, clock)


# -- fields --------------------------------------------------------------------------------------


def test_what_strangers_named_acts_on_no_terminal_that_shows_it() -> None:
    fields = as_fields(some_progress(reason="stop\x1b[2J\u202e", waiting="lock of bot\x07 1"))
    assert fields["reason"] == "stop\\x1b[2J\\u202e"
    assert fields["waiting"] == "lock of bot\\x07 1"


def test_progress_is_published_as_flat_fields() -> None:
    assert as_fields(some_progress()) == {
        "run_id": 12,
        "request_id": "req-1",
        "version": 1_013,
        "state": "running",
        "dry_run": 0,
        "bots_total": 2_510,
        "bots_done": 1_255,
        "converted": 1_200,
        "unchanged": 30,
        "published": 0,
        "rolled_back": 0,
        "skipped": 20,
        "failed": 5,
        "validated": 1_190,
        "warnings": 40,
        "batches_total": 26,
        "batches_done": 12,
        "batches_failed": 1,
        "bots_per_s": 41.5,
        "eta_s": 30.2,
        "elapsed_s": 30.2,
    }


def test_what_is_unknown_is_missing_and_nought_is_not() -> None:
    fields = as_fields(some_progress(eta_s=None, reason=None, rate=0.0, counts=Counts()))

    assert not {"eta_s", "reason"} & set(fields)
    assert (fields["bots_per_s"], fields["bots_done"], fields["failed"]) == (0.0, 0, 0)
    assert as_fields(some_progress(eta_s=0.0))["eta_s"] == 0.0


def test_a_reason_and_a_dry_run_are_told() -> None:
    fields = as_fields(some_progress(reason="too many failures", dry_run=True, state="paused"))

    assert (fields["reason"], fields["dry_run"], fields["state"]) == (
        *("too many failures", 1, "paused"),
    )


def test_every_value_is_one_that_redis_takes() -> None:
    fields = as_fields(some_progress(reason="why"))

    assert {type(value) for value in fields.values()} <= {str, int, float}


def test_keys_begin_with_the_namespace() -> None:
    assert (run_key("blue", 12), events_key("blue")) == ("blue:run:12", "blue:events")


# -- publishing ----------------------------------------------------------------------------------


def test_a_message_names_its_run_and_version_and_carries_the_fields_twice() -> None:
    client = FakeRedis()
    progress = some_progress()

    assert a_publisher(client, Clock()).publish(progress) is True

    ((keys, arguments),) = client.published
    assert keys == ["blue:run:12", "blue:events"]
    assert arguments[:5] == ["req-1", 1_013, "blue:run:12", 0, EVENTS_KEPT]
    assert json.loads(arguments[5]) == as_fields(progress)
    flat = arguments[6:]
    assert dict(zip(flat[::2], flat[1::2], strict=True)) == as_fields(progress)


@pytest.mark.parametrize("state", RUN_STATES)
def test_a_runs_keys_expire_only_when_it_is_over(state: RunState) -> None:
    client = FakeRedis()

    a_publisher(client, Clock(), keep_s=600).publish(some_progress(state=state))

    assert client.published[0][1][3] == (600 if state in OVER else 0)


def test_what_redis_holds_newer_is_not_published() -> None:
    client = FakeRedis()
    client.answer = 0

    assert a_publisher(client, Clock()).publish(some_progress()) is False


@pytest.mark.parametrize(
    "error",
    [
        redis.ConnectionError("refused"),
        redis.TimeoutError("slow"),
        redis.ResponseError("READONLY"),
        OSError("no route"),
    ],
)
def test_redis_that_fails_is_left_alone_for_a_while_and_then_tried_again(error: Exception) -> None:
    client, clock = FakeRedis(), Clock()
    publisher = a_publisher(client, clock)
    client.answer = error

    assert publisher.publish(some_progress()) is False
    client.answer = 1
    clock.now += AWAY_S - 0.001
    assert publisher.publish(some_progress()) is False
    assert len(client.published) == 1
    clock.now += 0.001
    assert publisher.publish(some_progress()) is True
    assert len(client.published) == 2


def test_redis_that_refused_something_older_is_not_away() -> None:
    client = FakeRedis()
    publisher = a_publisher(client, Clock())

    client.answer = 0
    publisher.publish(some_progress())
    client.answer = 1

    assert publisher.publish(some_progress()) is True


def test_a_mistake_of_the_program_is_not_swallowed() -> None:
    client = FakeRedis()
    client.answer = TypeError("mistake")

    with pytest.raises(TypeError, match="mistake"):
        a_publisher(client, Clock()).publish(some_progress())


# -- ticker --------------------------------------------------------------------------------------


def test_a_ticker_lets_one_message_through_per_interval() -> None:
    clock = Clock()
    ticker = Ticker(0.25, clock)
    due = []

    for moment in (0.0, 0.125, 0.249, 0.25, 0.3, 0.5, 0.5, 9.0, 9.2, 9.25):
        clock.now = 1_000.0 + moment
        due.append(ticker.is_due())

    assert due == [True, False, False, True, False, True, False, True, False, True]


def test_the_first_message_is_due_whatever_the_clock_says() -> None:
    assert Ticker(60.0, Clock(0.0)).is_due() is True
    assert Ticker(60.0, Clock(-5.0)).is_due() is True


def test_without_an_interval_every_message_is_due() -> None:
    ticker = Ticker(0.0, Clock())

    assert [ticker.is_due() for _ in range(3)] == [True, True, True]


def test_what_takes_long_to_find_out_is_asked_for_a_fiftieth_of_the_time() -> None:
    clock = Clock()
    ticker = Ticker(0.25, clock)
    assert ticker.is_due()
    with ticker.timed():
        clock.now += 0.1

    clock.now = 1_000.0 + 4.99
    assert not ticker.is_due()
    clock.now = 1_000.0 + 5.01
    assert ticker.is_due()
    with ticker.timed():
        clock.now += 0.001

    clock.now = 1_000.0 + 5.25
    assert not ticker.is_due()
    clock.now = 1_000.0 + 5.27
    assert ticker.is_due(), "it is quick again: the interval is what was set"


def test_a_question_that_fails_after_long_is_not_asked_again_at_once() -> None:
    clock = Clock()
    ticker = Ticker(0.25, clock)
    assert ticker.is_due()
    with pytest.raises(TimeoutError), ticker.timed():
        _time_out(clock, after_s=1.0)

    clock.now = 1_000.0 + 49.9
    assert not ticker.is_due()


def test_without_an_interval_every_message_is_due_however_long_it_takes() -> None:
    clock = Clock()
    ticker = Ticker(0.0, clock)
    assert ticker.is_due()
    with ticker.timed():
        clock.now += 1.0

    assert ticker.is_due()


def _time_out(clock: Clock, *, after_s: float) -> None:
    clock.now += after_s
    raise TimeoutError
