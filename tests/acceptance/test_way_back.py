"""The way back when processes are killed and servers are away: every bot is wholly back or wholly not."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from tests.fleet import Fleet
from tests.live import Environment, children, eventually, private_redis, running, tending
from tests.operating import Operator
from tests.publication_invariants import must_hold
from tests.way_back import (
    count_live,
    deadlocks,
    go_out,
    install_brake,
    is_at_rest,
    stopped,
)
from worker.db.publication.rolling import Which
from worker.processes.supervisor import Supervisor
from worker.steps.publication import detached

pytestmark = pytest.mark.acceptance

BOTS = 410


def is_over(fleet: Fleet) -> bool:
    """Whether every run that rolls back has ended."""
    query = "SELECT FROM flowshift.runs WHERE kind = 'roll_back' AND finished_at IS NULL"
    return not fleet.rows(query)


def kill_worker(supervisor: Supervisor) -> None:
    """SIGKILL of a whole worker."""
    pid = supervisor.pids["w0"]
    for one in (*children(pid), pid):
        os.kill(one, signal.SIGKILL)


def test_a_detached_rollback_whose_workers_are_killed_leaves_every_bot_wholly_back_or_wholly_not(
    fleet: Fleet, publisher: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(12)
    go_out(fleet, 120)
    install_brake(fleet)
    monkeypatch.setattr(detached, "BATCH", 30)
    [begun] = detached.detach(fleet.current, Which(), digest=None, actor="test", reason=None)
    with running(publisher, tmp_path) as supervisor:
        for _ in range(2):
            with stopped(fleet, after=draw.randrange(50), tend=supervisor.tend):
                kill_worker(supervisor)
            eventually(lambda: is_at_rest(fleet))
            must_hold(fleet, is_interrupted=True)
            assert count_live(fleet) > 0
        tending(supervisor, lambda: is_over(fleet))
    assert begun.run_id is not None
    assert set(fleet.outcomes(begun.run_id).values()) == {"rolled_back"}
    assert count_live(fleet) == 0
    must_hold(fleet)


def test_a_rollback_that_is_killed_at_any_moment_is_finished_by_the_next_one(
    fleet: Fleet, publisher: Environment, tmp_path: Path
) -> None:
    """Its three connections are in three transactions when it dies."""
    draw, operator = random.Random(5), Operator(fleet, publisher)
    go_out(fleet, BOTS)
    install_brake(fleet)
    # Before the first of three commits; and so late that there were commits, whichever these were.
    for is_late in (False, True):
        after = count_live(fleet) - 3 if is_late else draw.randrange(BOTS // 3)
        command = begin(operator, tmp_path / "log", "--all", "--yes")
        with stopped(fleet, after=after):
            command.kill()
            command.wait()
        eventually(lambda: is_at_rest(fleet))
        must_hold(fleet, is_interrupted=True)
    assert 0 < count_live(fleet) < BOTS
    operator.roll_back("--all")
    assert count_live(fleet) == 0
    must_hold(fleet)


def test_two_commands_that_roll_back_the_same_bots_at_once_count_each_of_them_once(
    fleet: Fleet, publisher: Environment, tmp_path: Path
) -> None:
    operator, logs = Operator(fleet, publisher), [tmp_path / "all", tmp_path / "wave"]
    go_out(fleet, BOTS)
    install_brake(fleet)
    asked = (("--all",), ("--publication", "1", "--wave", "2"))
    commands = [
        begin(operator, log, "--yes", "--json", *which)
        for log, which in zip(logs, asked, strict=True)
    ]
    with stopped(fleet, after=20):
        eventually(lambda: fleet.rows(_BEGUN)[0][0] == 2)
    assert [command.wait(100) for command in commands] == [0, 0]
    results = [json.loads(log.read_bytes().splitlines()[-1])["result"] for log in logs]
    assert sum(one["bots"].get("rolled_back", 0) for one in results) == BOTS
    assert [one["left"] for one in results] == [0, 0]
    assert deadlocks(fleet) == 0
    assert operator.state == "rolled_back"
    must_hold(fleet)


_BEGUN = "SELECT count(*) FROM flowshift.audit WHERE action = 'publication.rolling_back'"


def test_a_detached_rollback_waits_for_its_workers_and_does_without_redis(
    fleet: Fleet, publisher: Environment, tmp_path: Path
) -> None:
    """No worker while it begins, and Redis lost with all messages; later lost again, in the middle."""
    (home := tmp_path / "redis").mkdir()
    go_out(fleet, 60)
    install_brake(fleet)
    with private_redis(home) as (url, server):
        operator = Operator(fleet, {**publisher, "FLOWSHIFT_REDIS_URL": url})
        said = operator.do("rollback", "--all", "--detach", "--yes").stderr
        assert "no worker" in said
        server.kill()
        server.wait()
        refused = operator.do("rollback", "--all", "--detach", "--yes", codes=(3,)).stderr
        assert "Without --detach a rollback needs neither Redis nor workers" in refused
    with (
        private_redis(home) as (_, server),
        running(operator.environment, tmp_path) as supervisor,
    ):
        with stopped(fleet, after=30):
            server.kill()
            server.wait()
        tending(supervisor, lambda: is_over(fleet))
    assert count_live(fleet) == 0
    assert operator.state == "rolled_back"
    must_hold(fleet)


def test_a_rollback_needs_neither_redis_nor_workers(
    fleet: Fleet, publisher: Environment, tmp_path: Path
) -> None:
    operator = Operator(fleet, {**publisher, "FLOWSHIFT_REDIS_URL": f"unix://{tmp_path}/none?db=0"})
    go_out(fleet, 20)
    operator.roll_back("--publication", "1", "--wave", "2")
    assert count_live(fleet) == 8
    operator.roll_back("--all")
    assert count_live(fleet) == 0
    must_hold(fleet)


def begin(operator: Operator, log: Path, *which: str) -> subprocess.Popen[bytes]:
    """Begin a rollback, to be killed."""
    with log.open("ab") as to:
        return operator.begin("rollback", *which, log=to)
