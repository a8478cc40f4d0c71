"""The driver beneath SQLAlchemy, for what goes over in bulk.

Arrays of bots are sent in binary form, which PostgreSQL takes in a fraction of the time of text
(docs/explanation/benchmark.md). Rows with many columns are sent by `Rows`, which encodes a column at a
time: psycopg would look at each value of a list alone.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, cast

import msgspec
import psycopg
import sqlalchemy as sa
from psycopg import sql
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format

from worker.core.bounded import Item, bounded

STATEMENT_ROWS: Final = 100
"""Rows of one statement at most: the server copies an array whole, and large memory is dear to get."""

STATEMENT_BYTES: Final = 512 * 1024
"""Bytes of one statement, but for a single row that has more."""


class JsonText(bytes):
    """JSON in UTF-8, sent as jsonb as it is."""

    __slots__ = ()


class _JsonbDumper(Dumper):
    format = Format.BINARY
    oid = psycopg.adapters.types["jsonb"].oid

    def dump(self, obj: Any) -> bytes:
        return b"\x01" + bytes(obj)  # the version of jsonb's binary form


class _Binary(bytes):
    """A value in PostgreSQL's binary form; a cast beside it says of which type it is."""

    __slots__ = ()


class _BinaryDumper(Dumper):
    format = Format.BINARY
    oid = 0

    def dump(self, obj: Any) -> bytes:
        return bytes(obj)


class BytesLoader(Loader):
    """Leaves text as the bytes that came: a workflow is parsed from bytes."""

    def load(self, data: Any) -> bytes:
        return bytes(data)


class BinaryLoader(BytesLoader):
    """Leaves a value of a binary result as the bytes that came: of a uuid, its 16."""

    format = Format.BINARY


def driver(connection: sa.Connection) -> psycopg.Connection[Any]:
    """The psycopg connection under SQLAlchemy's, able to send `JsonText` and `Rows`."""
    raw = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
    raw.adapters.register_dumper(JsonText, _JsonbDumper)
    raw.adapters.register_dumper(_Binary, _BinaryDumper)
    return raw


def slices(items: Iterable[Item], size: Callable[[Item], int]) -> Iterator[list[Item]]:
    """What one statement takes at a time, in order: bounded by rows and by the bytes that `size` says.

    >>> [len(some) for some in slices([b"x"] * 250, len)]
    [100, 100, 50]
    """
    return bounded(items, size, most=STATEMENT_ROWS, most_size=STATEMENT_BYTES)


def graph_slices(
    graphs: Sequence[tuple[str, bytes]],
) -> Iterator[tuple[list[str], list[JsonText]]]:
    """Bots with their graphs, as the two arrays of each statement."""
    for some in slices(graphs, lambda one: len(one[1])):
        yield arrays(some)


def arrays(graphs: Sequence[tuple[str, bytes]]) -> tuple[list[str], list[JsonText]]:
    """Bots with their graphs as two arrays."""
    return [bot_id for bot_id, _ in graphs], [JsonText(graph) for _, graph in graphs]


# -- rows ------------------------------------------------------------------------------------------

_length = struct.Struct(">i").pack
_int8 = struct.Struct(">q").pack
_array_head = struct.Struct(">iiIii").pack
_NULL: Final = _length(-1)


class Column(msgspec.Struct, frozen=True):
    """The values of one column, each as PostgreSQL's binary form of its type has it, or None."""

    type: str
    items: list[bytes | None]


def uuids(values: Sequence[bytes]) -> Column:
    """A column of ids, of 16 bytes each."""
    return Column("uuid", list(values))


def texts(values: Sequence[str | None]) -> Column:
    """A column of texts.

    Raises:
        UnicodeEncodeError: one holds half of a surrogate pair.
    """
    return Column("text", [None if one is None else one.encode() for one in values])


def integers(values: Sequence[int | None]) -> Column:
    """A column of integers (`int8`).

    Raises:
        struct.error: one takes more than 8 bytes.
    """
    return Column("int8", [None if one is None else _int8(one) for one in values])


def jsons(values: Sequence[bytes | None]) -> Column:
    """A column of JSON in UTF-8, sent as `jsonb` as it is."""
    return Column("jsonb", [None if one is None else b"\x01" + one for one in values])


class Rows(msgspec.Struct, frozen=True):
    """Rows to select from: `source` as SQL that stands in FROM, with its `parameters` in order.

    >>> given = rows("n", id=texts(["a", "b"]), tokens=integers([0, 0]), error=texts([None, None]))
    >>> print(given.source.as_string().replace(", ", "\\n, "))
    (SELECT unnest(%b::text[]) AS "id"
    , %b::int8 AS "tokens"
    , NULL::text AS "error") AS "n"
    >>> len(given.parameters)
    2
    """

    source: sql.Composed
    parameters: tuple[bytes, ...]


def rows(name: str, **columns: Column) -> Rows:
    """Rows called `name`, in order; the first column tells them apart, the others may repeat.

    A column that holds one value throughout is sent once. All have as many values as the first, of which
    there is at least one.
    """
    shown, parameters = [], []
    for place, (column, given) in enumerate(columns.items()):
        called, items = sql.Identifier(column), given.items
        kind = sql.SQL(given.type)
        if place and items.count(items[0]) == len(items):
            if items[0] is None:
                shown.append(sql.SQL("NULL::{} AS {}").format(kind, called))
            else:
                shown.append(sql.SQL("%b::{} AS {}").format(kind, called))
                parameters.append(_Binary(items[0]))
        else:
            # Not as a function in FROM, which would keep every row once more until the statement ends.
            shown.append(sql.SQL("unnest(%b::{}[]) AS {}").format(kind, called))
            parameters.append(_Binary(_array(given)))
    source = sql.SQL("(SELECT {}) AS {}").format(sql.SQL(", ").join(shown), sql.Identifier(name))
    return Rows(source, tuple(parameters))


def _array(column: Column) -> bytes:
    """PostgreSQL's binary form of an array of one dimension."""
    items = column.items
    parts = [b""] * (2 * len(items))
    has_null = None in items
    if has_null:
        parts[0::2] = [_NULL if one is None else _length(len(one)) for one in items]
        parts[1::2] = [one or b"" for one in items]
    else:
        parts[0::2] = [*map(_length, map(len, cast("list[bytes]", items)))]
        parts[1::2] = cast("list[bytes]", items)
    oid = psycopg.adapters.types[column.type].oid
    return _array_head(1, has_null, oid, len(items), 1) + b"".join(parts)
