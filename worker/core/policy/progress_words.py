"""How far a run is, in words."""

from __future__ import annotations

from typing import Final

from worker.core.policy.progress import Progress
from worker.core.policy.states import words
from worker.core.shown import plain

REASON_WIDTH: Final = 300


def label(progress: Progress) -> str:
    """A run's name and state."""
    dry = " (dry run)" if progress.dry_run else ""
    return f"run {progress.run_id}{dry} {words(progress.state)}"


def reason_of(progress: Progress) -> str:
    """What a run waits for, or why it is in its state; empty if there is nothing to say."""
    if progress.waiting:
        return f"waits for {plain(progress.waiting, REASON_WIDTH)}"
    return plain(progress.reason, REASON_WIDTH) if progress.reason else ""
