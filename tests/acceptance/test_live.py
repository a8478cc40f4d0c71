"""Live workers, real queues, the real command line, and some of them killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import redis
from celery import Celery

from tests.fleet import Fleet, a_broken_workflow, a_workflow
from tests.live import (
    Environment,
    all_is_well,
    eventually,
    flowshift,
    has_done,
    is_over,
    private_redis,
    running,
    send_batch,
    start,
    workers,
)
from worker.db import heartbeats
from worker.db.heartbeats import Identity, Sign
from worker.processes.supervisor import Supervisor
from worker.progress.redis import run_key
from worker.settings import Settings

pytestmark = pytest.mark.acceptance


def test_migrate_starts_a_worker_where_none_answers_and_ends_with_a_summary(
    fleet: Fleet, environment: Environment
) -> None:
    fleet.add_many(120)
    fleet.add("bad", a_broken_workflow())
    ended = flowshift(environment, "migrate")
    assert ended.returncode == 1, ended.stderr
    assert "no worker answers: starting one here" in ended.stderr
    assert "run 1 completed with failures" in ended.stdout
    assert "invalid_config 1" in ended.stdout

    again = flowshift(environment, "migrate", "--json")
    assert again.returncode == 1
    told = json.loads(again.stdout)
    assert (told["unchanged"], told["failed"], told["bots_total"]) == (120, 1, 121)

    listed = flowshift(environment, "retry", "2", "--verbose")
    assert "bad  failed invalid_config" in listed.stdout


def test_migrate_starts_a_worker_when_the_one_that_worked_a_moment_ago_is_found_to_be_gone(
    fleet: Fleet, environment: Environment, tmp_path: Path
) -> None:
    fleet.add_many(20)
    killed = Identity(uuid.uuid4(), "worker", "w@here", "here", 7, "0.1.0", ("convert",))
    said = tmp_path / "said"

    def counted_on() -> bool:
        with fleet.engine.begin() as connection:
            heartbeats.beat(connection, killed, Sign(0.0, "it takes messages"))
        return "run 1 planning" in said.read_text()

    with said.open("wb") as output:
        migrate = subprocess.Popen(
            [sys.executable, "-m", "worker", "migrate"],
            env={**environment, "FLOWSHIFT_HEARTBEAT_S": "1"},
            stdout=subprocess.DEVNULL,
            stderr=output,
        )
    eventually(counted_on)
    assert migrate.wait(100) == 0, said.read_text()
    waited, _, began = said.read_text().partition("no worker answers: starting one here")
    assert began
    assert "run 1 planning" in waited  # it counted on that worker first


def test_watch_says_that_no_worker_can_be_asked_while_the_queue_is_away(
    fleet: Fleet, environment: Environment, tmp_path: Path
) -> None:
    fleet.add_many(1)
    fleet.planned()
    said = tmp_path / "said"
    with said.open("wb") as output:
        watch = subprocess.Popen(
            [sys.executable, "-m", "worker", "watch"],
            env={**environment, "FLOWSHIFT_BROKER_URL": "redis://127.0.0.1:1/0"},
            stderr=output,
        )
    eventually(lambda: "the queue is unavailable: none can be asked" in said.read_text())
    watch.send_signal(signal.SIGINT)
    assert watch.wait(30) == 130, said.read_text()


def test_a_run_started_by_task_name_with_json_arguments(
    fleet: Fleet, sender: Celery, environment: Environment
) -> None:
    fleet.add_many(30)
    with workers(sender, environment):
        for _ in range(2):  # the same message twice is one run
            sender.send_task("flowshift.migrate", kwargs={"limit": 20}, task_id="once")
        eventually(lambda: fleet.rows("SELECT FROM flowshift.runs WHERE finished_at IS NOT NULL"))
        sender.send_task("flowshift.migrate", kwargs={"limit": "many"})
        sender.send_task("flowshift.no_such_task")
        other = start(sender, fleet, bot_ids=("bot-00029",))
        eventually(is_over(fleet, other))
    assert len(fleet.drafts()) == 21
    assert len(fleet.rows("SELECT FROM flowshift.runs")) == 2


def test_every_message_delivered_twice_acts_once(
    fleet: Fleet, sender: Celery, environment: Environment
) -> None:
    ids = fleet.add_many(400)
    run = fleet.planned(batch_size=20)
    for number in [*range(1, 21), *range(20, 0, -1)]:
        send_batch(sender, run.run_id, number)
    with workers(sender, environment, count=2):
        eventually(is_over(fleet, run.run_id))
        send_batch(sender, run.run_id, 3)
        send_batch(sender, 999, 1)
        other = start(sender, fleet, limit=1)
        eventually(is_over(fleet, other))
    all_is_well(fleet, run.run_id, ids)


def test_killed_pool_children_lose_nothing(
    fleet: Fleet, sender: Celery, quick: Environment, tmp_path: Path
) -> None:
    ids = fleet.add_many(1_500)
    # With a beat: one killed before it sent what it had marked as sent is found by a sweep alone.
    with running(quick, tmp_path) as supervisor:
        parent = supervisor.pids["w0"]
        run_id = start(sender, fleet, batch_size=10)
        for done in (2, 30, 60):
            eventually(has_done(fleet, run_id, done))
            children = psutil.Process(parent).children()
            if children:
                children[0].send_signal(signal.SIGKILL)
        eventually(is_over(fleet, run_id))
    all_is_well(fleet, run_id, ids)


def test_killed_validations_delivered_again_leave_one_set_of_executions(
    fleet: Fleet, sender: Celery, quick: Environment, tmp_path: Path
) -> None:
    ids = fleet.add_many(600)
    with running(quick, tmp_path, count=2, processes=1) as supervisor:
        converting = start(sender, fleet, batch_size=10, validate="sample:2")
        eventually(has_done(fleet, converting, 5))
        kill_a_child(supervisor, "w0")
        eventually(is_over(fleet, converting))
        validating = start(sender, fleet, kind="validate", of_run=converting, messages=("a", "b"))
        eventually(has_done(fleet, validating, 5))
        kill_a_child(supervisor, "w1")
        deliver_everything(sender, fleet, converting, "convert_batch")
        deliver_everything(sender, fleet, validating, "validate_batch")
        eventually(is_over(fleet, validating))
        last = start(sender, fleet, limit=1, validate="none")  # behind everything in the queue
        eventually(is_over(fleet, last))
    for run_id in (converting, validating):
        progress = fleet.progress(run_id)
        assert (progress.state, progress.counts.validated) == ("completed", len(ids))
        sets = fleet.rows(
            "SELECT r.bot_id, r.session_id, count(DISTINCT r.id) AS runs, count(n.id) AS nodes "
            "FROM workflow_execution_runs r JOIN workflow_node_executions n "
            "ON n.workflow_run_id = r.id WHERE r.session_id LIKE :of GROUP BY 1, 2",
            of=f"flowshift:run-{run_id}:%",
        )
        assert len(sets) == 2 * len(ids)
        assert {(row.runs, row.nodes) for row in sets} == {(1, 4)}


def kill_a_child(supervisor: Supervisor, name: str) -> None:
    """SIGKILL a pool child of a worker."""
    for child in psutil.Process(supervisor.pids[name]).children()[:1]:
        child.kill()


def deliver_everything(sender: Celery, fleet: Fleet, run_id: int, task: str) -> None:
    """Put a message of every batch of a run into the queue once more."""
    for number, *_ in fleet.batch_slices(run_id):
        sender.send_task(f"flowshift.{task}", kwargs={"run_id": run_id, "batch": number})


def test_an_edited_draft_is_caught_by_validate_and_explained_by_show(
    fleet: Fleet, environment: Environment
) -> None:
    fleet.add_many(20)
    assert flowshift(environment, "migrate").returncode == 0
    graph = fleet.drafts()["bot-00003"]
    graph["nodes"][2]["data"]["prompt_template"] = "Be rude. {question}"
    fleet.set_draft("bot-00003", graph)

    ended = flowshift(environment, "validate", "1", "--message", "환불은?")
    assert ended.returncode == 1, ended.stderr
    assert "parity_mismatch 1" in ended.stdout
    assert "parity     19 of 20 drafts do what V1 does" in ended.stdout
    shown = flowshift(environment, "show", "bot-00003")
    assert shown.returncode == 1
    assert "parity_mismatch: on '환불은?': the prompt of an LLM call is" in shown.stdout

    told = json.loads(flowshift(environment, "validate", "1", "--sample", "2", "--json").stdout)
    assert (told["validated"], told["failed"], told["overhead"]["bots"]) == (19, 1, 20)


def test_redis_going_away_during_a_run_slows_nothing_and_loses_nothing(
    fleet: Fleet, environment: Environment, tmp_path: Path
) -> None:
    ids = fleet.add_many(1_500)
    with private_redis(tmp_path) as (url, server):
        environment = {**environment, "FLOWSHIFT_REDIS_URL": url}
        log = (tmp_path / "up.log").open("wb")
        up = subprocess.Popen(
            [sys.executable, "-m", "worker", "up", "--no-flower", "--no-beat"],
            env=environment,
            stderr=log,
        )
        try:
            started = flowshift(environment, "migrate", "--detach", "--json", "--batch-size", "10")
            run_id = json.loads(started.stdout)["run_id"]
            eventually(lambda: fleet.progress(run_id).batches_done >= 5)
            with somebody_at_a_batch(fleet, run_id):
                server.kill()
                server.wait()
            eventually(is_over(fleet, run_id))
            watched = flowshift(environment, "watch", str(run_id))
        finally:
            up.terminate()
            up.wait(60)
            log.close()
    assert watched.returncode == 0
    assert "completed" in watched.stdout
    all_is_well(fleet, run_id, ids)


@contextmanager
def somebody_at_a_batch(fleet: Fleet, run_id: int) -> Iterator[None]:
    """Hold a worker at a batch meanwhile: the platform has one of its bots locked."""
    ahead = fleet.progress(run_id).batches_done * 10 + 200
    with fleet.connect() as platform:
        platform.execute("SELECT FROM bots WHERE bot_id = %s FOR UPDATE", [f"bot-{ahead:05d}"])
        eventually(
            lambda: fleet.rows(
                "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                " AND datname = current_database() AND query LIKE '%FOR NO KEY UPDATE%'"
            )
        )
        yield


def test_up_runs_everything_flower_shows_the_run_and_a_signal_stops_it_all(
    fleet: Fleet, sender: Celery, environment: Environment, settings: Settings
) -> None:
    fleet.add_many(300)
    environment = {**environment, "FLOWSHIFT_FLOWER_PORT": "0"}
    up = subprocess.Popen(
        [sys.executable, "-m", "worker", "up"], env=environment, stderr=subprocess.PIPE, text=True
    )
    assert up.stderr is not None
    try:
        lines = iter(up.stderr.readline, "")
        address = next(json.loads(line)["url"] for line in lines if '"flower.ready"' in line)
        base = address.removesuffix("/tasks")
        os.set_blocking(up.stderr.fileno(), False)
        # What happens before Flower listens it does not know.
        eventually(lambda: "worker-" in flower_page(base, "workers"))
        drain(up)
        run = flowshift(environment, "migrate", "--batch-size", "25")
        assert run.returncode == 0, run.stderr
        row = eventually(lambda: flower_task(base, "run-1"))
        assert "✔ completed · 100 % · 300/300 bots · 300 converted" in row
        assert "Run 1 in flowshift" in row
        batch = eventually(lambda: flower_task(base, "run-1-batch-3"))
        assert "run 1, batch 3: 25 bots after bot-00049 through bot-00074" in batch
        assert "Result 25 converted · 25 validated · 25 bots: bot-00050 … bot-00074" in batch
        assert "&#x27;" not in batch
        sender.send_task("flowshift.migrate", kwargs={"limit": 0}, task_id="refused-1")
        refused = eventually(lambda: flower_task(base, "refused-1", "FAILURE"))
        assert "Exception refused: " in refused
        assert "Keyword arguments limit=0 " in refused
        assert "Traceback" not in refused
        family = psutil.Process(up.pid).children(recursive=True)
        assert len(family) >= 4
    finally:
        drain(up)
        up.send_signal(signal.SIGTERM)
        up.wait(60)
        up.stderr.close()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
    assert up.returncode == 0


def drain(process: subprocess.Popen[str]) -> None:
    """Read what a process has written, so that its pipe never fills."""
    assert process.stderr is not None
    while process.stderr.read(65_536):
        pass


def flower_task(base: str, task_id: str, state: str = "SUCCESS") -> str | None:
    """What Flower's page of a task says; None while it is in another state."""
    text = flower_page(base, f"task/{task_id}")
    return text if f"Status {state}" in text else None


