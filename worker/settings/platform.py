"""Settings: the platform's own validator and engine, where it lets us ask them."""

from __future__ import annotations

import re
import shlex
from typing import Annotated, Final

from msgspec import Meta

from worker.settings.display import Display
from worker.settings.field import PREFIX, text

ENTRY_POINT: Final = "python:"
"""What a setting begins with that names an entry point instead of a command."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PROGRAM: Final = "a command, or python: and the name of an entry point"


def program(value: str) -> tuple[str, ...]:
    """The words of a command; none if the value is empty. An entry point is one word.

    Raises:
        ValueError: a quotation mark is not closed, or nothing is named.

    >>> program("node 'our platform/check.js' --strict")
    ('node', 'our platform/check.js', '--strict')
    """
    if value.startswith(ENTRY_POINT):
        if not value.removeprefix(ENTRY_POINT).strip():
            raise ValueError(f"{ENTRY_POINT} is followed by no name")
        return (ENTRY_POINT + value.removeprefix(ENTRY_POINT).strip(),)
    words = tuple(shlex.split(value))
    if value and not words:
        raise ValueError("it names no program")
    return words


def node_types(value: str) -> tuple[str, ...]:
    """The node types in a list that commas separate; none if the value is empty.

    Raises:
        ValueError: a name is empty, or has a blank in it.

    >>> node_types("start, llm,end")
    ('start', 'llm', 'end')
    """
    listed = tuple(name.strip() for name in value.split(",")) if value else ()
    for name in listed:
        if not name or len(name.split()) > 1:
            raise ValueError(f"{name!r} is no node type")
    return listed


def names(value: str) -> tuple[str, ...]:
    """The names of variables in a list that commas separate.

    Raises:
        ValueError: one is no name of a variable, or is a setting of flowshift's.

    >>> names("ACME_HOME, JAVA_HOME")
    ('ACME_HOME', 'JAVA_HOME')
    """
    listed = tuple(name.strip() for name in value.split(",") if name.strip())
    for name in listed:
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"{name!r} is no name of a variable")
        if name.startswith(PREFIX):
            raise ValueError(f"{name} is flowshift's own and is never passed on")
    return listed


class Platform(Display, frozen=True, kw_only=True):
    """The platform's own validator and engine, where it lets us ask them."""

    platform_check: Annotated[
        str,
        text(
            "The platform's validator, which judges every draft: a command, or `python:NAME` for an "
            "entry point, see [Ask the platform itself](../how-to/platform-word.md). "
            "Empty: none is asked.",
            expected=_PROGRAM,
            check=program,
        ),
    ] = ""
    platform_engine: Annotated[
        str,
        text(
            "The platform's engine, which executes every draft that is tried on echo, beside ours: "
            "named like the validator. Empty: none is asked.",
            expected=_PROGRAM,
            check=program,
        ),
    ] = ""
    platform_timeout_s: Annotated[
        int,
        Meta(
            ge=1,
            le=300,
            description="Seconds that the platform's program may take over one answer; then it is killed.",
        ),
    ] = 5
    node_types: Annotated[
        str,
        text(
            "The node types that the platform has, with commas between. A draft with another one is not "
            "published (`node_type_missing`). Empty: those that drafts for the target can have here.",
            expected="node types, with commas between",
            check=node_types,
        ),
    ] = ""
    platform_env: Annotated[
        str,
        text(
            "Variables that the platform's programs get beside PATH, HOME, the locale and the like: "
            "names, with commas between. Settings of flowshift's are never passed on.",
            expected="names of variables, with commas between",
            check=names,
        ),
    ] = ""
