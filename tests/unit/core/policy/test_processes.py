"""Which processes work, by their heartbeats, and what is said of them."""

from __future__ import annotations

import itertools

import pytest

from worker.core.policy.processes import (
    Process,
    ProcessKind,
    condition_of,
    health_of,
    in_one_line,
    no_worker,
    why_useless,
)
from worker.core.policy.run_kinds import QueueName

MAX_S = 60.0
numbers = itertools.count()


def a_process(
    kind: ProcessKind = "worker",
    *,
    beat_s: float = 1.0,
    worked_s: float | None = 1.0,
    started_s: float = 1_000.0,
    problem: str | None = None,
    stopped: bool = False,
    host: str = "h",
    queues: tuple[QueueName, ...] = ("convert",),
) -> Process:
    """A process that works."""
    return Process(
        str(next(numbers)), kind, f"{kind}@{host}", host, 7, "0.1.0", started_s, beat_s, worked_s,
        "seen", problem, stopped, queues,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("process", "condition"),
    [
        (a_process(), "works"),
        (a_process(worked_s=60.0), "works"),
        (a_process(worked_s=60.1), "stalled"),
        (a_process(worked_s=None, started_s=59.0), "starting"),
        (a_process(worked_s=None, started_s=61.0), "stalled"),
        (a_process(beat_s=61.0), "silent"),
        (a_process(beat_s=61.0, stopped=True), "stopped"),
        (a_process(stopped=True), "stopped"),
    ],
)
def test_a_condition_is_read_from_when_it_lived_and_when_it_worked(
    process: Process, condition: str
) -> None:
    assert condition_of(process, MAX_S) == condition


def test_a_kind_is_healthy_if_one_works_and_none_lives_without_working() -> None:
    works, gone = a_process(), a_process(beat_s=300.0, host="x")
    stalled = a_process(worked_s=90.0, problem="no connection")
    assert health_of("worker", [works, gone], MAX_S).healthy
    both = health_of("worker", [works, stalled], MAX_S)
    assert (both.healthy, both.working) == (False, 1)
    assert both.sentences == (
        "worker on h (pid 7) works: seen",
        "worker on h (pid 7) does not work: it lives, and has not worked for 90 s: no connection",
    )
    assert not health_of("worker", [], MAX_S).healthy
    assert not health_of("worker", [a_process("beat")], MAX_S).healthy


def test_where_none_works_the_last_one_seen_is_named() -> None:
    found = [a_process(beat_s=190.0, host="x"), a_process(beat_s=9_000.0, host="y")]
    assert health_of("worker", found, MAX_S).sentences == (
        "no worker works: worker on x (pid 7) is gone: its last heartbeat was 3 min ago",
    )


def test_one_line_says_what_works_and_what_does_not() -> None:
    good = [a_process(), a_process(host="i"), a_process("beat"), a_process("flower")]
    assert in_one_line(good, MAX_S) == "2 workers, 1 beat, Flower"
    assert in_one_line([a_process(), a_process("beat", worked_s=130.0)], MAX_S) == (
        "1 worker · beat on h (pid 7) does not work: it lives, and has not worked for 2 min"
    )
    assert in_one_line([], MAX_S) == (
        "no worker works, and none was seen within a day · no beat works, and none was seen within a day"
    )


@pytest.mark.parametrize(
    ("process", "uptime_s", "useless"),
    [
        (None, 60.0, False),
        (None, 61.0, True),
        (a_process(), 900.0, False),
        (a_process(worked_s=None, started_s=50.0), 50.0, False),
        (a_process(worked_s=61.0), 900.0, True),
        (a_process(beat_s=61.0), 900.0, True),
        (a_process(stopped=True), 900.0, False),
    ],
)
def test_a_process_that_runs_is_useless_once_it_has_shown_no_work_for_too_long(
    process: Process | None, uptime_s: float, useless: bool
) -> None:
    said = why_useless(process, uptime_s=uptime_s, max_age_s=MAX_S)
    assert (said is not None) is useless


def test_only_a_worker_that_works_and_takes_from_a_queue_counts_for_it() -> None:
    both = a_process(queues=("convert", "publish"))
    gone = a_process(beat_s=300.0, queues=("publish",))
    assert no_worker("publish", [a_process(), both], MAX_S) == ""
    assert "start one as flowshift_publisher" in no_worker("publish", [a_process(), gone], MAX_S)
    only = a_process(queues=("publish",))
    assert no_worker("convert", [only], MAX_S).startswith("no worker answers")
