"""Commands about runs: migrate, retry, runs, status, watch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO, TypeVar

import click
import msgspec

from tasks import start_run
from worker.cli import workers
from worker.cli.arguments import RUN, TEXT
from worker.cli.control import health_of, pace_of, print_guests_manners
from worker.cli.files import TextFile
from worker.cli.follow import follow, from_database
from worker.cli.health import processes_json, working_line
from worker.cli.printing import Text, console, print_json, say
from worker.cli.serve import flower_page
from worker.cli.session import configure_logging, opened, person, reading
from worker.cli.views import tables
from worker.cli.views.run import run_fields, run_view
from worker.cli.views.schedule import prune_schedule, prune_text
from worker.cli.workers import WorkerPresent
from worker.core.codes import FAILURE_CODES
from worker.core.parity.overhead import Summary as Overhead
from worker.core.policy.health import Verdict
from worker.core.policy.processes import Process
from worker.core.policy.progress import Progress
from worker.db import fleet, heartbeats, outcomes
from worker.db import runs as runs_table
from worker.db.runs import Failure, Run
from worker.errors import UsageError
from worker.processes.vitals import max_age_s
from worker.runtime import Runtime
from worker.steps.control import CONCURRENCIES, RATES, SHARES
from worker.steps.start import Request

Command = TypeVar("Command", bound=Callable[..., Any])

FAILURES_SHOWN = 10


def both(
    first: Callable[[Command], Command], second: Callable[[Command], Command]
) -> Callable[[Command], Command]:
    """Two options in one decorator, in this order."""
    return lambda command: first(second(command))


run_argument = click.argument("run_id", metavar="[RUN]", type=RUN, required=False)
message_options = both(
    click.option(
        "--message",
        "messages",
        type=TEXT,
        multiple=True,
        metavar="TEXT",
        help="Try drafts on this. Repeatable.",
    ),
    click.option(
        "--messages-from",
        type=TextFile(),
        help="Try drafts on the messages in this file (- for standard input), one a line.",
    ),
)
request_id_option = click.option(
    "--request-id",
    type=TEXT,
    metavar="TEXT",
    help="Names this request: said again with the same, it follows the run that there is.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


def limit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that a run's manners are set with; `flowshift tune` changes them later."""
    for option in reversed(
        (
            click.option(
                "--max-rate",
                type=click.FloatRange(*RATES),
                help="Bots a second at most, over all workers.",
            ),
            click.option(
                "--concurrency",
                type=click.IntRange(*CONCURRENCIES),
                help="Batches at once at most, over all workers.",
            ),
            click.option(
                "--max-failures",
                type=click.FloatRange(*SHARES),
                help="Pause above this share of bots failing with one code.",
            ),
            click.option(
                "--allow-overlap",
                is_flag=True,
                help="Start though an active run takes some of the same bots.",
            ),
        )
    ):
        command = option(command)
    return command


