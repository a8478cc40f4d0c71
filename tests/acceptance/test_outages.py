"""PostgreSQL away for longer than a lease: who lives through it is not taken for lost, who died is."""

from __future__ import annotations

import os
import secrets
import signal
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.fleet import Fleet, a_workflow
from tests.killers import SLOW
from tests.live import (
    Environment,
    blamed,
    calm,
    children,
    eventually,
    is_over,
    losses,
    running,
    started,
    tending,
)
from tests.roles import Role, grant
from tests.servers import PrivateServers, private_servers
from worker.settings import Settings

pytestmark = pytest.mark.acceptance

LEASE_S = 5
AWAY_S = 7.0
AT_WORK = "SELECT worker FROM flowshift.batches WHERE state = 'running'"
OVERDUE = f"{AT_WORK} AND lease_until < now()"


@pytest.fixture(scope="module")
def own() -> Iterator[PrivateServers]:
    """Servers that nobody else uses."""
    with tempfile.TemporaryDirectory(prefix="flowshift-outages-") as directory:
        Path(directory).chmod(0o711)
        with private_servers(Path(directory, "data")) as servers:
            yield servers


@pytest.fixture(scope="module")
def role() -> Role:
    """The role that workers and commands run as on these servers."""
    return Role(f"outages_{uuid.uuid4().hex[:16]}", secrets.token_urlsafe(24))


@pytest.fixture
def settings(own: PrivateServers, role: Role, tmp_path: Path) -> Settings:
    """Settings with a database and a namespace of this test's on these servers."""
    name = f"outages_{uuid.uuid4().hex[:8]}"
    url = own.postgres.make_database(name)
    grant(url, role)
    return Settings(
        database_url=url,
        redis_url=own.redis.url,
        namespace=name,
        data_dir=str(tmp_path / "data"),
        progress_interval_ms=0,
    )


@pytest.fixture
def end(tmp_path: Path) -> Path:
    """The file that ends what slow bots take their time for."""
    return tmp_path / "end"


@pytest.fixture
def slow(quick: Environment, end: Path) -> Environment:
    """Workers whose slow bots take all the time until `end` is there; hearts beat every second."""
    return {
        **quick,
        "FLOWSHIFT_LEASE_S": str(LEASE_S),
        "FLOWSHIFT_HEARTBEAT_S": "1",
        "SLOW_UNTIL": str(end),
    }


@contextmanager
def stopped(own: PrivateServers) -> Iterator[None]:
    """PostgreSQL ended in immediate mode, and started after the block."""
    own.postgres.end(signal.SIGQUIT)
    try:
        yield
    finally:
        own.postgres.start()


@contextmanager
def frozen(own: PrivateServers) -> Iterator[None]:
    """Every process of PostgreSQL halted, connections and all, until the block ends."""
    main = psutil.Process(own.postgres.pid)
    family = [main, *main.children(recursive=True)]
    for one in family:
        one.suspend()
    try:
        yield
    finally:
        for one in family:
            one.resume()


@pytest.mark.parametrize("away", [stopped, frozen])
def test_workers_that_live_through_an_outage_longer_than_their_leases_are_not_counted_as_lost(
    fleet: Fleet,
    slow: Environment,
    end: Path,
    own: PrivateServers,
    tmp_path: Path,
    away: Any,
) -> None:
    names = [f"slow-{number}" for number in range(3)]
    for name in names:
        fleet.add(name, a_workflow(SLOW))
    with running(slow, tmp_path, count=2) as supervisor:
        run_id = started(slow, batch_size=1)
        eventually(lambda: len(fleet.rows(AT_WORK)) == 3)
        with away(own):
            until = time.monotonic() + AWAY_S
            tending(supervisor, lambda: time.monotonic() > until)
        tending(supervisor, calm(lambda: not fleet.rows(OVERDUE)))
        end.touch()
        tending(supervisor, calm(is_over(fleet, run_id)))
    assert blamed(fleet, run_id) == []
    assert losses(fleet, run_id) == 0
    assert fleet.outcomes(run_id) == dict.fromkeys(names, "converted")


def test_a_child_that_dies_during_an_outage_is_the_only_one_that_counts_as_lost(
    fleet: Fleet, slow: Environment, end: Path, own: PrivateServers, tmp_path: Path
) -> None:
    for number in range(3):
        fleet.add(f"slow-{number}", a_workflow(SLOW))
    with running(slow, tmp_path, count=2) as supervisor:
        run_id = started(slow, batch_size=1)
        eventually(lambda: len(fleet.rows(AT_WORK)) == 3)
        victim = int(fleet.rows(AT_WORK)[0].worker.rpartition("/")[2])
        with stopped(own):
            os.kill(victim, signal.SIGKILL)
            until = time.monotonic() + AWAY_S
            tending(supervisor, lambda: time.monotonic() > until)
        tending(supervisor, calm(lambda: losses(fleet, run_id)))
        end.touch()
        tending(supervisor, calm(is_over(fleet, run_id)))
    assert losses(fleet, run_id) == 1
    assert set(fleet.outcomes(run_id).values()) == {"converted"}


def test_the_batch_of_a_worker_that_was_killed_is_soon_anothers(
    fleet: Fleet, slow: Environment, tmp_path: Path
) -> None:
    fleet.add("slow", a_workflow(SLOW))
    with running(slow, tmp_path, count=2) as supervisor:
        run_id = started(slow, batch_size=1)
        (row,) = eventually(lambda: fleet.rows(AT_WORK))
        name, _, _ = row.worker.partition("-")
        for pid in (*children(supervisor.pids[name]), supervisor.pids[name]):
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: losses(fleet, run_id) == 1, LEASE_S + 40)
        (row,) = eventually(lambda: fleet.rows(AT_WORK))
        assert not row.worker.startswith(name)
