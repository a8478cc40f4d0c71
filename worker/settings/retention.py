"""Settings: how long records are kept, and when old ones are pruned."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from worker.settings.field import text
from worker.settings.limits import Limits


class Retention(Limits, frozen=True, kw_only=True):
    """How long records are kept, and when old ones are pruned."""

    prune_at: Annotated[
        str,
        text(
            "When the beat has old records pruned every day, in UTC, or `never`.",
            expected="a time such as 03:30, or never",
            pattern=r"^(never|([01][0-9]|2[0-3]):[0-5][0-9])\Z",
        ),
    ] = "03:30"
    keep_executions_days: Annotated[
        int,
        Meta(
            ge=1,
            le=36_500,
            description="Days that the platform's execution runs and their node executions are kept.",
        ),
    ] = 30
    keep_runs_days: Annotated[
        int,
        Meta(
            ge=1,
            le=36_500,
            description="Days that a finished run and its batches are kept, never shorter than its ledger.",
        ),
    ] = 90
    keep_ledger_days: Annotated[
        int,
        Meta(
            ge=1,
            le=36_500,
            description="Days that what a finished run did for each bot is kept; `retry` needs it.",
        ),
    ] = 90
    keep_audit_days: Annotated[
        int, Meta(ge=1, le=36_500, description="Days that the audit trail is kept.")
    ] = 365
