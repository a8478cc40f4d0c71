"""The driver beneath SQLAlchemy, for what goes over in bulk.

Arrays of bots are sent in binary form, which PostgreSQL takes in a fraction of the time of text
(docs/explanation/benchmark.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar, cast

import psycopg
import sqlalchemy as sa
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format

STATEMENT_ROWS: Final = 100
"""Rows of one statement at most: the server copies an array whole, and large memory is dear to get."""

STATEMENT_BYTES: Final = 512 * 1024
"""Bytes of one statement, but for a single row that has more."""

Item = TypeVar("Item")


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


def slices(items: Sequence[Item], size: Callable[[Item], int]) -> Iterator[Sequence[Item]]:
    """What one statement takes at a time, in order: bounded by rows and by the bytes that `size` says.

    >>> [len(some) for some in slices([b"x"] * 250, len)]
    [100, 100, 50]
    """
    first = total = 0
    for place, item in enumerate(items):
        octets = size(item)
        if place > first and (place - first >= STATEMENT_ROWS or total + octets > STATEMENT_BYTES):
            yield items[first:place]
            first, total = place, 0
        total += octets
    if first < len(items):
        yield items[first:]


def graph_slices(
    graphs: Sequence[tuple[str, bytes]],
) -> Iterator[tuple[list[str], list[JsonText]]]:
    """Bots with their graphs, as the two arrays of each statement."""
    for some in slices(graphs, lambda one: len(one[1])):
        yield arrays(some)


def arrays(graphs: Sequence[tuple[str, bytes]]) -> tuple[list[str], list[JsonText]]:
    """Bots with their graphs as two arrays."""
    return [bot_id for bot_id, _ in graphs], [JsonText(graph) for _, graph in graphs]
