"""Closed doors: messages that somebody else put into the queue, and secrets that nobody may see."""

from __future__ import annotations

import json
import pickle
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from tests.fleet import Fleet
from tests.live import Environment, all_is_well, eventually, is_over, running, start
from worker.app import configuration
from worker.queue.message_validation import MAX_BYTES
from worker.runtime import Runtime
from worker.settings import Settings

pytestmark = pytest.mark.acceptance


@pytest.fixture
def sender(current: Runtime) -> Iterator[Celery]:
    """An application of somebody else's that sends to this test's queue."""
    app = Celery("somebody else", set_as_current=False)
    app.conf.update(configuration(current))
    yield app
    app.close()


class Evil:
    """What runs code where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


PLANTED = "body-that-nobody-logs"


def forged(mark: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Messages that no worker should take: (body, what else is published with it)."""
    text = {"content_type": "application/json", "content_encoding": "utf-8"}
    binary = {"content_type": "application/x-python-serialize", "content_encoding": "binary"}
    pickled = pickle.dumps(([Evil(mark)], {}, {}))
    yaml = f"[[], !!python/object/apply:os.mknod ['{mark}'], {{}}]".encode()
    yield pickled, binary
    yield pickled, text
    yield pickled, {**binary, "headers": None}
    yield yaml, {"content_type": "application/x-yaml", "content_encoding": "utf-8"}
    yield b"[[],{},{}]", {"content_type": "application/x-nonsense", "content_encoding": "utf-8"}

    for kwargs in (
        {"run_id": PLANTED, "batch": 1},
        {"run_id": {"$gt": 0}, "batch": [1]},
        {"run_id": True, "batch": 1},
        {"run_id": 10**30, "batch": 1},
        {"run_id": None, "batch": None},
        {"run_id": 1},
        {"run_id": 1, "batch": 1, PLANTED: 1},
    ):
        yield json.dumps([[], kwargs, {}]).encode(), text
    for body in (b"", PLANTED.encode(), b"null", b"{}", b"[]", b"[1,2,3]", b"[" * 100_000):
        yield body, text
    yield json.dumps([[], {"bot_ids": ["x" * MAX_BYTES]}, {}]).encode(), text
    yield zlib.compress(bytes(50 * MAX_BYTES)), {**text, "headers": {"compression": "zlib"}}
    good = json.dumps([[], {"run_id": 1, "batch": 1}, {}]).encode()
    for headers in ({"task": ["x"]}, {"task": "celery.map"}, {"timelimit": 5}, {"id": None}):
        yield good, {**text, "headers": headers}
    yield good, {**text, "headers": {"eta": PLANTED}}


BROKEN = (
    *(PLANTED.encode(), b"", b"{}", b"[]", b"\xff", b"[" * 100_000),
    b'{"properties": {"delivery_tag": "1", "body_encoding": "none"}, "body": "x"}',
    b'{"properties": {"delivery_tag": "1"}, "headers": [1], "body": "x"}',
)
"""What is no message at all: entries of the queue's list in Redis."""


def test_forged_messages_run_nothing_stop_no_worker_and_are_logged_once(
    fleet: Fleet, environment: Environment, settings: Settings, sender: Celery, tmp_path: Path
) -> None:
    ids = fleet.add_many(30)
    mark = tmp_path / "it-ran"
    with running(environment, tmp_path, with_beat=False) as supervisor:
        before = dict(supervisor.pids)
        sent = publish(sender, mark)
        with redis.Redis.from_url(settings.redis_url) as client:
            for raw in BROKEN:
                client.lpush(f"{settings.namespace}:queue:{settings.namespace}", raw)
        run_id = start(sender, fleet, batch_size=10)
        eventually(is_over(fleet, run_id))
        after = dict(supervisor.pids)
    all_is_well(fleet, run_id, ids)
    assert after == before
    assert not mark.exists()

    log = (tmp_path / "log" / "w0.log").read_text()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    refused = [line["reason"] for line in lines if line["event"] == "message.refused"]
    assert len(refused) == sent
    assert refused.count("it cannot be opened: it is compressed") == 1
    assert sum(line["event"] == "queue.stumbled" for line in lines) == len(BROKEN)
    assert PLANTED not in log
    assert not [line for line in lines if line["event"] in {"batch.faulted", "run.unplanned"}]


def publish(sender: Celery, mark: Path) -> int:
    """Put every forged message into the queue; returns how many."""
    messages = list(forged(mark))
    with sender.connection_for_write() as connection:
        queue = sender.amqp.queues[sender.conf.task_default_queue]
        producer = connection.Producer(exchange=queue.exchange, routing_key=queue.routing_key)
        for number, (body, how) in enumerate(messages):
            headers = {"task": "flowshift.convert_batch", "id": f"forged-{number}", "lang": "py"}
            given = how.get("headers", {})
            headers = {} if given is None else {**headers, **given}
            producer.publish(body, **{**how, "headers": headers}, declare=[queue])
    return len(messages)
