"""Connections that are lost, refused and half open: every process goes on, or shows that it does not."""

from __future__ import annotations

import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import psutil
import pytest
from celery import Celery

from tests.fleet import Fleet
from tests.live import Environment, eventually, has_done, is_over, running, started
from tests.relay import Relay, relayed
from worker.core.policy.processes import Process, ProcessKind, condition_of
from worker.db import heartbeats
from worker.processes.supervisor import Program, Supervisor, beat_program
from worker.servers.connect import Servers

pytestmark = pytest.mark.acceptance

RABBITMQ = "amqp://guest:guest@127.0.0.1:5672//"
MAX_AGE_S = 8


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
Fault = Literal["cut", "refused", "half open"]
each_fault = pytest.mark.parametrize("fault", ["cut", "refused", "half open"])


@pytest.fixture(params=BROKERS)
def queue(request: pytest.FixtureRequest, servers: Servers, namespace: str) -> Iterator[str]:
    """The queue's URL; what is made there is removed."""
    if request.param == "redis":
        yield servers.redis_url
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
def relay(queue: str, quick: Environment) -> Iterator[Relay]:
    """The way to the queue for every process of `quick`, whose heart beats every second."""
    with relayed(queue) as (url, relay):
        quick |= {"FLOWSHIFT_BROKER_URL": url, "FLOWSHIFT_HEARTBEAT_S": "1"}
        yield relay


def strike(relay: Relay, fault: Fault) -> None:
    """Lose every connection that there is."""
    assert relay.connections
    if fault == "cut":
        relay.cut()
    elif fault == "half open":
        relay.go_deaf()
    else:
        relay.refuse()


def processes(fleet: Fleet, kind: ProcessKind) -> list[Process]:
    """The heartbeats of a kind, the newest first."""
    with fleet.engine.connect() as connection:
        return [one for one in heartbeats.processes(connection) if one.kind == kind]


def working(fleet: Fleet, kind: ProcessKind) -> Callable[[], list[Process]]:
    """Those that work, within a few seconds."""
    return lambda: [
        one for one in processes(fleet, kind) if condition_of(one, MAX_AGE_S) == "works"
    ]


def not_working(fleet: Fleet, kind: ProcessKind) -> Callable[[], bool]:
    """Whether one lives, and has not worked for a few seconds."""
    return lambda: any(
        one.beat_s < 3 and (one.worked_s or 99) > 3 for one in processes(fleet, kind)
    )


@contextmanager
def a_beat(environment: Environment, tmp_path: Path) -> Iterator[Supervisor]:
    """A beat alone."""
    beat = beat_program(tmp_path / f"beat-{uuid.uuid4().hex[:6]}")
    program = Program("beat", beat.command, {**beat.environment, **environment})
    with Supervisor([program], shutdown_s=20, log_dir=tmp_path / "log") as supervisor:
        yield supervisor


@each_fault
def test_a_beat_goes_on_after_its_connection_is_lost(
    fleet: Fleet, quick: Environment, relay: Relay, tmp_path: Path, fault: Fault
) -> None:
    with a_beat(quick, tmp_path) as supervisor:
        eventually(working(fleet, "beat"))
        pid = supervisor.pids["beat"]
        strike(relay, fault)
        if fault != "cut":
            eventually(not_working(fleet, "beat"))
        if fault == "refused":
            eventually(lambda: "cannot connect" in (processes(fleet, "beat")[0].problem or ""))
            relay.accept()
        eventually(lambda: sent(fleet) > 0)
        before = sent(fleet)
        eventually(lambda: sent(fleet) > before + 3)
        assert supervisor.pids["beat"] == pid, "by itself"
        if fault == "cut":
            assert "beat.unsent" not in (tmp_path / "log" / "beat.log").read_text()


def sent(fleet: Fleet) -> int:
    """How many messages of the beat the queue took, if it took one lately."""
    lately = working(fleet, "beat")()
    return int((lately[0].evidence or "").split("(")[1].split()[0]) if lately else 0


@each_fault
def test_a_worker_goes_on_after_its_connection_is_lost(
    fleet: Fleet, quick: Environment, relay: Relay, tmp_path: Path, fault: Fault
) -> None:
    fleet.add_many(40)
    with running(quick, tmp_path) as supervisor:
        eventually(working(fleet, "worker"))
        pid = supervisor.pids["w0"]
        strike(relay, fault)
        if fault != "cut":
            eventually(not_working(fleet, "worker"))
        if fault == "refused":
            relay.accept()
        run_id = started(quick)
        # (A Redis gives the message to the connection that is half open, and it is lost: the beat.)
        eventually(is_over(fleet, run_id))
        eventually(working(fleet, "worker"))
        assert supervisor.pids["w0"] == pid, "by itself"


@pytest.fixture
def all_relayed(relay: Relay, quick: Environment) -> Iterator[list[Relay]]:
    """The ways to every server for every process of `quick`."""
    with (
        relayed(quick["FLOWSHIFT_REDIS_URL"]) as (redis_url, redis),
        relayed(quick["FLOWSHIFT_DATABASE_URL"]) as (database_url, postgres),
    ):
        quick |= {"FLOWSHIFT_REDIS_URL": redis_url, "FLOWSHIFT_DATABASE_URL": database_url}
        yield [relay, redis, postgres]


@contextmanager
def up(environment: Environment, tmp_path: Path) -> Iterator[Path]:
    """`flowshift up` as a person starts it; yields its log."""
    log = tmp_path / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "up", "--processes", "2"],
            env={**environment, "FLOWSHIFT_FLOWER_PORT": "0"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield log
        finally:
            family = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            process.wait(60)
            _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive


def test_every_connection_lost_once_and_all_workers_killed_the_run_ends_with_no_command(
    fleet: Fleet, quick: Environment, all_relayed: list[Relay], tmp_path: Path
) -> None:
    fleet.add_many(800)
    kinds: tuple[ProcessKind, ...] = ("worker", "beat", "flower")
    with up(quick, tmp_path):
        for kind in kinds:
            eventually(working(fleet, kind))
        before = {kind: processes(fleet, kind)[0].pid for kind in kinds}
        run_id = started(quick, batch_size=20)
        eventually(has_done(fleet, run_id, 3))
        for one in all_relayed:
            assert one.cut()
        worker = psutil.Process(before["worker"])
        for victim in (worker, *worker.children(recursive=True)):
            victim.kill()
        assert not fleet.progress(run_id).is_over
        eventually(is_over(fleet, run_id))
        for kind in kinds:
            eventually(working(fleet, kind))
        assert processes(fleet, "beat")[0].pid == before["beat"]
        assert processes(fleet, "flower")[0].pid == before["flower"]
        assert processes(fleet, "worker")[0].pid != before["worker"]
    assert fleet.progress(run_id).state == "completed"


def test_up_restarts_a_process_that_lives_without_working(
    fleet: Fleet, quick: Environment, tmp_path: Path
) -> None:
    with up({**quick, "FLOWSHIFT_HEARTBEAT_S": "1"}, tmp_path) as log:
        for kind in ("worker", "beat"):
            eventually(working(fleet, kind))
        before = processes(fleet, "worker")[0].pid
        psutil.Process(before).suspend()
        eventually(lambda: "process.useless" in log.read_text())
        eventually(lambda: working(fleet, "worker")() and newest(fleet) != before)


def newest(fleet: Fleet) -> int:
    """The process of the worker that wrote last."""
    return processes(fleet, "worker")[0].pid