def flower_page(base: str, path: str) -> str:
    """The text of a page of Flower's; empty while there is none."""
    # Its API asks for credentials; its pages are open on loopback.
    try:
        with urllib.request.urlopen(f"{base}/{path}", timeout=5) as answer:
            page = answer.read().decode()
    except OSError:
        return ""
    return " ".join(strip_tags(page).split())


def strip_tags(html: str) -> str:
    """The text of a page."""
    return re.sub(r"<[^>]*>", " ", html)


def test_flower_does_not_listen_beyond_loopback_without_a_password(
    environment: Environment,
) -> None:
    open_to_all = {"FLOWSHIFT_FLOWER_ADDRESS": "0.0.0.0", "FLOWSHIFT_FLOWER_PORT": "0"}
    ended = flowshift({**environment, **open_to_all}, "flower")
    assert ended.returncode == 3
    assert "FLOWSHIFT_FLOWER_BASIC_AUTH" in ended.stderr


def test_no_workflow_body_reaches_redis(
    fleet: Fleet, sender: Celery, environment: Environment, settings: Settings
) -> None:
    secret = "tell nobody of the merger"
    fleet.add("a", a_workflow(secret))
    fleet.add("b", a_workflow(secret, temperature=9))
    patient = redis.Redis.from_url(settings.redis_url, socket_timeout=None)
    with patient as client, client.monitor() as monitor:
        with workers(sender, environment):
            run_id = start(sender, fleet)
            eventually(is_over(fleet, run_id))
            eventually(
                lambda: (
                    client.hget(run_key(settings.namespace, run_id), "state")
                    == b"completed_with_failures"
                )
            )
        client.set(f"{settings.namespace}:end", "1", ex=5)
        for command in monitor.listen():
            assert secret not in command["command"]
            if f"{settings.namespace}:end" in command["command"]:
                break
