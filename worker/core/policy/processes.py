"""Processes that keep running, as their heartbeats show them: which of them work.

A process may live and be of no use: its connection to the queue lost, its loop hung. So a heartbeat
says two things: that it lives, and when what it is there for was last seen to work.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, get_args

import msgspec

from worker.core.policy.run_kinds import QueueName

ProcessKind = Literal["worker", "beat", "flower", "serve"]
KINDS: Final[tuple[ProcessKind, ...]] = get_args(ProcessKind)

Condition = Literal["works", "starting", "stalled", "silent", "stopped"]
"""Starting: it has not worked yet, and began a moment ago. Stalled: it lives, and does not work.
Silent: it sends no heartbeat. Stopped: on request."""

MISSED_MAX: Final = 6
"""So many heartbeats may be missing before a process counts as stalled or silent."""


class Process(msgspec.Struct, frozen=True):
    """The heartbeat of one process. Times are seconds ago, by the database's clock.

    `beat_s` since it wrote, `worked_s` since what it does was seen to work (None: never yet).
    `queues` are those that it takes messages from. `cpu_cores` are what it and its children used between
    its last two heartbeats, `memory_bytes` what they have in memory; None where that is not known.
    """

    instance_id: str
    kind: ProcessKind
    name: str
    host: str
    pid: int
    version: str
    started_s: float
    beat_s: float
    worked_s: float | None = None
    evidence: str | None = None
    problem: str | None = None
    stopped: bool = False
    queues: tuple[QueueName, ...] = ()
    cpu_cores: float | None = None
    memory_bytes: int | None = None


def condition_of(process: Process, max_age_s: float) -> Condition:
    """What a heartbeat says, where nothing in it may be older than `max_age_s`."""
    if process.stopped:
        return "stopped"
    if process.beat_s > max_age_s:
        return "silent"
    if process.worked_s is None:
        return "starting" if process.started_s <= max_age_s else "stalled"
    return "works" if process.worked_s <= max_age_s else "stalled"


def working(processes: Sequence[Process], max_age_s: float) -> list[Process]:
    """Those that work."""
    return [one for one in processes if condition_of(one, max_age_s) == "works"]


def why_useless(process: Process | None, *, uptime_s: float, max_age_s: float) -> str | None:
    """Why a process that is known to run does not do its work; None if it does, or may yet.

    `process` is its heartbeat (None: it has written none), `uptime_s` since when it runs.
    """
    if process is None:
        if uptime_s <= max_age_s:
            return None
        return f"it has run for {ago(uptime_s)} and shown nothing of its work"
    condition = condition_of(process, max_age_s)
    if condition == "silent":
        return f"it runs, but has sent no heartbeat for {ago(process.beat_s)}"
    return _stalled(process) if condition == "stalled" else None


def describe(process: Process, max_age_s: float) -> str:
    """One process in a sentence.

    >>> one = Process("1", "beat", "beat", "h", 7, "0.1.0", 90.0, 3.0, 3.0, "the queue takes its messages")
    >>> describe(one, 60)
    'beat on h (pid 7) works: the queue takes its messages'
    """
    who = f"{process.kind} on {process.host} (pid {process.pid})"
    match condition_of(process, max_age_s):
        case "works":
            return f"{who} works: {process.evidence}" if process.evidence else f"{who} works"
        case "starting":
            return f"{who} is starting: {process.problem or 'it has shown nothing yet'}"
        case "stalled":
            return f"{who} does not work: {_stalled(process)}"
        case "silent":
            return f"{who} is gone: its last heartbeat was {ago(process.beat_s)} ago"
        case "stopped":
            return f"{who} was stopped {ago(process.beat_s)} ago"


def ago(seconds: float) -> str:
    """A time in the unit that suits it.

    >>> ago(3.2), ago(200), ago(7_300), ago(200_000)
    ('3 s', '3 min', '2 h', '2 days')
    """
    for length, unit in ((172_800, "days"), (7_200, "h"), (120, "min")):
        if seconds >= length:
            return f"{seconds / (86_400 if unit == 'days' else length / 2):.0f} {unit}"
    return f"{seconds:.0f} s"


def _stalled(process: Process) -> str:
    since_s = process.started_s if process.worked_s is None else process.worked_s
    said = f"it lives, and has not worked for {ago(since_s)}"
    return f"{said}: {process.problem}" if process.problem else said


class Health(msgspec.Struct, frozen=True):
    """Whether the processes of a kind do their work, and what there is to say, a sentence each."""

    kind: ProcessKind
    healthy: bool
    working: int
    sentences: tuple[str, ...]


def health_of(kind: ProcessKind, processes: Sequence[Process], max_age_s: float) -> Health:
    """Healthy is a kind of which one works at least, and none lives without working.

    Those that are gone are named only where none works: then the last one of them.
    """
    ours = [one for one in processes if one.kind == kind]
    conditions = {one.instance_id: condition_of(one, max_age_s) for one in ours}
    present = [one for one in ours if conditions[one.instance_id] not in ("silent", "stopped")]
    working_now = working(present, max_age_s)
    stalled = any(conditions[one.instance_id] == "stalled" for one in present)
    if present:
        sentences = [describe(one, max_age_s) for one in present]
    elif ours:
        last = min(ours, key=lambda one: one.beat_s)
        sentences = [f"no {kind} works: {describe(last, max_age_s)}"]
    else:
        sentences = [f"no {kind} works, and none was seen within a day"]
    healthy = bool(working_now) and not stalled
    return Health(kind, healthy, len(working_now), tuple(sentences))


def wanted_kinds(processes: Sequence[Process]) -> list[ProcessKind]:
    """The kinds that are to work: workers and the beat always, the others where they were seen.

    One that was stopped as asked need not be there.
    """
    seen = {one.kind for one in processes if not one.stopped}
    return [kind for kind in KINDS if kind in ("worker", "beat") or kind in seen]


def in_one_line(processes: Sequence[Process], max_age_s: float) -> str:
    """What works, for people: `2 workers, 1 beat, Flower, pages`, and what does not.

    Flower and pages need not be there: they are named only where they were.
    """
    found = [health_of(kind, processes, max_age_s) for kind in wanted_kinds(processes)]
    good = [_counted(one) for one in found if one.working]
    bad = [
        sentence
        for one in found
        if not one.healthy
        for sentence in one.sentences
        if " works: " not in sentence or sentence.startswith("no ")
    ]
    return " · ".join([", ".join(good), *bad] if good else bad)


NO_WORKER: Final[dict[QueueName, str]] = {
    "convert": "no worker answers: start some with `flowshift up`",
    "publish": "no worker publishes: start one as flowshift_publisher with `flowshift up --queue publish`",
}
"""What to say where no worker takes messages of a queue."""


def no_worker(queue: QueueName, processes: Sequence[Process], max_age_s: float) -> str:
    """What to say if no worker that works takes messages of a queue; empty if one does."""
    found = working(processes, max_age_s)
    return "" if any(queue in one.queues for one in found) else NO_WORKER[queue]


_NAMES: Final[dict[ProcessKind, str]] = {"flower": "Flower", "serve": "pages"}
"""What is called by its name, however many there are."""


def _counted(health: Health) -> str:
    if health.kind in _NAMES:
        return _NAMES[health.kind]
    return f"{health.working} {health.kind}{'s' if health.working > 1 else ''}"
