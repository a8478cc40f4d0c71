"""What every connection is set to, whatever the server, the database or the role has as defaults.

Where the server takes start-up options they are set once, at the start. A pooler between us and
PostgreSQL may ignore options or refuse them, and may give each transaction another server's session.
There everything is set in each transaction, for that transaction alone: nothing of ours stays in a
session that another client gets next.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from typing import Any, Final

import psycopg
import sqlalchemy as sa
from sqlalchemy import event

from worker.db.compression import Compression, settings_for
from worker.errors import ConfigError

SETTING = "FLOWSHIFT_DATABASE_URL"

# What our statements rely on, or would behave otherwise with. Every role may set these.
_FIXED: Final[Mapping[str, str]] = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "quote_all_identifiers": "off",
    "transform_null_equals": "off",
    "row_security": "on",
    "exit_on_error": "off",  # else the first bot that is refused would end the session
    "plan_cache_mode": "auto",
    "jit": "off",  # compiling one of our statements takes seconds, to save milliseconds
}
# How transactions begin. (A pooled one says so in its BEGIN.)
_TRANSACTIONS: Final[Mapping[str, str]] = {
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
}
# Time-outs of newer servers, which end what ours do not; older ones refuse to start with them.
_NEWER: Final[Mapping[str, int]] = {"idle_session_timeout": 14, "transaction_timeout": 17}

# A setting of ours by which a session says that it has what we started it with.
_MARK: Final = "flowshift.session"
_PER_TRANSACTION: Final = "flowshift_per_transaction"

# PgBouncer: "unsupported startup parameter: options", "unsupported startup parameter in options: …".
# RDS Proxy: "… currently doesn't support command-line options".
_REFUSED = re.compile(r"startup (?:parameter|option)|command-line option", re.IGNORECASE)


def prepare(
    engine: sa.Engine,
    *,
    given: str,
    time_outs_ms: Mapping[str, int],
    compression: Compression | None = None,
    with_options: bool = True,
) -> None:
    """Have every connection of an engine set to what we rely on.

    `given` are a person's own start-up options (`-c search_path=app`): they count beside ours, which
    win. Without `with_options` none are sent, since a service file may hold a person's own.
    """
    ours = {**_FIXED, **{name: str(ms) for name, ms in time_outs_ms.items()}}
    _Session(engine, given, ours, compression, with_options=with_options).listen()


def has_own(connection: sa.Connection) -> bool:
    """Whether consecutive transactions surely are in one session of PostgreSQL's."""
    return not connection.info.get(_PER_TRANSACTION, False)


def need_own(connection: sa.Connection, what: str) -> None:
    """Raise ConfigError if `what`, which outlives transactions, would meet a pooler."""
    if not has_own(connection):
        raise ConfigError(
            f"{what} needs a session of its own, and a connection pooler is in between "
            "(it ignores or refuses start-up options): name PostgreSQL's own host and port",
            setting=SETTING,
        )


def options_given(url: sa.URL, environ: Mapping[str, str] = os.environ) -> str:
    """A person's own start-up options: those of the URL, else those of PGOPTIONS, as libpq reads them."""
    given = url.query.get("options")
    if given is None:
        return environ.get("PGOPTIONS", "")
    return given if isinstance(given, str) else " ".join(given)


def read_options(options: str) -> dict[str, str]:
    r"""The settings in a string of start-up options.

    Raises:
        ConfigError: an option is none that sets something, so that it cannot be set any later.

    >>> read_options(r"-c search_path=app,\ public --work-mem=7MB")
    {'search_path': 'app, public', 'work_mem': '7MB'}
    """
    words = re.findall(r"(?:\\.|[^\s\\])+", options)
    found: dict[str, str] = {}
    while words:
        word = words.pop(0)
        if word == "-c" and words:
            word += words.pop(0)
        setting = re.fullmatch(r"(?:-c|--)([\w.-]+)=(.*)", word, re.DOTALL)
        if setting is None:
            raise ConfigError(
                "a pooler takes no start-up options, and one given cannot be set later: only those "
                "of the form -c name=value can",
                setting=SETTING,
            )
        found[setting[1].replace("-", "_")] = re.sub(r"\\(.)", r"\1", setting[2])
    return found


