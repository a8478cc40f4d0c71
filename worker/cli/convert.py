"""The command that converts without any server: convert."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import click
import msgspec
from msgspec import Raw

from worker import nodes, settings
from worker.cli.files import lines_of
from worker.cli.jsonl import on_one_line, read_line, take_workflow
from worker.cli.options import serverless_target_option
from worker.cli.printing import json_lines, say
from worker.cli.views.plan import PlanView, plan_lines, plan_view
from worker.core.codes import ConversionWarning
from worker.core.targets.convert import convert_text
from worker.core.targets.detect import without_database
from worker.core.targets.registry import DEFAULT
from worker.core.targets.target import Target
from worker.core.workflow.config import Defaults
from worker.core.workflow.draft import Draft
from worker.core.workflow.v1 import is_json_null
from worker.errors import BotError

_encode = msgspec.json.Encoder().encode


class Result(msgspec.Struct, frozen=True):
    """What became of one line."""

    outcome: str
    code: str | None = None
    message: str | None = None
    graph: Raw | None = None
    warnings: tuple[ConversionWarning, ...] = ()
    draft: Draft | None = None

    @property
    def plan(self) -> PlanView | None:
        """What the draft was written by."""
        kept = None if self.draft is None else self.draft.kept
        return None if self.draft is None or kept is None else plan_view(self.draft, kept.plan)


@click.command()
@click.argument("file", type=click.File("rb"), default="-")
@serverless_target_option
@click.option(
    "--explain",
    type=click.Choice(("text", "json")),
    show_default="none",
    help="Show the plan of each workflow instead of its draft: lines for people, or JSON.",
)
def convert(*, file: BinaryIO, target: str | None, explain: str | None) -> int:
    """Convert workflows without any server: JSON lines in, JSON lines out.

    Each line of FILE, or of standard input, is an object with `workflow` (the workflow) or
    `column_text` (the text of the column). Other keys are copied, blank lines are skipped. For each
    line one line is written, in the same order: the other keys, and `outcome`, `code`, `message`,
    `graph` and `warnings`.

    With `--explain json` a line has `plan` in place of `graph` and `warnings`: the order of execution,
    each node with where its inputs come from, the edges, what is new, and the warnings.

    The exit code is 1 if a line failed, otherwise 0.

    \b
    Examples:
      flowshift convert workflows.jsonl > drafts.jsonl
      flowshift convert workflows.jsonl --explain text
      flowshift convert workflows.jsonl --target answer
      psql -Atc "SELECT json_build_object('bot_id', bot_id,
        'column_text', workflow::text) FROM bots" | flowshift convert
    """
    values = settings.load()
    wanted = without_database(target, values.target)
    defaults = nodes.defaults(values, nodes.installed(wanted))
    out = json_lines()
    failed = False
    for line in lines_of(file):
        if not line.strip():
            continue
        kept, result = convert_line(line, defaults, wanted)
        failed |= result.outcome == "failed"
        if explain == "text":
            for said in _explained(result):
                say(said)
            continue
        fields = _fields(result) if explain is None else _plan_fields(result)
        out.write(_encode(kept | fields) + b"\n")
        out.flush()
    return 1 if failed else 0


def convert_line(
    line: bytes, defaults: Defaults, target: Target = DEFAULT
) -> tuple[dict[str, Raw], Result]:
    """Convert one line of input: the keys to keep, and what became of the workflow."""
    kept: dict[str, Raw] = {}
    try:
        keys = read_line(line)
        try:
            text = take_workflow(keys)
        finally:
            kept = {key: on_one_line(bytes(value)) for key, value in keys.items()}
    except BotError as error:
        return kept, Result("failed", error.code, str(error))
    if text is None:
        message = "the line has neither workflow nor column_text"
        return kept, Result("failed", "not_a_workflow", message)
    return kept, convert_one(text, defaults, target)


def convert_one(text: bytes, defaults: Defaults, target: Target = DEFAULT) -> Result:
    """Convert the text of a column, as a run would."""
    if not text or is_json_null(text):
        return Result("skipped", "no_workflow")
    try:
        draft = convert_text(text, defaults, target)
    except BotError as error:
        return Result("failed", error.code, str(error))
    return Result("converted", None, None, on_one_line(draft.graph), draft.warnings, draft)


def _explained(result: Result) -> Iterator[str]:
    """A line's plan for a person, an empty line behind it; or why there is none."""
    if (plan := result.plan) is not None:
        yield from plan_lines(plan)
    else:
        said = (result.outcome, result.code, result.message)
        yield ": ".join(one for one in said if one)
    yield ""


def _plan_fields(result: Result) -> dict[str, Raw]:
    return {
        field: Raw(_encode(getattr(result, field)))
        for field in ("outcome", "code", "message", "plan")
    }


def _fields(result: Result) -> dict[str, Raw]:
    return {
        field: Raw(_encode(getattr(result, field)))
        for field in ("outcome", "code", "message", "graph", "warnings")
    }
