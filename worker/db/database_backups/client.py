"""How PostgreSQL's own programs reach the database of a connection: no secret among their arguments."""

from __future__ import annotations

from typing import Final

import msgspec
import sqlalchemy as sa
from psycopg.conninfo import make_conninfo

from worker.db.bulk import driver
from worker.db.session import SETTING, options_given
from worker.errors import ConfigError

# Which of several hosts to take is settled: the one that we are connected to.
_SETTLED: Final = ("hostaddr", "target_session_attrs", "load_balance_hosts", "options")


class Client(msgspec.Struct, frozen=True):
    """A connection string without a password, and the environment that has it."""

    conninfo: str
    environment: dict[str, str]


def client_of(connection: sa.Connection, application_name: str) -> Client:
    """The very server and database that a connection is to.

    Raises:
        ConfigError: a password of a key would have to be an argument.
    """
    raw = driver(connection)
    given = {
        name: value for name, value in raw.info.get_parameters().items() if name not in _SETTLED
    }
    if "sslpassword" in given:
        raise ConfigError(
            "it has sslpassword, which pg_dump takes only where every user of the machine sees it:"
            " use a key without a password for backups",
            setting=SETTING,
        )
    settled: dict[str, str | int] = {
        "host": raw.info.host,
        "port": raw.info.port,
        "application_name": application_name,
    }
    if options := options_given(connection.engine.url):
        settled["options"] = options
    password = {"PGPASSWORD": raw.info.password} if raw.info.password else {}
    return Client(make_conninfo("", **{**given, **settled}), password)
