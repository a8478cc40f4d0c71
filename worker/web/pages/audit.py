"""The audit trail: who did what, when and why."""

from __future__ import annotations

from typing import Annotated, Final

from litestar import Response, get
from litestar.params import QueryParameter

from worker.steps.control import audit_trail
from worker.web.given import Reading
from worker.web.pages.shell import PageShell

SHOWN: Final = 200

RunNumber = Annotated[int | None, QueryParameter(ge=1, le=2**63 - 1)]


@get("/audit", sync_to_thread=True, include_in_schema=False)
def audit(shell: PageShell, reading: Reading, run: RunNumber = None) -> Response[str]:
    """The newest entries, of a run or of all runs and publications."""
    return shell.page("audit.html", entries=audit_trail(reading, run, SHOWN), run=run, most=SHOWN)


HANDLERS: Final = (audit,)
