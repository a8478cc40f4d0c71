"""The driver beneath SQLAlchemy, for what goes over in bulk.

Arrays of bots are sent in binary form, which PostgreSQL takes in a fraction of the time of text
(docs/explanation/benchmark.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import psycopg
import sqlalchemy as sa
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format


class JsonText(bytes):
    """JSON in UTF-8, sent as jsonb as it is."""

    __slots__ = ()


class _JsonbDumper(Dumper):
    format = Format.BINARY
    oid = psycopg.adapters.types["jsonb"].oid

    def dump(self, obj: Any) -> bytes:
        return b"\x01" + bytes(obj)  # the version of jsonb's binary form


class BytesLoader(Loader):
    """Leaves text as the bytes that came: a workflow is parsed from bytes."""

    def load(self, data: Any) -> bytes:
        return bytes(data)


def driver(connection: sa.Connection) -> psycopg.Connection[Any]:
    """The psycopg connection under SQLAlchemy's, able to send `JsonText`."""
    raw = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
    raw.adapters.register_dumper(JsonText, _JsonbDumper)
    return raw


def arrays(graphs: Sequence[tuple[str, bytes]]) -> tuple[list[str], list[JsonText]]:
    """Bots with their graphs as two arrays."""
    return [bot_id for bot_id, _ in graphs], [JsonText(graph) for _, graph in graphs]
