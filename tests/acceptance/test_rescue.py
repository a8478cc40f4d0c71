"""Workers that die, messages that get lost, bots that kill: the run ends by itself, and right."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from celery import Celery

from tests.fleet import Fleet, a_workflow
from tests.killers import FOR_EVER, KILLED, MEMORY, SEGFAULT, SLOW
from tests.live import (
    Environment,
    all_is_well,
    audited,
    children,
    eventually,
    has_done,
    logged,
    losses,
    private_redis,
    running,
    send_batch,
    send_nonsense,
    start,
    started,
    tending,
    until_over,
)
from worker.app import configuration
from worker.db import run_results
from worker.runtime import Runtime
from worker.servers.connect import Servers

pytestmark = pytest.mark.acceptance

RABBITMQ = "amqp://guest:guest@127.0.0.1:5672//"


def rabbitmq_answers() -> bool:
    """Whether there is a RabbitMQ here to test with."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", 5672)) == 0


BROKERS = [
    "redis",
    pytest.param(
        "rabbitmq",
        marks=pytest.mark.skipif(
            not rabbitmq_answers(), reason="no RabbitMQ answers at 127.0.0.1:5672"
        ),
    ),
]


@pytest.fixture(params=BROKERS)
def broker_url(request: pytest.FixtureRequest, namespace: str) -> Iterator[str]:
    """The queue's URL: empty for Redis."""
    if request.param == "redis":
        yield ""
        return
    yield RABBITMQ
    app = Celery(broker=RABBITMQ, set_as_current=False)
    with app.connection_for_write() as connection:
        channel: Any = connection.default_channel
        channel.queue_delete(namespace)
        control = f"{namespace}-control.pidbox"
        for name in (namespace, f"{namespace}-events", control, f"reply.{control}"):
            channel.exchange_delete(name)


@pytest.fixture
def sender(current: Runtime, broker_url: str) -> Iterator[Celery]:
    """An application of somebody else's that sends to this test's queue."""
    with_queue = Runtime(
        current.settings,
        Servers(current.servers.database_url, current.servers.redis_url, broker_url),
    )
    app = Celery("somebody else", set_as_current=False)
    app.conf.update(configuration(with_queue))
    yield app
    app.close()


# -- the queue, on both brokers --------------------------------------------------------------------


def test_messages_twice_late_reordered_unknown_malformed_and_of_no_run_change_nothing(
    fleet: Fleet, quick: Environment, tmp_path: Path, sender: Celery, broker_url: str
) -> None:
    ids = fleet.add_many(2_000)
    run = fleet.planned(batch_size=100)
    for number in (*range(20, 0, -1), *range(1, 21)):
        send_batch(sender, run.run_id, number)
        if number == 7:
            sender.send_task("flowshift.no_such_task")
            sender.send_task("flowshift.convert_batch", kwargs={"batch": "seven"})
            send_batch(sender, 999, 1)
            send_nonsense(sender)
    with running({**quick, "FLOWSHIFT_BROKER_URL": broker_url}, tmp_path, count=2) as supervisor:
        until_over(fleet, run.run_id, supervisor)
        send_batch(sender, run.run_id, 3)
        last = start(sender, fleet, limit=1)  # behind everything in the queue
        until_over(fleet, last, supervisor)
    all_is_well(fleet, run.run_id, ids)
    assert losses(fleet, run.run_id) == 0


