"""Servers that stop, freeze, restart and run full, and clocks that are wrong, during a run."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import secrets
import signal
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from tests.fleet import Fleet, a_broken_workflow, a_workflow
from tests.invariants import History, must_hold, processes_left, redis_agrees
from tests.live import (
    Environment,
    calm,
    eventually,
    has_done,
    is_over,
    logged,
    running,
    started,
    tending,
)
from tests.roles import Role, grant
from tests.servers import Mode, PrivateServers, private_servers
from worker.processes.supervisor import Supervisor
from worker.progress.redis import run_key
from worker.settings import Settings

pytestmark = pytest.mark.acceptance

CLOCKS = Path(__file__).parents[1] / "clocks"


@pytest.fixture(scope="module")
def own() -> Iterator[PrivateServers]:
    """Servers that nobody else uses."""
    with tempfile.TemporaryDirectory(prefix="flowshift-faults-") as directory:
        Path(directory).chmod(0o711)
        with private_servers(Path(directory, "data")) as servers:
            yield servers


@pytest.fixture(scope="module")
def role() -> Role:
    """The role that workers and commands run as on these servers."""
    return Role(f"faults_{uuid.uuid4().hex[:16]}", secrets.token_urlsafe(24))


@pytest.fixture
def settings(own: PrivateServers, role: Role, tmp_path: Path) -> Settings:
    """Settings with a database and a namespace of this test's on these servers."""
    name = f"faults_{uuid.uuid4().hex[:8]}"
    url = own.postgres.make_database(name)
    grant(url, role)
    return Settings(
        database_url=url,
        redis_url=own.redis.url,
        namespace=name,
        data_dir=str(tmp_path / "data"),
        batch_size=20,
        progress_interval_ms=0,
    )


@contextmanager
def fleet_at_work(
    fleet: Fleet,
    environment: Environment,
    tmp_path: Path,
    *,
    besides: Mapping[str, Environment] = {},
) -> Iterator[tuple[int, Supervisor]]:
    """A run over 2,000 bots that two workers have begun: (its number, the processes).

    After the block the run is seen to its end, and everything that must hold is looked at.
    """
    fleet.add_many(1_970)
    fleet.add_many(20, "other-", a_workflow("{question}"))
    fleet.add_many(10, "wrong-", a_broken_workflow())
    with running(environment, tmp_path, count=2, besides=besides) as supervisor:
        run_id = started(environment, batch_size=20)
        tending(supervisor, calm(has_done(fleet, run_id, 3)))
        yield run_id, supervisor
        tending(supervisor, calm(is_over(fleet, run_id)))
        with redis.Redis.from_url(environment["FLOWSHIFT_REDIS_URL"]) as client:
            tending(supervisor, calm(lambda: redis_agrees(fleet, run_id, client)))
    assert fleet.progress(run_id).counts.failed == 10
    assert processes_left(environment["FLOWSHIFT_NAMESPACE"]) == []


# -- Redis -----------------------------------------------------------------------------------------


def test_a_redis_that_hangs_and_one_that_is_stopped_for_a_while_lose_nothing(
    fleet: Fleet, quick: Environment, own: PrivateServers, tmp_path: Path
) -> None:
    with fleet_at_work(fleet, quick, tmp_path) as (run_id, supervisor):
        own.redis.signal(signal.SIGSTOP)
        try:
            tending(supervisor, lambda: logged(tmp_path, "progress.unpublished"))
        finally:
            own.redis.signal(signal.SIGCONT)
        done = fleet.progress(run_id).batches_done
        tending(supervisor, has_done(fleet, run_id, done + 5))
        assert not fleet.progress(run_id).is_over
        own.redis.end(signal.SIGTERM)
        try:
            done = fleet.progress(run_id).batches_done
            tending(supervisor, has_done(fleet, run_id, min(done + 20, 100)))
        finally:
            own.redis.start()
    must_hold(fleet, run_id)


# -- PostgreSQL ------------------------------------------------------------------------------------


