"""Which revision of the schema a database is at. The revisions themselves are in `migrations`."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from worker.db.tables import SCHEMA

UPGRADE = "`flowshift db upgrade`"

_IS_THERE = sa.text(f"SELECT to_regclass('{SCHEMA}.alembic_version') IS NOT NULL")
_CURRENT = sa.text(f"SELECT version_num FROM {SCHEMA}.alembic_version")  # noqa: S608  (constant)
"""Where Alembic keeps it, read without Alembic: loading that takes a tenth of a short command's time."""


class Revisions(msgspec.Struct, frozen=True):
    """The revisions that this version of flowshift knows, and the newest of them."""

    newest: str
    known: frozenset[str]


def current(connection: sa.Connection) -> str | None:
    """The revision that the database behind `connection` is at; None if there is none yet."""
    (there,) = connection.execute(_IS_THERE).one()
    return connection.scalar(_CURRENT) if there else None


def problems(revision: str | None, revisions: Revisions) -> tuple[str, ...]:
    """What is wrong with being at `revision`; nothing if it is the newest.

    >>> problems("0002", Revisions("0003", frozenset({"0002", "0003"})))
    ('the database is at revision 0002; `flowshift db upgrade` brings it to 0003',)
    """
    if revision == revisions.newest:
        return ()
    if revision is None:
        return (f"flowshift's schema is not there; {UPGRADE} creates it",)
    if revision not in revisions.known:
        return (f"the database is at revision {revision}, which is newer than this flowshift",)
    return (f"the database is at revision {revision}; {UPGRADE} brings it to {revisions.newest}",)