def test_a_run_survives_killed_workers_children_beat_and_command_with_nothing_sent_by_hand(
    fleet: Fleet, quick: Environment, tmp_path: Path, broker_url: str
) -> None:
    ids = fleet.add_many(2_700)
    environment = {**quick, "FLOWSHIFT_BROKER_URL": broker_url}
    draw = random.Random(4)
    victims = ["w0", "w1", "beat", "child", "command"]
    draw.shuffle(victims)
    with running(environment, tmp_path, count=2) as supervisor:
        eventually(lambda: logged(tmp_path, "w0") and logged(tmp_path, "w1"))  # "w0-1@host ready."
        command = subprocess.Popen(
            [sys.executable, "-m", "worker", "migrate", "--batch-size", "30"],
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        eventually(lambda: fleet.rows("SELECT FROM flowshift.runs"))
        for done in sorted(draw.sample(range(2, 70), len(victims))):
            tending(supervisor, has_done(fleet, 1, done))
            pids = {"command": command.pid, **supervisor.pids}
            pool = [child for name in ("w0", "w1") for child in children(pids.get(name))]
            pids |= {"child": draw.choice(pool)} if pool else {}
            if victim := pids.get(victims.pop()):
                os.kill(victim, signal.SIGKILL)
        command.wait(10)
        until_over(fleet, 1, supervisor)
    all_is_well(fleet, 1, ids)


def test_a_worker_told_to_stop_hands_its_batch_back_and_that_is_no_loss(
    fleet: Fleet,
    quick: Environment,
    tmp_path: Path,
    sender: Celery,
    broker_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fleet.add("slow", a_workflow(SLOW))
    environment = {**quick, "FLOWSHIFT_BROKER_URL": broker_url}
    patient = {**environment, "SLOW_S": "40"}
    with running(patient, tmp_path, with_beat=False) as supervisor:
        run_id = start(sender, fleet)
        eventually(lambda: fleet.rows("SELECT FROM flowshift.batches WHERE state = 'running'"))
        supervisor.stop()
    assert "process.killed" not in caplog.text  # it stopped in time, though its bot takes 40 s
    assert audited(fleet, run_id) >= {"batch.handed_back"}
    with running({**environment, "SLOW_S": "0"}, tmp_path) as supervisor:
        until_over(fleet, run_id, supervisor)
    assert fleet.outcomes(run_id) == {"slow": "converted"}
    assert losses(fleet, run_id) == 0


def test_a_worker_told_to_stop_ends_with_the_batch_that_it_is_at(
    fleet: Fleet, environment: Environment, tmp_path: Path, sender: Celery, broker_url: str
) -> None:
    fleet.add("a-slow-one", a_workflow(SLOW))
    fleet.add_many(20)
    at_work = "SELECT FROM flowshift.batches WHERE number = 1 AND state = 'running'"
    environment |= {"FLOWSHIFT_BROKER_URL": broker_url, "SLOW_S": "2"}
    with running(environment, tmp_path, with_beat=False) as supervisor:
        run_id = start(sender, fleet, batch_size=1)
        eventually(lambda: fleet.rows(at_work))
        worker = psutil.Process(supervisor.pids["w0"])
        worker.terminate()
        assert worker.wait(15) == 0  # cold, out of time or killed it would be something else
    assert fleet.outcomes(run_id)["a-slow-one"] == "converted"
    assert "batch.handed_back" not in audited(fleet, run_id)
    assert fleet.rows("SELECT FROM flowshift.batches WHERE state = 'running'") == []


# -- Redis -----------------------------------------------------------------------------------------


def test_a_redis_out_of_memory_and_then_killed_and_started_empty_loses_nothing(
    fleet: Fleet, quick: Environment, tmp_path: Path
) -> None:
    ids = fleet.add_many(2_000)
    with private_redis(tmp_path) as (url, server), redis.Redis.from_url(url) as client:
        # All batches are in the queue at once, so that some are lost with it.
        environment = {**quick, "FLOWSHIFT_REDIS_URL": url, "FLOWSHIFT_BATCH_WINDOW": "100"}
        with running(environment, tmp_path) as supervisor:
            run_id = started(environment, batch_size=20)
            tending(supervisor, has_done(fleet, run_id, 3))
            client.config_set("maxmemory", "1")
            tending(supervisor, lambda: logged(tmp_path, "progress.unpublished"))
            client.config_set("maxmemory", "0")
            assert not fleet.progress(run_id).is_over
            if worker := supervisor.pids.get("w0"):  # else it ended for want of Redis
                for pid in (worker, *children(worker)):
                    os.kill(pid, signal.SIGKILL)  # so that nobody works the run off meanwhile
            server.kill()
            server.wait()
            with private_redis(tmp_path):
                until_over(fleet, run_id, supervisor)
                assert "batch.resent" in audited(fleet, run_id)
    all_is_well(fleet, run_id, ids)


# -- bots that kill --------------------------------------------------------------------------------


def test_bots_that_kill_workers_are_found_and_recorded_and_the_run_goes_on(
    fleet: Fleet, quick: Environment, tmp_path: Path
) -> None:
    ids = fleet.add_many(400)
    killers = {
        "bot-00002-segfault": (SEGFAULT, "signal 11 (SIGSEGV)"),
        "bot-00005-for-ever": (FOR_EVER, "longer than 4 s"),
        "bot-00007-memory": (MEMORY, "more memory than a process may have"),
        "bot-00010-killed": (KILLED, "signal 9 (SIGKILL)"),
    }
    for name, (prompt, _) in killers.items():
        fleet.add(name, a_workflow(prompt))
    # Longer than a single bot takes, however busy the machine is.
    limits = {"FLOWSHIFT_CHILD_MEMORY_MB": "256", "FLOWSHIFT_TIME_LIMIT_S": "4"}
    environment = {**quick, **limits}
    with running(environment, tmp_path) as supervisor:
        run_id = started(environment, batch_size=4)
        until_over(fleet, run_id, supervisor)
    outcomes = fleet.outcomes(run_id)
    lost = {bot_id for bot_id, said in outcomes.items() if said == "failed worker_lost"}
    assert lost == set(killers)
    assert set(outcomes) - lost == set(fleet.drafts()) == set(ids)
    with fleet.engine.connect() as connection:
        failures = run_results.failures(connection, run_id, limit=None, code="worker_lost")
    for failure in failures:
        assert killers[failure.bot_id][1] in (failure.message or "")
    progress = fleet.progress(run_id)
    assert (progress.state, progress.counts.failed) == ("completed_with_failures", 4)
    assert progress.counts.bots == len(outcomes)
    assert audited(fleet, run_id) >= {"batch.lost", "batch.split", "bot.gave_up"}
    assert logged(tmp_path, "child.limited")
    assert logged(tmp_path, "child process exiting after exceeding memory limit")
