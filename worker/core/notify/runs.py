"""Events of runs, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from worker.core.counted import counted
from worker.core.notify.event import Event, Level
from worker.core.policy.run_kinds import PUBLISHES
from worker.core.policy.states import RunKind, RunState

_FAILED: Final = "failed:"
_CODES_SHOWN: Final = 5

_TOLD: Final[Mapping[RunState, tuple[Level, str]]] = {
    "completed": ("info", "is completed"),
    "completed_with_failures": ("warning", "ended with failures"),
    "failed": ("error", "failed: it could not be planned"),
    "cancelled": ("info", "was cancelled"),
}


def run_ended(
    run_id: int,
    kind: RunKind,
    state: RunState,
    *,
    bots: int = 0,
    bots_failed: int = 0,
    batches_failed: int = 0,
    codes: Mapping[str, int] = {},
    reason: str | None = None,
) -> Event | None:
    """A run is over; None where its publication tells: a run that publishes, and failed nothing.

    `codes` counts each `outcome:code`; those of failures are named.

    >>> said = run_ended(3, "convert", "completed_with_failures", bots=120, bots_failed=3,
    ...     codes={"failed:cycle": 2, "skipped:no_workflow": 9, "failed:no_nodes": 1})
    >>> print(said.title, "-", said.reason, "-", said.next_step)
    Run 3 (convert) ended with failures - 3 of 120 bots failed: cycle 2, no_nodes 1 - flowshift failures 3
    >>> run_ended(4, "publish", "completed", bots=9) is None
    True
    """
    if kind in PUBLISHES and state in ("completed", "cancelled"):
        return None
    level, words = _TOLD[state]
    return Event(
        kind=f"run.{state}",
        level=level,
        key=f"run:{run_id}:ended",
        title=f"Run {run_id} ({kind}) {words}",
        reason=reason or _counted(bots, bots_failed, batches_failed, codes),
        next_step=f"flowshift failures {run_id}" if bots_failed else f"flowshift status {run_id}",
        page=page_of(run_id),
        detail={"run_id": run_id, "bots": bots, "bots_failed": bots_failed},
    )


def _counted(bots: int, failed: int, batches_failed: int, codes: Mapping[str, int]) -> str:
    if not failed and not batches_failed:
        return f"{counted(bots, 'bot')}, none failed"
    parts = [f"{failed:,} of {counted(bots, 'bot')} failed{_by_code(codes)}"] if failed else []
    if batches_failed:
        what = counted(batches_failed, "batch", "batches")
        parts.append(f"{what} failed as a whole: flowshift retry takes what is left")
    return "; ".join(parts)


def _by_code(codes: Mapping[str, int]) -> str:
    failures = [
        (key.removeprefix(_FAILED), n) for key, n in codes.items() if key.startswith(_FAILED)
    ]
    failures.sort(key=lambda one: (-one[1], one[0]))
    named = ", ".join(f"{code} {count:,}" for code, count in failures[:_CODES_SHOWN])
    more = ", …" if len(failures) > _CODES_SHOWN else ""
    return f": {named}{more}" if named else ""


def run_paused(run_id: int, kind: RunKind, reason: str) -> Event | None:
    """A run paused itself; None for one whose publication is held for it, which tells.

    >>> print(run_paused(3, "convert", "cycle: 40 of the last 60 bots failed").next_step)
    flowshift failures 3, then flowshift resume 3
    """
    if kind == "publish":
        return None
    return Event(
        kind="run.paused",
        level="error",
        key=f"run:{run_id}:paused",
        title=f"Run {run_id} ({kind}) paused itself",
        reason=reason,
        next_step=f"flowshift failures {run_id}, then flowshift resume {run_id}",
        page=page_of(run_id),
        detail={"run_id": run_id},
    )


def page_of(run_id: int) -> str:
    """The path of a run's page."""
    return f"/runs/{run_id}"
