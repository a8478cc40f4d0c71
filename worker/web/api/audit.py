"""The audit trail."""

from __future__ import annotations

from typing import Annotated

from litestar import get
from litestar.params import QueryParameter

from worker.db.control import Entry
from worker.steps.control import audit_trail
from worker.web.api.values import MOST, Limit
from worker.web.given import Reading

OfRun = Annotated[
    int | None, QueryParameter(description="Only what was done to this run.", ge=1, le=MOST)
]
Before = Annotated[
    int | None, QueryParameter(description="Only entries with a lower id.", ge=1, le=MOST)
]


@get("/audit", tags=["audit"], sync_to_thread=True)
def audit(
    reading: Reading, limit: Limit = 100, run_id: OfRun = None, before: Before = None
) -> list[Entry]:
    """Who did what, when and why: the newest last. The next page is `before` the first one's id."""
    return audit_trail(reading, run_id, limit, before=before)
