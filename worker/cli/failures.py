"""Commands about what is still open: failures, warnings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import click
import msgspec

from worker.cli.arguments import RUN
from worker.cli.printing import Text, console, print_csv, print_json_with
from worker.cli.session import configure_logging, opened, reading
from worker.cli.terminal import plain
from worker.core.codes import FAILURE_CODES, MEANINGS, REMEDIES, WARNING_CODES, quote
from worker.db import outcomes, runs
from worker.db.outcomes import Found, Group, Kind
from worker.errors import UsageError
from worker.runtime import Runtime

MESSAGE_CUT: Final = 300

run_argument = click.argument("run_id", metavar="[RUN]", type=RUN, required=False)
fleet_option = click.option(
    "--fleet", is_flag=True, help="Of the fleet, over all runs (the default)."
)
csv_option = click.option("--csv", "as_csv", is_flag=True, help="Print CSV, a bot a line.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


@click.command()
@run_argument
@fleet_option
@click.option("--code", type=click.Choice(FAILURE_CODES), help="Only bots that failed with this.")
@csv_option
@json_option
def failures(
    *, run_id: int | None, fleet: bool, code: str | None, as_csv: bool, as_json: bool
) -> int:
    """Show which bots are still broken, by code: why, two examples, and what to do next.

    Over the fleet a bot's latest outcome counts, of bots that still exist. Dry runs count for nothing.
    A validation that failed counts; one that passed takes back what a trial found, and no failed
    conversion. With RUN: the bots that failed in that run, whatever became of them since.

    The exit code is 1 if there are any, 0 if there are none.

    \b
    flowshift failures                      what is still broken
    flowshift failures --code cycle --csv   for a spreadsheet, or for whoever fixes them
    flowshift failures 3                    what failed in run 3
    """
    return _show("failures", run_id, fleet=fleet, code=code, as_csv=as_csv, as_json=as_json)


@click.command()
@run_argument
@fleet_option
@click.option("--code", type=click.Choice(WARNING_CODES), help="Only warnings of this kind.")
@csv_option
@json_option
def warnings(
    *, run_id: int | None, fleet: bool, code: str | None, as_csv: bool, as_json: bool
) -> int:
    """Show what drafts say that V1's picture did not show, by code, with two examples each.

    Over the fleet the latest conversion of each bot counts, dry runs aside. A bot with several
    warnings of one code counts once. The exit code is 0: a warning is no failure.
    """
    _show("warnings", run_id, fleet=fleet, code=code, as_csv=as_csv, as_json=as_json)
    return 0


def _show(
    kind: Kind, run_id: int | None, *, fleet: bool, code: str | None, as_csv: bool, as_json: bool
) -> int:
    if fleet and run_id is not None:
        raise UsageError("name a run or say --fleet, not both")
    if as_csv and as_json:
        raise UsageError("say --csv or --json, not both")
    configure_logging()
    with opened(needs_redis=False) as current:
        _refuse_unknown(current, run_id)
        with reading(current) as connection:
            if as_csv:
                seen = _Counted(outcomes.each(connection, kind, run_id=run_id, code=code))
                print_csv(
                    ("bot_id", "code", "run_id", "node", "message", "next"), map(_cells, seen)
                )
                return int(seen.any)
            found = outcomes.groups(connection, kind, run_id=run_id, code=code)
            if as_json:
                head = {"run_id": run_id, "bots_by_code": [_as_json(group) for group in found]}
                every = outcomes.each(connection, kind, run_id=run_id, code=code)
                print_json_with(head, kind, every)
            else:
                _print(kind, run_id, found)
    return int(bool(found))


def _refuse_unknown(current: Runtime, run_id: int | None) -> None:
    if run_id is None:
        return
    with reading(current) as connection:
        run = runs.get(connection, run_id)
    if run is None:
        raise UsageError(f"there is no run {run_id}: `flowshift runs` lists them")
    if run.ledger_pruned_at is not None:
        raise UsageError(f"what run {run_id} did for each bot is no longer kept")


class _Counted:
    """Rows as they come, and whether there were any."""

    def __init__(self, rows: Iterator[Found]) -> None:
        self._rows = rows
        self.any = False

    def __iter__(self) -> Iterator[Found]:
        for row in self._rows:
            self.any = True
            yield row


def _cells(found: Found) -> tuple[object, ...]:
    next_ = REMEDIES.get(found.code)
    return found.bot_id, found.code, found.run_id, found.node, found.message, next_


def _as_json(group: Group) -> dict[str, Any]:
    return {
        **msgspec.structs.asdict(group),
        "meaning": MEANINGS.get(group.code),
        "next": REMEDIES.get(group.code),
    }


def _print(kind: Kind, run_id: int | None, found: list[Group]) -> None:
    out = console()
    where = "over the fleet" if run_id is None else f"in run {run_id}"
    if not found:
        out.print(f"no {kind} {where}")
        return
    for group in found:
        title = Text(f"{group.code}  ", "bold red" if kind == "failures" else "bold yellow")
        out.print(title.append(f"{group.bots:,} bots", "default"))
        if meaning := MEANINGS.get(group.code):
            out.print(f"  {meaning}")
        for one in group.examples:
            at = f" {quote(one.node)}" if one.node is not None else ""
            out.print(
                f"    {one.bot_id}  run {one.run_id}{at}: {plain(one.message or '', MESSAGE_CUT)}"
            )
        if group.bots > len(group.examples):
            out.print(f"    … and {group.bots - len(group.examples):,} more")
        if remedy := REMEDIES.get(group.code):
            out.print(f"  next: {remedy}")
    total = sum(group.bots for group in found)
    what = "bots failed" if kind == "failures" else "warnings, each bot once for each code"
    run = "" if run_id is None else f" {run_id}"
    out.print(f"{total:,} {what} {where}; all of them: flowshift {kind}{run} --csv")
