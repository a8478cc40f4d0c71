"""The bot or the run that a person names, or an error that says what else may be meant."""

from __future__ import annotations

import sqlalchemy as sa

from worker.core.targets.detect import Choice
from worker.db import inspect, runs
from worker.db.engine import map_database_errors
from worker.db.inspect import BotView
from worker.db.runs import Run
from worker.errors import NotFoundError
from worker.steps.target import choose_target


def bot(connection: sa.Connection, bot_id: str) -> BotView:
    """The bot of that id.

    Raises:
        NotFoundError: there is none; it names ids that begin alike.
    """
    view = inspect.bot(connection, bot_id)
    if view is None:
        close = inspect.similar_ids(connection, bot_id)
        hint = f"; did you mean {', '.join(close)}?" if close else ""
        raise NotFoundError(f"there is no bot {bot_id!r}{hint}")
    return view


def bot_and_target(
    engine: sa.Engine, bot_id: str, asked: str | None, setting: str
) -> tuple[BotView, Choice]:
    """The bot of that id, and the target that a command on it is for.

    Raises:
        NotFoundError: there is no such bot.
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        return bot(connection, bot_id), choose_target(connection, asked, setting)


def run(connection: sa.Connection, run_id: int, *, lock: bool = False) -> Run:
    """The run of that number, its row locked if `lock`.

    Raises:
        NotFoundError: there is none.
    """
    found = runs.get(connection, run_id, lock=lock)
    if found is None:
        raise unknown_run(run_id)
    return found


def unknown_run(run_id: int) -> NotFoundError:
    """The error for the number of a run that does not exist."""
    return NotFoundError(f"{no_run(run_id)}: `flowshift runs` lists them")


def no_run(run_id: int) -> str:
    """What is said of a run that does not exist."""
    return f"there is no run {run_id}"
