"""Whether a database is ready: what its catalogue says, and what it answers to real writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import sqlalchemy as sa

from worker.core.parity.trial import Equipment
from worker.core.targets.detect import Choice
from worker.core.targets.registry import TARGETS
from worker.core.targets.target import Target
from worker.core.workflow.config import Defaults
from worker.db import fleet
from worker.db.backups import Place
from worker.db.engine import map_database_errors
from worker.db.schema import triggers
from worker.db.schema.check import TableReport, check
from worker.db.schema.revision import Revisions
from worker.errors import ConfigError
from worker.platform.platform import Platform
from worker.steps.answers import Attempt
from worker.steps.attempt import try_writes
from worker.steps.target import choose_target

_INCOMPLETE = "tables or columns are missing: `flowshift db upgrade` comes first"
_OUTSIDE = "it may act outside the database, which no rollback takes back; --try tries anyway"


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """The whole database. It is ready when there are no problems; notes do not count.

    `attempt` is None if nothing was to be tried. `target` is the one that runs are for;
    `would_go_live` counts the bots of which it would run the draft at once, None if it runs none.
    """

    ready: bool
    revision: str | None
    newest_revision: str
    tables: tuple[TableReport, ...]
    problems: tuple[str, ...]
    attempt: Attempt | None = None
    notes: tuple[str, ...] = ()
    target: Choice | None = None
    would_go_live: int | None = None


def check_readiness(
    engine: sa.Engine,
    defaults: Defaults,
    equip: Callable[[Target], Equipment],
    *,
    target: str,
    revisions: Revisions,
    backup: Place,
    tries: bool | None = None,
    platform: Platform | None = None,
) -> Readiness:
    """Read the catalogue, then try what a batch writes, and roll back; changes nothing.

    `target` is the setting, `backup` says where runs keep V1. With `tries` None nothing is tried where
    a trigger may do what no rollback takes back; True tries anyway, False nothing. `platform` is
    asked whether it answers.

    Raises:
        ConfigError, TransientError: the database cannot be looked at.
    """
    with map_database_errors():
        with engine.connect() as connection:
            catalogue = check(connection, revisions, backup)
            choice = choose_target(connection, None, target)
            go_live = _would_go_live(connection, choice) if catalogue.complete else None
            outside = [] if tries else triggers.that_act_outside(connection)
        attempt = None
        if tries is not False:
            untried = _untried(complete=catalogue.complete, outside=outside)
            equipment = equip(TARGETS[choice.target])
            attempt = untried or try_writes(engine, defaults, equipment, backup)
    notes, wrong = _asked(platform)
    problems = (*catalogue.problems, *(attempt.problems if attempt else ()), *wrong)
    return Readiness(
        ready=not problems,
        revision=catalogue.revision,
        newest_revision=catalogue.newest_revision,
        tables=catalogue.tables,
        notes=(*catalogue.notes, *notes),
        problems=problems,
        attempt=attempt,
        target=choice,
        would_go_live=go_live,
    )


def _would_go_live(connection: sa.Connection, choice: Choice) -> int | None:
    """How many bots a run skips as `draft_would_go_live`; None if drafts are not run."""
    if not TARGETS[choice.target].serves_drafts:
        return None
    return fleet.flagged_without_version(connection)


def _asked(platform: Platform | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Notes on the platform's own programs, and what is wrong with them."""
    if platform is None:
        return (), ()
    try:
        return tuple(one.in_words() for one in platform.capabilities()), ()
    except ConfigError as error:
        return (), (str(error),)


def _untried(*, complete: bool, outside: Sequence[str]) -> Attempt | None:
    """Why nothing may be tried; None if it may."""
    if not complete:
        return Attempt(untried=_INCOMPLETE)
    if outside:
        return Attempt(untried=f"trigger {', '.join(outside)}: {_OUTSIDE}")
    return None
