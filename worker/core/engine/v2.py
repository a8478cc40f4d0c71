"""V2: run a draft from its ports, mappings and edges, and from nothing else (design sections 3, 4)."""

from __future__ import annotations

from worker.core.engine.execution import NO_VARIABLES, Execution, Variables
from worker.core.engine.parallel import Pool
from worker.core.engine.program import Program
from worker.core.engine.side_by_side import SideBySide
from worker.core.workflow.calls import DEFAULT_LIMITS, Clock, Limits, Providers, Trace


def execute(
    program: Program,
    message: str,
    providers: Providers,
    *,
    clock: Clock,
    limits: Limits = DEFAULT_LIMITS,
    variables: Variables = NO_VARIABLES,
    session_id: str = "",
    pool: Pool | None = None,
) -> Trace:
    """Run a draft on `message`.

    Nodes run one after another. One runs when an edge into it is live: its source ran, and did not
    choose another way. The answer is that of the first end that ran. A node that fails ends the
    execution; what did not run is recorded as skipped.

    With a `pool`, nodes that do not depend on each other run side by side, in its threads and in
    this one, which must be none of them. The trace is that of the sequence, elapsed times aside:
    what ran behind a node that failed is recorded as skipped, and its calls are not. Providers, nodes
    and the clock are then used by several threads. A graph with more nodes than `limits.max_steps`
    runs in sequence anyway.

    Raises:
        BudgetSpentError, TransientError: a provider could not be asked; nothing is known.
    """
    entry = {"query": message, "session_id": session_id}
    execution = Execution(program, entry, providers, clock, limits, variables)
    if pool is None or len(program.ids) > limits.max_steps:
        return execution.run()
    return SideBySide(execution).run(pool)
