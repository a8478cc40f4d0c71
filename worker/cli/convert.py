"""The command that converts without any server: convert."""

from __future__ import annotations

from typing import BinaryIO

import click
import msgspec
from msgspec import Raw

from worker import nodes, settings
from worker.cli.files import lines_of
from worker.cli.jsonl import on_one_line, read_line, take_workflow
from worker.cli.options import serverless_target_option
from worker.cli.printing import json_lines
from worker.core.codes import ConversionWarning
from worker.core.targets.convert import convert_text
from worker.core.targets.detect import without_database
from worker.core.targets.registry import DEFAULT
from worker.core.targets.target import Target
from worker.core.workflow.config import Defaults
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


@click.command()
@click.argument("file", type=click.File("rb"), default="-")
@serverless_target_option
def convert(*, file: BinaryIO, target: str | None) -> int:
    """Convert workflows without any server: JSON lines in, JSON lines out.

    Each line of FILE, or of standard input, is an object with `workflow` (the workflow) or
    `column_text` (the text of the column). Other keys are copied, blank lines are skipped. For each
    line one line is written, in the same order: the other keys, and `outcome`, `code`, `message`,
    `graph` and `warnings`.

    The exit code is 1 if a line failed, otherwise 0.

    \b
    Examples:
      flowshift convert workflows.jsonl > drafts.jsonl
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
        out.write(_encode(kept | _fields(result)) + b"\n")
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
    return Result("converted", graph=on_one_line(draft.graph), warnings=draft.warnings)


def _fields(result: Result) -> dict[str, Raw]:
    return {
        field: Raw(_encode(getattr(result, field)))
        for field in ("outcome", "code", "message", "graph", "warnings")
    }
