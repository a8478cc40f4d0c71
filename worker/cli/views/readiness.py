"""What `db check` prints."""

from __future__ import annotations

from collections.abc import Iterable

from worker.cli.printing import Console, Text
from worker.cli.views.target import print_target
from worker.core.counted import counted
from worker.db.schema.check import TableReport
from worker.steps.answers import Answer, Attempt
from worker.steps.readiness import Readiness


def print_readiness(out: Console, readiness: Readiness) -> None:
    """Print table by table what is there, what was tried, and what stands in the way."""
    width = _width(report.name for report in readiness.tables)
    for report in readiness.tables:
        found = Text("there", "green") if report.present else Text("missing", "red")
        out.print(Text(f"{report.owner:<10}{report.name:<{width}}"), found, sep="")
        for line in _details(report):
            out.print(Text(f"{'':<10}{line}", "yellow"))
    if readiness.attempt is not None:
        _print_attempt(out, readiness.attempt)
    revision = readiness.revision or "none"
    out.print(f"revision {revision}, newest {readiness.newest_revision}")
    if readiness.target is not None:
        print_target(out, readiness.target)
    if readiness.would_go_live:
        out.print(
            Text(
                f"- {counted(readiness.would_go_live, 'bot is', 'bots are')} flagged V2 without a published"
                " version: this platform runs drafts, so runs skip such bots as draft_would_go_live;"
                " --live-drafts takes them",
                "yellow",
            )
        )
    for note in readiness.notes:
        out.print(Text(f"- {note}", "yellow"))
    for problem in readiness.problems:
        out.print(Text(f"- {problem}", "red"))
    out.print(Text("ready", "bold green") if readiness.ready else Text("not ready", "bold red"))


def _width(names: Iterable[str]) -> int:
    """Of a column with these names: wide enough for the longest, and two spaces."""
    return max(map(len, names), default=0) + 2


def _print_attempt(out: Console, attempt: Attempt) -> None:
    as_role = f" as {attempt.role}" if attempt.role else ""
    if attempt.untried is not None:
        out.print(Text(f"nothing was tried on real bots{as_role}: {attempt.untried}", "yellow"))
    else:
        tried = counted(attempt.bots, "bot")
        out.print(Text(f"tried on {tried}{as_role}, and rolled back:"))
    width = _width(answer.table for answer in attempt.answers)
    for answer in attempt.answers:
        out.print(
            Text(f"{'':<10}{answer.table:<{width}}{answer.rows} × {answer.action}: "),
            _said(answer),
            sep="",
        )


def _said(answer: Answer) -> Text:
    if answer.refused is not None:
        return Text(answer.refused, "red")
    if answer.undecided is not None:
        return Text(f"not known: {answer.undecided}", "yellow")
    return Text("works", "green")


def _details(report: TableReport) -> list[str]:
    lines = [f"column {name} is missing" for name in report.missing_columns]
    lines += [f"index {name} is missing" for name in report.missing_indexes]
    return [*lines, *report.notes]
