"""The command that converts without any server: convert."""

from __future__ import annotations

import sys
from typing import BinaryIO

import click
import msgspec
from msgspec import Raw

from worker import settings
from worker.core.codes import ConversionWarning
from worker.core.config import Defaults
from worker.core.convert import convert_text
from worker.core.text import issues_of_text
from worker.core.v1 import is_json_null
from worker.errors import BotError

_line = msgspec.json.Decoder(dict[str, Raw])
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
def convert(*, file: BinaryIO) -> int:
    """Convert workflows without any server: JSON lines in, JSON lines out.

    Each line of FILE (standard input if none is given) is an object with `workflow` (the workflow)
    or `column_text` (the text of the column), and whatever else; blank lines are passed over. For
    each, in the same order, one line comes out: what else there was, and `outcome`, `code`,
    `message`, `graph`, `warnings`. The exit code is 1 if any line failed.

    \b
    psql -Atc "SELECT json_build_object('bot_id', bot_id,
               'column_text', workflow::text) FROM bots" | flowshift convert
    """
    values = settings.load()
    defaults = Defaults(values.default_model, values.default_provider)
    out = sys.stdout.buffer
    failed = False
    for line in file:
        if not line.strip():
            continue
        kept, result = convert_line(line, defaults)
        failed |= result.outcome == "failed"
        out.write(_encode(kept | _fields(result)) + b"\n")
        out.flush()
    return 1 if failed else 0


def convert_line(line: bytes, defaults: Defaults) -> tuple[dict[str, Raw], Result]:
    """Convert one line of input: the keys to keep, and what became of the workflow."""
    try:
        keys = _line.decode(line)
        line.decode()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        unstorable = issues_of_text(line)
        if unstorable and unstorable[0].code == "invalid_text":
            return {}, Result("failed", "invalid_text", unstorable[0].message)
        return {}, Result("failed", "not_a_workflow", f"the line is no JSON object: {error}")
    workflow, column_text = keys.pop("workflow", None), keys.pop("column_text", None)
    kept = {key: Raw(_on_one_line(bytes(value))) for key, value in keys.items()}
    try:
        text = _text_of(workflow, column_text)
    except msgspec.DecodeError as error:
        return kept, Result("failed", "not_a_workflow", f"column_text is no text: {error}")
    if text is None:
        message = "the line has neither workflow nor column_text"
        return kept, Result("failed", "not_a_workflow", message)
    return kept, convert_one(text, defaults)


def convert_one(text: bytes, defaults: Defaults) -> Result:
    """Convert the text of a column, as a run would."""
    if not text or is_json_null(text):
        return Result("skipped", "no_workflow")
    try:
        draft = convert_text(text, defaults)
    except BotError as error:
        return Result("failed", error.code, str(error))
    return Result("converted", graph=Raw(_on_one_line(draft.graph)), warnings=draft.warnings)


def _text_of(workflow: Raw | None, column_text: Raw | None) -> bytes | None:
    """The column's text; empty where the column is null, None where the line has none."""
    if column_text is not None:
        return (msgspec.json.decode(column_text, type=str | None) or "").encode()
    return None if workflow is None else bytes(workflow)


def _fields(result: Result) -> dict[str, Raw]:
    return {
        field: Raw(_encode(getattr(result, field)))
        for field in ("outcome", "code", "message", "graph", "warnings")
    }


def _on_one_line(text: bytes) -> bytes:
    """JSON without line breaks between its tokens: a line of output is one line."""
    return msgspec.json.format(text, indent=-1) if b"\n" in text or b"\r" in text else text
