"""Publications wait in a queue of their own: workers of the publisher's role take it, others never."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from celery import Celery

from tests.fleet import Fleet
from tests.live import Environment, eventually, flowshift, is_over, start, workers
from worker.processes.supervisor import Program, Supervisor, worker_program

pytestmark = pytest.mark.acceptance


@pytest.fixture
def proven(fleet: Fleet) -> Fleet:
    """Three bots with proven drafts, by run 1."""
    fleet.add_many(3)
    fleet.run(validate="sample:1")
    return fleet


@contextmanager
def publisher_worker(environment: Environment) -> Iterator[None]:
    """A worker that takes publications alone."""
    queue = f"{environment['FLOWSHIFT_NAMESPACE']}:publish"
    made = worker_program(1, name="publisher", queue=queue)
    program = Program(made.name, made.command, {**made.environment, **environment})
    with Supervisor([program], shutdown_s=20):
        yield


def live(fleet: Fleet) -> int:
    return int(fleet.rows("SELECT count(*) FROM bots WHERE use_workflow_v2")[0][0])


def test_converting_workers_leave_a_publication_to_a_publisher(
    proven: Fleet, quick: Environment, sender: Celery, publisher: Environment
) -> None:
    with workers(sender, quick):
        begun = flowshift(
            quick, "publish", "1", "--waves", "2, all", "--without-backup", "--yes", "--detach"
        )
        assert begun.returncode == 0, begun.stderr
        assert "no worker publishes: start one as flowshift_publisher" in begun.stderr
        assert "no worker publishes" in flowshift(quick, "status", "2").stdout

        # A message that went astray is left to the queue that it belongs to.
        sender.send_task("flowshift.publish_batch", kwargs={"run_id": 2, "batch": 1})
        converts = start(sender, proven)
        eventually(is_over(proven, converts))
        assert live(proven) == 0

        with publisher_worker(publisher):
            eventually(is_over(proven, 2))
            assert live(proven) == 2
            status = flowshift(quick, "status", "2").stdout
            assert "no worker publishes" not in status

            followed = flowshift(quick, "accept", "1", "1", "--reason", "seen")
            assert followed.returncode == 0, followed.stderr
            assert "no worker" not in followed.stderr
    assert live(proven) == 3
    assert {row.attempt for row in proven.rows("SELECT attempt FROM flowshift.batches")} == {1}


def test_the_command_says_what_it_waits_for_and_ends_once_a_publisher_is_there(
    proven: Fleet, quick: Environment, publisher: Environment
) -> None:
    command = [
        sys.executable,
        "-m",
        "worker",
        "publish",
        "1",
        "--waves",
        "all",
        "--without-backup",
        "--yes",
    ]
    with subprocess.Popen(command, env=quick, stderr=subprocess.PIPE, text=True) as waiting:
        assert waiting.stderr is not None
        said = next(line for line in waiting.stderr if "no worker" in line)
        assert "flowshift up --queue publish" in said
        with publisher_worker(publisher):
            waiting.communicate(timeout=100)
    assert waiting.returncode == 0
    assert live(proven) == 3


def test_a_command_that_may_publish_starts_a_worker_of_its_own(
    proven: Fleet, publisher: Environment
) -> None:
    done = flowshift(publisher, "publish", "1", "--waves", "all", "--without-backup", "--yes")
    assert done.returncode == 0, done.stderr
    assert "no worker publishes: starting one here" in done.stderr
    assert live(proven) == 3


def test_a_worker_that_asks_for_what_its_role_may_not_do_refuses_to_start(
    quick: Environment,
) -> None:
    queue = f"{quick['FLOWSHIFT_NAMESPACE']}:publish"
    refused = subprocess.run(
        worker_program(1, queue=queue).command,
        env=quick,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert refused.returncode == 3
    assert "may not publish, so this worker cannot take from" in refused.stderr