class _Session:
    """The settings of the connections of one engine."""

    def __init__(
        self,
        engine: sa.Engine,
        given: str,
        ours: Mapping[str, str],
        compression: Compression | None,
        *,
        with_options: bool,
    ) -> None:
        self._engine = engine
        self._given = given
        self._ours = ours
        self._compression = compression
        self._token = secrets.token_hex(8)
        self._with_options = with_options
        self._refused = False

    def listen(self) -> None:
        event.listen(self._engine, "do_connect", self._connect)
        event.listen(self._engine, "connect", self._examine)
        event.listen(self._engine, "begin", self._begin)

    def _connect(
        self, dialect: sa.Dialect, _record: object, arguments: Any, parameters: dict[str, Any]
    ) -> Any:
        """Connect with start-up options; where they are refused, without, from then on."""
        parameters.pop("options", None)
        if not self._with_options:
            # Not even PGOPTIONS where they are refused; where a service file may have some, those.
            none = {"options": ""} if self._refused else {}
            return dialect.connect(*arguments, **parameters, **none)
        try:
            return dialect.connect(*arguments, **parameters, options=self._options())
        except psycopg.OperationalError as error:
            if not _REFUSED.search(str(error)):
                raise
        self._with_options, self._refused = False, True
        return dialect.connect(*arguments, **parameters, options="")

    def _options(self) -> str:
        settings = {**self._ours, **_TRANSACTIONS, _MARK: self._token}
        escaped = {name: re.sub(r"([ \\])", r"\\\1", value) for name, value in settings.items()}
        ours = (f"-c {name}={value}" for name, value in escaped.items())
        return " ".join([self._given, *ours]).strip()

    def _examine(self, raw: psycopg.Connection[Any], record: Any) -> None:
        """Find out whether the options have arrived, and set what could not be among them."""
        before, raw.autocommit = raw.autocommit, True
        newer = self._newer(raw)
        # libpq sends what PGTZ and PGDATESTYLE say besides, and that would win.
        late = {name: self._ours[name] for name in ("TimeZone", "DateStyle")} | newer
        names = [_MARK, self._token, *(text for pair in late.items() for text in pair)]
        columns = "".join(", CASE WHEN m.is_here THEN set_config(%s, %s, false) END" for _ in late)
        row = raw.execute(
            f"SELECT m.is_here, pg_is_in_recovery(){columns}"  # noqa: S608
            " FROM (SELECT current_setting(%s, true) IS NOT DISTINCT FROM %s AS is_here) m",
            [*names[2:], *names[:2]],
        ).fetchone()
        raw.autocommit = before
        assert row is not None  # noqa: S101  (a SELECT without WHERE)
        if not row[0]:
            record.info[_PER_TRANSACTION] = self._each_time(newer)
            # A standby refuses to begin otherwise than reading.
            raw.read_only = None if row[1] else False
            raw.deferrable = False

    def _each_time(self, newer: Mapping[str, str]) -> str:
        given = read_options(self._given)
        settings = {**given, **self._ours, **newer}
        calls = ", ".join(
            f"set_config({_quoted(name)}, {_quoted(value)}, true)"
            for name, value in settings.items()
        )
        return f"SELECT {calls}"

    def _newer(self, raw: psycopg.Connection[Any]) -> dict[str, str]:
        """What only some servers have a setting for."""
        version = raw.info.server_version
        found = {name: "0" for name, since in _NEWER.items() if version >= since * 10_000}
        if self._compression is not None:
            found |= settings_for(raw, self._compression)
        return found

    @staticmethod
    def _begin(connection: sa.Connection) -> None:
        statement = connection.info.get(_PER_TRANSACTION)
        if statement is not None:
            connection.exec_driver_sql(statement)


def _quoted(text: str) -> str:
    """A literal, whatever `standard_conforming_strings` is, without a sign of the driver's."""
    escaped = text.replace("\\", "\\\\").replace("'", "''").replace("%", "%%")
    return f"E'{escaped}'"
