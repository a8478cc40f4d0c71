"""Live workers for the tests: real processes, waited for by conditions."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import redis
import sqlalchemy as sa
from celery import Celery

from tests.fleet import Fleet
from tests.invariants import must_hold
from worker.processes.supervisor import Program, Supervisor, beat_program, worker_program
from worker.servers.embedded.binaries import find_binaries

Environment = dict[str, str]


def flowshift(environment: Environment, *arguments: str, timeout_s: float = 90) -> Any:
    """Run the command as a process."""
    return subprocess.run(
        [sys.executable, "-m", "worker", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


PATIENCE_S = 100.0
"""How long to wait for what must come true: far longer than it takes on a slow machine."""

PAUSE_S = 0.05
"""How long until one looks again: most looks ask a server, and several tests wait at a time."""


def eventually(what: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    """Wait until `what()` is true."""
    deadline = time.monotonic() + timeout_s
    while not (found := what()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(PAUSE_S)
    return found


@contextmanager
def workers(
    sender: Celery, environment: Environment, count: int = 1, processes: int = 2
) -> Iterator[Supervisor]:
    """Live workers that answer, kept running; none is left behind."""
    programs = [
        Program(program.name, program.command, {**program.environment, **environment})
        for program in (worker_program(processes, name=f"w{n}") for n in range(count))
    ]
    with Supervisor(programs, shutdown_s=20) as supervisor:
        eventually(lambda: len(sender.control.ping(timeout=0.3) or ()) >= count)
        family = [psutil.Process(pid) for pid in supervisor.pids.values()]
        family += [child for process in family for child in process.children(recursive=True)]
        yield supervisor
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive


def send_batch(sender: Celery, run_id: int, batch: int) -> None:
    """Put the message of a batch into the queue."""
    sender.send_task("flowshift.convert_batch", kwargs={"run_id": run_id, "batch": batch})


def send_nonsense(sender: Celery) -> None:
    """Put messages into the queue that are no tasks, and no JSON."""
    with sender.connection_for_write() as connection:
        queue = sender.amqp.queues[sender.conf.task_default_queue]
        producer = connection.Producer(exchange=queue.exchange, routing_key=queue.routing_key)
        producer.publish({"what": "ever"}, serializer="json", declare=[queue])
        producer.publish(b"{broken", content_type="application/json", content_encoding="utf-8")
        producer.publish(b"\x80\x04N.", content_type="application/x-python-serialize")


def start(sender: Celery, fleet: Fleet, **request: Any) -> int:
    """Start a run and enqueue its planning; returns its id."""
    run_id = fleet.start(**request).run_id
    sender.send_task("flowshift.plan_run", kwargs={"run_id": run_id})
    return run_id


def is_over(fleet: Fleet, run_id: int) -> Callable[[], bool]:
    return lambda: fleet.progress(run_id).is_over


def has_done(fleet: Fleet, run_id: int, batches: int) -> Callable[[], bool]:
    return lambda: fleet.progress(run_id).batches_done >= batches


def all_is_well(fleet: Fleet, run_id: int, ids: list[str]) -> None:
    """Every bot was converted, and everything holds that must hold whatever happened."""
    progress = fleet.progress(run_id)
    assert set(fleet.outcomes(run_id)) == set(ids)
    assert set(fleet.drafts()) == set(ids)
    assert progress.counts.bots == len(ids)
    assert progress.state == "completed"
    must_hold(fleet, run_id)


@contextmanager
def private_redis(directory: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A redis-server of the test's own: (its URL, its process)."""
    socket = directory / "redis.sock"
    command = [str(find_binaries().redis_server), "--port", "0", "--unixsocket", str(socket)]
    process = subprocess.Popen(
        [*command, "--dir", str(directory), "--save", ""], stdout=subprocess.DEVNULL
    )
    try:
        with redis.Redis(unix_socket_path=str(socket)) as client:
            eventually(lambda: socket.exists() and client.ping())
        yield f"unix://{socket}?db=0", process
    finally:
        process.kill()
        process.wait()