@click.command()
@click.option(
    "--dry-run", is_flag=True, help="Do everything, and take it back from the platform's tables."
)
@click.option(
    "--bot-id",
    "bot_ids",
    type=TEXT,
    multiple=True,
    metavar="BOT",
    help="Only this bot. Repeatable.",
)
@click.option(
    "--bots-from",
    type=TextFile(),
    help="Only the bots in this file (- for standard input), an id a line.",
)
@click.option("--limit", type=click.IntRange(1), help="Only the first N bots that have a workflow.")
@click.option("--batch-size", type=click.IntRange(1, 10_000), help="Bots per batch.")
@click.option("--overwrite-edited", is_flag=True, help="Replace drafts that a person changed, too.")
@click.option(
    "--include-flagged",
    is_flag=True,
    help="Take bots that are flagged V2 without a published version, too.",
)
@click.option(
    "--validate",
    default="sample:1",
    show_default=True,
    metavar="none|sample:N|all",
    help="Execute each draft beside V1 on no message, on N, or on all.",
)
@message_options
@limit_options
@request_id_option
@click.option("--detach", is_flag=True, help="Start the run and leave; follow it with `watch`.")
@click.option("--verbose", "-v", is_flag=True, help="Name every bot and what became of it.")
@json_option
def migrate(
    *,
    dry_run: bool,
    bot_ids: tuple[str, ...],
    bots_from: TextIO | None,
    limit: int | None,
    batch_size: int | None,
    overwrite_edited: bool,
    include_flagged: bool,
    max_rate: float | None,
    concurrency: int | None,
    max_failures: float | None,
    allow_overlap: bool,
    validate: str,
    messages: tuple[str, ...],
    messages_from: TextIO | None,
    request_id: str | None,
    detach: bool,
    verbose: bool,
    as_json: bool,
) -> int:
    """Convert bots from V1 to V2 drafts.

    Without options: every bot. Drafts that say the same already are left alone, so that a second
    run changes nothing. Published bots, and drafts that a person changed, are skipped.

    Every draft is executed beside V1, on a built-in message or on yours; no model is asked. One
    that does not do what V1 does counts as failed.

    \b
    flowshift migrate --dry-run            what would happen
    flowshift migrate --limit 5 --verbose  a few, to look at
    flowshift migrate                      the fleet
    """
    request = Request(
        dry_run=dry_run,
        bot_ids=listed(bot_ids, bots_from, "bot ids"),
        limit=limit,
        batch_size=batch_size,
        overwrite_edited=overwrite_edited,
        include_flagged=include_flagged,
        max_rate=max_rate,
        concurrency=concurrency,
        max_failures=max_failures,
        allow_overlap=allow_overlap,
        validate=validate,
        messages=listed(messages, messages_from, "messages") or (),
    )
    return carry_out(
        request, request_id=request_id, detach=detach, verbose=verbose, as_json=as_json
    )


def listed(given: tuple[str, ...], file: TextIO | None, what: str) -> tuple[str, ...] | None:
    """What was given on the command line and in a file, a line each; None where nothing was.

    Raises:
        UsageError: a file was given and there is nothing in it.
    """
    if file is None:
        return given or None
    lines = (line.strip() for line in file)
    found = (*given, *(line for line in lines if line))
    if not found:
        raise UsageError(f"there are no {what} in {file.name}")
    return found


@click.command()
@click.argument("run_id", metavar="RUN", type=RUN)
@click.option("--code", type=click.Choice(FAILURE_CODES), help="Only bots that failed with this.")
@click.option(
    "--bot-id",
    "bot_ids",
    type=TEXT,
    multiple=True,
    metavar="BOT",
    help="Only this bot. Repeatable.",
)
@limit_options
@request_id_option
@click.option("--detach", is_flag=True, help="Start the run and leave; follow it with `watch`.")
@click.option("--verbose", "-v", is_flag=True, help="Name every bot and what became of it.")
@json_option
def retry(
    *,
    run_id: int,
    code: str | None,
    bot_ids: tuple[str, ...],
    max_rate: float | None,
    concurrency: int | None,
    max_failures: float | None,
    allow_overlap: bool,
    request_id: str | None,
    detach: bool,
    verbose: bool,
    as_json: bool,
) -> int:
    """Start a new run over exactly the bots that failed in RUN."""
    request = Request(
        retry_of=run_id,
        code=code,
        bot_ids=bot_ids or None,
        max_rate=max_rate,
        concurrency=concurrency,
        max_failures=max_failures,
        allow_overlap=allow_overlap,
    )
    return carry_out(
        request, request_id=request_id, detach=detach, verbose=verbose, as_json=as_json
    )


def carry_out(
    request: Request, *, request_id: str | None, detach: bool, verbose: bool, as_json: bool
) -> int:
    """Start a run, follow it and print what it came to; returns the exit code."""
    configure_logging()
    with opened() as current:
        run = start_run(request, request_id=request_id, requested_by=person())
        if not as_json and (page := flower_page(current, run.run_id)):
            say(f"run {run.run_id} in Flower: {page}", err=True)
        if detach:
            return _detached(current, run, as_json=as_json)
        with (
            WorkerPresent(current, quiet=as_json) as worker,
            _said_when_interrupted(run.run_id, has_own_worker=lambda: worker.is_own),
        ):
            progress = follow(current, run.run_id, quiet=as_json, meanwhile=worker.tend)
        if verbose and not as_json:
            _print_bots(current, run)
        return _report(current, progress, as_json=as_json)


