"""Executions as they were recorded: the newest, and one node by node."""

from __future__ import annotations

from typing import Annotated, Final

from litestar import Response, get
from litestar.params import FromQuery, PathParameter, QueryParameter

from worker.core.shown import distinct_length, fields
from worker.steps.executions import list_executions, read_execution
from worker.web.given import Reading
from worker.web.pages.shell import PageShell

SHOWN: Final = 100
NODES_SHOWN: Final = 200
VALUE_WIDTH: Final = 1_000

Text = Annotated[str, QueryParameter(max_length=200)]
RunNumber = Annotated[int | None, QueryParameter(ge=1, le=2**63 - 1)]
ExecutionId = Annotated[str, PathParameter(min_length=1, max_length=36)]


@get("/executions", sync_to_thread=True, include_in_schema=False)
def executions(
    shell: PageShell,
    reading: Reading,
    bot: Text = "",
    run: RunNumber = None,
    failed: FromQuery[bool] = False,
) -> Response[str]:
    """The newest executions: of a bot, of a run, or of all."""
    found = list_executions(reading, SHOWN, bot_id=bot or None, run_id=run, failed=failed)
    asked = {"bot": bot, "run": run, "failed": failed}
    return shell.page(
        "executions.html",
        found=found,
        asked=asked,
        most=SHOWN,
        id_length=distinct_length(one.execution_id for one in found),
    )


@get("/executions/{execution_id:str}", sync_to_thread=True, include_in_schema=False)
def execution(shell: PageShell, reading: Reading, execution_id: ExecutionId) -> Response[str]:
    """One execution with its nodes in the order in which they ran."""
    found = read_execution(reading, execution_id)
    return shell.page(
        "execution.html",
        found=found,
        one=found.whole.execution,
        nodes=found.nodes[:NODES_SHOWN],
        left_out=max(0, len(found.nodes) - NODES_SHOWN),
        slowest_us=max((node.elapsed_us or 0 for node in found.nodes), default=0),
        fields=fields,
        width=VALUE_WIDTH,
    )


HANDLERS: Final = (executions, execution)
