"""The command that changes a run's limits: tune."""

from __future__ import annotations

import click
import msgspec

from worker.app import app
from worker.cli.arguments import Number, Whole
from worker.cli.control import hint_at_queue
from worker.cli.options import json_option, run_argument
from worker.cli.printing import print_json, say
from worker.cli.session import configure_logging, opened, person
from worker.core.policy.limits import BATCH_SIZES, BATCH_WINDOWS, CONCURRENCIES, RATES, SHARES
from worker.errors import UsageError
from worker.queue.dispatch import CeleryQueue
from worker.steps import control
from worker.steps.tuning import Tuning


@click.command()
@run_argument
@click.option(
    "--max-rate",
    type=Number(0, RATES[1]),
    metavar="N",
    show_default="unchanged",
    help="At most N bots a second, over all workers. 0 removes the limit.",
)
@click.option(
    "--concurrency",
    type=Whole(0, CONCURRENCIES[1]),
    metavar="N",
    show_default="unchanged",
    help="At most N batches at once, over all workers. 0 removes the limit.",
)
@click.option(
    "--batch-size",
    type=Whole(*BATCH_SIZES),
    metavar="N",
    show_default="unchanged",
    help="At most N bots in a batch.",
)
@click.option(
    "--batch-window",
    type=Whole(0, BATCH_WINDOWS[1]),
    metavar="N",
    show_default="unchanged",
    help="At most N batches in the queue. 0 is FLOWSHIFT_BATCH_WINDOW.",
)
@click.option(
    "--max-failures",
    type=Number(*SHARES),
    metavar="SHARE",
    show_default="unchanged",
    help="Pause the run when a larger share of its bots fails with one code. 1 is never.",
)
@json_option
def tune(
    *,
    run_id: int,
    max_rate: float | None,
    concurrency: int | None,
    batch_size: int | None,
    batch_window: int | None,
    max_failures: float | None,
    as_json: bool,
) -> int:
    """Change the limits of RUN while it is active. They hold from the next batch on.

    \b
    Examples:
      flowshift tune 3 --max-rate 200
      flowshift tune 3 --max-rate 0 --concurrency 8
    """
    unset = msgspec.UNSET
    tuning = Tuning(
        max_rate=unset if max_rate is None else max_rate or None,
        concurrency=unset if concurrency is None else concurrency or None,
        batch_window=unset if batch_window is None else batch_window or None,
        batch_size=unset if batch_size is None else batch_size,
        max_failures=unset if max_failures is None else max_failures,
    )
    if tuning == Tuning():
        raise UsageError("name a limit: flowshift tune --help lists them")
    configure_logging()
    with opened(needs_redis=False) as current:
        queue = CeleryQueue(app)
        changed = control.tune_run(current, queue, run_id, tuning, actor=person())
        hint_at_queue(queue, run_id)
    if as_json:
        print_json({"run_id": run_id, "changed": changed})
        return 0
    for name, (old, new) in changed.items():
        say(f"run {run_id}: {name.replace('_', ' ')} {_shown(old)} → {_shown(new)}")
    if not changed:
        say(f"run {run_id} already has these limits")
    return 0


def _shown(value: object) -> str:
    return "none" if value is None else f"{value:,}"
