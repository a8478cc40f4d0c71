"""The commands about what is still open: failures, warnings."""

from __future__ import annotations

from collections.abc import Iterator

import click

from worker.cli.options import (
    code_option,
    csv_option,
    fleet_option,
    json_option,
    optional_run_argument,
)
from worker.cli.printing import console, print_csv, print_json_with
from worker.cli.session import configure_logging, opened
from worker.cli.views.failures import group_fields, print_groups
from worker.core.codes import FAILURE_CODES, SKIP_CODES, WARNING_CODES
from worker.db.outcomes import Found, Kind
from worker.errors import UsageError
from worker.steps.outcomes import HEADER, cells, each_outcome, outcomes_by_code


@click.command()
@optional_run_argument
@fleet_option
@code_option((*FAILURE_CODES, *SKIP_CODES), help_text="Only bots with this code.")
@csv_option
@json_option
def failures(
    *, run_id: int | None, fleet: bool, code: str | None, as_csv: bool, as_json: bool
) -> int:
    """Show which bots are still broken, by code: why, two examples, and what to do next.

    Without RUN, the latest outcome of each bot that still exists counts. Dry runs do not count. A
    failed validation counts; one that passed clears what a trial found, but not a failed
    conversion. With RUN: the bots that failed in that run, whatever happened since, and if it
    publishes, those that it skipped.

    The exit code is 1 if there are any, otherwise 0.

    \b
    Examples:
      flowshift failures                      # what is still broken
      flowshift failures --code cycle --csv   # for a spreadsheet
      flowshift failures 3                    # what failed in run 3
      flowshift failures 4 --code not_proven  # not published by run 4, and why
    """
    return _show("failures", run_id, fleet=fleet, code=code, as_csv=as_csv, as_json=as_json)


@click.command()
@optional_run_argument
@fleet_option
@code_option(WARNING_CODES, help_text="Only warnings with this code.")
@csv_option
@json_option
def warnings(
    *, run_id: int | None, fleet: bool, code: str | None, as_csv: bool, as_json: bool
) -> int:
    """Show what drafts make explicit that V1 did not show, by code, with two examples each.

    Without RUN, the latest conversion of each bot counts. Dry runs do not count. A bot with several
    warnings of one code counts once. The exit code is 0: a warning is not a failure.

    \b
    Examples:
      flowshift warnings
      flowshift warnings 3 --code join_node --csv
    """
    _show("warnings", run_id, fleet=fleet, code=code, as_csv=as_csv, as_json=as_json)
    return 0


def _show(
    kind: Kind, run_id: int | None, *, fleet: bool, code: str | None, as_csv: bool, as_json: bool
) -> int:
    if fleet and run_id is not None:
        raise UsageError("name a run or use --fleet, not both")
    if as_csv and as_json:
        raise UsageError("use --csv or --json, not both")
    configure_logging()
    with opened(needs_redis=False) as current:
        if as_csv:
            seen = _Counted(each_outcome(current.engine, kind, run_id=run_id, code=code))
            print_csv(HEADER, map(cells, seen))
            return int(seen.any)
        found = outcomes_by_code(current.engine, kind, run_id=run_id, code=code)
        if as_json:
            head = {"run_id": run_id, "bots_by_code": [group_fields(group) for group in found]}
            every = each_outcome(current.engine, kind, run_id=run_id, code=code)
            print_json_with(head, kind, every)
        else:
            print_groups(console(), kind, run_id, found)
    return int(bool(found))


class _Counted:
    """Rows as they come, and whether there were any."""

    def __init__(self, rows: Iterator[Found]) -> None:
        self._rows = rows
        self.any = False

    def __iter__(self) -> Iterator[Found]:
        for row in self._rows:
            self.any = True
            yield row
