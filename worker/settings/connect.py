"""Settings: where the servers are, and what this installation is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import platformdirs

from worker.settings.field import path, text


class Connect(msgspec.Struct, frozen=True, kw_only=True):
    """Where the servers are, and what this installation is called."""

    database_url: Annotated[
        str,
        text(
            "PostgreSQL 13 or newer. Empty: one is started for you in the data directory.",
            is_secret=True,
        ),
    ] = ""
    redis_url: Annotated[
        str,
        text(
            "Redis 6 or newer. Empty: one is started for you in the data directory.",
            is_secret=True,
        ),
    ] = ""
    broker_url: Annotated[
        str,
        text(
            "The queue: RabbitMQ 3.10 or newer, or another Redis. Empty: the Redis above.",
            is_secret=True,
        ),
    ] = ""
    data_dir: Annotated[
        str,
        text(
            "Where the started servers and local state live. Empty: the user's data folder.",
            expected="a directory",
            check=path,
        ),
    ] = ""
    postgres_tools_dir: Annotated[
        str,
        text(
            "Where pg_dump and pg_restore are, for backups. Empty: looked for where they usually are.",
            expected="a directory",
            check=path,
        ),
    ] = ""
    namespace: Annotated[
        str,
        text(
            "Prefix of every Redis key and queue, so that several flowshifts share one Redis.",
            expected="1 to 40 of a-z, 0-9, - and _, beginning with a letter or a digit",
            pattern=r"^[a-z0-9][a-z0-9_-]{0,39}\Z",
        ),
    ] = "flowshift"

    @property
    def data_path(self) -> Path:
        """The data directory, absolute; it need not exist yet."""
        if self.data_dir:
            return path(self.data_dir)
        return platformdirs.user_data_path("flowshift")
