"""Live workers that are told to pause, to go on, to stop and to be patient."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import redis
from celery import Celery

from tests.fleet import Fleet, a_broken_workflow
from tests.live import (
    Environment,
    all_is_well,
    eventually,
    flowshift,
    has_done,
    is_over,
    private_redis,
    start,
    workers,
)
from tests.roles import Role
from worker.db import control
from worker.progress.redis import run_key
from worker.settings import Settings

pytestmark = pytest.mark.acceptance


@contextmanager
def up(environment: Environment, log: Path) -> Iterator[None]:
    """`flowshift up` without beat and Flower; nothing of it stays."""
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "up", "--no-flower", "--no-beat"],
            env=environment,
            stderr=stderr,
        )
        try:
            yield
        finally:
            family = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            process.wait(60)
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive


def nobody_works(fleet: Fleet, run_id: int) -> bool:
    with fleet.engine.connect() as connection:
        return not control.any_at_work(connection, run_id)


def test_pause_resume_and_cancel_take_effect_with_redis_down(
    fleet: Fleet, environment: Environment, tmp_path: Path
) -> None:
    fleet.add_many(3_000)
    with private_redis(tmp_path) as (url, server):
        # Patient workers: each has a batch in hand all the time, and rests twenty times as long.
        environment |= {"FLOWSHIFT_REDIS_URL": url, "FLOWSHIFT_NICE_RATIO": "20"}
        with up(environment, tmp_path / "up.log"):
            started = flowshift(environment, "migrate", "--detach", "--json", "--batch-size", "10")
            run_id = json.loads(started.stdout)["run_id"]
            eventually(has_done(fleet, run_id, 3))
            server.kill()
            server.wait()

            paused = flowshift(environment, "pause", str(run_id), "--reason", "backup")
            assert (paused.returncode, paused.stdout) == (0, f"run {run_id} is paused\n")
            eventually(lambda: nobody_works(fleet, run_id))
            stood = fleet.progress(run_id)
            assert (stood.state, stood.reason) == ("paused", "backup")
            status = flowshift(environment, "status", str(run_id))
            assert "paused" in status.stdout
            assert "; backup" in status.stdout
            assert fleet.progress(run_id).counts == stood.counts

            resumed = flowshift(environment, "resume", str(run_id))
            assert "Redis is unavailable" in resumed.stderr
            eventually(has_done(fleet, run_id, stood.batches_done + 3))

            cancelled = flowshift(environment, "cancel", str(run_id), "--reason", "enough", "--yes")
            assert cancelled.returncode == 0
            watched = flowshift(environment, "watch", str(run_id))
            counted = fleet.progress(run_id)
            assert watched.returncode == 1
            assert f" total {counted.counts.bots} " in " ".join([*watched.stdout.split(), ""])
            assert (counted.state, counted.reason) == ("cancelled", "enough")
    assert len(fleet.drafts()) == counted.counts.bots < 3_000
    trail = json.loads(flowshift(environment, "audit", str(run_id), "--json").stdout)
    assert [(line["action"], line["reason"]) for line in trail[2:]] == [
        ("run.paused", "backup"),
        ("run.running", None),
        ("run.cancelled", "enough"),
    ]


def test_workers_wait_while_the_database_says_so_and_stop_when_it_says_that(
    fleet: Fleet, sender: Celery, environment: Environment, settings: Settings, role: Role
) -> None:
    ids = fleet.add_many(600)
    fleet.execute(
        "CREATE TABLE answer AS SELECT 'wait'::text AS said, 'a backup is running' AS why"
    )
    fleet.execute(f"GRANT SELECT ON answer TO {role.name}")
    environment = {**environment, "FLOWSHIFT_HEALTH_QUERY": "SELECT said, why FROM answer"}
    key = run_key(settings.namespace, 1)
    with workers(sender, environment, count=2), redis.Redis.from_url(settings.redis_url) as client:
        waiting = start(sender, fleet, batch_size=10)
        eventually(lambda: client.hget(key, "waiting") == b"query: a backup is running")
        queued = "SELECT FROM flowshift.batches WHERE enqueued_at IS NOT NULL"
        eventually(lambda: len(fleet.rows(queued)) == 1)
        told = json.loads(flowshift(environment, "status", "--json").stdout)
        assert told["run"]["waiting"] == "query: a backup is running"
        verdicts = {verdict["check"]: verdict for verdict in told["health"]}
        assert verdicts["query"]["decision"] == "wait"
        assert fleet.progress(waiting).counts.bots == 0
        assert flowshift(environment, "cancel", str(waiting), "--yes").returncode == 0
        assert fleet.progress(waiting).waiting is None

        again = start(sender, fleet, batch_size=10)
        eventually(lambda: fleet.progress(again).waiting)
        fleet.execute("UPDATE answer SET said = 'stop'")
        eventually(lambda: fleet.progress(again).state == "paused")
        assert fleet.progress(again).reason == "query: a backup is running"

        fleet.execute("UPDATE answer SET said = 'go'")
        assert flowshift(environment, "resume", str(again)).returncode == 0
        eventually(is_over(fleet, again))
        eventually(lambda: client.hget(run_key(settings.namespace, again), "state") == b"completed")
        assert client.hget(run_key(settings.namespace, again), "waiting") is None
        assert client.hget(run_key(settings.namespace, again), "reason") is None
    assert fleet.progress(waiting).counts.bots == 0
    all_is_well(fleet, again, ids)


def test_a_run_that_fails_too_much_pauses_and_a_tuned_one_goes_on_as_it_is_told(
    fleet: Fleet, sender: Celery, environment: Environment
) -> None:
    fleet.add_many(300, "a-", a_broken_workflow())
    fleet.add_many(300, "b-")
    with workers(sender, environment):
        migrate = subprocess.Popen(
            [sys.executable, "-m", "worker", "migrate", "--batch-size", "20"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert migrate.stderr is not None
        said = next(line for line in iter(migrate.stderr.readline, "") if " paused: " in line)
        assert "bots (100%) failed with invalid_config, more than 50%" in said
        paused = fleet.progress(1)
        assert paused.counts.bots < 300

        tuned = flowshift(
            environment,
            "tune",
            "1",
            "--max-failures",
            "1",
            "--max-rate",
            "60",
            "--concurrency",
            "1",
        )
        assert "max rate none → 60.0" in tuned.stdout
        assert flowshift(environment, "resume", "1").returncode == 0
        eventually(has_done(fleet, 1, paused.batches_done + 2))
        assert not fleet.progress(1).is_over  # 500 bots at 60 a second
        flowshift(environment, "tune", "1", "--max-rate", "0", "--concurrency", "0")
        out, _ = migrate.communicate(timeout=60)
    assert migrate.returncode == 1
    assert "run 1 completed with failures" in out
    assert len(fleet.outcomes(1)) == 600
    assert len(fleet.drafts()) == 300