def _detached(current: Runtime, run: Run, *, as_json: bool) -> int:
    if as_json:
        print_json({"run_id": run.run_id, "state": run.state})
    else:
        say(f"run {run.run_id} is in the queue; follow it: flowshift watch {run.run_id}")
    workers.hint(current)
    return 0


@contextmanager
def _said_when_interrupted(run_id: int, *, has_own_worker: Callable[[], bool]) -> Iterator[None]:
    """Say what goes on, and how to go on, when Ctrl-C ends the block."""
    try:
        yield
    except KeyboardInterrupt:
        for line in interrupted_lines(run_id, has_own_worker=has_own_worker()):
            say(line, err=True)
        raise


def interrupted_lines(run_id: int, *, has_own_worker: bool) -> tuple[str, ...]:
    """What a person is told who stops to follow a run.

    >>> interrupted_lines(3, has_own_worker=True)[0]
    'run 3 waits: its worker was started here and stops. To go on: flowshift up'
    """
    what = (
        f"run {run_id} waits: its worker was started here and stops. To go on: flowshift up"
        if has_own_worker
        else f"run {run_id} goes on in the workers"
    )
    return what, f"follow it: flowshift watch {run_id}   stop it: flowshift cancel {run_id}"


def _print_bots(current: Runtime, run: Run) -> None:
    with reading(current) as connection:
        for row in runs_table.outcomes(connection, run.run_id):
            why = f" {row.code}" if row.code else ""
            noted = f", {row.warnings} warnings" if row.warnings else ""
            said = f": {row.message}" if row.message else ""
            passed = run.kind == "validate" and row.outcome == "unchanged"
            outcome = "validated" if passed else row.outcome
            say(f"{row.bot_id}  {outcome}{why}{noted}{said}")


def _report(current: Runtime, progress: Progress, *, as_json: bool) -> int:
    """Print what a run came to; returns the exit code."""
    with reading(current) as connection:
        codes = runs_table.codes(connection, progress.run_id)
        limit = None if as_json else FAILURES_SHOWN
        failures = runs_table.failures(connection, progress.run_id, limit=limit)
        failed_batches = runs_table.failed_batches(connection, progress.run_id)
        overhead = runs_table.overhead(connection, progress.run_id)
        run = runs_table.existing(connection, progress.run_id)
    if as_json:
        print_json(_summary(run, progress, codes, failures, failed_batches, overhead))
    else:
        tables.print_summary(
            console(),
            progress,
            codes,
            failures,
            failed_batches,
            overhead,
            validates=run.kind == "validate",
        )
    failed = progress.counts.failed or progress.batches_failed
    return 1 if failed or progress.state in ("failed", "cancelled") else 0


def _summary(
    run: Run,
    progress: Progress,
    codes: dict[str, int],
    failures: list[Failure],
    failed_batches: Any,
    overhead: Overhead | None,
) -> dict[str, Any]:
    return {
        **run_fields(run, progress),
        "codes": codes,
        "failures": msgspec.to_builtins(failures),
        "batch_failures": [{"batch": number, "error": error} for number, error in failed_batches],
        "overhead": msgspec.to_builtins(overhead),
    }


@click.command()
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many.")
@json_option
def runs(*, limit: int, as_json: bool) -> int:
    """List runs, the newest first."""
    configure_logging()
    with opened(needs_redis=False) as current, reading(current) as connection:
        entries = [
            (run, progress)
            for run in runs_table.latest(connection, limit)
            if (progress := runs_table.progress(connection, run.run_id)) is not None
        ]
    if as_json:
        print_json([run_view(run, progress) for run, progress in entries])
    elif entries:
        console().print(tables.runs_table(entries))
    else:
        say("no runs yet: flowshift migrate --dry-run")
    return 0


