"""Whether a database is ready: what its catalogue says, and what it answers to real writes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from worker.core.parity.trial import Equipment
from worker.core.workflow.config import Defaults
from worker.db.backups import Place
from worker.db.engine import map_database_errors
from worker.db.schema import triggers
from worker.db.schema.check import TableReport, check
from worker.db.schema.revision import Revisions
from worker.steps.attempt import Attempt, try_writes

_INCOMPLETE = "tables or columns are missing: `flowshift db upgrade` comes first"
_OUTSIDE = "it may act outside the database, which no rollback takes back; --try tries all the same"


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """The whole database. It is ready when there are no problems; notes do not count.

    `attempt` is None where nothing was to be tried.
    """

    ready: bool
    revision: str | None
    newest_revision: str
    tables: tuple[TableReport, ...]
    problems: tuple[str, ...]
    attempt: Attempt | None = None
    notes: tuple[str, ...] = ()


def check_readiness(
    engine: sa.Engine,
    defaults: Defaults,
    equipment: Equipment,
    *,
    revisions: Revisions,
    backup: Place,
    tries: bool | None = None,
) -> Readiness:
    """Read the catalogue, then try what a batch writes, and roll back; changes nothing.

    `backup` says where runs keep V1. With `tries` None nothing is tried where a trigger may do what no
    rollback takes back; True tries all the same, False nothing.

    Raises:
        ConfigError, TransientError: the database cannot be looked at.
    """
    with map_database_errors():
        with engine.connect() as connection:
            catalogue = check(connection, revisions, backup)
            outside = [] if tries else triggers.that_act_outside(connection)
        attempt = None
        if tries is not False:
            untried = _untried(complete=catalogue.complete, outside=outside)
            attempt = untried or try_writes(engine, defaults, equipment, backup)
    problems = (*catalogue.problems, *(attempt.problems if attempt else ()))
    return Readiness(
        ready=not problems,
        revision=catalogue.revision,
        newest_revision=catalogue.newest_revision,
        tables=catalogue.tables,
        notes=catalogue.notes,
        problems=problems,
        attempt=attempt,
    )


def _untried(*, complete: bool, outside: Sequence[str]) -> Attempt | None:
    """Why nothing may be tried; None where it may."""
    if not complete:
        return Attempt(untried=_INCOMPLETE)
    if outside:
        return Attempt(untried=f"trigger {', '.join(outside)}: {_OUTSIDE}")
    return None
