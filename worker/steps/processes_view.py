"""Processes as JSON has them: one model for `health`, `status` and HTTP."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from worker.core.policy.processes import Condition, Process, condition_of


class ProcessView(Process, frozen=True, kw_only=True):
    """A process, and what its heartbeat says of it."""

    condition: Condition


class ProcessesView(msgspec.Struct, frozen=True, kw_only=True):
    """The processes of the last day; a heartbeat, and what it shows, may be `max_age_s` old."""

    max_age_s: float
    processes: tuple[ProcessView, ...]


class HealthView(ProcessesView, frozen=True, kw_only=True):
    """The processes, and whether those that are asked for do their work."""

    healthy: bool


def process_views(processes: Sequence[Process], limit_s: float) -> tuple[ProcessView, ...]:
    """Each process with its condition."""
    return tuple(
        ProcessView(**msgspec.structs.asdict(one), condition=condition_of(one, limit_s))
        for one in processes
    )


def health_view(processes: Sequence[Process], limit_s: float, *, healthy: bool) -> HealthView:
    """The view of what `flowshift health` looks at."""
    views = process_views(processes, limit_s)
    return HealthView(healthy=healthy, max_age_s=limit_s, processes=views)
