"""Processes that keep running, as their heartbeats show them: which of them work.

A process may live and be of no use: its connection to the queue lost, its loop hung. So a heartbeat
says two things: that it lives, and when what it is there for was last seen to work.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, get_args

import msgspec

ProcessKind = Literal["worker", "beat", "flower", "serve"]
KINDS: Final[tuple[ProcessKind, ...]] = get_args(ProcessKind)

Condition = Literal["works", "starting", "stalled", "silent", "stopped"]
"""Starting: it has not worked yet, and began a moment ago. Stalled: it lives, and does not work.
Silent: nothing was heard of it. Stopped: as it was told."""

MISSED_MAX: Final = 6
"""So many heartbeats may be missing before a process counts as stalled or silent."""


class Process(msgspec.Struct, frozen=True):
    """The heartbeat of one process. Times are seconds ago, by the database's clock.

    `beat_s` since it wrote, `worked_s` since what it does was seen to work (None: never yet).
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
