"""Lines of JSON that hold workflows: what `convert` and `trace` read and write."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from worker.core.workflow.text import issues_of_text
from worker.errors import BotError

_line = msgspec.json.Decoder(dict[str, Raw])


def read_line(line: bytes) -> dict[str, Raw]:
    """The keys of one line of input.

    Raises:
        BotError: the line is no JSON object, or one that could not be stored.
    """
    try:
        line.decode()
        return _line.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        unstorable = issues_of_text(line)
        if unstorable and unstorable[0].code in ("invalid_text", "too_large"):
            raise BotError(unstorable[0].code, unstorable[0].message) from error
        raise BotError("not_a_workflow", f"the line is no JSON object: {error}") from error


def take_workflow(keys: dict[str, Raw]) -> bytes | None:
    """Take `workflow` and `column_text` out of a line; the column's text, None where it has neither.

    A column that is null is empty.

    Raises:
        BotError: `column_text` is no text.
    """
    workflow, column_text = keys.pop("workflow", None), keys.pop("column_text", None)
    if column_text is None:
        return None if workflow is None else bytes(workflow)
    try:
        return (msgspec.json.decode(column_text, type=str | None) or "").encode()
    except msgspec.DecodeError as error:
        raise BotError("not_a_workflow", f"column_text is no text: {error}") from error


def on_one_line(text: bytes) -> Raw:
    """JSON without line breaks between its tokens: a line of output is one line."""
    return Raw(msgspec.json.format(text, indent=-1) if b"\n" in text or b"\r" in text else text)
