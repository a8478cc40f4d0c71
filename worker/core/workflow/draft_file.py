"""A draft as a file that a person edits: its graph, and which draft it was read from.

The key `flowshift_draft` says the bot and the state of its draft when the file was made. It is taken
off before the graph is written, so that a file goes back only to the draft that it came from.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw

from worker.core.workflow.text import MAX_BYTES, issues_of_text
from worker.errors import BotError

KEY: Final = "flowshift_draft"
MAX_FILE_BYTES: Final = 4 * MAX_BYTES
"""Of a file with its indentation; the graph in it is held to the limit of a workflow."""

NO_DRAFT: Final = "none"
"""The state of a draft that does not exist."""

_keys: Final = msgspec.json.Decoder(dict[str, Raw])


class Origin(msgspec.Struct, frozen=True):
    """Which draft a graph was read from: `state` is a hash of what it held."""

    bot_id: str
    state: str


class DraftFile(msgspec.Struct, frozen=True):
    """A graph as compact JSON, and its origin where the file says one."""

    graph: bytes
    origin: Origin | None


def write(graph: bytes, origin: Origin) -> bytes:
    """The file for a stored graph, indented; numbers keep their digits.

    A graph that is no object, or too deep to be indented, is written as it is below the key `graph`.

    >>> write(b'{"nodes": [1.50]}', Origin("b", "s")).splitlines()[-1]
    b'}'
    """
    try:
        keys = _keys.decode(graph)
    except (msgspec.DecodeError, RecursionError):
        keys = {"graph": Raw(graph)}
    keys.pop(KEY, None)
    document = msgspec.json.encode({KEY: origin, **keys})
    try:
        return msgspec.json.format(document, indent=2)
    except (msgspec.DecodeError, RecursionError):
        return document


def read(text: bytes) -> DraftFile:
    r"""The graph in a file of UTF-8 JSON.

    Raises:
        BotError: `invalid_text`, `too_large` or `not_a_workflow`: it cannot be stored as a graph.

    >>> read(b'{"flowshift_draft": {"bot_id": "b", "state": "s"}, "nodes": [1.50]}').graph
    b'{"nodes":[1.50]}'
    """
    if len(text) > MAX_FILE_BYTES:
        raise BotError("too_large", f"the file has over {MAX_FILE_BYTES:,} bytes")
    try:
        keys = _keys.decode(text)
        said = keys.pop(KEY, None)
        origin = None if said is None else msgspec.json.decode(said, type=Origin)
        graph = msgspec.json.format(msgspec.json.encode(keys), indent=-1)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        unstorable = issues_of_text(text[: MAX_BYTES + 1])
        if unstorable and unstorable[0].code in ("invalid_text", "too_large"):
            raise BotError(unstorable[0].code, unstorable[0].message) from error
        raise BotError("not_a_workflow", f"the file is no JSON object: {error}") from error
    if issues := issues_of_text(graph):
        raise BotError(issues[0].code, issues[0].message)
    return DraftFile(graph, origin)
