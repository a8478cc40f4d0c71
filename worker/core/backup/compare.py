"""Hold what was restored against the manifest: table by table, and bot by bot in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, Literal

import msgspec

from worker.core.backup.manifest import TableEntry

Differs = Literal["missing", "changed", "extra"]

EXAMPLES: Final = 10
"""So many of the bots that differ are named."""


class Counted(msgspec.Struct, frozen=True):
    """The rows of a table, and the hash over them."""

    rows: int
    hash: str


class BotHash(msgspec.Struct, frozen=True, array_like=True):
    """A bot, and the hash over its rows in all tables that count per bot; a line of the bots' file."""

    bot_id: str
    hash: str


class TableDifference(msgspec.Struct, frozen=True):
    """A table that came back otherwise; `found` is None if it did not come back at all."""

    table: str
    expected: Counted
    found: Counted | None


class BotDifference(msgspec.Struct, frozen=True):
    """A bot that came back otherwise: `missing`, `changed` or `extra`."""

    bot_id: str
    what: Differs


class BotDifferences(msgspec.Struct, frozen=True):
    """How many bots differ, and the first of them by id."""

    bots: int = 0
    examples: tuple[BotDifference, ...] = ()


def differing_tables(
    expected: Sequence[TableEntry], found: Mapping[str, Counted | None]
) -> list[TableDifference]:
    """The tables whose rows or hash differ; `found` by label. Those left out do not count.

    >>> bots = TableEntry(schema="public", name="bots", columns=(), rows=2, hash="a")
    >>> differing_tables([bots], {"public.bots": Counted(2, "a")})
    []
    >>> [one.table for one in differing_tables([bots], {"public.bots": Counted(2, "b")})]
    ['public.bots']
    """
    return [
        TableDifference(one.label, Counted(one.rows, one.hash), found.get(one.label))
        for one in expected
        if not one.is_left_out and found.get(one.label) != Counted(one.rows, one.hash)
    ]


def differing_bots(
    expected: Iterable[BotHash], found: Iterable[BotHash]
) -> Iterator[BotDifference]:
    """The bots that differ, of two lists in ascending order of their ids; one pass, memory flat.

    >>> was = [BotHash("a", "1"), BotHash("b", "1"), BotHash("d", "1")]
    >>> now = [BotHash("b", "2"), BotHash("c", "1"), BotHash("d", "1")]
    >>> [(one.bot_id, one.what) for one in differing_bots(was, now)]
    [('a', 'missing'), ('b', 'changed'), ('c', 'extra')]
    """
    olds, news = iter(expected), iter(found)
    old, new = next(olds, None), next(news, None)
    while old is not None or new is not None:
        if new is None or (old is not None and old.bot_id < new.bot_id):
            assert old is not None  # noqa: S101  (for the type checker)
            yield BotDifference(old.bot_id, "missing")
            old = next(olds, None)
        elif old is None or new.bot_id < old.bot_id:
            yield BotDifference(new.bot_id, "extra")
            new = next(news, None)
        else:
            if old.hash != new.hash:
                yield BotDifference(old.bot_id, "changed")
            old, new = next(olds, None), next(news, None)


def collect(differences: Iterable[BotDifference]) -> BotDifferences:
    """Count differences, and keep the first."""
    left = iter(differences)
    examples = tuple(islice(left, EXAMPLES))
    return BotDifferences(len(examples) + sum(1 for _ in left), examples)