@contextmanager
def running(
    environment: Environment,
    tmp_path: Path,
    *,
    count: int = 1,
    processes: int = 2,
    with_beat: bool = True,
    beats: int = 1,
    besides: Mapping[str, Environment] = {},
) -> Iterator[Supervisor]:
    """Live workers that die of the bots in `tests.killers`, and a beat, kept running.

    `besides` is what single ones (`w0`, `w1` …) have in their environment.
    """
    programs = [
        Program(
            program.name,
            (*program.command, "--include=tests.killers"),
            {**program.environment, **environment, **besides.get(program.name, {})},
        )
        for program in (worker_program(processes, name=f"w{n}") for n in range(count))
    ]
    for number in range(beats if with_beat else 0):
        beat = beat_program(tmp_path / f"beat-{uuid.uuid4().hex[:6]}")
        programs.append(Program(f"beat{number or ''}", beat.command, environment))
    with Supervisor(programs, shutdown_s=20, log_dir=tmp_path / "log") as supervisor:
        yield supervisor
        family = [psutil.Process(pid) for pid in supervisor.pids.values()]
        family += [child for process in family for child in process.children(recursive=True)]
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive


def logged(tmp_path: Path, event: str) -> int:
    """How often the programs logged an event."""
    return sum(
        path.read_text(errors="replace").count(f'"event": "{event}')
        for path in (tmp_path / "log").glob("*.log")
    )


def tending(supervisor: Supervisor, what: Callable[[], Any], timeout_s: float = PATIENCE_S) -> None:
    """Wait until `what()` is true, restarting what dies meanwhile."""

    def is_it() -> Any:
        supervisor.tend()
        return what()

    eventually(is_it, timeout_s)


def calm(what: Callable[[], Any]) -> Callable[[], Any]:
    """A condition that is not met while a server is away."""

    def is_it() -> Any:
        try:
            return what()
        except (sa.exc.DBAPIError, redis.RedisError):
            return False

    return is_it


def until_over(fleet: Fleet, run_id: int, supervisor: Supervisor) -> None:
    """Wait for the end of a run, restarting what dies."""
    tending(supervisor, is_over(fleet, run_id))


def audited(fleet: Fleet, run_id: int) -> set[str]:
    """The actions in the audit trail of a run."""
    rows = fleet.rows("SELECT action FROM flowshift.audit WHERE run_id = :r", r=run_id)
    return {row.action for row in rows}


def blamed(fleet: Fleet, run_id: int) -> list[tuple[str, str]]:
    """What the audit trail of a run holds against its workers and bots: actions with their reasons."""
    rows = fleet.rows(
        "SELECT action, reason FROM flowshift.audit WHERE run_id = :r"
        " AND action IN ('batch.lost', 'batch.split', 'bot.gave_up') ORDER BY 1, 2",
        r=run_id,
    )
    return [(row.action, row.reason) for row in rows]


def losses(fleet: Fleet, run_id: int) -> int:
    """How many workers the batches of a run have lost."""
    query = "SELECT sum(losses) AS n FROM flowshift.batches WHERE run_id = :r"
    return int(fleet.rows(query, r=run_id)[0].n)


def started(environment: Environment, batch_size: int = 10) -> int:
    """Start a run by the command."""
    command = ["migrate", "--detach", "--json", "--batch-size", str(batch_size)]
    told = subprocess.run(
        [sys.executable, "-m", "worker", *command],
        env=environment,
        capture_output=True,
        timeout=60,
        check=True,
    )
    return int(json.loads(told.stdout)["run_id"])


def children(pid: int | None) -> list[int]:
    """The processes that a process has started; none of one that is gone."""
    if pid is None or not psutil.pid_exists(pid):
        return []
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]
