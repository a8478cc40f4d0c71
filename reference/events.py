"""The page of log events, read from the code that writes them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from reference.page import page, table
from worker.events import EVENTS

ROOT: Final = Path(__file__).parents[1]
PACKAGES: Final = ("worker", "tasks", "migrations")
"""Where events are logged."""

_LEVELS: Final = {name: name for name in ("debug", "info", "warning", "error", "critical")} | {
    "exception": "error"
}

# Named by a variable where they are logged, so that reading the code does not find all of them.
_KEYS_NAMED_AT_RUN_TIME: Final[Mapping[str, tuple[str, ...]]] = {
    "column.dropped": ("column",),
    "column.kept": ("column", "reason"),
    "table.dropped": ("table",),
    "table.kept": ("table", "reason"),
}


class Event(msgspec.Struct, frozen=True):
    """A line of a log, as the code writes it."""

    name: str
    level: str
    keys: tuple[str, ...]


def events_page() -> str:
    """The log events, read from the code that writes them."""
    rows = [
        (
            f"`{event.name}`",
            event.level,
            ", ".join(f"`{key}`" for key in event.keys) or "–",
            EVENTS[event.name],
        )
        for event in logged_events()
    ]
    return page(
        "Log events",
        "the calls of `log` in the code, and worker/events.py",
        "One JSON object a line on standard error (or readable lines on a terminal, see "
        "`FLOWSHIFT_LOG_FORMAT`). Every line has `event`, `logger`, `level` and `timestamp` (UTC). "
        "Lines of a task also have `task` and, where they belong to one, `run_id` and `batch`. "
        "Lines never hold a workflow, a prompt or a password. Celery's, Alembic's, SQLAlchemy's "
        "and Flower's own lines, and Python's warnings, are in the same form, with a sentence as "
        "the event.",
        table(("event", "level", "keys", "meaning"), rows),
    )


def logged_events() -> list[Event]:
    """Every event that the code logs, by name; one logged in several places has all their keys."""
    found: dict[str, Event] = {}
    named = [Event(name, "info", keys) for name, keys in _KEYS_NAMED_AT_RUN_TIME.items()]
    for event in (*_events_in_code(), *named):
        known = found.get(event.name, event)
        keys = dict.fromkeys((*known.keys, *event.keys))
        found[event.name] = Event(event.name, known.level, tuple(keys))
    return sorted(found.values(), key=lambda event: event.name)


def _events_in_code() -> Iterator[Event]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if (event := _event(node)) is not None:
                    yield event


def _event(node: ast.AST) -> Event | None:
    """The event that a call such as `log.info("run.planned", run_id=…)` writes."""
    match node:
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id="log"), attr=method),
            args=[ast.Constant(value=str(name)), *_],
            keywords=keywords,
        ) if method in _LEVELS:
            keys = tuple(key for keyword in keywords for key in _keys(keyword))
            return Event(name, _LEVELS[method], keys)
    return None


def _keys(keyword: ast.keyword) -> Iterator[str]:
    """The key of `name=…`; of `**{f"bots_{name}": …}` the part that is known, and a dash."""
    if keyword.arg is not None:
        yield keyword.arg
        return
    for node in ast.walk(keyword.value):
        match node:
            case ast.JoinedStr(values=[ast.Constant(value=str(known)), *_]):
                yield f"{known}…"