def test_a_postgresql_restarted_in_fast_and_in_immediate_mode_loses_nothing(
    fleet: Fleet, quick: Environment, own: PrivateServers, tmp_path: Path
) -> None:
    with fleet_at_work(fleet, quick, tmp_path) as (run_id, supervisor):
        modes: tuple[Mode, ...] = ("fast", "immediate")
        for mode in modes:
            done = fleet.progress(run_id).batches_done
            tending(supervisor, calm(has_done(fleet, run_id, done + 5)))
            assert not fleet.progress(run_id).is_over
            own.postgres.restart(mode)
            eventually(calm(lambda: fleet.progress(run_id)))
    assert logged(tmp_path, "task.waited")
    must_hold(fleet, run_id)


def test_connections_terminated_one_by_one_lose_nothing(
    fleet: Fleet, quick: Environment, own: PrivateServers, tmp_path: Path
) -> None:
    ended = 0
    with (
        fleet_at_work(fleet, quick, tmp_path) as (run_id, supervisor),
        psycopg.connect(own.postgres.url, autocommit=True) as administrator,
    ):
        while ended < 12 and not calm(is_over(fleet, run_id))():
            supervisor.tend()
            ended += terminate_one(administrator, fleet)
    assert ended == 12
    assert logged(tmp_path, "task.waited")
    must_hold(fleet, run_id)


def terminate_one(administrator: psycopg.Connection[Any], fleet: Fleet) -> bool:
    """End the connection of ours that has been at its statement the shortest; says if there was one."""
    row = administrator.execute(
        "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE datname = %s "
        "AND application_name = 'flowshift' AND state <> 'idle' ORDER BY query_start DESC LIMIT 1",
        [fleet.engine.url.database],
    ).fetchone()
    return bool(row and row[0])


def test_a_statement_that_takes_too_long_is_tried_again_and_the_platforms_change_counts(
    fleet: Fleet, quick: Environment, tmp_path: Path
) -> None:
    # The row's lock is waited for longer than a statement may take.
    limits = {"FLOWSHIFT_STATEMENT_TIMEOUT_MS": "1000", "FLOWSHIFT_LOCK_TIMEOUT_MS": "60000"}
    environment = {**quick, **limits}
    changed = "bot-01900"
    text = json.dumps(a_workflow("changed: {question}"))
    with fleet_at_work(fleet, environment, tmp_path) as (_, supervisor), fleet.connect() as other:
        other.execute("UPDATE bots SET workflow = %s::json WHERE bot_id = %s", [text, changed])
        tending(supervisor, lambda: timed_out(tmp_path))
        other.commit()
    must_hold(fleet, 1, History(workflows={changed: [text]}))


def timed_out(tmp_path: Path) -> bool:
    """Whether a worker met the time-out of a statement."""
    return any(
        re.search(r"\(57014\).*task\.waited", line)
        for path in (tmp_path / "log").glob("w*.log")
        for line in path.read_text(errors="replace").splitlines()
    )


# -- clocks ----------------------------------------------------------------------------------------


def test_workers_whose_clocks_are_an_hour_ahead_and_behind_do_a_run_and_show_it(
    fleet: Fleet, quick: Environment, tmp_path: Path
) -> None:
    off = {
        name: {"PYTHONPATH": str(CLOCKS), "CLOCK_OFF_S": seconds}
        for name, seconds in (("w0", "3600"), ("w1", "-3600"))
    }
    with fleet_at_work(fleet, quick, tmp_path, besides=off) as (run_id, supervisor):
        tending(supervisor, is_over(fleet, run_id))
        apart = last_time_of(tmp_path, "w0") - last_time_of(tmp_path, "w1")
        assert apart > dt.timedelta(minutes=110)  # so that the clocks were wrong indeed
        os.kill(supervisor.pids["w1"], signal.SIGTERM)
        with redis.Redis.from_url(quick["FLOWSHIFT_REDIS_URL"]) as client:
            eventually(lambda: "w1" not in supervisor.pids)
            client.delete(run_key(quick["FLOWSHIFT_NAMESPACE"], run_id))
            eventually(lambda: redis_agrees(fleet, run_id, client))  # by the one that is ahead
    must_hold(fleet, run_id)


def last_time_of(tmp_path: Path, worker: str) -> dt.datetime:
    """The time of a worker's last log line, by its clock."""
    log = (tmp_path / "log" / f"{worker}.log").read_text(errors="replace")
    return dt.datetime.fromisoformat(re.findall(r'"timestamp": "([^"]+)"', log)[-1])
