"""A notification, to try what becomes of it."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from worker.core.notify.message import Message


def a_message(**changes: Any) -> Message:
    """A message of a run that ended with failures."""
    return msgspec.structs.replace(_EXAMPLE, **changes)


_EXAMPLE: Final = Message(
    message_id="msg_00000000000000000000000000000000",
    kind="run.completed_with_failures",
    level="warning",
    title="Run 3 (convert) ended with failures",
    reason="3 of 120 bots failed",
    next_step="flowshift failures 3",
    page="https://flowshift.example/runs/3",
    happened_at="2026-11-29T12:00:00Z",
    age_s=1.0,
    repeats=0,
    source="flowshift",
)
