"""Ticks in real processes: two at once, and killed at each step."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.fleet import Fleet
from tests.gate import Gate
from tests.live import eventually
from tests.publishing import Publishing
from tests.tick_process import STEPS
from worker.settings import Settings


@pytest.fixture
def gate(fleet: Fleet) -> Gate:
    """A first wave of one bot is out, and well; two more bots wait for the second."""
    fleet.add_many(3)
    fleet.run(validate="sample:1")
    gate = Gate(Publishing(fleet))
    gate.start("1, all", "rollback")
    gate.work()
    gate.execute(gate.bots(1), 80)
    return gate


@pytest.fixture
def failing(gate: Gate) -> Gate:
    """The second wave is out, and each execution of it failed."""
    gate.tick()
    gate.work()
    gate.execute(gate.bots(2), 0, 9)
    return gate


@contextmanager
def ticking(settings: Settings, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process that ticks once."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("FLOWSHIFT_")},
        "FLOWSHIFT_DATABASE_URL": settings.database_url,
        "FLOWSHIFT_REDIS_URL": settings.redis_url,
        "FLOWSHIFT_GATE_CONFIRM_S": "0",
        "FLOWSHIFT_GATE_MIN_SOAK_S": "0",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "tests.tick_process", *arguments],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def is_waiting(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    return process.stdout.readline() == "here\n"


STEPS_OF_A_FAILURE = [one for one in STEPS if one != "before the messages"]

ACTIVITY = """
SELECT a.state, a.backend_xmin IS NOT NULL AS keeps_xmin FROM pg_stat_activity a
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
  AND EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'advisory')
"""


def test_of_two_processes_one_looks_and_keeps_no_transaction_open_meanwhile(
    failing: Gate, settings: Settings
) -> None:
    with ticking(settings, "--at", "after the look", "--waits") as first:
        assert is_waiting(first)
        with ticking(settings) as second:
            assert second.communicate(timeout=100)[0] == "no publication moves\n"
        (session,) = failing.fleet.rows(ACTIVITY)
        assert (session.state, session.keeps_xmin) == ("idle", False)
        said, _ = first.communicate("go\n", timeout=100)
    assert "wave 2 was taken back: V1 answers on 2 bots" in said
    assert failing.states() == ("held failed", ["passed", "rolled_back"])
    assert failing.kept() == [(1, "passed"), (2, "failed")]
    assert failing.fleet.rows(ACTIVITY) == [], "the turn was given back"


@pytest.mark.parametrize("step", STEPS_OF_A_FAILURE)
def test_killed_at_any_step_the_next_tick_does_what_is_left(
    failing: Gate, settings: Settings, step: str
) -> None:
    with ticking(settings, "--at", step) as killed:
        assert killed.wait(100) == -signal.SIGKILL
    eventually(lambda: failing.fleet.rows(ACTIVITY) == [])
    failing.tick()
    assert failing.states() == ("held failed", ["passed", "rolled_back"])
    assert failing.live() == set(failing.bots(1))
    assert failing.waves()[1].rolled_back == 2
    assert [one for one in failing.kept() if one[0] == 2] == [(2, "failed")]
    assert failing.audit().count("wave_failed") == 1


def test_killed_before_its_messages_are_sent_the_next_wave_is_in_the_database(
    gate: Gate, settings: Settings
) -> None:
    with ticking(settings, "--at", "before the messages") as killed:
        assert killed.wait(100) == -signal.SIGKILL
    assert "the wave is still being published" in gate.tick()[0]
    assert gate.states() == ("publishing", ["passed", "publishing"])
    gate.work()
    assert gate.states() == ("watching", ["passed", "watching"])
