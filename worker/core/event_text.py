"""Celery's events in plain words: without the quotes and brackets of Python's `repr`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from worker.core.printable import escape, shorten

LONGEST: Final = 1_000
"""Characters of an event's text at most."""

LISTED: Final = 3
"""Items of a list that are shown."""

_QUOTED: Final = re.compile(r"""\A(['"])(.*)\1\Z""", re.DOTALL)
_ERROR: Final = re.compile(r"""\A(\w+)\((.*?),?\)\Z""", re.DOTALL)


def plain_result(text: str) -> str:
    r"""What a task returned, of Celery's representation of it.

    >>> plain_result("'run 12'"), plain_result("'it\\'s done'"), plain_result("None")
    ('run 12', "it's done", '')
    """
    if text == "None":
        return ""
    if found := _QUOTED.match(text):
        text = found[2].replace("\\'", "'")
    return shorten(escape(text), LONGEST)


def plain_error(text: str) -> str:
    """What a task raised, of its `repr`.

    >>> plain_error("ValueError('too small')"), plain_error("refused: no such run")
    ('ValueError: too small', 'refused: no such run')
    """
    if found := _ERROR.match(text):
        name, inner = found.groups()
        text = f"{name}: {plain_result(inner)}" if inner else name
    return shorten(escape(text), LONGEST)


def plain_arguments(args: Sequence[object], kwargs: Mapping[str, object]) -> str:
    """The arguments of a message, for a person.

    >>> plain_arguments((), {"limit": 5, "dry_run": True, "bot_ids": ["a", "b", "c", "d"]})
    'limit=5, dry_run=true, bot_ids=[a, b, c, … 1 more]'
    """
    named = (f"{name}={_plain(value)}" for name, value in kwargs.items())
    return shorten(escape(", ".join([*(_plain(value) for value in args), *named])), LONGEST)


def _plain(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{" + _listed([f"{name}: {_plain(item)}" for name, item in value.items()]) + "}"
    if isinstance(value, list | tuple):
        return "[" + _listed([_plain(item) for item in value]) + "]"
    return str(value)


def _listed(items: Sequence[str]) -> str:
    more = len(items) - LISTED
    return ", ".join([*items[:LISTED], *([f"… {more:,} more"] if more > 0 else [])])
