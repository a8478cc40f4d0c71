"""Two `flowshift up` in one data directory, and a `migrate` that is killed while it follows its run."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from celery import Celery

from tests.fleet import Fleet
from tests.live import PATIENCE_S, Environment, eventually, flowshift, is_over, workers

pytestmark = pytest.mark.acceptance


@contextmanager
def up(environment: Environment, log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "up", *arguments],
            env=environment,
            stdout=file,
            stderr=file,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def events(log: Path) -> list[str]:
    return [json.loads(line)["event"] for line in log.read_text().splitlines()]


def has_started(log: Path) -> bool:
    said = events(log)
    return "beat: Starting..." in said and any(" ready." in event for event in said)


def test_two_in_one_data_directory_work_side_by_side(
    quick: Environment, fleet: Fleet, tmp_path: Path
) -> None:
    ids = fleet.add_many(40)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**quick, "FLOWSHIFT_FLOWER_PORT": str(port)}
    one, two = tmp_path / "one.log", tmp_path / "two.log"
    with up(environment, one):
        eventually(lambda: "flower.ready" in events(one))
        refused = flowshift(environment, "up")
        assert refused.returncode == 3
        (line,) = refused.stderr.splitlines()
        assert f"Flower cannot listen on 127.0.0.1:{port}" in json.loads(line)["error"]

        with up(environment, two, "--no-flower"):
            for log in (one, two):
                eventually(partial(has_started, log))
            run = flowshift(environment, "migrate", "--batch-size", "5")
            assert run.returncode == 0, run.stderr
            assert set(fleet.drafts()) == set(ids)

    for log in (one, two):
        assert not {"process.died", "process.crashed", "start.refused"} & set(events(log))
        assert "worker.stopped" in events(log)


def test_a_migrate_that_is_killed_leaves_its_run_going_and_the_terminal_usable(
    quick: Environment, fleet: Fleet, sender: Celery
) -> None:
    fleet.add_many(300)
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    with workers(sender, quick):
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "migrate", "--batch-size", "1"],
            env={**quick, "TERM": "xterm-256color", "COLUMNS": "80"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.set_blocking(ours, False)
        shown = bytearray()

        def has_begun() -> bool:
            with suppress(BlockingIOError):
                shown.extend(os.read(ours, 65_536))
            return b"run 1" in shown and fleet.progress(1).batches_done >= 3

        eventually(has_begun)
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
        assert not fleet.progress(1).is_over
        after = termios.tcgetattr(theirs)
        eventually(is_over(fleet, 1))

    os.close(ours)
    os.close(theirs)
    assert after == before, "echo and lines are as they were"
    assert b"\x1b[?1049h" not in shown, "no other screen was opened, which would stay"
    assert b"\x1b[?25l" not in shown, "the cursor was not hidden, and would stay so"
    assert fleet.progress(1).counts.converted == 300