@click.command()
@run_argument
@json_option
def status(*, run_id: int | None, as_json: bool) -> int:
    """Say how a run is doing (the latest, if none is named), and how the fleet is.

    The exit code is 0 while all is well, 1 if bots failed.
    """
    configure_logging()
    with opened(needs_redis=False) as current:
        chosen = _chosen(current, run_id)
        with reading(current) as connection:
            whole = fleet.overview(connection)
            executions = fleet.executed(connection)
            still_failed = outcomes.counts(connection)
            processes = heartbeats.processes(connection)
        if as_json:
            return _status_json(current, chosen, whole, executions, still_failed, processes)
        out = console()
        code = 0
        if chosen is None:
            out.print("no runs yet")
        else:
            progress = from_database(current, chosen)
            if not progress.is_over:
                out.print(tables.one_line(progress), markup=False)
                print_guests_manners(out, pace_of(current, chosen), health_of(current))
            code = _report(current, progress, as_json=False)
        out.line()
        out.print(_fleet_text(whole))
        if still_failed:
            out.print(_open_text(still_failed))
        out.print(working_line(current, processes), markup=False, highlight=False)
        out.print(prune_text(prune_schedule(current)))
        if executions.all.count:
            out.print(tables.executed_table(executions))
        return code


def _status_json(
    current: Runtime,
    run_id: int | None,
    whole: fleet.Overview,
    executions: fleet.Executed,
    still_failed: dict[str, int],
    processes: Sequence[Process],
) -> int:
    summary: dict[str, Any] | None = None
    pace: dict[str, Any] | None = None
    verdicts: list[Verdict] = []
    failed = 0
    if run_id is not None:
        progress = from_database(current, run_id)
        if not progress.is_over:
            pace, verdicts = pace_of(current, run_id), health_of(current)
        failed = progress.counts.failed + progress.batches_failed
        with reading(current) as connection:
            summary = _summary(
                runs_table.existing(connection, run_id),
                progress,
                runs_table.codes(connection, run_id),
                runs_table.failures(connection, run_id, limit=None),
                runs_table.failed_batches(connection, run_id),
                runs_table.overhead(connection, run_id),
            )
    print_json(
        {
            "run": summary,
            "pace": pace,
            "health": msgspec.to_builtins(verdicts),
            "fleet": msgspec.to_builtins(whole),
            "open_failures": still_failed,
            **processes_json(processes, max_age_s(current)),
            "prune": prune_schedule(current),
            "executions_24h": msgspec.to_builtins(executions.by_status),
            "executions_24h_all": msgspec.to_builtins(executions.all),
            "executions_24h_traffic": msgspec.to_builtins(executions.traffic),
            "executions_24h_validation": msgspec.to_builtins(executions.validation),
        }
    )
    return 1 if failed else 0


def _open_text(still_failed: dict[str, int]) -> Text:
    by_code = ", ".join(f"{code} {bots:,}" for code, bots in still_failed.items())
    total = sum(still_failed.values())
    return Text(f"still failed: {total:,} bots ({by_code}): flowshift failures", "red")


def _fleet_text(whole: fleet.Overview) -> Text:
    return Text(
        f"fleet: {whole.total_bots:,} bots with a workflow, {whole.migrated_bots:,} backed up, "
        f"{whole.v2_bots:,} on V2{_unpublished(whole)}, {whole.drafts:,} drafts{_without_id(whole)}"
    )


def _without_id(whole: fleet.Overview) -> str:
    if not whole.without_id:
        return ""
    return f"; {whole.without_id:,} of these rows have no bot_id: every run passes them over"


def _unpublished(whole: fleet.Overview) -> str:
    if not whole.v2_unpublished:
        return ""
    return f" ({whole.v2_unpublished:,} of them without a published version: they cannot answer)"


def _chosen(current: Runtime, run_id: int | None) -> int | None:
    if run_id is not None:
        return run_id
    with reading(current) as connection:
        latest = runs_table.latest(connection, 1)
    return latest[0].run_id if latest else None


@click.command()
@run_argument
def watch(*, run_id: int | None) -> int:
    """Follow a run (the latest, if none is named) until it is over, whoever started it.

    Leaving with Ctrl-C does not stop the run.
    """
    configure_logging()
    with opened(needs_redis=False) as current:
        chosen = _chosen(current, run_id)
        if chosen is None:
            raise UsageError("there are no runs yet")
        if not from_database(current, chosen).is_over:
            workers.hint(current)
        with _said_when_interrupted(chosen, has_own_worker=lambda: False):
            progress = follow(current, chosen)
        return _report(current, progress, as_json=False)
