"""Which ticks of the gate the beat sends, on real Redis and PostgreSQL: none that nobody would take."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import redis
from celery import Celery

from tests.fleet import Fleet
from tests.gate import Gate
from tests.hook_server import Desk
from tests.publishing import Publishing
from tests.roles import Role
from worker import runtime
from worker.app import configuration
from worker.core.notify.runs import run_paused
from worker.core.policy.batch_ref import BatchRef
from worker.core.policy.run_kinds import QueueName
from worker.db import heartbeats
from worker.db.heartbeats import Identity, Sign
from worker.db.notifications import notify
from worker.db.outbox import ToEnqueue
from worker.processes.beat import Scheduler
from worker.queue.dispatch import CeleryQueue
from worker.runtime import Runtime


class Beat:
    """The beat's scheduler with this test's queue; each turn sends what is due."""

    def __init__(self, app: Celery, current: Runtime, file: Path) -> None:
        self.queue = CeleryQueue(app)
        self._current = current
        self._scheduler = Scheduler(app=app, schedule_filename=str(file))

    def turn(self, name: str = "tick-publications") -> None:
        """The time of an entry has come."""
        self._scheduler.apply_entry(self._scheduler.schedule[name])

    def waiting(self, suffix: str = ":publish") -> list[str]:
        """The tasks that wait in a queue, first in first out."""
        with redis.Redis.from_url(self._current.servers.redis_url) as client:
            namespace = self._current.settings.namespace
            raw = client.lrange(f"{namespace}:queue:{namespace}{suffix}", 0, -1)
        return [json.loads(one)["headers"]["task"] for one in reversed(raw)]

    def close(self) -> None:
        """Close its file and connections."""
        self._scheduler.close()


def the_beat(current: Runtime, file: Path) -> Iterator[Beat]:
    app = Celery("test", set_as_current=False)
    app.conf.update(configuration(current))
    made = Beat(app, current, file)
    yield made
    made.close()
    app.close()


@pytest.fixture
def beat(current: Runtime, tmp_path: Path) -> Iterator[Beat]:
    """A beat of the owner's."""
    yield from the_beat(current, tmp_path / "schedule")


@pytest.fixture
def gate(fleet: Fleet) -> Gate:
    """A publication whose first wave is about to go out."""
    fleet.add_many(3)
    fleet.run(validate="sample:1")
    gate = Gate(Publishing(fleet))
    gate.start("1, all")
    return gate


def worker(fleet: Fleet, *queues: QueueName) -> Identity:
    """A worker that was seen to take messages of these queues a moment ago."""
    me = Identity(uuid.uuid4(), "worker", "w@here", "here", 7, "0.1.0", queues)
    with fleet.engine.begin() as connection:
        heartbeats.begin(connection, me)
        heartbeats.beat(connection, me, Sign(0.0, "it takes messages"))
    return me


TICK = "flowshift.tick_publications"


def test_where_nothing_is_published_no_tick_is_sent(fleet: Fleet, beat: Beat) -> None:
    worker(fleet, "convert")
    for _ in range(3):
        beat.turn()
    assert beat.waiting() == []
    assert beat.queue.is_empty("publish")
    worker(fleet, "convert", "publish")
    beat.turn()
    assert beat.waiting() == []


def test_the_beats_other_messages_are_sent_all_the_same(fleet: Fleet, beat: Beat) -> None:
    beat.turn("sweep")
    beat.turn("tick-prune")
    assert beat.waiting("") == ["flowshift.sweep", "flowshift.tick_prune"]
    assert fleet.rows("SELECT FROM flowshift.publications") == []


def test_without_a_publisher_one_tick_waits_for_the_next_one(gate: Gate, beat: Beat) -> None:
    worker(gate.fleet, "convert")
    for _ in range(4):
        beat.turn()
    assert beat.waiting() == [TICK]


def test_without_a_publisher_no_tick_is_added_to_batches_that_wait(gate: Gate, beat: Beat) -> None:
    assert beat.queue.enqueue_batch(ToEnqueue(BatchRef(2, 1), "1 bot", "publish"))
    beat.turn()
    assert beat.waiting() == ["flowshift.publish_batch"]
    assert gate.states()[0] == "publishing"


def test_with_a_publisher_every_tick_is_sent_however_many_batches_wait(
    gate: Gate, beat: Beat
) -> None:
    worker(gate.fleet, "publish")
    assert beat.queue.enqueue_batch(ToEnqueue(BatchRef(2, 1), "1 bot", "publish"))
    beat.turn()
    beat.turn()
    assert beat.waiting() == ["flowshift.publish_batch", TICK, TICK]


def test_a_publisher_that_stopped_or_fell_silent_is_none(gate: Gate, beat: Beat) -> None:
    stopped, silent = worker(gate.fleet, "publish"), worker(gate.fleet, "publish")
    with gate.fleet.engine.begin() as connection:
        heartbeats.stop(connection, stopped)
    beat.turn()
    beat.turn()
    assert beat.waiting() == [TICK] * 2
    gate.fleet.execute(
        "UPDATE flowshift.heartbeats SET beat_at = beat_at - interval '61 s'"
        f" WHERE instance_id = '{silent.instance_id}'"
    )
    beat.turn()
    assert beat.waiting() == [TICK] * 2


def test_once_the_publication_is_over_no_tick_is_sent(gate: Gate, beat: Beat) -> None:
    worker(gate.fleet, "publish")
    gate.fleet.execute(
        "UPDATE flowshift.publications SET state = 'stopped', finished_at = now(), held_because = NULL"
    )
    beat.turn()
    assert beat.waiting() == []


def test_a_beat_with_a_workers_few_rights_sends_them_too(
    gate: Gate, role: Role, tmp_path: Path
) -> None:
    current = gate.fleet.current
    servers = msgspec.structs.replace(
        current.servers, database_url=role.url(current.settings.database_url)
    )
    few = Runtime(current.settings, servers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("worker.processes.beat.runtime", lambda: few)
        for beat in the_beat(few, tmp_path / "schedule"):
            beat.turn()
            beat.turn()
            assert beat.waiting() == [TICK]
    few.close()


def test_while_the_database_is_away_the_beat_goes_on(beat: Beat, current: Runtime) -> None:
    nowhere = "postgresql+psycopg://me@127.0.0.1:1/none"
    away = Runtime(current.settings, msgspec.structs.replace(current.servers, database_url=nowhere))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("worker.processes.beat.runtime", lambda: away)
        beat.turn()
        beat.turn("sweep")
    away.close()
    assert (beat.waiting(), beat.waiting("")) == ([], ["flowshift.sweep"])
    assert runtime.runtime() is current


def test_the_beat_has_notifications_sent_only_where_some_are_due(
    current: Runtime, tmp_path: Path
) -> None:
    desk = Desk(tmp_path).add("ops", "webhook", "http://127.0.0.1:9/")
    settings = msgspec.structs.replace(current.settings, notify=str(desk.path))
    current = runtime.configure(settings)
    for beat in the_beat(current, tmp_path / "schedule"):
        beat.turn("send-notifications")
        assert beat.waiting("") == []
        with current.engine.begin() as connection:
            notify(connection, run_paused(3, "convert", "cycle: 40 of the last 60 bots failed"))

        beat.turn("send-notifications")

        assert beat.waiting("") == ["flowshift.send_notifications"]
