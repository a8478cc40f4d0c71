"""What `show` prints of a draft: the checklist, and whether it does what V1 does."""

from __future__ import annotations

import shlex
from typing import Any, Final

from worker.cli.printing import Console, Table, Text
from worker.cli.terminal import plain, short
from worker.cli.views.target import print_stale
from worker.cli.views.units import milliseconds
from worker.core.codes import quote
from worker.core.parity.side_by_side import Verdict
from worker.core.targets.registry import TARGETS
from worker.core.workflow.checklist import Answer
from worker.core.workflow.diff import Difference, type_of
from worker.db.inspect import BotView
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
        rows.add_row("  why", Text(_WHY[examined.drift.cause]))
        for change in examined.drift.changes[:CHANGES_SHOWN]:
            rows.add_row("", change_text(change))
        if (more := len(examined.drift.changes) - CHANGES_SHOWN) > 0:
            rows.add_row("", f"… and {more:,} more")
        rows.add_row("  next", Text(_next(view, examined, target)))
    out.print(rows)


_WHY: Final = {
    "edited": "a person drew or changed this draft; a conversion writes something else:",
    "outdated": "the draft was written from an earlier state of the workflow; it would now be:",
    "engine": "a conversion writes just this draft: no draft can say what V1 does here",
    "conversion": "a conversion writes just this draft: the fault is flowshift's",
}


def _next(view: BotView, examined: Examined, target: str) -> str:
    cause = examined.drift and examined.drift.cause
    if cause == "engine":
        return (
            "nothing, if users may see an empty answer there; else let the first LLM always answer"
        )
    if cause == "conversion":
        return "do not publish the draft; report what show --json says of this bot"
    if view.uses_v2 and view.is_published:
        return "the bot runs V2 and no run touches it: correct the draft in the platform's editor"
    command = f"flowshift migrate --bot-id {plain(shlex.quote(view.bot_id))}"
    if view.uses_v2:
        command += " --live-drafts" if TARGETS[target].serves_drafts else " --include-flagged"
    if cause == "outdated":
        return f"convert it again: {command}"
    runs = examined.verdict.first.v2.error is None
    keep = "keep the draft if the other answer is meant" if runs else "correct the draft"
    return f"{keep}; to have it do what V1 does instead: {command} --overwrite-edited"


def change_text(change: Difference) -> Text:
    """A difference in one line."""
    sign, colour = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}[
        change.change
    ]
    text = Text(f"{sign} {plain(change.what)}", colour)
    before, after = _values(change)
    if before is not None:
        text.append(f"  {before}", "dim")
    if after is not None:
        arrow = " →" if before is not None else ""
        text.append(f"{arrow}  {after}")
    return text


def _values(change: Difference) -> tuple[str | None, str | None]:
    """What stood there before and after; with their types where these differ and may look alike."""
    if change.change == "changed":
        types = type_of(change.before), type_of(change.after)
        if types[0] != types[1] and not {*types} & {"array", "object"}:
            return _typed(change.before), _typed(change.after)
        return short(change.before), short(change.after)
    return (
        None if change.before is None else short(change.before),
        None if change.after is None else short(change.after),
    )


def _typed(value: object) -> str:
    if value is None:
        return "null"
    shown = f'"{short(value)}"' if isinstance(value, str) else short(value)
    return f"{shown} {type_of(value)}"
