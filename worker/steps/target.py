"""Decide which target the platform has, from what is asked for and what its database shows."""

from __future__ import annotations

import sqlalchemy as sa

from worker.core.targets.detect import AUTO, SETTING, Choice, choose, decide, reason_of
from worker.core.targets.registry import TARGETS
from worker.db.engine import map_database_errors
from worker.db.runs import Run
from worker.db.schema import target as schema
from worker.errors import UsageError
from worker.steps.request import Request

OPTION = "--target"


def choose_target(connection: sa.Connection, asked: str | None, setting: str = AUTO) -> Choice:
    """The target for a command: what the option says (`asked`), else the setting, else the database.

    Locks nothing and reads a bounded amount.
    """
    found = decide(schema.evidence(connection))
    return choose(setting, SETTING, found) if asked is None else choose(asked, OPTION, found)


def read_target(engine: sa.Engine, asked: str | None, setting: str) -> Choice:
    """`choose_target` on a connection of its own.

    Raises:
        TransientError: the database was unavailable.
    """
    with map_database_errors(), engine.connect() as connection:
        return choose_target(connection, asked, setting)


def choose_for_run(
    connection: sa.Connection, request: Request, setting: str, parent: Run | None
) -> Choice:
    """The target of a run that is started.

    Where neither the option nor the setting says one, a retry has that of its run, and so has a
    validation of a run that was started with the option. Else the database decides.

    Raises:
        UsageError: the request allows what means nothing with that target.
    """
    choice = choose_target(connection, request.target, setting)
    if parent is not None and request.target is None and setting == AUTO:
        was_named = parent.options.target_reason == reason_of(OPTION)
        if request.retry_of is not None or was_named:
            choice = choose(parent.options.target, f"run {parent.run_id}", choice)
    _check_flagged(request, choice.target)
    return choice


def _check_flagged(request: Request, target: str) -> None:
    """Refuse the option that is the other kind of target's, before bots are skipped in spite of it."""
    serves = TARGETS[target].serves_drafts
    if request.live_drafts and not serves:
        raise UsageError(
            f"--live-drafts is for a platform that runs drafts; one of the target {target} does not: "
            "--include-flagged takes bots that are flagged V2 without a published version"
        )
    if request.include_flagged and serves:
        raise UsageError(
            f"a platform of the target {target} runs the draft of a bot that is flagged V2 without a "
            "published version, so writing one goes live at once: if that is meant, use --live-drafts "
            "instead of --include-flagged"
        )
