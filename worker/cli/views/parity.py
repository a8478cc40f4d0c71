"""What `show` prints of a draft: the checklist, and whether it does what V1 does."""

from __future__ import annotations

from typing import Any, Final

from worker.cli.printing import Console, Table, Text
from worker.cli.views.target import print_stale
from worker.core.codes import quote
from worker.core.parity.side_by_side import Verdict
from worker.core.shown import plain, short
from worker.core.units import milliseconds
from worker.core.workflow.checklist import Answer
from worker.core.workflow.diff import Difference, values_of
from worker.db.inspect import BotView
from worker.steps.drift import WHY, next_step
from worker.steps.examine import Examined

ISSUES_SHOWN: Final = 3
CHANGES_SHOWN: Final = 5


def verdict_fields(examined: Examined | None) -> dict[str, Any]:
    """The part of `show --json` that is about the draft; null if there is none."""
    if examined is None:
        return {"checklist": None, "parity": None}
    verdict, first = examined.verdict, examined.verdict.first
    return {
        "checklist": examined.checklist,
        "parity": {
            "same": verdict.same,
            "messages": verdict.tried,
            "differing": verdict.differing,
            "message": first.message,
            "difference": first.parity.difference,
            "v1": {"answer": first.v1.answer, "error": first.v1.error},
            "v2": {"answer": first.v2.answer, "error": first.v2.error},
            "cause": examined.drift and examined.drift.cause,
            "draft_changes": examined.drift.changes if examined.drift else (),
        },
    }


# -- for people ------------------------------------------------------------------------------------


def print_verdict(out: Console, view: BotView, examined: Examined, target: str) -> None:
    """Print the checklist, then parity, and where they differ why, and what to do next.

    `target` is the platform's: a draft for another is said to be one.
    """
    out.line()
    out.print(Text("checklist", "bold"))
    out.print(_checklist_table(examined.checklist))
    verdict = examined.verdict
    out.line()
    out.print(
        Text("parity", "bold"),
        Text(
            f"  V1 and the draft (target {examined.target}) on {verdict.tried} built-in messages, just "
            "now, on echo"
        ),
        sep="",
    )
    if examined.target != target:
        print_stale(out, examined.target, target, view.bot_id)
    if verdict.same:
        out.print(_same_text(verdict))
    elif verdict.same is None:
        out.print(Text(f"  –    {plain(verdict.first.parity.difference, 300)}", "yellow"))
    else:
        _print_difference(out, view, examined, target)


def _checklist_table(answers: tuple[Answer, ...]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for answer in answers:
        evidence = Text(answer.question).append(f"  {answer.evidence}", "dim")
        for issue in answer.issues[:ISSUES_SHOWN]:
            where = f"{plain(issue.path)}: " if issue.path else ""
            evidence.append_line(f"{where}{plain(issue.message, 200)}", "red")
        if (more := len(answer.issues) - ISSUES_SHOWN) > 0:
            evidence.append_line(f"… and {more:,} more", "red")
        table.add_row(Text("  yes" if answer.yes else "  no", _colour(answer.yes)), evidence)
    return table


def _colour(good: bool) -> str:
    return "green" if good else "red"


def _same_text(verdict: Verdict) -> Text:
    first = verdict.first
    took = f"V1 {milliseconds(first.v1.elapsed_us)}, V2 {milliseconds(first.v2.elapsed_us)}"
    return Text("  yes  ", "green").append(
        f"the same calls and the same answer on each of them  ({took})", "default"
    )


def _print_difference(out: Console, view: BotView, examined: Examined, target: str) -> None:
    verdict, first = examined.verdict, examined.verdict.first
    rows = Table.grid(padding=(0, 2))
    rows.add_column(no_wrap=True)
    rows.add_column(overflow="fold")
    rows.add_row(
        Text("  no", "red"), f"different on {verdict.differing} of {verdict.tried} messages"
    )
    rows.add_row("  message", Text(quote(first.message, 120)))
    rows.add_row("  differs", Text(plain(first.parity.difference, 400), "red"))
    for name, trace in (("V1", first.v1), ("V2", first.v2)):
        said = short(trace.answer, 200) if trace.error is None else plain(trace.error, 200)
        rows.add_row(f"  {name}", Text(said, "red" if trace.error else ""))
    if examined.drift is not None:
        rows.add_row("  why", Text(WHY[examined.drift.cause]))
        for change in examined.drift.changes[:CHANGES_SHOWN]:
            rows.add_row("", change_text(change))
        if (more := len(examined.drift.changes) - CHANGES_SHOWN) > 0:
            rows.add_row("", f"… and {more:,} more")
        rows.add_row("  next", Text(next_step(view, examined, target)))
    out.print(rows)


def change_text(change: Difference) -> Text:
    """A difference in one line."""
    sign, colour = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}[
        change.change
    ]
    text = Text(f"{sign} {plain(change.what)}", colour)
    before, after = values_of(change)
    if before is not None:
        text.append(f"  {before}", "dim")
    if after is not None:
        arrow = " →" if before is not None else ""
        text.append(f"{arrow}  {after}")
    return text
